// The life of a round, in the order of the functions below:
//
//  1. train: the machine pins the roster; local steps on this member's shard of it
//  2. reduce: copy the local state, average it with the roster's over streams, store the mean under its hash
//  3. fetch: or get the mean by hash from a member that holds it
//  4. adopt: the round is committed; load its state, write the journal's line
//  5. score: if elected, evaluate that state and announce the result (score.go)
//
// What is decided in between, and by whom, is gossip/roster's machine: here its effects are carried out, and everything
// that takes long runs beside the loop.

package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"shoal/eval"
	"shoal/gossip/collective"
	"shoal/gossip/roster"
)

// roundWork is what the agent knows of the round at work.
type roundWork struct {
	initial    string // hash of the untrained state
	stable     roster.Stable
	resumeStep int                // step to go on from, after leaving in the middle of a round
	mean       []float32          // where an exchange averages
	exchange   context.CancelFunc // ends the exchange at work, if there is one
	exchanged  chan struct{}      // closed when the last exchange has ended
	fetching   context.CancelFunc // ends the fetch at work, if there is one

	phase    roster.Phase
	since    time.Time
	seconds  eval.PhaseSeconds
	attempts int
	sent     int64
	received int64
	noted    string
}

// moved is an exchange's volume, told with its outcome.
type moved struct {
	roster.Event
	sent, received int64
}

func (a *Agent) scratch() {
	a.round.mean = make([]float32, len(a.trainer.base))
	a.round.exchanged = make(chan struct{})
	close(a.round.exchanged)
}

// account adds the time since the last event to the phase the machine was in.
func (w *roundWork) account(now time.Time) {
	if !w.since.IsZero() {
		took := now.Sub(w.since).Seconds()
		switch w.phase {
		case roster.Training:
			w.seconds.Train += took
		case roster.Reducing, roster.Preparing, roster.Adopting:
			w.seconds.Average += took
		case roster.Waiting, roster.Polling, roster.Following, roster.CatchingUp:
			w.seconds.Wait += took
		}
	}
	w.since = now
}

// carryOut does what the machine decided. Whatever takes long answers with an event.
func (a *Agent) carryOut(ctx context.Context, effect roster.Effect) {
	switch e := effect.(type) {
	case roster.Persist:
		a.round.stable = e.Stable
		if err := a.store.keepStable(e.Stable); err != nil {
			a.ending.fail(err)
		}
	case roster.Send:
		a.outbox.send(e.To, e.Message)
	case roster.Train:
		a.train(ctx, e)
	case roster.Cut:
		a.trainer.stop()
	case roster.Reduce:
		a.reduce(ctx, e)
	case roster.Cancel:
		if a.round.exchange != nil {
			a.round.exchange()
		}
	case roster.Fetch:
		a.startFetch(ctx, e)
	case roster.Adopt:
		a.adopt(ctx, e)
	case roster.Finish:
		a.ending.finished, a.ending.since = true, time.Now()
	case roster.Note:
		a.note(e)
	}
}

// note logs what the machine says, once as long as it says the same.
func (a *Agent) note(n roster.Note) {
	level := a.log.Info()
	if a.round.noted == n.Event+n.Detail {
		level = a.log.Debug()
	}
	a.round.noted = n.Event + n.Detail
	level.Str("event", n.Event).Uint64("round", a.machine.Next()).Msg(n.Detail)
}

// train begins the local steps.
func (a *Agent) train(ctx context.Context, e roster.Train) {
	rank, _ := e.Roster.Rank(a.host.ID())
	from := a.round.resumeStep
	a.round.resumeStep = 0
	a.trainer.cut.Store(false)
	a.log.Info().Str("event", "round_begun").Uint64("round", e.Round).Int("rank", rank).Int("size", e.Roster.Size()).
		Uint64("generation", e.Roster.Generation).Int("from_step", from).Msg("training")
	a.trainer.jobs <- func() {
		if err := a.restore(ctx); err != nil {
			a.post(failure{err})
			return
		}
		samples, err := a.trainer.train(ctx, int(e.Round), rank, e.Roster.Size(), from)
		if err != nil {
			a.log.Error().Str("event", "training_failed").Err(err).Msg("local steps failed")
		}
		a.post(roster.Trained{Samples: samples})
	}
}

// reduce averages the local states of the roster, in a goroutine of its own that ends when the machine cancels it: the
// trainer may be busy with a score, and meanwhile ballots fail and are tried again.
func (a *Agent) reduce(ctx context.Context, e roster.Reduce) {
	if a.round.exchange != nil {
		a.round.exchange()
	}
	ctx, cancel := context.WithCancel(ctx)
	before, ended := a.round.exchanged, make(chan struct{})
	a.round.exchange, a.round.exchanged = cancel, ended
	a.round.attempts++
	a.start(func() {
		defer close(ended)
		defer cancel()
		<-before // an exchange that was cancelled still holds the buffer
		if err := a.copyLocal(ctx, e); err != nil {
			a.post(roster.Failed{Ballot: e.Tag.Ballot, Reason: err.Error()})
			return
		}
		a.post(a.average(ctx, e))
	})
}

// copyLocal copies the local state to where it is averaged. The trainer does it, so that the state is at rest.
func (a *Agent) copyLocal(ctx context.Context, e roster.Reduce) error {
	copied := make(chan error, 1)
	job := func() {
		if ctx.Err() != nil { // the state may be another by now
			copied <- ctx.Err()
			return
		}
		copied <- a.trainer.offer(a.round.mean, e.Samples)
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

// average runs the exchange of one ballot and stores its result.
func (a *Agent) average(ctx context.Context, e roster.Reduce) moved {
	failed := func(err error) moved {
		return moved{Event: roster.Failed{Ballot: e.Tag.Ballot, Reason: err.Error()}}
	}
	rank, placed := e.Roster.Rank(a.host.ID())
	if !placed {
		return failed(fmt.Errorf("this member is not in the roster of %s", e.Tag.Ballot))
	}
	plan, err := collective.New(a.cfg.Averaging.Plan, e.Roster.Size())
	if err != nil {
		return failed(err)
	}
	links, err := a.host.Links(ctx, e.Tag, e.Roster)
	if err != nil {
		return failed(fmt.Errorf("open links: %w", err))
	}
	r, err := collective.Mean(ctx, plan, rank, weights(e.Samples, a.cfg.Averaging.Weights), a.round.mean, links, a.cfg.Averaging)
	if err != nil {
		links.Abort()
		lost := failed(err)
		lost.sent, lost.received = r.Sent, r.Received
		return lost
	}
	if err := links.Close(); err != nil {
		a.log.Debug().Str("event", "links_close").Err(err).Msg("close links")
	}
	hash := hashOf(a.round.mean)
	if !finite(a.round.mean) {
		return failed(fmt.Errorf("the mean is not finite"))
	}
	if err := a.writeState(hash, a.round.mean, e.Tag); err != nil {
		a.post(failure{err})
		return failed(err)
	}
	return moved{Event: roster.Reduced{Ballot: e.Tag.Ballot, Hash: hash}, sent: r.Sent, received: r.Received}
}

// weights are the members' shares in the mean, by rank. Members without samples have none, unless nobody has any.
func weights(samples []int64, rule string) []float64 {
	w := make([]float64, len(samples))
	for i, n := range samples {
		if n > 0 {
			w[i] = float64(n)
			if rule == "equal" {
				w[i] = 1
			}
		}
	}
	if !slices.ContainsFunc(w, func(x float64) bool { return x > 0 }) {
		for i := range w {
			w[i] = 1
		}
	}
	return w
}

// startFetch begins to fetch a state. The machine wants one at a time: a fetch that it has given up ends.
func (a *Agent) startFetch(ctx context.Context, e roster.Fetch) {
	if a.round.fetching != nil {
		a.round.fetching()
	}
	wanted, cancel := context.WithCancel(ctx)
	a.round.fetching = cancel
	a.start(func() {
		defer cancel()
		a.fetch(ctx, wanted, e)
	})
}

// fetch gets a state by its hash from one of the members, and then what this agent missed of the record. It is silent when
// the machine does not want the state any more.
func (a *Agent) fetch(ctx, wanted context.Context, e roster.Fetch) {
	var err error
	for _, from := range e.From {
		if from == a.host.ID() {
			continue
		}
		if err = a.fetchFrom(wanted, e.Hash, from); err == nil {
			a.post(roster.Fetched{Hash: e.Hash})
			a.pull(ctx, from)
			return
		}
		if wanted.Err() != nil {
			return
		}
		a.log.Warn().Str("event", "fetch_failed").Str("peer", string(from)).Str("state_hash", e.Hash).Err(err).Msg("cannot fetch the state")
	}
	if err == nil {
		err = fmt.Errorf("nobody to ask")
	}
	a.post(roster.FetchFailed{Hash: e.Hash, Reason: err.Error()})
}

// adopt loads the state of a committed round, after the local steps at work have stopped.
func (a *Agent) adopt(ctx context.Context, e roster.Adopt) {
	r := e.Record
	a.trainer.stop()
	a.recordCommit(e)
	a.trainer.jobs <- func() {
		state := a.trainer.spare
		if err := a.load(ctx, r.Hash, state); err != nil {
			a.post(failure{fmt.Errorf("load the state of round %d: %w", r.Round, err)})
			return
		}
		a.trainer.adopt(state, e.Counted)
		a.post(roster.Adopted{Carry: a.trainer.samples})
	}
	a.awaitScore(r)
	a.prune(r)
	a.log.Info().Str("event", "round_committed").Uint64("round", r.Round).Str("lineage", r.Lineage).Str("ballot", r.Ballot.String()).
		Int("members", r.Roster.Size()).Int("contributors", len(r.Shares)).Interface("missing", r.Missing).
		Str("state_hash", r.Hash).Bool("took_part", e.Own).Msg("round committed")
}
