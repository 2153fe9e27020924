package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"shoal/agent/part"
	"shoal/eval"
	"shoal/gossip/roster"
)

// restoreAgain is the pause before members are asked once more for a state that none of them gave.
const restoreAgain = 200 * time.Millisecond

// resume goes on from what the state directory holds.
func (a *Agent) resume() error {
	a.round.initial = part.Hash(a.trainer.base)
	st, err := a.store.stable()
	if err != nil {
		return err
	}
	if st.Last.Hash == "" || st.Last.Hash == a.round.initial {
		if err := a.writeState(a.round.initial, a.trainer.base, roster.Tag{}); err != nil {
			return err
		}
	} else if err := a.readState(st.Last.Hash, a.trainer.base); err != nil {
		a.trainer.lose(st.Last.Hash, err)
		a.log.Warn().Str("event", "state_damaged").Uint64("round", st.Last.Round).Err(err).Msg("the last checkpoint cannot be read; the members will be asked for it")
	} else {
		a.log.Info().Str("event", "resumed").Uint64("round", st.Last.Round).Str("state_hash", st.Last.Hash).Msg("resumed from checkpoint")
	}
	copy(a.trainer.local(), a.trainer.base)
	a.round.resumeStep = a.resumeLocal(st)
	a.round.stable = a.stillPrepared(st)
	return nil
}

// checkMemory refuses to start when this member has committed rounds, as its journal says, and has forgotten what it
// promised in them.
func (a *Agent) checkMemory() error {
	if a.round.stable.Last.Hash == "" && a.journal.Wrote(a.host.ID()) {
		return fmt.Errorf("%w: %s is missing, though this member has committed rounds; move the state directory away to start as a new member", ErrState, a.store.path(stableFile))
	}
	return nil
}

// recordLast makes up for what a crash right after a commit left undone: the journal's line, and that the run's end
// wants a score.
func (a *Agent) recordLast() error {
	last := a.machine.Last()
	if last.Round == 0 {
		return nil
	}
	commits, err := a.journal.Round(int(last.Round))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if !slices.ContainsFunc(commits, func(c eval.Commit) bool { return c.StateHash == last.Hash && c.Agent == a.host.ID() }) {
		if err := a.journal.AppendCommit(a.commitOf(last)); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	if int(last.Round) == a.cfg.Rounds.Count && !a.lastScored() {
		a.awaitScore(last)
	}
	return nil
}

// stillPrepared is st without what is prepared if its state cannot be read any more: the others would wait for it forever.
func (a *Agent) stillPrepared(st roster.Stable) roster.Stable {
	if st.Prepared == nil || st.Prepared.Hash == a.round.initial {
		return st
	}
	if err := a.readState(st.Prepared.Hash, a.trainer.spare); err != nil {
		a.log.Warn().Str("event", "prepared_lost").Uint64("round", st.Next).Err(err).Msg("the state of a round that is not committed cannot be read")
		st.Prepared = nil
	}
	return st
}

// restore gets the last committed state from the members if it could not be read here, and fails if this agent is alone
// with the loss for longer than rounds.form. The trainer runs it before local steps. When these are cut it gives up: a
// newer state may be on its way, and until one is adopted this member takes part without samples.
func (a *Agent) restore(ctx context.Context) error {
	return a.recover(ctx, a.started.Add(a.cfg.Rounds.Form), a.trainer.cut.Load)
}

// restoreFor is restore for an exchange, which ends with ctx: without the base nobody can tell what follows it. The others
// wait for this member meanwhile, as for a slow stream.
func (a *Agent) restoreFor(ctx context.Context) error {
	return a.recover(ctx, time.Now().Add(a.cfg.Rounds.Form), func() bool { return false })
}

func (a *Agent) recover(ctx context.Context, until time.Time, stop func() bool) error {
	t := a.trainer
	if t.lost == "" {
		return nil
	}
	err := a.reload(ctx, t.lost, t.base, t.lostBy, until, stop)
	if err != nil || stop() || ctx.Err() != nil {
		return err
	}
	a.log.Info().Str("event", "state_restored").Str("state_hash", t.lost).Msg("got the last checkpoint from a member")
	t.undo()
	t.lost = ""
	return nil
}

// load reads a committed state, from the members if the file here is damaged.
func (a *Agent) load(ctx context.Context, hash string, state []float32) error {
	err := a.readState(hash, state)
	if err == nil {
		return nil
	}
	a.log.Warn().Str("event", "state_damaged").Str("state_hash", hash).Err(err).Msg("a checkpoint cannot be read; the members will be asked for it")
	return a.reload(ctx, hash, state, err, time.Now().Add(a.cfg.Rounds.Form), func() bool { return false })
}

// reload asks one member after another for a state that cannot be read here, until one gives it, stop says so or ctx ends,
// which are no errors. It asks once at least, and fails with why when until has passed.
func (a *Agent) reload(ctx context.Context, hash string, state []float32, why error, until time.Time, stop func() bool) error {
	for {
		for _, from := range a.shown.peers() {
			if stop() || ctx.Err() != nil {
				return nil
			}
			err := a.fetchFrom(ctx, hash, from)
			if err == nil {
				return a.readState(hash, state)
			}
			a.log.Debug().Str("event", "fetch_failed").Str("peer", string(from)).Str("state_hash", hash).Err(err).Msg("cannot fetch the state")
		}
		if stop() || ctx.Err() != nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%w: %w; no member here has this state either: start one that does, or move the state directory away to start as a new member", ErrState, why)
		}
		select {
		case <-time.After(restoreAgain):
		case <-ctx.Done():
		}
	}
}
