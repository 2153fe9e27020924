package cluster

import (
	"slices"
	"time"

	"shoal/eval/lab/row"
)

// aheadPairs plans the local steps of members that each have a clock of their own: nobody is cut, since one partner alone
// waits. Times are since the start of the run.
func (c *Cluster) aheadPairs(r *round) lap {
	l := lap{make([]time.Duration, len(r.present)), make([]int, len(r.present))}
	for i, m := range r.present {
		l.steps[i] = len(r.stretches[i].Batches)
		l.ready[i] = c.clocks[m] + c.busy[m] + c.stepsOf(r, i, l.steps[i])
	}
	return l
}

// advancePairs moves every member's clock past its exchange. Who is ready tells its partner so, with its samples, and when
// both are they begin; that takes one message after the later of them. The exchanges of a round share the network; those of
// different rounds, which clocks that differ may bring together, do not. The cluster's clock is that of the member that is
// last, and the parts are of what that one's pair did since the last of the round before was done.
func (c *Cluster) advancePairs(r *round, l lap) (row.RoundSeconds, error) {
	from, n := slices.Min(c.clocks), len(r.partner)
	met := make([]time.Duration, n) // since from, for the sake of precision
	for i, j := range r.partner {
		met[i] = max(l.ready[i], l.ready[j]) - from
		if i != j {
			met[i] += max(c.clock.Latency(i, j), c.clock.Latency(j, i))
		}
	}
	done, err := c.clock.Exchange(r.abreast, c.shared, c.recipe.Averaging.Wire, met)
	if err != nil {
		return row.RoundSeconds{}, err
	}
	kept, last := c.clock.Keep(len(c.state)), 0
	for i := range done {
		done[i] += from + kept
		if done[i] > done[last] {
			last = i
		}
	}
	late := last
	if j := r.partner[last]; l.ready[j] > l.ready[last] {
		late = j
	}
	since := func(lo, hi time.Duration) float64 { return (max(hi, c.now) - max(lo, c.now)).Seconds() }
	begun := c.clocks[r.present[late]]
	scored := begun + c.busy[r.present[late]]
	s := row.RoundSeconds{
		Evaluate: since(begun, scored), Train: since(scored, l.ready[late]),
		Wait: since(l.ready[late], from+met[late]), Average: since(from+met[late], done[last]),
	}
	for i, m := range r.present {
		c.clocks[m] = done[i]
	}
	c.now = done[last]
	clear(c.busy)
	return s, nil
}
