package roster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxLeftOut bounds the members that a ballot leaves out for being blamed: finding the fewest takes twice as long for each.
const maxLeftOut = 10

// accuse remembers that id made a ballot of the round at work fail. A member says so in every later ballot of the round, and
// of those that follow while the charge holds; what it says costs id a place in them, or itself.
func (m *Machine) accuse(b Ballot, id ID, why string) {
	if id == "" || id == m.self || b.Round != m.st.Next || m.blamed(id) || len(m.blames) >= maxBlames {
		return
	}
	m.faults.add(id, m.now, m.cfg.Gather)
	m.blames = append(slices.Clip(m.blames), Absence{ID: id, Reason: shorten(why)})
	if m.stuck.IsZero() && !slices.ContainsFunc(m.placed(), func(id ID) bool { return !m.blamed(id) }) {
		m.stuck = m.now // nobody else may coordinate
	}
	m.note("member_blamed", fmt.Sprintf("%s in %s: %s", id, b, why))
}

// blamed reports whether this member blames another.
func (m *Machine) blamed(id ID) bool {
	return slices.ContainsFunc(m.blames, func(a Absence) bool { return a.ID == id })
}

// shorten cuts a reason to maxReasonBytes of whole characters.
func shorten(why string) string {
	why = strings.ToValidUTF8(why, "?")
	return strings.ToValidUTF8(why[:min(len(why), maxReasonBytes)], "")
}

// accusation is one member's word against another. again says that to lost against from in the round before: this time it
// is from's turn, so that nobody who lies every time keeps another out for ever.
type accusation struct {
	from, to ID
	why      string
	again    bool
}

// sides are the absences of which an accusation makes one, the first rather than the second.
func (a accusation) sides() [2]Absence {
	sides := [2]Absence{
		{ID: a.to, Reason: "blamed by " + string(a.from) + ": " + a.why, By: a.from},
		{ID: a.from, Reason: "blames " + string(a.to) + ", who stays: " + a.why, By: a.to},
	}
	if a.again {
		sides[0], sides[1] = sides[1], sides[0]
	}
	return sides
}

// leaveOut chooses whom a ballot of ready leaves out, and why: of every accusation among them the accused or the accuser,
// and of all such choices the one with the fewest members, rather accused than accusers. The members left must pass may,
// which holds for more members if it holds for fewer; if no choice of up to maxLeftOut does, nobody is left out.
//
// Invariant: where honest members do not accuse each other, the liars are such a choice. So no more members are left out
// than there are liars, and every ballot that a liar makes fail adds an accusation that leaves it, or another one, out.
func leaveOut(ready []ID, said []accusation, may func([]ID) bool) map[ID]Absence {
	here := func(id ID) bool { return slices.Contains(ready, id) }
	said = slices.DeleteFunc(slices.Clone(said), func(a accusation) bool { return !here(a.from) || !here(a.to) || a.from == a.to })
	out := map[ID]Absence{}
	isOut := func(id ID) bool { _, is := out[id]; return is }
	var choose func(left int) bool
	choose = func(left int) bool {
		k := slices.IndexFunc(said, func(a accusation) bool { return !isOut(a.from) && !isOut(a.to) })
		if k < 0 {
			return may(slices.DeleteFunc(slices.Clone(ready), isOut))
		}
		if left == 0 {
			return false
		}
		for _, side := range said[k].sides() {
			out[side.ID] = side
			if choose(left - 1) {
				return true
			}
			delete(out, side.ID)
		}
		return false
	}
	for size := range maxLeftOut + 1 {
		if choose(size) {
			return out
		}
	}
	return nil
}

// accusations are what the members ready for this ballot said, in an order that every coordinator finds.
func (m *Machine) accusations() []accusation {
	var said []accusation
	for _, from := range slices.Sorted(maps.Keys(m.poll.ready)) {
		for _, a := range m.poll.ready[from].Blames {
			said = append(said, accusation{from, a.ID, a.Reason, lost(m.st.Last, a.ID, from)})
		}
	}
	return said
}

// lost reports whether id was left out of the last round against by.
func lost(last Record, id, by ID) bool {
	return slices.ContainsFunc(last.Missing, func(a Absence) bool { return a.ID == id && a.By == by })
}

// exclude leaves members out of the ballot that are blamed for the failure of an earlier one, and reports whether this
// member may still coordinate it.
func (m *Machine) exclude() (leftOut []ID, stays bool) {
	said := m.accusations()
	if len(said) == 0 {
		return nil, true
	}
	ready := slices.Sorted(maps.Keys(m.poll.ready))
	voters := m.st.Last.Roster
	if !majority(voters, ready) || m.stuckFor() >= lonelyFor { // those here go on under a lineage of their own
		voters = Roster{Members: ready}
	}
	out := leaveOut(ready, said, func(rest []ID) bool { return m.may(voters, rest, m.placed()) })
	if out == nil && m.stuckFor() >= lonelyFor { // one that is not placed has to coordinate
		out = leaveOut(ready, said, func(rest []ID) bool { return m.may(voters, rest, m.alive) })
	}
	if out == nil {
		m.note("blame_ignored", fmt.Sprintf("%d accusations, and without those in them too few members are left", len(said)))
		if m.stuck.IsZero() {
			m.stuck = m.now
		}
	} else if m.lonely.IsZero() {
		m.lonely = m.stuck // it has been waited for long enough
	}
	if own, self := out[m.self]; self {
		m.tell(ready, Message{Kind: Abort, Ballot: m.st.Promised, Reason: "this coordinator steps aside, " + own.Reason})
		m.aside = m.now.Add(4 * m.cfg.Gather) // whatever ballots fail in between
		m.retreat(own.Reason)
		return nil, false
	}
	leftOut = slices.Sorted(maps.Keys(out))
	for _, id := range leftOut {
		m.poll.absent(id, out[id].Reason)
		m.poll.lost[id] = out[id].By
		m.note("member_left_out", string(id)+" "+out[id].Reason)
	}
	return leftOut, true
}

// stuckFor is how long accusations have stood among members none of whom can be left out, or against all who may coordinate.
func (m *Machine) stuckFor() time.Duration {
	if m.stuck.IsZero() {
		return 0
	}
	return m.now.Sub(m.stuck)
}

// may reports whether rest can go on without the others: they speak for voters, and a candidate among them can coordinate.
func (m *Machine) may(voters Roster, rest, candidates []ID) bool {
	leads := func(id ID) bool { return slices.Contains(candidates, id) && m.poll.ready[id].Reason != isPaused }
	switch {
	case len(rest) < m.cfg.MinMembers || !slices.ContainsFunc(rest, leads):
		return false
	case m.st.Next == 0:
		return m.enough(len(rest))
	}
	return majority(voters, rest)
}

// differ ends a ballot whose members stored different results once it is known who is wrong, or that nobody can know: the
// result to adopt is right, or that of more than half of the members.
func (m *Machine) differ() {
	members := m.settled.Roster.Members
	count, right := map[string]int{}, ""
	told := 0
	for _, id := range members {
		if hash, ok := m.dones[id]; ok {
			told++
			if count[hash]++; 2*count[hash] > len(members) {
				right = hash
			}
		}
	}
	if m.adopt != nil {
		right = m.adopt.Hash
	}
	if right == "" && told < len(members) {
		return
	}
	var blame ID
	for _, id := range members {
		hash, ok := m.dones[id]
		if !ok || hash == m.stored {
			continue
		}
		why := fmt.Sprintf("stored %.12s, and most %.12s", hash, right)
		m.note("hash_mismatch", fmt.Sprintf("%s has %.12s, this member %.12s", id, hash, m.stored))
		if right == m.stored {
			m.accuse(m.st.Promised, id, why)
			blame = id
		}
	}
	m.fail(m.st.Promised, "hashes differ", blame, true)
}
