package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"shoal/eval"
	"shoal/eval/tensorboard"
	"shoal/gossip/roster"
)

// goodbyeWithin bounds telling the others that this agent leaves on purpose.
const goodbyeWithin = 1500 * time.Millisecond

// scoreWithin bounds how long a finished agent waits for the score of the last round.
const scoreWithin = 10 * time.Minute

// look does what time brings: elections, repeated announcements, the end.
func (a *Agent) look(ctx context.Context) {
	a.tell(ctx, time.Now())
	if a.ending.leaving {
		a.leave()
		return
	}
	a.elect(ctx)
	a.retell(ctx)
	a.advise(ctx, time.Now())
	switch {
	case a.ending.finished && !a.ending.saving && (a.lastScored() || time.Since(a.ending.since) > scoreWithin):
		a.finish(ctx)
	case a.ending.finished && !a.ending.saving && !a.ending.swapping:
		a.swapMore(ctx)
	}
}

// swapMore asks the others for the score of the last round, and the first time for all that is not known here.
func (a *Agent) swapMore(ctx context.Context) {
	first := 1
	if a.ending.swapped {
		first = int(a.machine.Last().Round)
	}
	a.ending.swapping, a.ending.swapped = true, true
	a.start(func() {
		a.swapAll(ctx, first, nil)
		a.post(swapped{})
	})
}

// swapped says that pages were swapped with everybody.
type swapped struct{}

// lastScored reports whether the last round has its score, or cannot have any.
func (a *Agent) lastScored() bool {
	if a.trainer.set.Test.N == 0 {
		return true
	}
	last := a.machine.Last()
	return slices.ContainsFunc(a.journal.Scores(), func(s eval.Score) bool { return s.StateHash == last.Hash })
}

// finish hands the last page of the record to the others, saves model and report, and ends the agent.
func (a *Agent) finish(ctx context.Context) {
	a.ending.saving, a.ending.parts = true, 2
	last := a.machine.Last()
	a.start(func() {
		mine := a.lastPage(int(last.Round))
		a.swapAll(ctx, 1, &mine)
		a.post(saved{})
	})
	a.trainer.jobs <- func() {
		if err := a.saveModel(last); err != nil {
			a.post(failure{err})
		}
		a.post(saved{})
	}
}

// saved says that one part of what an end needs is done.
type saved struct{}

// saved ends the agent once all parts are done.
func (a *Agent) saved() {
	if a.ending.parts--; a.ending.parts > 0 {
		return
	}
	a.show()
	if err := a.saveReport(); err != nil {
		a.ending.fail(err)
	}
	a.log.Info().Str("event", "run_ended").Uint64("round", a.machine.Last().Round).Msg("saved model and report")
	a.goodbye()
	a.ending.over = true
}

// swapsAtOnce bounds the peers that pages are swapped with at a time: those that just ended cost a timeout each.
const swapsAtOnce = 8

// swapAll exchanges pages with every peer alive, asking for rounds from first on.
func (a *Agent) swapAll(ctx context.Context, first int, mine *page) {
	var swaps sync.WaitGroup
	turns := make(chan struct{}, swapsAtOnce)
	for _, id := range a.shown.peers() {
		turns <- struct{}{}
		swaps.Go(func() {
			a.swap(ctx, id, first, mine)
			<-turns
		})
	}
	swaps.Wait()
}

// saveModel writes the final model with batch-norm statistics as they were scored.
func (a *Agent) saveModel(last roster.Record) error {
	t := a.trainer
	classes, err := json.Marshal(t.set.Classes)
	if err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	return t.with(func(state []float32) error { return a.readState(last.Hash, state) }, func() error {
		if a.cfg.Eval.Reestimate > 0 {
			if err := eval.Reestimate(t.learner, t.loader, t.set, a.cfg.Eval, a.cfg.Learner); err != nil {
				return err
			}
		}
		meta := map[string]string{
			"mean": decimals(t.set.Mean), "std": decimals(t.set.Std), "class_names": string(classes), "state_hash": last.Hash, "lineage": last.Lineage, "round": strconv.FormatUint(last.Round, 10),
		}
		return t.learner.WriteState(a.file("model.safetensors"), t.learner.Shared(false), nil, meta)
	})
}

// decimals writes a value for each channel, "0.49,0.48,0.45", so that it reads back the same.
func decimals(v [3]float64) string {
	var text []string
	for _, x := range v {
		text = append(text, strconv.FormatFloat(x, 'g', -1, 64))
	}
	return strings.Join(text, ",")
}

// saveReport writes the whole record as a report, and its curves.
func (a *Agent) saveReport() error {
	r, commits, err := a.report()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := a.store.write("report.json", b); err != nil {
		return err
	}
	return tensorboard.Write(a.file(curvesDir), curves(r, commits, a.journal.Scores()))
}

// report is the record of the run as this agent knows it, and the rounds that it is made of.
func (a *Agent) report() (r eval.Report, commits []eval.Commit, err error) {
	if commits, err = a.journal.Commits(); err != nil {
		return r, nil, fmt.Errorf("write report: %w", err)
	}
	return eval.Assemble(commits, a.journal.Scores(), a.shown.summaries()), commits, nil
}

// leave ends an agent that was told to stop: it finishes an exchange at work, keeps unfinished local work, and says
// goodbye.
func (a *Agent) leave() {
	if !a.ending.leaving {
		a.ending.leaving, a.ending.by = true, time.Now().Add(leaveWithin)
		a.log.Info().Str("event", "leaving").Str("phase", string(a.machine.Phase())).Msg("told to stop; leaving in good order")
	}
	switch a.machine.Phase() {
	case roster.Reducing, roster.Preparing, roster.Adopting:
		if time.Now().Before(a.ending.by) {
			return
		}
	}
	if a.ending.saving {
		return
	}
	a.ending.saving = true
	a.trainer.stop()
	if a.scores.running {
		a.scores.stop()
	}
	last, offered := a.machine.Last(), a.machine.Offered()
	a.trainer.jobs <- func() {
		if err := a.saveLocal(last, offered); err != nil {
			a.post(failure{err})
		}
		a.post(saved{})
	}
	a.ending.parts = 1
}

// localFile holds unfinished local work.
const localFile = "local.safetensors"

// saveLocal keeps the local work with how far it is, so that a restart goes on from the same step. Work that an exchange
// took whose end is not known here is left out: the others may have counted it, and it must not come twice.
func (a *Agent) saveLocal(last roster.Record, offered bool) error {
	t := a.trainer
	if t.lost != "" || last.Hash == "" {
		return nil
	}
	if offered {
		a.log.Warn().Str("event", "local_work_dropped").Int64("samples", t.forgetTold()).Msg("the others may have counted this work, so it is not kept")
	}
	if t.samples == 0 {
		return a.store.remove(localFile)
	}
	meta := map[string]string{
		"base": last.Hash, "generation": strconv.FormatUint(last.Roster.Generation, 10),
		"samples": strconv.FormatInt(t.samples, 10), "step": strconv.Itoa(t.reached(int(last.Round)+1, offered)),
	}
	if t.ahead != nil {
		meta["ahead_round"], meta["ahead_step"] = strconv.Itoa(t.ahead.p.Round), strconv.Itoa(t.ahead.p.Step)
	}
	return t.learner.Save(a.file(localFile), meta)
}

// resumeLocal loads unfinished local work if it continues the last record, and returns the step to go on from.
func (a *Agent) resumeLocal(st roster.Stable) int {
	if !a.store.exists(localFile) {
		return 0
	}
	meta, err := a.trainer.learner.Load(a.file(localFile))
	err = errors.Join(err, a.store.remove(localFile)) // it must not come twice
	samples, serr := strconv.ParseInt(meta["samples"], 10, 64)
	step, kerr := strconv.Atoi(meta["step"])
	if err != nil || serr != nil || kerr != nil || meta["base"] != st.Last.Hash || a.trainer.lost != "" {
		a.log.Warn().Str("event", "local_work_dropped").Err(err).Msg("unfinished local work does not continue the checkpoint")
		copy(a.trainer.local(), a.trainer.base)
		return 0
	}
	a.trainer.samples = samples
	a.log.Info().Str("event", "local_work_resumed").Int64("samples", samples).Int("step", step).Msg("unfinished local work goes on")
	if meta["generation"] != strconv.FormatUint(st.Last.Roster.Generation, 10) {
		return 0
	}
	round, rerr := strconv.Atoi(meta["ahead_round"])
	ahead, aerr := strconv.Atoi(meta["ahead_step"])
	if rerr == nil && aerr == nil {
		a.trainer.skip = skip{round, ahead}
	}
	return step
}

// goodbye tells the others that this agent leaves on purpose.
func (a *Agent) goodbye() {
	if err := a.gossip.Leave(goodbyeWithin); err != nil {
		a.log.Warn().Str("event", "goodbye_failed").Err(err).Msg("the others will find out by themselves")
	}
}
