package agent

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"shoal/eval"
	"shoal/gossip/roster"
)

// shown is what goroutines beside the loop may know of the agent. It is safe for concurrent use.
type shown struct {
	mu     sync.Mutex
	status Status
	hello  hello
	own    eval.AgentSummary
	others map[roster.ID]eval.AgentSummary
	alive  []roster.ID
	images int
	busy   float64  // seconds spent training
	part   progress // of the round that is not in images and busy yet

	sent, received int64               // bytes of exchanges
	heard          map[roster.ID]heard // of members that membership lists, this agent among them
}

func (s *shown) greeting() hello {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hello
}

func (s *shown) snapshot() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *shown) summary() eval.AgentSummary {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own
}

// summaries are the agent's own and what others said of themselves, by ID.
func (s *shown) summaries() []eval.AgentSummary {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []eval.AgentSummary{s.own}
	for _, o := range s.others {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b eval.AgentSummary) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

// peer keeps what a peer says of itself.
func (s *shown) peer(p eval.AgentSummary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others == nil {
		s.others = map[roster.ID]eval.AgentSummary{}
	}
	s.others[p.ID] = p
}

// peers are the members that count, without this agent.
func (s *shown) peers() []roster.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.alive)
}

// score shows a score if it is the newest.
func (s *shown) score(n eval.Score) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Score == nil || s.status.Score.Round <= n.Round {
		s.status.Score = &ScoreStatus{Round: n.Round, TestAccuracy: n.TestAccuracy, TestLoss: n.TestLoss}
	}
}

// show brings what is shown up to date.
func (a *Agent) show() {
	hello, phase, role := a.hello(), a.phaseName(), a.role()
	s := &a.shown
	s.mu.Lock()
	defer s.mu.Unlock()
	last := a.machine.Last()
	p := *a.trainer.progress.Load()
	s.count(p)
	score := s.status.Score
	s.hello = hello
	s.status = Status{
		API: API, Name: a.cfg.Name, ID: string(a.host.ID()), Version: a.version, Lineage: last.Lineage, Generation: last.Roster.Generation,
		Round: min(int(a.machine.Next()), a.cfg.Rounds.Count), Rounds: a.cfg.Rounds.Count, Phase: phase, Paused: a.paused(), Role: role,
		Step: p.Step, Steps: p.Steps, Loss: p.Loss, StateHash: last.Hash, PeakRSSBytes: peakRSS(), Score: score,
		Streams: a.host.Addrs(), Members: []MemberStatus{}, Warnings: a.accuracy.warnings(),
		Images: s.images + s.part.Images, Sent: s.sent, Received: s.received, Started: a.started.UTC().Format(time.RFC3339),
	}
	if a.gossip != nil {
		s.status.Gossip = a.gossip.Addr()
	}
	if p.Seconds > 0 {
		s.status.ImagesPerSecond = float64(p.Images) / p.Seconds
	}
	s.alive = s.alive[:0]
	for id, m := range a.members {
		_, placed := last.Roster.Rank(id)
		s.status.Members = append(s.status.Members, MemberStatus{
			ID: string(id), Name: m.Name, State: strings.ToLower(m.State.String()), InRoster: placed,
			Addr: m.Addr, Samples: last.Samples[id], Refused: m.refused,
		})
		if id != a.host.ID() && a.isHere(id) {
			s.alive = append(s.alive, id)
		}
	}
	slices.SortFunc(s.status.Members, func(x, y MemberStatus) int { return strings.Compare(x.ID, y.ID) })
	slices.Sort(s.alive)
	s.forget(s.status.Members)
	s.own = eval.AgentSummary{ID: a.host.ID(), Name: a.cfg.Name, ModelHash: last.Hash, PeakRSSMB: float64(s.status.PeakRSSBytes) / (1 << 20)}
	for _, w := range s.status.Warnings {
		s.own.Warnings = append(s.own.Warnings, w.Text)
	}
	if total := s.busy + s.part.Seconds; total > 0 {
		s.own.ImagesPerSecond = float64(s.images+s.part.Images) / total
	}
}

// count adds up the images trained on over all rounds.
func (s *shown) count(p progress) {
	if p.Round != s.part.Round || p.Images < s.part.Images {
		s.images += s.part.Images
		s.busy += s.part.Seconds
	}
	s.part = p
}

// phaseName is the machine's phase in the words of a status.
func (a *Agent) phaseName() string {
	if a.ending.leaving {
		return "leave"
	}
	if a.scores.running && a.machine.Phase() != roster.Training {
		return "evaluate"
	}
	phase := a.machine.Phase()
	if a.paused() && (phase == roster.Training || phase == roster.Waiting) {
		return "pause"
	}
	switch phase {
	case roster.Joining:
		return "form"
	case roster.Training:
		return "train"
	case roster.Reducing, roster.Preparing, roster.Adopting:
		return "average"
	case roster.Ended:
		return "done"
	}
	return "wait"
}

func (a *Agent) role() string {
	switch {
	case a.scores.running:
		return "evaluator"
	case a.machine.Coordinating():
		return "coordinator"
	}
	return "member"
}

// peakRSS is the largest resident size so far, in bytes; 0 where the system does not tell.
func peakRSS() uint64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return uint64(u.Maxrss)
	}
	return uint64(u.Maxrss) << 10
}

func encode(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
