package cluster

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"shoal/agent/part"
	"shoal/eval/lab/row"
	"shoal/learner"
	"shoal/shards"
)

// worker is a learner that members take turns on.
type worker struct {
	learner *learner.Learner
	loader  *shards.Loader // for scores
	feed    *part.Feed
}

func newWorker(recipe part.Recipe, set *shards.Set, threads int) (*worker, error) {
	cfg := recipe.Learner
	cfg.Threads = threads
	l, err := learner.New(cfg, len(set.Classes), recipe.Seed)
	if err != nil {
		return nil, err
	}
	loader := func() *shards.Loader { return shards.NewLoader(set, recipe.Data, cfg.Input, recipe.Seed) }
	return &worker{learner: l, loader: loader(), feed: part.NewFeed(loader(), cfg.Input, cfg.Batch)}, nil
}

// local is the learner's memory of what is averaged.
func (w *worker) local(momentum bool) []float32 { return w.learner.Shared(momentum) }

// tally is how local steps went.
type tally struct {
	images, correct int64
	loss            float64 // sum over images
	rate            float64 // of the last step
	diverged        bool    // the work was undone
}

func (t *tally) add(o tally) {
	t.images += o.images
	t.correct += o.correct
	t.loss += o.loss
	if o.images > 0 {
		t.rate = o.rate
	}
}

// means are per image; NaN where there is none.
func (t tally) means() (loss, accuracy row.Number) {
	if t.images == 0 {
		return row.Number(math.NaN()), row.Number(math.NaN())
	}
	return row.Number(t.loss / float64(t.images)), row.Number(float64(t.correct) / float64(t.images))
}

// train runs the local steps of all members of a round, side by side on the workers, and sums up in the order of ranks.
func (c *Cluster) train(ctx context.Context, r *round, l lap) (tally, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for _, w := range c.workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(r.present) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := c.leg(ctx, w, r, i, l.steps[i]); err != nil {
					cancel(fmt.Errorf("member %d: %w", r.present[i], err))
				}
			}
		})
	}
	all.Wait()
	var sum tally
	if ctx.Err() != nil {
		return sum, context.Cause(ctx)
	}
	for i, m := range r.present {
		sum.add(c.members[m].tally)
		if !c.members[m].diverged {
			r.samples[i] = c.members[m].images
		}
	}
	return sum, nil
}

// leg is the local steps of rank i of a round: from the shared state, or its own, to what it gives to the exchange.
func (c *Cluster) leg(ctx context.Context, w *worker, r *round, i, steps int) error {
	m := c.members[r.present[i]]
	momentum := c.recipe.Averaging.Momentum
	local, own := w.local(momentum), w.learner.Shared(true)[c.shared:]
	from := c.state
	if c.schedule.Pairs {
		from = m.state
	}
	copy(local, from)
	clear(own)
	copy(own, m.momentum)
	m.tally = tally{}
	if len(m.delta) == 0 {
		m.delta = make([]float32, c.shared)
	}
	if err := c.walk(ctx, w, m, r, i, steps); err != nil {
		return err
	}
	if !part.Finite(w.learner.Shared(true)) { // as agents do: the work is undone, and momentum begins anew
		m.diverged = true
		copy(local, from)
		clear(own)
	}
	if c.schedule.Pairs {
		copy(m.delta, local)
	} else {
		part.Delta(m.delta, local, from)
	}
	if m.images > 0 && !m.diverged {
		r.norms[i] = part.Norm(local, from)
	}
	m.fresh = append(m.fresh[:0], own...)
	return nil
}

// walk takes the first steps of rank i's stretch.
func (c *Cluster) walk(ctx context.Context, w *worker, m *member, r *round, i, steps int) error {
	stretch := r.stretches[i]
	err := w.feed.Run(ctx, stretch, 0, func(k int, b part.Batch) (bool, error) {
		if k >= steps || ctx.Err() != nil {
			return false, nil
		}
		rate := c.recipe.Rate(r.number, k, len(stretch.Batches))
		got, err := w.learner.Step(b.Images, b.Labels, rate)
		if err != nil {
			return false, fmt.Errorf("step %d: %w", k, err)
		}
		m.add(tally{images: int64(got.N), correct: int64(got.Correct), loss: got.Loss * float64(got.N), rate: rate})
		return true, nil
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}
