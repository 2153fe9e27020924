// The life of a round, in the order of the functions below:
//
//  1. train: the machine pins the roster; local steps on this member's shard of it
//  2. reduce: average what the local steps changed with the roster's over streams, store what follows under its hash
//     (exchange.go)
//  3. fetch: or get that by hash from a member that holds it
//  4. adopt: the round is committed; load its state, write the journal's line
//  5. score: if elected, evaluate that state and announce the result (score.go)
//
// What is decided in between, and by whom, is gossip/roster's machine: here its effects are carried out, and everything
// that takes long runs beside the loop.

package agent

import (
	"context"
	"fmt"
	"time"

	"shoal/eval"
	"shoal/gossip/roster"
)

// roundWork is what the agent knows of the round at work.
type roundWork struct {
	initial    string // hash of the untrained state
	stable     roster.Stable
	resumeStep int // step to go on from, after leaving in the middle of a round
	exchange   exchange
	fetching   context.CancelFunc // ends the fetch at work, if there is one

	phase    roster.Phase
	since    time.Time
	seconds  eval.PhaseSeconds
	attempts int
	sent     int64
	received int64
	noted    string
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
		a.coordinates.Store(e.Stable.Promised.Coordinator == a.host.ID())
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
		a.round.exchange.cancel()
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
		var why string
		if err != nil {
			a.log.Error().Str("event", "training_failed").Err(err).Msg("local steps failed")
			why = untrained(err)
		}
		a.post(roster.Trained{Samples: samples, Norm: a.trainer.norm(), Reason: why})
	}
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
		a.around("get state", func() { err = a.fetchFrom(wanted, e.Hash, from) })
		if err == nil {
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
	a.round.exchange.settle(e)
	a.recordCommit(e)
	state, held := a.trainer.spare, a.round.exchange.done.hash == r.Hash
	if held { // no exchange begins before the machine hears that this state is adopted
		state = a.round.exchange.state
	}
	a.trainer.jobs <- func() {
		if !held {
			if err := a.load(ctx, r.Hash, state); err != nil {
				a.post(failure{fmt.Errorf("load the state of round %d: %w", r.Round, err)})
				return
			}
		}
		a.around("load state", func() { a.trainer.adopt(state, e.Counted) })
		a.trainer.at = r.Hash
		_, carry := a.trainer.work()
		a.post(roster.Adopted{Carry: carry, Norm: a.trainer.norm()})
	}
	a.awaitScore(r)
	a.prune(r)
	a.exportSoon(r)
	a.log.Info().Str("event", "round_committed").Uint64("round", r.Round).Str("lineage", r.Lineage).Str("ballot", r.Ballot.String()).
		Int("members", r.Roster.Size()).Int("contributors", len(r.Shares)).Interface("missing", r.Missing).
		Str("state_hash", r.Hash).Bool("took_part", e.Own).Msg("round committed")
	a.watchDivergence(r)
	a.elect(ctx)
}
