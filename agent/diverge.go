package agent

import (
	"errors"
	"fmt"

	"shoal/gossip/roster"
)

// errDiverged says that local steps led to parameters that are not finite.
var errDiverged = errors.New("parameters are no longer finite")

// divergedRounds is how many rounds in a row may end with nobody's parameters finite. The state that they begin from stays
// the same, so only other images, or a rate that falls, could end it: more rounds would do nothing for as long.
const divergedRounds = 3

// untrained is what a record says of a member whose local steps failed by err.
func untrained(err error) string {
	if errors.Is(err, errDiverged) {
		return errDiverged.Error()
	}
	return err.Error()
}

// divergence counts the rounds in a row that left the state as it was because everybody's local steps diverged. All members
// see it by the same records, so they end together.
type divergence struct {
	rounds int
	last   uint64 // the last such round
}

// see takes a committed record, and reports whether nobody contributed to it and those who took part all diverged.
func (d *divergence) see(r roster.Record) bool {
	diverged := 0
	for _, m := range r.Missing {
		if _, here := r.Roster.Rank(m.ID); !here {
			continue
		}
		if m.Reason != errDiverged.Error() {
			return d.reset()
		}
		diverged++
	}
	if len(r.Shares) > 0 || diverged == 0 {
		return d.reset()
	}
	if d.rounds > 0 && r.Round != d.last+1 {
		d.rounds = 0
	}
	d.rounds, d.last = d.rounds+1, r.Round
	return true
}

func (d *divergence) reset() bool {
	*d = divergence{}
	return false
}

// watchDivergence says aloud that a round came to nothing, and ends the agent when it goes on like that.
func (a *Agent) watchDivergence(r roster.Record) {
	d := &a.diverged
	if !d.see(r) {
		return
	}
	a.log.Error().Str("event", "round_diverged").Uint64("round", r.Round).Int("in_a_row", d.rounds).
		Msg("nobody's parameters stayed finite, so the round changed nothing: lower learner.sgd.rate")
	if d.rounds >= divergedRounds {
		if err := a.saveReport(); err != nil {
			a.log.Warn().Str("event", "report_failed").Err(err).Msg("no report")
		}
		a.goodbye()
		a.ending.fail(fmt.Errorf("%w: in rounds %d to %d nobody's parameters stayed finite; the state of round %d is kept: lower learner.sgd.rate (now %v) and start again",
			ErrDiverge, d.last+1-uint64(d.rounds), d.last, d.last-uint64(d.rounds), a.cfg.Learner.Optimizer.Rate))
	}
}
