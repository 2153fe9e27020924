package agent_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/eval"
)

// chaosSeed is the seed of who is killed when: SHOAL_CHAOS if it is a number above 1, else the time.
func chaosSeed(t *testing.T) uint64 {
	t.Helper()
	text, ok := os.LookupEnv("SHOAL_CHAOS")
	if !ok {
		t.Skip("takes minutes; run it with make chaos, or SHOAL_CHAOS=1")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seed <= 1 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("SHOAL_CHAOS=%d", seed)
	return seed
}

// Ten times one of six agents is killed without warning, and started again a little later: all rounds are committed by
// all, to one model, and the record says who was missing, when and why.
func TestChaosKills(t *testing.T) {
	rng := rand.New(rand.NewPCG(chaosSeed(t), 0))
	const rounds, kills = 60, 10
	s := newShelf(t, 6, small+"rounds: {count: 60, steps: 40, expect: 6}\n")
	s.startAll()
	s.until("training begins", 60*time.Second, func() bool { st, ok := s.status(0); return ok && st.Round >= 1 })
	for k := range kills {
		victim := rng.IntN(len(s.agents))
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond) // any moment of a round
		select {
		case <-s.agents[victim].done:
			t.Fatalf("kill %d: %s has ended already: give the run more rounds", k+1, s.name(victim))
		default:
		}
		s.agents[victim].kill()
		t.Logf("kill %d: %s", k+1, s.name(victim))
		time.Sleep(time.Duration(500+rng.IntN(2500)) * time.Millisecond)
		s.start(victim, "")
	}
	for i := range s.agents {
		s.wait(i, 240*time.Second)
	}
	s.alike(rounds)
	missing := 0
	for _, row := range s.report(0).Rows {
		for _, m := range row.Missing {
			t.Logf("round %d without %s: %s", row.Round, m.ID, m.Reason)
			if m.Reason == "" {
				t.Errorf("round %d: no reason why %s is missing", row.Round, m.ID)
			}
			missing++
		}
	}
	if missing == 0 {
		t.Error("ten kills, and the record knows of nobody missing")
	}
}

// An agent that stands still for longer than it takes to be declared dead, as a Pi that swaps does, comes back and takes
// part again.
func TestChaosPause(t *testing.T) {
	chaosSeed(t)
	const rounds = 300
	s := newShelf(t, 4, strings.Replace(small, "eval: {reestimate: 2}", "eval: {reestimate: 2, every: 100}", 1)+"rounds: {count: 300, steps: 20, expect: 4, gather: 1s}\n")
	s.startAll()
	s.until("training begins", 60*time.Second, func() bool { st, ok := s.status(0); return ok && st.Round >= 2 })
	signal := func(sig syscall.Signal) {
		t.Helper()
		if err := s.agents[1].cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	before, _ := s.status(0)
	s.until("the others go on", 60*time.Second, func() bool { st, ok := s.status(0); return ok && st.Round > before.Round+2 })
	time.Sleep(15 * time.Second)
	signal(syscall.SIGCONT)
	for i := range s.agents {
		s.wait(i, 240*time.Second)
	}
	s.alike(rounds)
	paused, rows := s.report(1).Agents, s.report(0).Rows
	i := slices.IndexFunc(paused, func(a eval.AgentSummary) bool { return a.Name == s.name(1) })
	if i < 0 {
		t.Fatalf("%s knows nothing of itself", s.name(1))
	}
	took := func(r eval.Row) bool {
		return slices.ContainsFunc(r.Contributors, func(c eval.Contribution) bool { return c.ID == paused[i].ID })
	}
	away := slices.IndexFunc(rows, func(r eval.Row) bool { return !took(r) })
	if away < 0 || !took(rows[len(rows)-1]) {
		t.Errorf("%s was missing first in row %d, and in the last: %+v", s.name(1), away, rows[len(rows)-1].Missing)
	}
}
