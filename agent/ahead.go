package agent

import (
	"context"

	"shoal/agent/part"
)

// aheadWork is what a trainer needs to train the steps of the next round while the work of this one is still exchanged:
// of what its local state holds beyond base, a part is what the machine was told of, and the rest was trained since. When
// the part is committed, the rest is carried over on top (CoCoD-SGD, Shen et al. 2019: the mean, plus what each rank did
// since its contribution was taken).
//
// Invariant: while ahead is there, told and toldSamples are what the machine knows, whatever the local state has become.
type aheadWork struct {
	delayed     bool
	told        []float32 // nil: the machine knows of all the local work
	toldSamples int64
	memory      []float32 // of told
	ahead       *leg      // steps of the next round; nil: none
	skip        skip      // steps of a round that were taken ahead by an earlier process
}

// skip says how many steps of a round are in the local work already.
type skip struct{ round, step int }

// tell notes that the machine is told of all the local work there is.
func (t *trainer) tell() {
	t.told, t.toldSamples = nil, 0
	if !t.delayed {
		return
	}
	if t.memory == nil {
		t.memory = make([]float32, len(t.local()))
	}
	t.told, t.toldSamples = t.memory, t.samples
	copy(t.told, t.local())
}

// work is the local state as the machine was told of it, and the samples in it that are not in base.
func (t *trainer) work() ([]float32, int64) {
	if t.told == nil {
		return t.local(), t.samples
	}
	return t.told, t.toldSamples
}

// prepareAhead lets the steps that follow a leg be taken before their round begins. They are on the shard of the same
// rank: if the next roster differs, they were some more samples, and its round begins from its first step.
func (t *trainer) prepareAhead(l *leg) (err error) {
	t.ahead = nil
	if next := l.p.Round + 1; t.delayed && next <= t.cfg.Rounds.Count {
		t.ahead, err = t.leg(next, l.rank, l.size, t.skipped(next))
	}
	return err
}

// skipped is how many steps of a round an earlier process took ahead.
func (t *trainer) skipped(round int) int {
	if t.skip.round != round {
		return 0
	}
	return t.skip.step
}

// begin is the leg of a round that the machine wants: the one that was begun ahead, or a new one. From then on all the
// local work is one piece.
func (t *trainer) begin(round, rank, size, from int) (*leg, error) {
	l := t.ahead
	t.ahead, t.told = nil, nil
	if l != nil && l.p.Round == round && l.rank == rank && l.size == size {
		return l, nil
	}
	return t.leg(round, rank, size, max(from, t.skipped(round)))
}

// goAhead takes steps of the next round until a job waits, the steps are held or through, or ctx ends. What needs no
// change of the local state is served between two steps.
func (t *trainer) goAhead(ctx context.Context) {
	if t.ahead == nil || t.ahead.p.Step == len(t.ahead.Batches) {
		return
	}
	err := t.walk(ctx, t.ahead, func() bool {
		for {
			select {
			case job := <-t.between:
				job()
				continue
			case job := <-t.idle:
				job()
				continue
			default:
			}
			return len(t.jobs) == 0 && !t.held.Load()
		}
	})
	if err != nil {
		t.ahead = nil // the round itself will fail by it, and say so
	}
}

// rebase moves what the machine was told of to the shared state that follows base. What was counted in it is told no
// more: then the machine knows of all that is left.
func (t *trainer) rebase(state []float32, counted bool) {
	switch {
	case counted || t.told == nil:
		if t.delayed && !part.Finite(t.learner.Shared(true)) { // what was trained ahead; the round will fail by it, too
			clear(t.learner.Shared(true)[len(t.local()):])
			copy(t.local(), state)
			t.samples, t.ahead = 0, nil
		}
		t.tell()
	case t.toldSamples == 0:
		copy(t.told, state)
	default:
		for i, x := range t.told {
			t.told[i] = state[i] + (x - t.base[i])
		}
	}
}

// forgetTold takes out of the local work what the machine was told of, and returns the samples in it.
func (t *trainer) forgetTold() int64 {
	told, n := t.work()
	for i, x := range t.local() {
		t.local()[i] = t.base[i] + (x - told[i])
	}
	t.samples -= n
	return n
}

// reached is how many steps of a round the local work holds; none if what the machine was told of is not in it.
func (t *trainer) reached(round int, forgotten bool) int {
	for _, p := range []*progress{t.progress.Load(), t.trained.Load()} {
		if p.Round == round && !forgotten {
			return p.Step
		}
	}
	return 0
}
