package roster

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// maxHeld bounds how long a charge is held against a member: Gather << maxHeld. It is forgotten when it was not repeated for
// as long again. A wait takes about a Gather, so that 32 keep who is waited for in vain for ever at a few percent; and one that
// is well, but not as quick to catch up as the others are with a round, is out for no longer than that.
const maxHeld = 5

// maxCharged bounds the members that charges are kept of: their names cost whoever makes them up nothing.
const maxCharged = 256

// graceOf is the part of its local steps' time that a coordinator waits for members it need not wait for: 1/graceOf.
const graceOf = 40

// charge is what a member cost the others of late. Who costs them time again and again costs them ever less of it: a charge
// is held against the member for 8 Gather, and twice as long each time, up to 32.
type charge struct {
	times int
	until time.Time
}

// charges are those of one kind, by member.
type charges map[ID]charge

// add charges a member once more.
func (c charges) add(id ID, now time.Time, gather time.Duration) {
	if _, known := c[id]; !known && len(c) >= maxCharged {
		maps.DeleteFunc(c, func(_ ID, old charge) bool { return !old.holds(now) })
		if len(c) >= maxCharged {
			return
		}
	}
	last := c[id]
	if now.Sub(last.until) > gather<<maxHeld {
		last.times = 0
	}
	last.times++
	last.until = now.Add(gather << min(last.times+2, maxHeld))
	c[id] = last
}

func (c charge) holds(now time.Time) bool { return now.Before(c.until) }

// order is 1 of a member against which a charge is held, else 0.
func (c charges) order(id ID, now time.Time) int {
	if c[id].holds(now) {
		return 1
	}
	return 0
}

// tardy reports whether the others waited for id in vain of late.
func (m *Machine) tardy(id ID) bool { return m.waits[id].holds(m.now) }

// tardied charges a member that was waited for in vain.
func (m *Machine) tardied(id ID) {
	if id != m.self {
		m.waits.add(id, m.now, m.cfg.Gather)
	}
}

// settleCharges takes what a committed round says of its members, and forgets blame whose time is over.
func (m *Machine) settleCharges(r Record) {
	for _, a := range r.Missing {
		if a.Waited {
			m.tardied(a.ID)
		}
	}
	m.blames = slices.DeleteFunc(slices.Clone(m.blames), func(a Absence) bool { return !m.faults[a.ID].holds(m.now) })
}

// spared are the members that this poll need not wait for, if the others speak for the lineage without them: those who were
// waited for in vain of late, and those who would be left out for being blamed. They are taken at their word if they are
// ready when the others are.
func (m *Machine) spared() map[ID]Absence {
	if m.st.Next == 0 {
		return nil
	}
	var here, rest []ID
	for id := range m.poll.polled {
		if m.poll.gone[id] == "" {
			here = append(here, id)
		}
	}
	slices.Sort(here)
	out := map[ID]Absence{}
	if said := m.accusations(); len(said) > 0 {
		maps.Copy(out, leaveOut(here, said, func(rest []ID) bool { return m.may(m.st.Last.Roster, rest, m.placed()) }))
	}
	for _, id := range here {
		if _, ready := m.poll.ready[id]; !ready && m.tardy(id) && id != m.self {
			out[id] = Absence{ID: id, Reason: "not ready, and not waited for: it was waited for in vain before"}
		}
		if _, is := out[id]; !is {
			rest = append(rest, id)
		}
	}
	if len(rest) < m.cfg.MinMembers || !majority(m.st.Last.Roster, rest) {
		return nil
	}
	return out
}

// grace is how long a poll waits for members that it can do without: a small part of a round, since healthy ones answer at once.
func (m *Machine) grace() time.Duration {
	if m.took == 0 {
		return m.cfg.Gather / 8
	}
	return min(m.took/graceOf, m.cfg.Gather/2)
}

// expire gives up on those whose time to answer is over, and returns how many are still awaited, and until when those that
// need not be.
func (m *Machine) expire() (open int, grace time.Time) {
	g, spared := m.poll, m.spared()
	for id, at := range g.polled {
		if _, ready := g.ready[id]; ready || g.gone[id] != "" {
			continue
		}
		if a, is := spared[id]; is {
			if end := at.Add(m.grace()); m.now.Before(end) {
				open, grace = open+1, end
			} else {
				g.absent(id, a.Reason)
				g.lost[id] = a.By
			}
			continue
		}
		heard, busy := g.busy[id]
		patience := at.Add(m.cfg.Gather)
		if busy {
			patience = heard.Add(2 * m.cfg.Gather)
			if !g.cut.IsZero() {
				patience = g.cut.Add(m.cfg.Gather)
			}
		}
		if m.now.Before(patience) {
			open++
			continue
		}
		g.absent(id, fmt.Sprintf("silent for %v", m.now.Sub(patience.Add(-m.cfg.Gather))))
		g.waited[id] = true
	}
	return open, grace
}
