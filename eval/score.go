package eval

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"shoal/learner"
	"shoal/shards"
)

// Model is what a score needs of a *learner.Learner.
type Model interface {
	// Score evaluates images, (len(labels), H, W, 3), by the running statistics.
	Score(x []float32, labels []int32) (learner.Result, error)
	// Reestimate replaces the running statistics by those of batches; without batch norm it asks for none.
	Reestimate(batches int, next func(i int) (x []float32, n int)) error
	// Shared is the model's own memory of parameters and running statistics.
	Shared(momentum bool) []float32
}

// Source is what a score needs of a *shards.Loader.
type Source interface {
	Train(dst []float32, labels []int32, indices []int32, epoch int)
	Test(dst []float32, labels []int32, lo, hi int)
}

// Result is what an evaluation found.
type Result struct {
	Accuracy    float64 // of Images, 0..1
	Loss        float64 // mean cross-entropy
	Images      int
	Reestimated int // batches that the batch-norm statistics were re-estimated from; 0: the running ones
}

// ScoreModel evaluates the model on all test images of set, with re-estimated batch-norm statistics if cfg asks for them.
// What the model shares has the same bits afterwards, also after an error. The end of ctx ends it between two batches.
func ScoreModel(ctx context.Context, m Model, source Source, set *shards.Set, cfg Config, l learner.Config) (Result, error) {
	r, err := scoreModel(ctx, m, source, set, cfg, l)
	if err != nil {
		return Result{}, fmt.Errorf("score model on %s: %w", set.Name, err)
	}
	return r, nil
}

func scoreModel(ctx context.Context, m Model, source Source, set *shards.Set, cfg Config, l learner.Config) (Result, error) {
	var r Result
	if set.Test.N < 1 {
		return r, errors.New("it has no test images")
	}
	if cfg.Reestimate > 0 {
		shared := m.Shared(false)
		before := slices.Clone(shared)
		defer copy(shared, before)
		var err error
		if r.Reestimated, err = reestimate(ctx.Done(), m, source, set, cfg, l); err != nil {
			return r, errors.Join(context.Cause(ctx), err)
		}
	}
	x, labels := buffers(l)
	image := len(x) / len(labels)
	var correct int
	for lo := 0; lo < set.Test.N; lo += l.Batch {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		n := min(l.Batch, set.Test.N-lo)
		source.Test(x[:n*image], labels[:n], lo, lo+n)
		got, err := m.Score(x[:n*image], labels[:n])
		if err != nil {
			return r, fmt.Errorf("test images [%d, %d): %w", lo, lo+n, err)
		}
		r.Loss += got.Loss * float64(got.N)
		r.Images += got.N
		correct += got.Correct
	}
	r.Loss /= float64(r.Images)
	r.Accuracy = float64(correct) / float64(r.Images)
	return r, nil
}

// Reestimate replaces the model's batch-norm statistics by those of its first cfg.Reestimate batches of training images,
// in an order that is the same on every agent, so that equal models stay equal. It does nothing if cfg asks for none.
func Reestimate(m Model, source Source, set *shards.Set, cfg Config, l learner.Config) error {
	if cfg.Reestimate < 1 {
		return nil
	}
	if _, err := reestimate(nil, m, source, set, cfg, l); err != nil {
		return fmt.Errorf("re-estimate batch-norm statistics on %s: %w", set.Name, err)
	}
	return nil
}

// orderSeed makes the order of re-estimation: any will do, as long as every agent has the same. Epoch and rank are 0.
const orderSeed = 0x5c03e

// reestimate returns the number of batches that the model asked for. It gives up once done is closed; nil never is.
func reestimate(done <-chan struct{}, m Model, source Source, set *shards.Set, cfg Config, l learner.Config) (int, error) {
	n := min(l.Batch, set.Train.N)
	if n < 1 {
		return 0, errors.New("it has no training images")
	}
	batches := min(cfg.Reestimate, set.Train.N/n) // whole ones: each counts the same
	order := make([]int32, set.Train.N)
	for i := range order {
		order[i] = int32(i)
	}
	shards.Order(order, orderSeed, 0, 0)
	x, labels := buffers(l)
	image := len(x) / len(labels)
	asked := 0
	err := m.Reestimate(batches, func(i int) ([]float32, int) {
		select {
		case <-done:
			return nil, 0 // which no model takes
		default:
		}
		asked++
		source.Train(x[:n*image], labels[:n], order[i*n:(i+1)*n], 0)
		return x[:n*image], n
	})
	return asked, err
}

// buffers are for one batch.
func buffers(l learner.Config) ([]float32, []int32) {
	return make([]float32, l.Batch*l.Input*l.Input*3), make([]int32, l.Batch)
}
