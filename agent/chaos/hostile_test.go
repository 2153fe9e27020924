//go:build linux

package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"shoal/gossip/roster"
)

const (
	// hostileSlower is by how much the rounds of honest agents may take longer beside a hostile one.
	hostileSlower = 0.10
	// hostileTurns is how often it comes and goes, and hostileRounds how many rounds each takes.
	hostileTurns, hostileRounds = 3, 25
)

// Honest agents beside one that floods, lies from within the rounds or repeats what was said: their rounds take hardly longer
// than without it, in the same run; and their results are right.
func TestHostileCostsLittle(t *testing.T) {
	if _, ok := os.LookupEnv("SHOAL_HOSTILE"); !ok {
		t.Skip("takes minutes of the whole machine; run it with make hostile, or SHOAL_HOSTILE=1")
	}
	for _, lie := range []string{"flood", "hash", "nan", "norm", "replay"} {
		t.Run(lie, func(t *testing.T) {
			s := newLoopback(t, 3, small+"rounds: {count: 100000, steps: 100, expect: 3, gather: 1s}\n")
			s.startAll()
			s.reach(3, 60*time.Second)
			var with, without [][2]int
			for range hostileTurns {
				without = append(without, s.passes())
				r := newRogue(s, lie)
				begin := s.round(0)
				r.act(s)
				s.until("the rogue is known", 30*time.Second, func() bool { return s.round(0) > begin+2 })
				with = append(with, s.passes())
				r.leave()
				begin = s.round(0)
				s.until("the rogue is gone", 30*time.Second, func() bool { return s.state(0, string(r.host.ID())) != "alive" && s.round(0) > begin+2 })
			}
			s.costs(lie, with, without)
		})
	}
}

// act begins what the rogue is here for.
func (r *rogue) act(s *shelf) {
	if r.lie != "flood" {
		r.join(s)
		return
	}
	var to []roster.ID
	for i := range s.agents {
		to = append(to, roster.ID(s.id(i)))
	}
	r.flood(rand.New(rand.NewPCG(1, 0)), to)
}

// leave ends the rogue with a goodbye.
func (r *rogue) leave() {
	if err := r.gossip.Leave(2 * time.Second); err != nil {
		r.t.Log(err)
	}
	r.stop()
}

// passes waits for some rounds, and returns the first and the one after the last.
func (s *shelf) passes() [2]int {
	s.t.Helper()
	first := s.round(0) + 1
	s.until(fmt.Sprintf("%d rounds", hostileRounds), 120*time.Second, func() bool { return s.round(0) >= first+hostileRounds })
	return [2]int{first, first + hostileRounds}
}

// costs compares the rounds with a rogue to those without just before: what else the machine does meanwhile passes for a
// cost, so that the middle one of the turns counts.
func (s *shelf) costs(lie string, with, without [][2]int) {
	s.t.Helper()
	all := s.ledgers()
	if err := Forks(all...); err != nil {
		s.t.Error(err)
	}
	seconds := func(span [2]int) (took []float64, attempts int) {
		for i, l := range all {
			for _, c := range l.Commits {
				if c.Round >= span[0] && c.Round < span[1] && string(c.Agent) == s.id(i) {
					took, attempts = append(took, c.Seconds.Total()), attempts+c.Attempts
				}
			}
		}
		return took, attempts
	}
	var slower []float64
	for k := range with {
		hostile, tries := seconds(with[k])
		peace, before := seconds(without[k])
		slower = append(slower, Median(hostile)/Median(peace)-1)
		s.t.Logf("%s: a round takes %.3f s with it (mean %.3f s; %d attempts at %d), %.3f s without (mean %.3f s; %d at %d): %+.1f %%",
			lie, Median(hostile), mean(hostile), tries, len(hostile), Median(peace), mean(peace), before, len(peace), 100*slower[k])
	}
	if cost := Median(slower); cost > hostileSlower {
		s.t.Errorf("beside a rogue (%s) rounds take %.1f %% longer, more than %.0f %%", lie, 100*cost, 100*hostileSlower)
	}
}

func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v / float64(len(values))
	}
	return m
}
