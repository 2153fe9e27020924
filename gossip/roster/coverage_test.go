package roster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// faultNames are the faults that a run of many seeds must have met.
var faultNames = []string{
	"SIGSTOP", "all paused", "ambush", "bits flipped", "connection breaks", "corrupted frame", "cut off", "delay", "exchange fails",
	"false suspicion", "full disk", "kill", "kill, disk lost", "leave", "message lost", "message twice", "messages swapped",
	"one-way partition", "partition", "pause", "slow CPU", string(poison), string(slander), string(withhold), string(wrongHash),
}

// coverage is what many worlds met.
type coverage struct {
	seeds, steps, commits, catchups, switches int
	rounds                                    int            // distinct, of all lineages
	fired                                     map[string]int // faults and what machines noted, by name
	calmed                                    map[string][]time.Duration
	longest                                   time.Duration // of calmed
	slowest                                   uint64        // its seed
}

func newCoverage() *coverage {
	return &coverage{fired: map[string]int{}, calmed: map[string][]time.Duration{}}
}

func (c *coverage) add(seed uint64, w *world) {
	if w.ledger.calmed > c.longest {
		c.longest, c.slowest = w.ledger.calmed, seed
	}
	c.seeds++
	c.steps += w.steps
	c.commits += w.ledger.commits
	c.catchups += w.ledger.catchups
	c.switches += w.ledger.switches
	c.rounds += len(w.ledger.committed)
	for name, n := range w.fired {
		c.fired[name] += n
	}
	if w.ledger.calmed > 0 {
		c.calmed[w.plan.name] = append(c.calmed[w.plan.name], w.ledger.calmed)
	}
}

// report is the coverage as a page of text.
func (c *coverage) report() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d seeds, %d steps, %d rounds, %d commits, %d of them learned from others, %d changes of lineage\n",
		c.seeds, c.steps, c.rounds, c.commits, c.catchups, c.switches)
	s.WriteString("how often:\n")
	for _, name := range slices.Sorted(maps.Keys(c.fired)) {
		fmt.Fprintf(&s, "  %-32s %9d\n", name, c.fired[name])
	}
	fmt.Fprintf(&s, "from the last fault to the next commit:\n  %-14s %6s %9s %9s %9s\n", "world", "seeds", "median", "p99", "longest")
	var all []time.Duration
	for _, name := range slices.Sorted(maps.Keys(c.calmed)) {
		all = append(all, c.calmed[name]...)
		s.WriteString(quantiles(name, c.calmed[name]))
	}
	s.WriteString(quantiles("all", all))
	fmt.Fprintf(&s, "  the longest in seed %d\n", c.slowest)
	return s.String()
}

func quantiles(name string, d []time.Duration) string {
	if len(d) == 0 {
		return ""
	}
	slices.Sort(d)
	return fmt.Sprintf("  %-14s %6d %8.1fs %8.1fs %8.1fs\n", name, len(d), d[len(d)/2].Seconds(), d[len(d)*99/100].Seconds(), d[len(d)-1].Seconds())
}
