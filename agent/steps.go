package agent

import (
	"context"
	"fmt"
	"math"
	"time"

	"shoal/agent/part"
	"shoal/learner"
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

// leg is the local steps of a round, and how far they are.
type leg struct {
	rank, size int
	part.Stretch
	p progress
}

// leg lays out the steps of a round, from step on.
func (t *trainer) leg(round, rank, size, from int) (*leg, error) {
	s, err := t.recipe.Stretch(t.set.Train, round, rank, part.Equal(size))
	if err != nil {
		return nil, err
	}
	return &leg{rank, size, s, progress{Round: round, Steps: len(s.Batches), Step: min(from, len(s.Batches))}}, nil
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
	if err == nil && !part.Finite(t.learner.Shared(true)) {
		t.undo()
		err = fmt.Errorf("train round %d: %w; the round's work is dropped: lower learner.sgd.rate", round, errDiverged)
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
	return t.feed.Run(ctx, l.Stretch, l.p.Step, func(k int, b part.Batch) (bool, error) {
		if !more() || ctx.Err() != nil {
			return false, nil
		}
		start := time.Now()
		r, err := t.step(l.Batches[k], b, t.recipe.Rate(l.p.Round, k, len(l.Batches)))
		if err != nil {
			return false, fmt.Errorf("train round %d step %d: %w", l.p.Round, k, err)
		}
		t.samples += int64(len(b.Labels))
		l.p = l.p.after(r, time.Since(start))
		t.progress.Store(new(l.p))
		return true, nil
	})
}
