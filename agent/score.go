package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"shoal/eval"
	"shoal/gossip"
	"shoal/gossip/roster"
)

// scoreWork is which rounds want a score, and what this agent does about it.
type scoreWork struct {
	pending []pendingScore
	running bool
	stop    context.CancelFunc // ends the evaluation at work
	newest  *eval.Score        // of our own; told again and again, since announcements get lost
	retold  time.Time
}

// pendingScore is a committed round without a score.
type pendingScore struct {
	record roster.Record
	since  time.Time
}

// The elected evaluator may take several times as long as evaluations took of late, before the next one does the work, too:
// nodes differ, and training comes between. While none is known it is evaluatorAtMost.
const (
	evaluatorTimes   = 6
	evaluatorAtLeast = 15 * time.Second
	evaluatorAtMost  = 5 * time.Minute
	evaluatorRecent  = 9 // scores that count
)

// evaluatorPatience is that time after the scores known, the newest last. It takes the median: a member may say anything.
func evaluatorPatience(known []eval.Score) time.Duration {
	known = known[max(0, len(known)-evaluatorRecent):]
	if len(known) == 0 {
		return evaluatorAtMost
	}
	var took []float64
	for _, s := range known {
		took = append(took, s.Seconds)
	}
	slices.Sort(took)
	longest := evaluatorAtMost.Seconds()
	usual := min(max(took[len(took)/2], 0), longest)
	return time.Duration(min(max(evaluatorTimes*usual, evaluatorAtLeast.Seconds()), longest) * float64(time.Second))
}

// pendingScores bounds the rounds that wait for a score, and so the checkpoints kept for it; older ones go without.
const pendingScores = 16

// retellEvery is how often an evaluator repeats its newest score.
const retellEvery = 2 * time.Second

// scoreKind names scores among the announcements.
const scoreKind = "score"

// scored is the outcome of an evaluation here.
type scored struct {
	score eval.Score
	err   error
}

// awaitScore notes a committed round that is to be scored. What another lineage committed does not matter any more.
func (a *Agent) awaitScore(r roster.Record) {
	w, every := &a.scores, a.cfg.Eval.Every
	w.pending = slices.DeleteFunc(w.pending, func(p pendingScore) bool { return p.record.Lineage != r.Lineage })
	if r.Round == 0 || a.trainer.set.Test.N == 0 || int(r.Round)%every != 0 && int(r.Round) != a.cfg.Rounds.Count {
		return
	}
	w.pending = append(w.pending, pendingScore{r, time.Now()})
	if over := len(w.pending) - pendingScores; over > 0 {
		a.log.Warn().Str("event", "score_skipped").Uint64("round", w.pending[0].record.Round).Msg("evaluations cannot keep up with the rounds; raise eval.every")
		w.pending = w.pending[over:]
	}
}

// settled drops a round that has its score.
func (w *scoreWork) settled(s eval.Score) {
	w.pending = slices.DeleteFunc(w.pending, func(p pendingScore) bool { return p.record.Hash == s.StateHash })
}

// elect starts the evaluation of rounds for which this agent is the evaluator. One that leaves begins none.
func (a *Agent) elect(ctx context.Context) {
	if a.ending.leaving || len(a.scores.pending) == 0 {
		return
	}
	patience := evaluatorPatience(a.journal.Scores())
	for _, p := range a.scores.pending {
		if a.scores.running {
			return
		}
		late := int(time.Since(p.since) / patience)
		candidates := p.record.Roster.Members
		for range late {
			who, any := eval.Evaluator(p.record.Lineage, int(p.record.Round), candidates, a.isHere)
			if !any {
				break
			}
			candidates = slices.DeleteFunc(slices.Clone(candidates), func(id roster.ID) bool { return id == who })
		}
		who, any := eval.Evaluator(p.record.Lineage, int(p.record.Round), candidates, a.isHere)
		if any && who == a.host.ID() {
			a.evaluate(ctx, p.record)
		}
	}
}

func (a *Agent) isHere(id roster.ID) bool {
	m := a.members[id]
	return id == a.self() || m != nil && m.greeted && here(m.State)
}

// self is this agent's own ID, empty before it has streams.
func (a *Agent) self() roster.ID {
	if a.host == nil {
		return ""
	}
	return a.host.ID()
}

// evaluate scores the state of a round beside training, with the other members of the round (together.go).
func (a *Agent) evaluate(ctx context.Context, r roster.Record) {
	ctx, a.scores.stop = context.WithCancel(ctx)
	a.scores.running = true
	members := a.helpers(r)
	a.log.Info().Str("event", "evaluation_begun").Uint64("round", r.Round).Int("helpers", len(members)).Msg("this agent is the evaluator")
	a.start(func() {
		start := time.Now()
		result, err := a.scoreTogether(ctx, r, members)
		a.post(scored{eval.Score{
			Round: int(r.Round), Lineage: r.Lineage, StateHash: r.Hash, Evaluator: a.host.ID(),
			TestAccuracy: result.Accuracy, TestLoss: result.Loss, Images: result.Images, Reestimated: result.Reestimated,
			Seconds: time.Since(start).Seconds(), Time: time.Now().UTC().Format(time.RFC3339),
		}, err})
	})
}

// tookScore records and announces a score of our own.
func (a *Agent) tookScore(e scored) {
	a.scores.running = false
	a.scores.stop()
	if e.err != nil && a.ending.leaving {
		return // it was cut short
	}
	if e.err != nil {
		a.scores.settled(e.score) // here; in time the next in line takes over
		a.log.Error().Str("event", "evaluation_failed").Int("round", e.score.Round).Err(e.err).Msg("no score")
		return
	}
	a.scores.newest, a.scores.retold = &e.score, time.Time{}
	if err := a.record(e.score); err != nil {
		a.ending.fail(err)
	}
}

// record keeps a score and shows it.
func (a *Agent) record(s eval.Score) error {
	known, err := a.journal.AppendScore(s)
	if err != nil {
		return err
	}
	a.scores.settled(s)
	if known {
		return nil
	}
	a.shown.score(s)
	a.log.Info().Str("event", "round_scored").Int("round", s.Round).Str("evaluator", string(s.Evaluator)).
		Float64("test_accuracy", s.TestAccuracy).Float64("test_loss", s.TestLoss).Float64("seconds", s.Seconds).Msg("score")
	return nil
}

// heard takes an announcement.
func (a *Agent) heard(n gossip.Announcement) {
	var err error
	switch n.Kind {
	case scoreKind:
		err = a.heardScore(n)
	case progressKind:
		err = a.heardProgress(n)
	case waysKind:
		err = a.heardWays(n)
	}
	if err != nil {
		a.log.Warn().Str("event", "bad_announcement").Str("peer", string(n.From)).Err(err).Msg("announcement refused")
	}
}

// heardScore records the score that a member announces.
func (a *Agent) heardScore(n gossip.Announcement) error {
	var s eval.Score
	if err := json.Unmarshal(n.Body, &s); err != nil {
		return err
	}
	if s.Evaluator != n.From {
		return fmt.Errorf("it is of %s", s.Evaluator)
	}
	if !a.isHere(n.From) {
		return nil
	}
	return a.record(s)
}

// retell announces our newest score.
func (a *Agent) retell(ctx context.Context) {
	if a.scores.newest == nil || time.Since(a.scores.retold) < retellEvery {
		return
	}
	a.scores.retold = time.Now()
	body, err := json.Marshal(a.scores.newest)
	if err == nil {
		err = a.announcer.Publish(ctx, scoreKind, body)
	}
	if err != nil {
		a.log.Debug().Str("event", "announce_failed").Err(err).Msg("score not announced")
	}
}

// scorer evaluates the state that is loaded.
func (t *trainer) scorer() eval.Scorer {
	return eval.Scorer{Model: t.learner, Source: t.loader, Set: t.set, Config: t.cfg.Eval, Learner: t.cfg.Learner}
}

// statistics is how many values batch norm's statistics are.
func (t *trainer) statistics() int { return len(t.learner.Shared(false)) - len(t.learner.Params()) }
