// An evaluation is the work of all: the evaluator that was elected gives the members of the round parts of it, in portions
// that whoever is free takes the next of.
//
//  1. statistics: parts of the batches that batch norm's statistics are re-estimated from
//  2. the evaluator merges them, in their order
//  3. test: parts of the test images, by these statistics
//  4. the evaluator adds up, in their order, and answers for the sum
//
// A member does a portion between two of its own steps, on the state that the round committed, which it has or fetches. What
// a member does not do in time, or cannot, the evaluator does itself: a score never waits for others for long, and it has
// the same bits whoever did what (eval.Scorer).

package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"shoal/agent/part"
	"shoal/eval"
	"shoal/gossip/roster"
)

const (
	// portionBatches bounds what is asked of a member at once: a Raspberry Pi 3 scores 64 batches of 12 images in two
	// seconds at 32×32, and in a minute at 128×128.
	portionBatches = 64
	// portionPatience is how long others may take longer for a portion than twice what the evaluator took for its slowest.
	portionPatience = 10 * time.Second
)

// portion is some parts of an evaluation, [lo, hi).
type portion struct{ lo, hi int }

// portions divides so many parts, each of so many batches, evenly among so many members.
func portions(parts, batches, members int) []portion {
	size := max(min((parts+members-1)/members, portionBatches/batches), 1)
	var all []portion
	for lo := 0; lo < parts; lo += size {
		all = append(all, portion{lo, min(lo+size, parts)})
	}
	return all
}

// divided is work that members share. own and remote do a portion each, and put what comes of it where it belongs.
type divided struct {
	portions []portion
	members  []roster.ID // beside this one
	own      func(ctx context.Context, p portion) error
	remote   func(ctx context.Context, to roster.ID, p portion) error
	patience time.Duration

	mu     sync.Mutex
	next   int
	failed []portion // by others, to be done here
}

// take is the next portion that nobody does.
func (d *divided) take() (p portion, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next == len(d.portions) {
		return p, false
	}
	d.next++
	return d.portions[d.next-1], true
}

// run returns when all portions are done, or with the error of one that was done here. A member that fails once is asked for
// nothing more.
func (d *divided) run(ctx context.Context) error {
	others, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for _, to := range d.members {
		all.Go(func() {
			for {
				p, ok := d.take()
				if !ok {
					return
				}
				if d.remote(others, to, p) != nil {
					d.mu.Lock()
					d.failed = append(d.failed, p)
					d.mu.Unlock()
					return
				}
			}
		})
	}
	slowest, err := d.mine(ctx)
	impatient := time.AfterFunc(2*slowest+d.patience, cancel)
	defer impatient.Stop()
	if err != nil {
		cancel()
	}
	all.Wait()
	for _, p := range d.failed {
		if err == nil {
			err = d.own(ctx, p)
		}
	}
	return err
}

// mine does portions here until there are none left, and returns how long the slowest took.
func (d *divided) mine(ctx context.Context) (slowest time.Duration, err error) {
	for {
		p, ok := d.take()
		if !ok {
			return slowest, nil
		}
		begun := time.Now()
		if err := d.own(ctx, p); err != nil {
			return slowest, err
		}
		slowest = max(slowest, time.Since(begun))
	}
}

// scoreTogether evaluates the state of a round with the help of members.
func (a *Agent) scoreTogether(ctx context.Context, r roster.Record, members []roster.ID) (result eval.Result, err error) {
	s := a.trainer.scorer()
	if err := s.Possible(); err != nil {
		return result, err
	}
	estimated, test := s.Parts()
	statistics, sums := make([][]float32, estimated), make([]eval.Sum, test)
	err = a.divide(ctx, estimated, eval.StatisticsPart, members, func(ctx context.Context, to roster.ID, p portion) error {
		part, err := a.askStatistics(ctx, to, r.Hash, p)
		copy(statistics[p.lo:], part)
		return err
	}, func(ctx context.Context, p portion) error {
		part, err := a.statisticsHere(ctx, r.Hash, p)
		copy(statistics[p.lo:], part)
		return err
	})
	if err != nil {
		return result, err
	}
	merged := s.Merge(statistics)
	err = a.divide(ctx, test, eval.TestPart, members, func(ctx context.Context, to roster.ID, p portion) error {
		part, err := a.askTest(ctx, to, r.Hash, merged, p)
		copy(sums[p.lo:], part)
		return err
	}, func(ctx context.Context, p portion) error {
		part, err := a.testHere(ctx, r.Hash, merged, p)
		copy(sums[p.lo:], part)
		return err
	})
	if err != nil {
		return result, err
	}
	return s.Total(sums), nil
}

func (a *Agent) divide(ctx context.Context, parts, batches int, members []roster.ID, remote func(context.Context, roster.ID, portion) error, own func(context.Context, portion) error) error {
	d := &divided{portions: portions(parts, batches, len(members)+1), members: members, own: own, patience: portionPatience}
	d.remote = func(ctx context.Context, to roster.ID, p portion) error {
		err := remote(ctx, to, p)
		if err != nil {
			a.log.Info().Str("event", "part_not_scored").Str("peer", string(to)).Err(err).Msg("a member did not do its part of the evaluation; it is done here")
		}
		return err
	}
	return d.run(ctx)
}

// helpers are the members of a round that are here, beside this one: they have its state.
func (a *Agent) helpers(r roster.Record) []roster.ID {
	return slices.DeleteFunc(slices.Clone(r.Roster.Members), func(id roster.ID) bool { return id == a.self() || !a.isHere(id) })
}

// statisticsHere re-estimates statistics of a portion between two steps.
func (a *Agent) statisticsHere(ctx context.Context, hash string, p portion) ([][]float32, error) {
	return between(ctx, a, hash, func(s eval.Scorer) ([][]float32, error) { return s.Statistics(ctx, p.lo, p.hi) })
}

// testHere scores a portion of the test images between two steps.
func (a *Agent) testHere(ctx context.Context, hash string, statistics []float32, p portion) ([]eval.Sum, error) {
	return between(ctx, a, hash, func(s eval.Scorer) ([]eval.Sum, error) { return s.Test(ctx, statistics, p.lo, p.hi) })
}

// errEnded is told to who waits for a trainer that takes no more jobs.
var errEnded = errors.New("the agent has ended")

// outcome is what a job of the trainer answers.
type outcome[T any] struct {
	value T
	err   error
}

// between runs f on the model with the state of a round, as soon as a step at work is done, and waits for it. When ctx ends
// before it began, it never does.
func between[T any](ctx context.Context, a *Agent, hash string, f func(s eval.Scorer) (T, error)) (T, error) {
	done := make(chan outcome[T], 1)
	job := func() {
		o := outcome[T]{err: context.Cause(ctx)}
		if o.err == nil {
			o.err = a.trainer.with(func(state []float32) error { return a.recall(hash, state) }, func() (err error) {
				o.value, err = f(a.trainer.scorer())
				return err
			})
		}
		done <- o
	}
	var none T
	select {
	case a.trainer.between <- job:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-a.quit:
		return none, errEnded
	}
	select {
	case o := <-done:
		return o.value, o.err
	case <-a.quit:
		return none, errEnded
	}
}

// recall gives the state with hash: the shared one that training goes on from, or one in the state directory. Only jobs of
// the trainer may call it.
func (a *Agent) recall(hash string, state []float32) error {
	if a.trainer.lost == "" && a.trainer.at == hash {
		part.Copy(a.trainer.base, state)
		return nil
	}
	return a.readState(hash, state)
}
