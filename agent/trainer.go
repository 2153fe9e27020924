package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"shoal/configs"
	"shoal/learner"
	"shoal/shards"
)

// trainer owns the learner: one goroutine runs the jobs given to it, one after another, so nothing else ever touches the
// model while it changes.
type trainer struct {
	cfg     configs.Config
	learner *learner.Learner
	loader  *shards.Loader
	set     *shards.Set
	jobs    chan func()
	between chan func() // run between steps while training, else as a job
	idle    chan func() // as jobs, but nothing waits in it: whoever gives one may change its mind

	lost    string    // hash of the last committed state if it could not be read: base is another then; empty: none
	lostBy  error     // why
	base    []float32 // the last committed shared state: as local, and behind that the outer optimiser's
	spare   []float32 // for another shared state: what is loaded, or the local one while that is scored
	samples int64     // in the local state, not in base
	feed    *feed

	cut      atomic.Bool   // the local steps at work are to end
	held     atomic.Bool   // no step is taken, until let go or cut
	nudge    chan struct{} // cut or held changed
	progress atomic.Pointer[progress]
}

// progress is how far the local steps are, and how they went.
type progress struct {
	Round           int
	Step, Steps     int
	Images, Correct int
	LossSum         float64 // over Images
	Loss            float64 // of the last steps, smoothed
	Seconds         float64
}

// jobQueue bounds the jobs waiting: the loop gives one for each effect that needs the learner, and they answer it.
const jobQueue = 16

func newTrainer(cfg configs.Config, l *learner.Learner, set *shards.Set) *trainer {
	side := cfg.Learner.Input
	loader := func() *shards.Loader { return shards.NewLoader(set, cfg.Data, side, cfg.Seed) }
	t := &trainer{
		cfg: cfg, learner: l, set: set, loader: loader(),
		jobs: make(chan func(), jobQueue), between: make(chan func(), jobQueue), idle: make(chan func()), nudge: make(chan struct{}, 1),
		feed: newFeed(loader(), side*side*3, cfg.Learner.Batch),
	}
	t.base = append(t.base, t.local()...)
	t.spare = make([]float32, len(t.base))
	t.progress.Store(&progress{})
	return t
}

// local is the state that is averaged: it aliases the learner's memory.
func (t *trainer) local() []float32 { return t.learner.Shared(t.cfg.Averaging.Momentum) }

// run carries out jobs until ctx ends.
func (t *trainer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-t.jobs:
			job()
		case job := <-t.between:
			job()
		case job := <-t.idle:
			job()
		}
	}
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

// train runs the local steps of a round from step on, until done or cut, and returns the samples that the local state
// holds beyond base. A step that is not finite undoes the local work: it must not reach anybody else.
func (t *trainer) train(ctx context.Context, round, rank, size, from int) (int64, error) {
	if t.lost != "" {
		return 0, nil
	}
	s, err := t.plan(round, rank, size)
	if err != nil {
		return t.samples, err
	}
	p := progress{Round: round, Steps: len(s.batches), Step: min(from, len(s.batches))}
	t.progress.Store(new(p))
	err = t.feed.run(ctx, s, p.Step, func(k int, b batch) (more bool, err error) {
		t.runBetween(ctx)
		if t.cut.Load() || ctx.Err() != nil {
			return false, nil
		}
		start := time.Now()
		r, err := t.step(b, float64(k)/float64(len(s.batches)), round)
		if err != nil {
			return false, fmt.Errorf("train round %d step %d: %w", round, k, err)
		}
		t.samples += int64(len(b.labels))
		p = p.after(r, time.Since(start))
		t.progress.Store(new(p))
		return true, nil
	})
	if err != nil {
		return t.samples, err
	}
	if !finite(t.learner.Shared(true)) {
		t.undo()
		return 0, fmt.Errorf("train round %d: parameters are no longer finite; the round's work is dropped: lower learner.sgd.rate", round)
	}
	return t.samples, nil
}

// step trains on a batch; at is how far its round is, 0 to 1.
func (t *trainer) step(b batch, at float64, round int) (learner.Result, error) {
	rate := t.cfg.Learner.Optimizer.Rate * t.cfg.Learner.Schedule.Factor(float64(round-1)+at, t.cfg.Rounds.Count)
	return t.learner.Step(b.images, b.labels, rate)
}

// lose says that the state with hash, which was committed last, could not be read.
func (t *trainer) lose(hash string, why error) { t.lost, t.lostBy = hash, why }

// undo goes back to base. Momentum that is not shared begins anew: it may be what is not finite.
func (t *trainer) undo() {
	clear(t.learner.Shared(true)[len(t.local()):])
	copy(t.local(), t.base)
	t.samples = 0
}

// offer copies what the local work changed to delta, and what it is a change to, base, to state.
func (t *trainer) offer(delta, state []float32) error {
	if t.lost != "" {
		return fmt.Errorf("state %.12s is lost here, and what follows it cannot be known", t.lost)
	}
	copy(state, t.base)
	for i, x := range t.local() {
		delta[i] = x - t.base[i]
	}
	return nil
}

// norm is the L2 norm of what offer gives as delta.
func (t *trainer) norm() float64 {
	if t.samples == 0 {
		return 0
	}
	sum := 0.0
	for i, x := range t.local() {
		d := float64(x - t.base[i])
		sum += d * d
	}
	return math.Sqrt(sum)
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

// adopt makes state the shared one. Local work that is not counted in it is carried over: the delta since base is added
// on top.
func (t *trainer) adopt(state []float32, counted bool) {
	local := t.local()
	if counted || t.samples == 0 {
		copy(local, state)
		t.samples = 0
	} else {
		for i := range local {
			local[i] = state[i] + (local[i] - t.base[i])
		}
	}
	copy(t.base, state)
	t.lost = ""
}

// with runs f on the state that load gives, and leaves the local one as it was.
func (t *trainer) with(load func(state []float32) error, f func() error) error {
	if err := load(t.spare); err != nil {
		return err
	}
	swap(t.local(), t.spare)
	defer swap(t.local(), t.spare)
	return f()
}

// swap exchanges the values of a and as many of b.
func swap(a, b []float32) {
	for i, x := range a {
		a[i], b[i] = b[i], x
	}
}

// hashOf is the SHA-256 of a state's little-endian bytes, in hexadecimal.
func hashOf(state []float32) string {
	sum := sha256.Sum256(floatBytes(state))
	return hex.EncodeToString(sum[:])
}

// floatBytes is the memory of v. Every platform we build for is little-endian.
func floatBytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}

func finite(v []float32) bool {
	for _, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
