//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/agent"
	"shoal/eval"
)

// dice are the random choices of a test, from a seed that it prints: SHOAL_CHAOS if it is a number above 1, else the time.
func dice(t *testing.T) *rand.Rand {
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
	return rand.New(rand.NewPCG(seed, 0))
}

// anywhere is newShelf where there can be namespaces, else newLoopback.
func anywhere(t *testing.T, n int, common string) *shelf {
	t.Helper()
	if err := Able(); err != nil {
		t.Logf("on loopback: %v", err)
		return newLoopback(t, n, common)
	}
	return newShelf(t, n, common)
}

// absences are the rounds that an agent's report says somebody is missing in, as "round: name's reason".
func absences(t *testing.T, l Ledger) (all []string) {
	t.Helper()
	names := map[string]string{}
	for _, a := range l.Report.Agents {
		names[string(a.ID)] = a.Name
	}
	for _, row := range l.Report.Rows {
		for _, m := range row.Missing {
			all = append(all, fmt.Sprintf("%d: %s, %s", row.Round, names[string(m.ID)], m.Reason))
		}
	}
	return all
}

// took reports whether the agent with name contributed to a row.
func took(l Ledger, name string, row eval.Row) bool {
	return slices.ContainsFunc(row.Contributors, func(c eval.Contribution) bool {
		return slices.ContainsFunc(l.Report.Agents, func(a eval.AgentSummary) bool { return a.ID == c.ID && a.Name == name })
	})
}

// Ten times one of six agents is killed without warning, and started again a little later.
func TestChaosKills(t *testing.T) {
	rng := dice(t)
	t.Parallel()
	const rounds, kills = 60, 10
	s := anywhere(t, 6, small+"rounds: {count: 60, steps: 40, expect: 6, gather: 1s}\n")
	s.startAll()
	s.reach(1, 60*time.Second)
	for k := range kills {
		victim := rng.IntN(len(s.agents))
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond) // any moment of a round
		if s.agents[victim].ended() {
			t.Fatalf("kill %d: %s has ended already: give the run more rounds", k+1, s.name(victim))
		}
		s.agents[victim].kill()
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		s.start(victim)
	}
	all := s.finish(rounds, 120*time.Second)
	missing := absences(t, all[0])
	t.Logf("missing: %q", missing)
	if len(missing) == 0 {
		t.Error("ten kills, and the record knows of nobody missing")
	}
}

// An agent that stands still for longer than it takes to be declared dead, as a Pi that swaps does, comes back and takes
// part again.
func TestChaosPause(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 300
	s := anywhere(t, 4, small+"rounds: {count: 300, steps: 20, expect: 4, gather: 1s}\n")
	s.startAll()
	s.reach(2, 60*time.Second)
	s.signal(1, syscall.SIGSTOP)
	before := s.round(0)
	s.until("the others go on", 60*time.Second, func() bool { return s.round(0) > before+2 })
	time.Sleep(10 * time.Second)
	s.signal(1, syscall.SIGCONT)
	s.comesBack(1, rounds)
}

// comesBack expects agent i to have been missing, and to take part in the last round of a run that ends well.
func (s *shelf) comesBack(i, rounds int) {
	s.t.Helper()
	l := s.finish(rounds, 120*time.Second)[i]
	rows := l.Report.Rows
	if len(rows) == 0 {
		s.t.Fatal("no rows")
	}
	away := slices.IndexFunc(rows, func(r eval.Row) bool { return !took(l, s.name(i), r) })
	if away < 0 || !took(l, s.name(i), rows[len(rows)-1]) {
		s.t.Errorf("%s was missing first in row %d, and in the last: %+v", s.name(i), away, rows[len(rows)-1].Missing)
	}
}

// A cable is pulled and plugged in again.
func TestChaosCable(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 90
	s := newShelf(t, 4, small+"rounds: {count: 90, steps: 20, expect: 4, gather: 1s}\n")
	s.startAll()
	s.reach(2, 60*time.Second)
	s.must(s.wire.Pull(2))
	before := s.round(0)
	s.until("the others go on", 60*time.Second, func() bool { return s.round(0) > before+5 })
	s.must(s.wire.Plug(2))
	s.comesBack(2, rounds)
}

// An agent that hears everything and is heard by nobody, and then one that is heard and hears nothing.
func TestChaosOneWay(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 120
	s := newShelf(t, 4, small+"rounds: {count: 120, steps: 20, expect: 4, gather: 1s}\n")
	s.startAll()
	s.reach(2, 60*time.Second)
	for k, mute := range []func() error{
		func() error { return s.wire.Mute(1, 0, 2, 3) },
		func() error { return errors.Join(s.wire.Mute(0, 2), s.wire.Mute(1, 2), s.wire.Mute(3, 2)) },
	} {
		s.must(mute())
		before := s.round(0)
		s.until("the others go on", 60*time.Second, func() bool { return s.round(0) > before+5 })
		s.must(s.wire.Heal())
		deaf := k + 1
		s.until("it catches up", 60*time.Second, func() bool { return s.round(deaf) >= s.round(0) && s.round(deaf) > before })
		s.reach(s.round(0)+3, 60*time.Second)
	}
	s.finish(rounds, 120*time.Second)
}

// The power goes in the middle of rounds: the agent dies, and what was not on the disk yet is lost, torn or zero.
func TestChaosPowerCut(t *testing.T) {
	rng := dice(t)
	t.Parallel()
	const rounds, cuts = 60, 8
	s := anywhere(t, 4, small+"rounds: {count: 60, steps: 40, expect: 4, gather: 1s}\n")
	s.startAll()
	s.reach(1, 60*time.Second)
	for range cuts {
		victim := rng.IntN(len(s.agents))
		time.Sleep(time.Duration(200+rng.IntN(800)) * time.Millisecond)
		if s.agents[victim].ended() {
			t.Fatalf("%s has ended already: give the run more rounds", s.name(victim))
		}
		before := s.last(victim)
		s.agents[victim].kill()
		done, err := Tear(s.home(victim), rng)
		s.must(err)
		t.Logf("%s in round %d: %s", s.name(victim), before.Round, strings.Join(done, "; "))
		s.must(Shrunk(before, s.last(victim)))
		s.start(victim)
		s.until(s.name(victim)+" is back", 30*time.Second, func() bool { return s.round(victim) > 0 || s.agents[victim].ended() })
	}
	s.finish(rounds, 120*time.Second)
}

// Every core is busy with something else.
func TestChaosStarved(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 30
	s := anywhere(t, 4, small+"rounds: {count: 30, steps: 20, expect: 4, gather: 1s}\n")
	s.startAll()
	s.reach(2, 60*time.Second)
	rest := s.hogs(2 * runtime.NumCPU())
	time.AfterFunc(15*time.Second, rest)
	all := s.finish(rounds, 120*time.Second)
	t.Logf("missing: %q", absences(t, all[0]))
}

// Whoever evaluates is killed while it does, and whoever coordinates while it does.
func TestChaosOffices(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 80
	s := anywhere(t, 5, strings.NewReplacer("test_limit: 60", "test_limit: 2000", "every: 20", "every: 3").Replace(small)+
		"rounds: {count: 80, steps: 20, expect: 5, gather: 1s}\n")
	s.startAll()
	s.reach(2, 60*time.Second)
	killed := map[string]int{}
	for _, office := range []string{"evaluator", "coordinator", "evaluator", "coordinator", "evaluator", "coordinator"} {
		victim := -1
		s.until("somebody is "+office, 60*time.Second, func() bool {
			victim = s.holding(office)
			return victim >= 0
		})
		s.agents[victim].kill()
		killed[office]++
		before := s.round((victim + 1) % len(s.agents))
		s.start(victim)
		s.until("all go on", 60*time.Second, func() bool { return s.round((victim+1)%len(s.agents)) > before })
	}
	all := s.finish(rounds, 120*time.Second)
	t.Logf("killed %v; missing: %q", killed, absences(t, all[0]))
}

// holding is an agent that says it has the role and works on the round that it has it for; -1 if none does.
func (s *shelf) holding(role string) int {
	for i := range s.agents {
		if st, ok := s.status(i); ok && st.Role == role {
			return i
		}
	}
	return -1
}

// The clusters on the two sides of a partition both train on, under two lineages, and become one when they meet.
func TestChaosPartitionForks(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 220 // of a tenth of a second at least: a side that is through before membership finds the other again meets nobody
	s := newShelf(t, 4, small+"rounds: {count: 220, steps: 40, expect: 4, gather: 1s}\n")
	s.startAll()
	s.reach(3, 60*time.Second)
	s.must(s.wire.Split([]int{0, 1}, []int{2, 3}))
	apart := max(s.round(0), s.round(2))
	s.reach(apart+5, 60*time.Second)
	side := s.lineages()
	if side[0] != side[1] || side[2] != side[3] || side[0] == side[2] {
		t.Errorf("lineages on the two sides of a partition: %q", side)
	}
	s.must(s.wire.Heal())
	s.until("they are of one lineage", 60*time.Second, func() bool {
		now := s.lineages()
		return now[0] != "" && now[0] == now[1] && now[1] == now[2] && now[2] == now[3]
	})
	together := s.round(0)
	all := s.finish(rounds, 300*time.Second)
	t.Logf("apart from round %d, together from round %d of %d", apart, together, rounds)
	s.forked(all)
}

// lineages are those that the agents say they are of, "" of one that does not answer.
func (s *shelf) lineages() (all []string) {
	for i := range s.agents {
		st, _ := s.status(i)
		all = append(all, st.Lineage)
	}
	return all
}

// forked expects two lineages in every report, of which one gave way, said so in its log, and shows as aside.
func (s *shelf) forked(all []Ledger) {
	s.t.Helper()
	changed := 0
	for i, l := range all {
		if strings.Contains(s.agents[i].out.String(), `"event":"lineage_changed"`) {
			changed++
		}
		if got := Lineages(l); len(got) != 2 {
			s.t.Errorf("%s knows of lineages %q, want two", l.Name, got)
		}
		aside := map[string]bool{}
		for _, row := range l.Report.Rows {
			if row.Aside {
				aside[row.Lineage] = true
			}
		}
		if len(aside) != 1 {
			s.t.Errorf("the report of %s shows lineages %v aside, want one", l.Name, aside)
		}
	}
	if changed < 2 {
		s.t.Errorf("%d agents logged that their lineage changed, want the two of one side at least", changed)
	}
}

// Sides of a partition that are too small wait, say so, and go on when they meet.
func TestChaosPartitionWaits(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 30
	s := newShelf(t, 4, small+"rounds: {count: 30, steps: 20, expect: 4, gather: 1s, min_members: 3}\n")
	s.startAll()
	s.reach(3, 60*time.Second)
	s.must(s.wire.Split([]int{0, 1}, []int{2, 3}))
	for i := range s.agents {
		s.until(s.name(i)+" says that it waits", 60*time.Second, func() bool {
			return strings.Contains(s.agents[i].out.String(), `"event":"waiting_for_members"`)
		})
	}
	at := []agent.Status{}
	for i := range s.agents {
		st, _ := s.status(i)
		at = append(at, st)
	}
	time.Sleep(3 * time.Second)
	for i, was := range at {
		if now := s.round(i); now != was.Round {
			t.Errorf("%s went from round %d to %d with less than min_members", s.name(i), was.Round, now)
		}
	}
	s.must(s.wire.Heal())
	all := s.finish(rounds, 120*time.Second)
	if got := Lineages(all...); len(got) != 1 {
		t.Errorf("lineages %q, want one", got)
	}
}

// Cables of a Pi's speeds: agents at 100 Mb/s beside agents at 1 Gb/s.
func TestChaosSlowCables(t *testing.T) {
	dice(t)
	t.Parallel()
	const rounds = 15
	s := newShelf(t, 4, small+"rounds: {count: 15, steps: 20, expect: 4, gather: 1s}\n")
	for i := range s.agents {
		s.must(s.wire.Rate(i, []string{"1gbit", "100mbit"}[i%2]))
	}
	s.startAll()
	for _, l := range s.finish(rounds, 120*time.Second) {
		if missing := absences(t, l); len(missing) > 0 {
			t.Errorf("%s: %q", l.Name, missing)
		}
	}
}

// must ends the test at an error.
func (s *shelf) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
