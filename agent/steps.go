package agent

import (
	"context"
	"fmt"
	"math"
	"time"

	"shoal/learner"
	"shoal/shards"
)

// progress is how far the local steps are, and how they went.
type progress struct {
	Round           int
	Step, Steps     int
	Images, Correct int
	LossSum         float64 // over Images
	Loss            float64 // of the last steps, smoothed
	Seconds         float64
}

// after is the progress one step later.
func (p progress) after(r learner.Result, took time.Duration) progress {
	p.Step++
	p.Images += r.N
	p.Correct += r.Correct
	p.LossSum += r.Loss * float64(r.N)
	p.Seconds += took.Seconds()
	const recent = 0.1 // weight of the newest step
	switch {
	case math.IsNaN(r.Loss) || math.IsInf(r.Loss, 0): // JSON has no word for it, and the mean would never recover
	case p.Loss == 0:
		p.Loss = r.Loss
	default:
		p.Loss += recent * (r.Loss - p.Loss)
	}
	return p
}

// shard is the order in which rank of size trains on its samples in an epoch.
func (t *trainer) shard(rank, size, epoch int) ([]int32, error) {
	weights := make([]float64, size)
	for i := range weights {
		weights[i] = 1
	}
	p := shards.Partition{Kind: t.cfg.Data.Partition, Alpha: t.cfg.Data.Alpha, Labels: t.cfg.Data.Labels, Seed: t.cfg.Seed}
	parts, err := shards.Split(p, t.set.Train.N, t.set.Train.Labels, weights, epoch)
	if err != nil {
		return nil, fmt.Errorf("split %d samples for %d members: %w", t.set.Train.N, size, err)
	}
	shards.Order(parts[rank], t.cfg.Seed, epoch, rank)
	return parts[rank], nil
}

// stretch is the local steps of one round: lists of sample indices, one a step.
type stretch struct {
	batches [][]int32
	epochs  []int // by batch
}

// plan lays out the steps of a round: one pass over the shard, or with Rounds.Steps the next so many batches of the
// passes that follow each other. A pass has as many steps on every rank; a rank whose shard is shorter skips the rest.
func (t *trainer) plan(round, rank, size int) (stretch, error) {
	var s stretch
	batch, steps := t.cfg.Learner.Batch, t.cfg.Rounds.Steps
	perEpoch := (ceilDiv(t.set.Train.N, size) + batch - 1) / batch
	first, last := (round-1)*perEpoch, round*perEpoch
	if steps > 0 {
		first, last = (round-1)*steps, round*steps
	}
	epoch, indices := -1, []int32(nil)
	for step := first; step < last; step++ {
		if e := step / perEpoch; e != epoch {
			var err error
			if indices, err = t.shard(rank, size, e); err != nil {
				return s, err
			}
			epoch = e
		}
		if lo := (step % perEpoch) * batch; lo < len(indices) {
			s.batches = append(s.batches, indices[lo:min(lo+batch, len(indices))])
			s.epochs = append(s.epochs, epoch)
		}
	}
	return s, nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// leg is the local steps of a round, and how far they are.
type leg struct {
	rank, size int
	stretch
	p progress
}

// leg lays out the steps of a round, from step on.
func (t *trainer) leg(round, rank, size, from int) (*leg, error) {
	s, err := t.plan(round, rank, size)
	if err != nil {
		return nil, err
	}
	return &leg{rank, size, s, progress{Round: round, Steps: len(s.batches), Step: min(from, len(s.batches))}}, nil
}

// train runs the local steps of a round from step on, until done or cut, and returns the samples that the local state
// holds beyond base. A step that is not finite undoes the local work: it must not reach anybody else.
func (t *trainer) train(ctx context.Context, round, rank, size, from int) (int64, error) {
	if t.lost != "" {
		return 0, nil
	}
	l, err := t.begin(round, rank, size, from)
	if err != nil {
		return t.samples, err
	}
	t.progress.Store(new(l.p))
	err = t.walk(ctx, l, func() bool {
		t.runBetween(ctx)
		return !t.cut.Load()
	})
	if err == nil && !finite(t.learner.Shared(true)) {
		t.undo()
		err = fmt.Errorf("train round %d: parameters are no longer finite; the round's work is dropped: lower learner.sgd.rate", round)
	}
	t.trained.Store(new(l.p))
	t.tell()
	if err == nil {
		err = t.prepareAhead(l)
	}
	return t.samples, err
}

// walk takes the steps of a leg, as long as more says so before each.
func (t *trainer) walk(ctx context.Context, l *leg, more func() bool) error {
	return t.feed.run(ctx, l.stretch, l.p.Step, func(k int, b batch) (bool, error) {
		if !more() || ctx.Err() != nil {
			return false, nil
		}
		start := time.Now()
		at := float64(l.p.Round-1) + float64(k)/float64(len(l.batches))
		r, err := t.step(l.batches[k], b, t.cfg.Learner.Optimizer.Rate*t.cfg.Learner.Schedule.Factor(at, t.cfg.Rounds.Count))
		if err != nil {
			return false, fmt.Errorf("train round %d step %d: %w", l.p.Round, k, err)
		}
		t.samples += int64(len(b.labels))
		l.p = l.p.after(r, time.Since(start))
		t.progress.Store(new(l.p))
		return true, nil
	})
}
