package agent

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"shoal/agent/part"
	"shoal/eval"
	"shoal/gossip/collective"
	"shoal/gossip/roster"
)

// prune removes old states; those that are still to be scored stay.
func (a *Agent) prune(last roster.Record) {
	need := []string{last.Hash}
	if last.Round <= 1 {
		need = append(need, a.round.initial)
	}
	for _, p := range a.scores.pending {
		need = append(need, p.record.Hash)
	}
	if err := a.store.prune(a.cfg.Keep, need...); err != nil {
		a.log.Warn().Str("event", "prune_failed").Err(err).Msg("old checkpoints stay")
	}
}

// recordCommit writes the journal's line. Formation is not a round of training.
func (a *Agent) recordCommit(e roster.Adopt) {
	c := a.commitOf(e.Record)
	c.Attempts, c.Sent, c.Received, c.Seconds = a.round.attempts, a.round.sent, a.round.received, a.round.seconds
	a.round.attempts, a.round.sent, a.round.received, a.round.seconds = 0, 0, 0, eval.PhaseSeconds{}
	if c.Round == 0 {
		return
	}
	if x := a.round.exchange.done; x.ballot == e.Record.Ballot {
		a.watchAccuracy(c, x.norm)
		c.Plan, c.Chosen, c.Exchange, c.Store = x.plan, x.chosen, x.took.Seconds(), x.stored.Seconds()
	}
	a.tellClipped(c)
	if p := a.trainer.trained.Load(); e.Own && p.Images > 0 && p.Round == c.Round {
		c.TrainLoss, c.TrainRight, c.Images = p.LossSum/float64(p.Images), float64(p.Correct)/float64(p.Images), p.Images
	}
	a.around("write journal", func() {
		if err := a.journal.AppendCommit(c); err != nil {
			a.ending.fail(err)
		}
	})
}

// commitOf is the journal's line of a record, without what only the agent that worked on the round knows.
func (a *Agent) commitOf(r roster.Record) eval.Commit {
	c := eval.Commit{
		Round: int(r.Round), Lineage: r.Lineage, Generation: r.Roster.Generation, Ballot: r.Ballot.String(),
		Roster: r.Roster.Members, StateHash: r.Hash, Plan: a.cfg.Averaging.Plan, Wire: a.cfg.Averaging.Wire,
		Agent: a.host.ID(), Time: time.Now().UTC().Format(time.RFC3339),
	}
	scales := a.scales(r.Shares)
	for i, s := range r.Shares {
		x := eval.Contribution{ID: s.ID, Samples: s.Samples, Norm: s.Norm}
		if scales[i] < 1 {
			x.Scale = &scales[i]
		}
		c.Contributors = append(c.Contributors, x)
	}
	for _, m := range r.Missing {
		c.Missing = append(c.Missing, eval.Absence{ID: m.ID, Reason: m.Reason})
	}
	return c
}

// scales are what the bound on norms makes of contributions: the same on every member, as in the exchange itself.
func (a *Agent) scales(shares []roster.Share) []float64 {
	norms := make([]float64, len(shares))
	for i, s := range shares {
		norms[i] = s.Norm
	}
	scales, _ := collective.Limits(norms, a.cfg.Averaging.Bound)
	return scales
}

// tellClipped logs whose work was too large to count in full.
func (a *Agent) tellClipped(c eval.Commit) {
	for _, x := range c.Contributors {
		if x.Scale != nil {
			a.log.Warn().Str("event", "member_clipped").Int("round", c.Round).Str("peer", string(x.ID)).Float64("norm", x.Norm).
				Float64("scale", *x.Scale).Msg("the norm of the member's work is over averaging.bound times the median")
		}
	}
}

// watchAccuracy looks at a round that this agent averaged, and logs what is wrong with it or no longer is.
func (a *Agent) watchAccuracy(c eval.Commit, mean float64) {
	norms, images := make([]float64, len(c.Contributors)), int64(0)
	for i, x := range c.Contributors {
		norms[i], images = x.Norm, images+x.Samples
	}
	round, ok := agreementOf(norms, images, mean)
	if !ok {
		return
	}
	begun, ended := a.accuracy.see(round, a.trainer.recipe.StepsPerEpoch(a.trainer.set.Train.N, part.Equal(len(norms))))
	for _, w := range begun {
		a.log.Warn().Str("event", "accuracy_warning").Int("round", c.Round).Str("kind", w.Kind).Float64("gradient_noise", finiteOr(round.noiseScale(), -1)).
			Float64("distance", round.distance()).Msg(w.Text)
	}
	for _, kind := range ended {
		a.log.Info().Str("event", "accuracy_warning_over").Int("round", c.Round).Str("kind", kind).Msg("an earlier warning no longer holds")
	}
}

// finiteOr is x, or other where JSON has no word for x.
func finiteOr(x, other float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return other
	}
	return x
}

// writeState stores a shared state under its hash, durably.
func (a *Agent) writeState(hash string, state []float32, tag roster.Tag) error {
	meta := map[string]string{
		"state_hash": hash, "round": strconv.FormatUint(tag.Ballot.Round, 10), "lineage": tag.Lineage, "ballot": tag.Ballot.String(),
	}
	err := a.store.replaceState(stateName(hash), func(w io.Writer) error { return a.trainer.write(w, state, meta) })
	if err != nil {
		return fmt.Errorf("store the state of round %d: %w", tag.Ballot.Round, err)
	}
	return nil
}

// readState loads the state with hash from the state directory into state, and checks it.
func (a *Agent) readState(hash string, state []float32) error {
	if _, err := a.trainer.read(a.store.statePath(hash), state); err != nil {
		return err
	}
	if got := part.Hash(state); got != hash {
		return fmt.Errorf("read %s: its state hashes to %s", a.store.statePath(hash), got)
	}
	return nil
}
