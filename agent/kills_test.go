package agent_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/eval"
	"shoal/gossip/roster"
)

const (
	// killsByDefault is how many deaths each of the default tests sees; SHOAL_CHAOS and SHOAL_KILLS raise it.
	killsByDefault = 4
	killsInChaos   = 12
	// killGather is rounds.gather of the clusters: an attempt that is lost costs about two.
	killGather = 500 * time.Millisecond
	// struckWithin is how long a step may take to come.
	struckWithin = 15 * time.Second
	// slowRound is longer than a round takes to which nothing happens.
	slowRound = 4 * killGather
	// killRate keeps ten thousand rounds of two steps on forty images finite: at 0.01 they diverge within a hundred.
	killRate = 1e-6
)

// Members of real clusters kill themselves before and after each step of a round, as coordinator, as another and as one that
// comes back: the others go on with the round at work or the next, at most one round takes a second attempt, nobody ever
// records another state for a round, and who died trains with the others again when it is back. By default it is a few of
// the deaths in a cluster of three; SHOAL_KILLS=all makes it all of them, in clusters of 2, 3, 5 and 8, and a number so many.
func TestKills(t *testing.T) {
	sizes, kills, seed := []int{3}, killsByDefault, uint64(1)
	if _, chaos := os.LookupEnv("SHOAL_CHAOS"); chaos {
		sizes, kills, seed = []int{2, 3, 5}, killsInChaos, uint64(time.Now().UnixNano())
	}
	if text, ok := os.LookupEnv("SHOAL_KILLS"); ok {
		sizes, kills = []int{2, 3, 5, 8}, 1000
		if n, err := strconv.Atoi(text); err == nil {
			kills, seed = n, uint64(time.Now().UnixNano())
		} else if text != "all" {
			t.Fatalf("SHOAL_KILLS=%q: give all, or a number of kills for each size", text)
		}
	}
	for _, n := range sizes {
		t.Run(fmt.Sprintf("one of %d", n), func(t *testing.T) {
			if len(sizes) == 1 {
				t.Parallel()
			}
			t.Logf("seed %d", seed)
			cases := killCases(rand.New(rand.NewPCG(seed, uint64(n))))
			newGraveyard(t, n).buryAll(cases[:min(kills, len(cases))])
		})
	}
}

// graveyard is a cluster whose members die one at a time, and come back.
type graveyard struct {
	*shelf
	orders string
	number int
	spans  []span
}

// killTries is how often a death may look as if it delayed the others too much, or its step not come: a fault of ours does so
// every time, a machine that is busy with something else hardly as often.
const killTries = 3

// span is the rounds from a death until its victim trains again, [first, last).
type span struct {
	killCase
	victim      int
	first, last int
}

// delay is a death that cost others too much, or never came.
type delay struct {
	killCase
	why string
}

// newGraveyard starts n agents that train until they are told to leave.
func newGraveyard(t *testing.T, n int) *graveyard {
	t.Helper()
	tiny := strings.NewReplacer("limit: 240, test_limit: 60", "limit: 40, test_limit: 10", "reestimate: 2", "reestimate: 0, every: 1000000",
		"rate: 0.01", fmt.Sprint("rate: ", killRate)).Replace(small)
	g := &graveyard{shelf: newShelf(t, n, tiny+fmt.Sprintf("rounds: {count: 1000000, steps: 2, expect: %d, gather: %v, backoff: 50ms}\n", n, killGather)), orders: t.TempDir()}
	g.env = []string{killsVariable + "=" + g.orders}
	return g
}

// buryAll lets all deaths happen, and those again that cost too much.
func (g *graveyard) buryAll(cases []killCase) {
	for try := 1; len(cases) > 0; try++ {
		late := g.bury(cases)
		cases = nil
		for _, d := range late {
			if try == killTries {
				g.t.Errorf("%d times: %s", killTries, d.why)
				continue
			}
			g.t.Logf("once more, after %s", d.why)
			cases = append(cases, d.killCase)
		}
	}
}

func (g *graveyard) round(i int) int { st, _ := g.status(i); return st.Round }

// whole reports whether every agent sees all in the roster.
func (g *graveyard) whole() bool {
	for i := range g.agents {
		st, ok := g.status(i)
		placed := 0
		for _, m := range st.Members {
			if m.InRoster {
				placed++
			}
		}
		if !ok || placed != len(g.agents) || st.Phase == "join" {
			return false
		}
	}
	return true
}

// bury lets one death after another happen, and then looks at what everybody recorded.
func (g *graveyard) bury(cases []killCase) (late []delay) {
	g.spans = nil
	g.startAll()
	g.until("all train", 60*time.Second, func() bool { return g.whole() && g.round(0) > 2 })
	begin := time.Now()
	for _, c := range cases {
		s := span{killCase: c, victim: -1, first: g.round(0)}
		if c.role == "newcomer" { // somebody dies so that somebody comes back
			s.victim = g.order(killCase{"other", "after exchange", true})
			g.goOn(s.victim)
		}
		v := g.order(c, s.victim)
		if v < 0 {
			late = append(late, delay{c, fmt.Sprintf("a step that did not come within %v: %s %s", struckWithin, c.role, c.step)})
		} else {
			if s.victim = v; c.away && len(g.agents) > 2 {
				g.goOn(v)
			}
			g.start(v, "")
		}
		g.until(fmt.Sprintf("all take part again after a death %s as %s", c.step, c.role), 40*time.Second, func() bool {
			return g.whole() && (s.victim < 0 || g.round(s.victim) >= g.round((s.victim+1)%len(g.agents)))
		})
		s.last = g.round(0)
		g.spans = append(g.spans, s)
	}
	g.t.Logf("%d deaths among %d in %.1f s", len(cases)-len(late), len(g.agents), time.Since(begin).Seconds())
	for i := range g.agents {
		if err := g.agents[i].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			g.t.Fatal(err)
		}
	}
	for i := range g.agents {
		g.wait(i, 30*time.Second)
	}
	return append(late, g.inspect()...)
}

// order has somebody die as c says, and returns who; -1 if the step does not come. Who is given is started first.
func (g *graveyard) order(c killCase, starts ...int) (victim int) {
	g.t.Helper()
	g.number++
	path := filepath.Join(g.orders, orderFile)
	g.write(path+".new", fmt.Appendf(nil, "%d %s %s", g.number, c.role, c.step))
	if err := os.Rename(path+".new", path); err != nil {
		g.t.Fatal(err)
	}
	for _, i := range starts {
		if i >= 0 {
			g.start(i, "")
		}
	}
	for within := newPatience(struckWithin); !within.over(); time.Sleep(5 * time.Millisecond) {
		for i, p := range g.agents {
			select {
			case <-p.done:
				if !strings.Contains(fmt.Sprint(p.err), "killed") {
					g.t.Fatalf("%s ended by itself: %v", g.name(i), p.err)
				}
				return i
			default:
			}
		}
	}
	if err := os.Remove(path); err != nil {
		g.t.Fatal(err)
	}
	return -1
}

// goOn waits until those other than the victim have committed the round at work and the next.
func (g *graveyard) goOn(victim int) {
	g.t.Helper()
	for i := range g.agents {
		if i == victim || victim < 0 {
			continue
		}
		at := g.round(i)
		g.until(fmt.Sprintf("%s goes on without %s", g.name(i), g.name(victim)), 40*time.Second, func() bool { return g.round(i) >= at+2 })
	}
}

// inspect reads all journals, and returns the deaths that delayed survivors too much.
func (g *graveyard) inspect() (late []delay) {
	type key struct {
		lineage string
		round   int
	}
	hashes, journals := map[key]string{}, make([][]eval.Commit, len(g.agents))
	for i := range g.agents {
		journal, _, err := eval.OpenJournal(filepath.Join(g.home(i), "journal.jsonl"))
		if err != nil {
			g.t.Fatal(err)
		}
		journals[i], err = journal.Commits()
		if err := errors.Join(err, journal.Close()); err != nil {
			g.t.Error(err)
		}
		for _, c := range journals[i] {
			k := key{c.Lineage, c.Round}
			if hashes[k] = cmp.Or(hashes[k], c.StateHash); hashes[k] != c.StateHash {
				g.t.Errorf("round %d of lineage %s is %.12s and, in the journal of %s, %.12s", c.Round, c.Lineage, hashes[k], g.name(i), c.StateHash)
			}
		}
	}
	for _, s := range g.spans {
		var why []string
		for i, journal := range journals {
			if i != s.victim {
				why = append(why, g.delayed(i, s, journal)...)
			}
		}
		if len(why) > 0 {
			late = append(late, delay{s.killCase, strings.Join(why, "; ")})
		}
	}
	return late
}

// delayed expects a survivor to have recorded every round of a span, and says if more than one of them was delayed.
func (g *graveyard) delayed(i int, s span, journal []eval.Commit) (why []string) {
	me := g.identity(i)
	var known, again, slow []int
	for _, c := range journal {
		if c.Round < s.first || c.Round >= s.last {
			continue
		}
		for _, m := range c.Missing {
			if strings.Contains(m.Reason, "finite") {
				g.t.Errorf("round %d of a test of deaths: %+v", c.Round, m)
			}
		}
		if known = append(known, c.Round); c.Agent == me && c.Attempts > 1 {
			again = append(again, c.Round)
		}
		if c.Agent == me && c.Seconds.Total() > slowRound.Seconds() {
			slow = append(slow, c.Round)
		}
	}
	slices.Sort(known)
	if missing := s.last - s.first - len(slices.Compact(known)); missing > 0 {
		g.t.Errorf("%s lacks %d of rounds %d to %d: %v", g.name(i), missing, s.first, s.last, known)
	}
	if most := 1 + strings.Count(s.role, "newcomer"); len(again) > most || len(slow) > most {
		why = append(why, fmt.Sprintf("%s, when %d died as %s %s (away: %v), in rounds %d to %d: more than one attempt in rounds %v, more than %v in rounds %v",
			g.name(i), s.victim, s.role, s.step, s.away, s.first, s.last, again, slowRound, slow))
	}
	return why
}

// identity is the peer ID that agent i keeps.
func (g *graveyard) identity(i int) (id roster.ID) {
	b, err := os.ReadFile(filepath.Join(g.home(i), "report.json"))
	var r eval.Report
	err = errors.Join(err, json.Unmarshal(b, &r))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, a := range r.Agents {
		if a.Name == g.name(i) {
			id = a.ID
		}
	}
	if id == "" {
		g.t.Fatalf("the report of %s does not name it", g.name(i))
	}
	return id
}
