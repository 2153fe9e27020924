package roster

import (
	"slices"
	"time"
)

// historyLen bounds the remembered durations of local steps: a few rounds of some tens of members.
const historyLen = 256

// Patience is how long a member that took own for its local steps waits, from then on, for those still at theirs: until
// median + 6·MAD of what was observed, but at least half of own; twice own while nothing was observed.
func Patience(own time.Duration, history []time.Duration) time.Duration {
	var seen []time.Duration
	for _, d := range history {
		if d > 0 {
			seen = append(seen, d)
		}
	}
	if len(seen) == 0 {
		return 2 * own
	}
	mid := median(seen)
	for i, d := range seen {
		seen[i] = (d - mid).Abs()
	}
	return max(own/2, mid+6*median(seen)-own)
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

// patience is when members still training are told to stop.
func (m *Machine) patience() time.Time {
	if m.cfg.Deadline > 0 {
		began := m.since
		if m.took > 0 { // it trained this round itself
			began = m.began
		}
		return began.Add(m.cfg.Deadline)
	}
	own := m.took
	for _, answer := range m.poll.ready {
		own = max(own, answer.Took)
	}
	if own == 0 && len(m.history) == 0 {
		return m.now.Add(m.cfg.Gather) // nobody knows yet how long it takes
	}
	return m.since.Add(Patience(own, m.history) + m.cfg.Gather)
}
