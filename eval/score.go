package eval

import (
	"context"
	"errors"
	"fmt"

	"shoal/learner"
	"shoal/shards"
)

// Model is what a score needs of a *learner.Learner.
type Model interface {
	// Score evaluates images, (len(labels), H, W, 3), by the running statistics.
	Score(x []float32, labels []int32) (learner.Result, error)
	// Reestimate replaces the running statistics by those of batches; without batch norm it asks for none.
	Reestimate(batches int, next func(i int) (x []float32, n int)) error
	// Shared is the model's own memory of parameters and running statistics; Params is that of the parameters, its beginning.
	Shared(momentum bool) []float32
	Params() []float32
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

// ScoreModel evaluates the model on all test images of set, with re-estimated batch-norm statistics if cfg asks for them:
// all parts of a Scorer, one after another. What the model shares has the same bits afterwards, also after an error. The end
// of ctx ends it between two batches.
func ScoreModel(ctx context.Context, m Model, source Source, set *shards.Set, cfg Config, l learner.Config) (Result, error) {
	r, err := Scorer{m, source, set, cfg, l}.score(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("score model on %s: %w", set.Name, err)
	}
	return r, nil
}

func (s Scorer) score(ctx context.Context) (Result, error) {
	if err := s.Possible(); err != nil {
		return Result{}, err
	}
	estimated, test := s.Parts()
	var statistics []float32
	if estimated > 0 {
		parts, err := s.Statistics(ctx, 0, estimated)
		if err != nil {
			return Result{}, err
		}
		statistics = s.Merge(parts)
	}
	sums, err := s.Test(ctx, statistics, 0, test)
	if err != nil {
		return Result{}, err
	}
	return s.Total(sums), nil
}

// Possible says what is missing for a score.
func (s Scorer) Possible() error {
	switch {
	case s.Set.Test.N < 1:
		return errors.New("it has no test images")
	case s.Config.Reestimate > 0 && s.Set.Train.N < 1:
		return errors.New("it has no training images")
	}
	return nil
}

// Reestimate replaces the model's batch-norm statistics by those of its first cfg.Reestimate batches of training images,
// in an order that is the same on every agent, so that equal models stay equal. It does nothing if cfg asks for none, or
// the model has no batch norm.
func Reestimate(m Model, source Source, set *shards.Set, cfg Config, l learner.Config) error {
	s := Scorer{m, source, set, cfg, l}
	if cfg.Reestimate < 1 || len(s.running()) == 0 {
		return nil
	}
	err := s.Possible()
	if set.Test.N < 1 && set.Train.N > 0 { // which a score needs
		err = nil
	}
	var parts [][]float32
	if all, _ := s.Parts(); err == nil {
		parts, err = s.Statistics(context.Background(), 0, all)
	}
	if err != nil {
		return fmt.Errorf("re-estimate batch-norm statistics on %s: %w", set.Name, err)
	}
	copy(s.running(), s.Merge(parts))
	return nil
}

// orderSeed makes the order of re-estimation: any will do, as long as every agent has the same. Epoch and rank are 0.
const orderSeed = 0x5c03e

// order is the images of re-estimation.
func (s Scorer) order() []int32 {
	order := make([]int32, s.Set.Train.N)
	for i := range order {
		order[i] = int32(i)
	}
	shards.Order(order, orderSeed, 0, 0)
	return order
}

// reestimate makes the model's statistics those of batches [from, to) of the order. It gives up once done is closed; nil
// never is.
func (s Scorer) reestimate(done <-chan struct{}, order []int32, from, to int) error {
	_, n := s.batches()
	x, labels := buffers(s.Learner)
	image := len(x) / len(labels)
	return s.Model.Reestimate(to-from, func(i int) ([]float32, int) {
		select {
		case <-done:
			return nil, 0 // which no model takes
		default:
		}
		at := (from + i) * n
		s.Source.Train(x[:n*image], labels[:n], order[at:at+n], 0)
		return x[:n*image], n
	})
}

// buffers are for one batch.
func buffers(l learner.Config) ([]float32, []int32) {
	return make([]float32, l.Batch*l.Input*l.Input*3), make([]int32, l.Batch)
}
