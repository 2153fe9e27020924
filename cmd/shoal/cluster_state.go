package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"shoal/agent"
	"shoal/eval"
)

// stallAfter is how long a cluster may show no progress at all before it is stopped: longer than the longest evaluation
// on the slowest machine, and shorter than a night.
const stallAfter = 30 * time.Minute

// agentState is what is known of one agent.
type agentState struct {
	name   string
	status agent.Status // the last it said; zero before the first answer
	report *eval.Report // what it served once it was done, or left on its way out; nil before
	whole  bool         // the report has all rounds
	exit   *agentExit   // nil while it runs

	afterwards int // answers since the exit
}

// gone reports whether the agent ended without finishing the run, and has not been started again.
func (a agentState) gone() bool { return a.exit != nil && !a.finished() && !a.back() }

// back reports whether someone started the agent again: it answers although its process has ended. One answer may still
// be on its way when the process ends.
func (a agentState) back() bool { return a.afterwards > 1 }

// finished reports whether the agent came to the end of the run and ended in order.
func (a agentState) finished() bool { return a.exit != nil && a.exit.code == 0 && a.whole }

// end is how and when the agent's process ended: "agent-2 left in round 3". It has ended.
func (a agentState) end() string {
	if underway(a.status) {
		return fmt.Sprintf("%s %v in round %d", a.name, a.exit, a.status.Round)
	}
	return fmt.Sprintf("%s %v before round 1", a.name, a.exit)
}

// clusterState is all that is known of a running cluster. It is fed sightings and exits, and has no clock of its own.
type clusterState struct {
	plan    clusterPlan
	agents  []agentState
	begun   time.Time           // first sight of the first round; zero before it
	changed time.Time           // last sight of any progress
	scores  []agent.ScoreStatus // by round, the newest of each
}

func newClusterState(plan clusterPlan, now time.Time) *clusterState {
	s := &clusterState{plan: plan, changed: now}
	for _, a := range plan.agents {
		s.agents = append(s.agents, agentState{name: a.name})
	}
	return s
}

// see takes in what an agent said.
func (s *clusterState) see(seen sighting, now time.Time) {
	a := &s.agents[seen.index]
	if a.exit != nil {
		a.afterwards++
	}
	old := a.status
	a.status = seen.status
	s.keep(a, seen.report)
	if s.begun.IsZero() && underway(seen.status) {
		s.begun = now
	}
	if old.Round != seen.status.Round || old.Step != seen.status.Step || old.Phase != seen.status.Phase {
		s.changed = now
	}
	if seen.status.Score != nil {
		s.learn(*seen.status.Score)
	}
}

// underway reports whether an agent has begun to train.
func underway(status agent.Status) bool { return status.Round > 0 && status.Phase != "form" }

// learn keeps a score in its place among the rounds.
func (s *clusterState) learn(score agent.ScoreStatus) {
	at, known := slices.BinarySearchFunc(s.scores, score.Round, func(have agent.ScoreStatus, round int) int {
		return cmp.Compare(have.Round, round)
	})
	if known {
		s.scores[at] = score
		return
	}
	s.scores = slices.Insert(s.scores, at, score)
}

// end takes in that an agent's process has ended, with the report that it left or nil.
func (s *clusterState) end(e agentExit, left *eval.Report, now time.Time) {
	a := &s.agents[e.index]
	a.exit = &e
	s.keep(a, left)
	s.changed = now
}

// keep takes an agent's newer report; nil is none.
func (s *clusterState) keep(a *agentState, report *eval.Report) {
	if report != nil {
		a.report, a.whole = report, report.Rounds >= s.plan.rounds
	}
}

// stalled reports whether nothing has moved for longer than it may.
func (s *clusterState) stalled(now time.Time) bool { return now.Sub(s.changed) > stallAfter }

// overview is the cluster in one line.
type overview struct {
	round, rounds int
	phase         string
	present, size int           // agents that run or have finished, of all
	speed         float64       // images per second, all agents together
	loss          float64       // mean over the agents; 0 before the first
	done          float64       // share of the run, 0..1
	left          time.Duration // of the run, as far as can be told; 0 when it cannot
}

// overview sums up the agents that run: the cluster is in the latest round that any of them is in, and in the phase of
// most of those.
func (s *clusterState) overview(now time.Time) overview {
	o := overview{rounds: s.plan.rounds, size: len(s.agents), phase: "start"}
	var here []agent.Status
	for _, a := range s.agents {
		if a.gone() {
			continue
		}
		o.present++
		if a.status.Phase == "" {
			continue
		}
		switch {
		case a.status.Round > o.round:
			o.round, here = a.status.Round, []agent.Status{a.status}
		case a.status.Round == o.round:
			here = append(here, a.status)
		}
		if a.status.Phase == "train" {
			o.speed += a.status.ImagesPerSecond
		}
	}
	phases := map[string]int{}
	trained := 0
	for _, status := range here {
		phases[status.Phase]++
		if n := phases[status.Phase]; n > phases[o.phase] || n == phases[o.phase] && phaseOrder(status.Phase) < phaseOrder(o.phase) {
			o.phase = status.Phase
		}
		o.done += progressOf(status, s.plan.rounds) / float64(len(here))
		if status.Loss > 0 {
			o.loss += status.Loss
			trained++
		}
	}
	o.loss /= float64(max(trained, 1))
	o.left = timeLeft(o.done, now.Sub(s.begun), !s.begun.IsZero())
	return o
}

// phaseOrder is the place of a phase in a round.
func phaseOrder(phase string) int {
	return slices.Index([]string{"form", "train", "pause", "wait", "average", "evaluate", "done", "leave"}, phase)
}

// progressOf is the share of the run that an agent has done, 0..1. What follows the training of a round counts as nothing:
// it is short, and the bar never moves back.
func progressOf(status agent.Status, rounds int) float64 {
	if status.Phase == "done" || status.Phase == "leave" {
		return 1
	}
	if !underway(status) || rounds < 1 {
		return 0
	}
	return min((float64(status.Round-1)+stepShare(status))/float64(rounds), 1)
}

// stepShare is the share of the round's steps that an agent has done, 0..1.
func stepShare(status agent.Status) float64 {
	switch {
	case phaseOrder(status.Phase) > phaseOrder("pause"):
		return 1
	case phaseOrder(status.Phase) < phaseOrder("train") || status.Steps <= 0:
		return 0
	}
	return min(max(float64(status.Step)/float64(status.Steps), 0), 1)
}

// timeLeft extends the time so far to the whole run. Too early it cannot tell, and says 0.
func timeLeft(done float64, elapsed time.Duration, begun bool) time.Duration {
	const (
		enough = 0.03            // of the run
		settle = 3 * time.Second // the first sight of a round may be its end
	)
	if !begun || done < enough || done >= 1 || elapsed < settle {
		return 0
	}
	return time.Duration(float64(elapsed) * (1 - done) / done)
}
