package agent

import (
	"context"
	"fmt"
	"sync/atomic"

	"shoal/agent/part"
	"shoal/configs"
	"shoal/learner"
	"shoal/shards"
)

// trainer owns the learner: one goroutine runs the jobs given to it, one after another, so nothing else ever touches the
// model while it changes.
type trainer struct {
	cfg     configs.Config
	recipe  part.Recipe
	learner *learner.Learner
	loader  *shards.Loader
	set     *shards.Set
	jobs    chan func()
	between chan func() // run between steps while training, else as a job
	idle    chan func() // as jobs, but nothing waits in it: whoever gives one may change its mind

	lost    string    // hash of the last committed state if it could not be read: base is another then; empty: none
	lostBy  error     // why
	at      string    // hash of base; empty: not known
	base    []float32 // the last committed shared state: as local, and behind that the outer optimiser's
	spare   []float32 // for another shared state: what is loaded, or the local one while that is scored
	samples int64     // in the local state, not in base
	feed    *part.Feed
	step    func(indices []int32, b part.Batch, rate float64) (learner.Result, error) // trains on the samples of b
	aheadWork

	cut      atomic.Bool              // the local steps at work are to end
	held     atomic.Bool              // no step is taken, until let go or cut
	nudge    chan struct{}            // cut or held changed
	progress atomic.Pointer[progress] // of the steps at work
	trained  atomic.Pointer[progress] // of the last round that the machine was told of
}

// jobQueue bounds the jobs waiting: the loop gives one for each effect that needs the learner, and they answer it.
const jobQueue = 16

// recipe is the part of a configuration that decides what members compute.
func recipe(cfg configs.Config) part.Recipe {
	return part.Recipe{Seed: cfg.Seed, Data: cfg.Data, Learner: cfg.Learner, Rounds: cfg.Rounds, Averaging: cfg.Averaging}
}

func newTrainer(cfg configs.Config, l *learner.Learner, set *shards.Set) *trainer {
	side := cfg.Learner.Input
	loader := func() *shards.Loader { return shards.NewLoader(set, cfg.Data, side, cfg.Seed) }
	t := &trainer{
		cfg: cfg, recipe: recipe(cfg), learner: l, set: set, loader: loader(),
		jobs: make(chan func(), jobQueue), between: make(chan func(), jobQueue), idle: make(chan func()), nudge: make(chan struct{}, 1),
		feed: part.NewFeed(loader(), side, cfg.Learner.Batch),
	}
	t.base, t.delayed = t.formation(), cfg.Averaging.Delayed
	t.spare = make([]float32, len(t.base))
	t.progress.Store(&progress{})
	t.trained.Store(&progress{})
	t.step = func(_ []int32, b part.Batch, rate float64) (learner.Result, error) {
		return l.Step(b.Images, b.Labels, rate)
	}
	return t
}

// local is the state that is averaged: it aliases the learner's memory.
func (t *trainer) local() []float32 { return t.learner.Shared(t.cfg.Averaging.Momentum) }

// run carries out jobs until ctx ends, and trains ahead while there are none.
func (t *trainer) run(ctx context.Context) {
	for {
		t.goAhead(ctx)
		select {
		case <-ctx.Done():
			return
		case job := <-t.jobs:
			job()
		case job := <-t.between:
			job()
		case job := <-t.idle:
			job()
		case <-t.nudge:
		}
	}
}

// lose says that the state with hash, which was committed last, could not be read.
func (t *trainer) lose(hash string, why error) { t.lost, t.lostBy = hash, why }

// undo goes back to base. Momentum that is not shared begins anew: it may be what is not finite.
func (t *trainer) undo() {
	clear(t.learner.Shared(true)[len(t.local()):])
	copy(t.local(), t.base)
	t.samples = 0
	t.tell()
}

// offer copies what the work that the machine was told of changed to delta, and what it is a change to, base, to state.
func (t *trainer) offer(delta, state []float32) error {
	if t.lost != "" {
		return fmt.Errorf("state %.12s is lost here, and what follows it cannot be known", t.lost)
	}
	work, _ := t.work()
	part.Offer(delta, state, work, t.base)
	return nil
}

// norm is the L2 norm of what offer gives as delta.
func (t *trainer) norm() float64 {
	work, samples := t.work()
	if samples == 0 {
		return 0
	}
	return part.Norm(work, t.base)
}

// stop ends the local steps at work after the one under way. It is safe for concurrent use, as hold is.
func (t *trainer) stop() {
	t.cut.Store(true)
	t.wake()
}

// hold keeps the local steps from going on, or lets them.
func (t *trainer) hold(on bool) {
	t.held.Store(on)
	t.wake()
}

func (t *trainer) wake() {
	select {
	case t.nudge <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// runBetween does what waits between two steps, and waits itself while the steps are held.
func (t *trainer) runBetween(ctx context.Context) {
	for {
		select {
		case job := <-t.between:
			job()
			continue
		default:
		}
		if !t.held.Load() || t.cut.Load() {
			return
		}
		select {
		case job := <-t.between:
			job()
		case <-t.nudge:
		case <-ctx.Done():
			return
		}
	}
}

// adopt makes state the shared one. Local work that is not counted in it is carried over: the delta since base is added
// on top. Counted says that the work that the machine was told of is; what was trained ahead of it never is.
func (t *trainer) adopt(state []float32, counted bool) {
	local, told := t.local(), t.base
	left := t.samples
	if counted {
		var n int64
		told, n = t.work()
		left -= n
	}
	if left == 0 && !t.delayed { // as in most rounds
		part.Copy(state, local, t.base) // in one pass
		copy(t.base[len(local):], state[len(local):])
		t.samples, t.lost = 0, ""
		t.tell()
		return
	}
	if left == 0 {
		part.Copy(state, local)
	} else {
		for i, x := range local {
			local[i] = state[i] + (x - told[i])
		}
	}
	t.samples = left
	t.rebase(state, counted)
	part.Copy(state, t.base)
	t.lost = ""
}

// with runs f on the parameters and statistics of the state that load gives, and leaves the local ones as they were.
// Momentum stays where it is: nobody evaluates it.
func (t *trainer) with(load func(state []float32) error, f func() error) error {
	if err := load(t.spare); err != nil {
		return err
	}
	model := t.learner.Shared(false)
	part.Swap(model, t.spare)
	defer part.Swap(model, t.spare)
	return f()
}
