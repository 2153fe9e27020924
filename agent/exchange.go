package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/agent/part"
	"shoal/gossip/collective"
	"shoal/gossip/roster"
)

// exchange is what the ballots' exchanges have in common. The loop owns it; the averager, and memory that an exchange
// works in, are its own from the end of the one before until its own end.
type exchange struct {
	averager *collective.Averager
	delta    []float32          // what the local steps changed, and then the mean of that over the roster
	state    []float32          // the state it is a change to, and then the one that follows
	stop     context.CancelFunc // ends the exchange at work; nil before the first
	ended    chan struct{}      // closed when the last exchange has ended

	done    exchanged // the last exchange that succeeded
	counted bool      // and what this member gave to it was committed
}

// exchanged is how an exchange went that succeeded.
type exchanged struct {
	ballot       roster.Ballot
	hash         string        // of the state that follows, which is still in memory
	plan, chosen string        // name, and text if the coordinator chose it
	took, stored time.Duration // exchanging; hashing and storing what follows
	norm         float64       // L2 norm of the mean
}

// cancel ends the exchange at work, if there is one, and waits for nothing.
func (x *exchange) cancel() {
	if x.stop != nil {
		x.stop()
	}
}

// moved is an exchange's volume, told with its outcome.
type moved struct {
	roster.Event
	sent, received int64
	done           *exchanged // nil: it failed
}

// settle notes what became of the last exchange when a record is adopted: what its wire lost is to be made up for only if
// this member's work is in the record.
func (x *exchange) settle(e roster.Adopt) {
	x.counted = x.counted || e.Counted || x.done.ballot == e.Record.Ballot
}

func (a *Agent) scratch() {
	x := &a.round.exchange
	x.averager = collective.NewAverager(a.cfg.Averaging)
	x.delta, x.state = make([]float32, len(a.trainer.local())), make([]float32, len(a.trainer.base))
	x.ended = make(chan struct{})
	close(x.ended)
}

// reduce averages the work of the roster, in a goroutine of its own that ends when the machine cancels it: the trainer may
// be busy with a score, and meanwhile ballots fail and are tried again.
func (a *Agent) reduce(ctx context.Context, e roster.Reduce) {
	x := &a.round.exchange
	x.cancel()
	ctx, cancel := context.WithCancel(ctx)
	before, ended, counted := x.ended, make(chan struct{}), x.counted
	x.stop, x.ended, x.counted = cancel, ended, false
	x.done = exchanged{}
	a.round.attempts++
	a.start(func() {
		defer close(ended)
		defer cancel()
		<-before // an exchange that was cancelled still holds the memory
		if counted {
			x.averager.Commit()
		} else {
			x.averager.Rollback()
		}
		a.outbox.drain(ctx)
		if err := a.copyWork(ctx, x); err != nil {
			a.post(roster.Failed{Ballot: e.Tag.Ballot, Reason: err.Error()})
			return
		}
		a.post(a.average(ctx, e, x))
	})
}

// copyWork copies the local work, and what it is a change to, to where it is averaged. The trainer does it, so that both
// are at rest.
func (a *Agent) copyWork(ctx context.Context, x *exchange) error {
	copied := make(chan error, 1)
	job := func() {
		if ctx.Err() != nil { // the work may be another by now
			copied <- ctx.Err()
			return
		}
		err := a.restoreFor(ctx)
		if err == nil {
			err = a.trainer.offer(x.delta, x.state)
		}
		copied <- err
	}
	select {
	case a.trainer.idle <- job:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-copied:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// average runs the exchange of one ballot and stores the state that follows.
func (a *Agent) average(ctx context.Context, e roster.Reduce, x *exchange) moved {
	failed := roster.Failed{Ballot: e.Tag.Ballot}
	done := exchanged{ballot: e.Tag.Ballot}
	begun := time.Now()
	var r collective.Result
	var err error
	a.around("exchange", func() { r, err = a.mean(ctx, e, x, &done) })
	done.took = time.Since(begun)
	m := moved{sent: r.Sent, received: r.Received}
	if err == nil {
		done.norm = part.Length(x.delta)
		err = a.trainer.follow(x.state, x.delta)
	}
	if err != nil {
		var offence *collective.OffenceError
		if errors.As(err, &offence) && offence.Rank >= 0 && offence.Rank < e.Roster.Size() {
			failed.Blame = e.Roster.Members[offence.Rank]
		}
		failed.Reason = err.Error()
		m.Event = failed
		return m
	}
	begun = time.Now()
	hash := part.Hash(x.state)
	a.around("store state", func() { err = a.writeState(hash, x.state, e.Tag) })
	if err != nil {
		a.post(failure{err})
		failed.Reason = err.Error()
		m.Event = failed
		return m
	}
	done.hash, done.stored = hash, time.Since(begun)
	m.Event, m.done = roster.Reduced{Ballot: e.Tag.Ballot, Hash: hash}, &done
	return m
}

// mean exchanges the work with the roster.
func (a *Agent) mean(ctx context.Context, e roster.Reduce, x *exchange, done *exchanged) (collective.Result, error) {
	rank, placed := e.Roster.Rank(a.host.ID())
	if !placed {
		return collective.Result{}, fmt.Errorf("this member is not in the roster of %s", e.Tag.Ballot)
	}
	plan, err := a.plan(e)
	if err != nil {
		return collective.Result{}, err
	}
	done.plan, done.chosen = plan.Name, e.Plan
	links, err := a.host.Links(ctx, e.Tag, e.Roster)
	if err != nil {
		return collective.Result{}, fmt.Errorf("open links: %w", err)
	}
	scales, limit := collective.Limits(e.Norms, a.cfg.Averaging.Bound)
	r, err := x.averager.Mean(ctx, plan, rank, part.Weights(e.Samples, a.cfg.Averaging.Weights), scales, limit, x.delta, links)
	if err != nil {
		links.Abort()
		return r, err
	}
	if err := links.Close(); err != nil {
		a.log.Debug().Str("event", "links_close").Err(err).Msg("close links")
	}
	return r, nil
}

// plan is the plan of an exchange: what its coordinator chose if that is configured, else the configured one. A
// coordinator that sends what is no plan is to blame.
func (a *Agent) plan(e roster.Reduce) (collective.Plan, error) {
	name := a.cfg.Averaging.Plan
	if e.Plan == "" {
		if name == collective.Auto { // nothing is measured yet
			name = "ring"
		}
		return collective.New(name, e.Roster.Size())
	}
	plan, err := collective.Decode(e.Plan, e.Roster.Size())
	if err == nil && name != collective.Auto {
		err = fmt.Errorf("plan %.80q is not averaging.plan %s", e.Plan, name)
	}
	if rank, ok := e.Roster.Rank(e.Tag.Ballot.Coordinator); err != nil && ok {
		err = fmt.Errorf("%w: %w", &collective.OffenceError{Rank: rank, What: "a plan that cannot be"}, err)
	}
	return plan, err
}
