package roster

import (
	"fmt"
	"slices"
	"time"
)

// lonelyFor bounds how long a minority waits for members that may be there and do not answer: a failure detector on a slow
// node needs some 15 s to make up its mind.
const lonelyFor = 20 * time.Second

// premature says why the members that answered may not go on yet with what is to be adopted, if anything is; empty if they may.
func (m *Machine) premature(members []ID, adopt *Prepared) string {
	switch {
	case len(members) < m.cfg.MinMembers:
		m.note("waiting_for_members", fmt.Sprintf("%d of min_members %d", len(members), m.cfg.MinMembers))
		return "too few members"
	case m.st.Next == 0:
		formed := adopt != nil && majority(adopt.Roster, members)
		if !formed && !m.enough(len(members)) {
			return fmt.Sprintf("%d members of %d expected", len(members), m.cfg.Expect)
		}
	case !majority(m.st.Last.Roster, members):
		return m.solitary(members)
	}
	return ""
}

// solitary says why a minority may not go on yet under a lineage of its own. Who is silent but in view is rather slow than
// dead, and whom this process never saw may be there: the failure detector decides, in time.
func (m *Machine) solitary(members []ID) string {
	if m.lonely.IsZero() {
		m.lonely = m.now
	}
	_, placed := m.st.Last.Roster.Rank(m.self)
	silent := slices.ContainsFunc(m.alive, func(id ID) bool { return m.poll.gone[id] != "" })
	unseen := slices.ContainsFunc(m.st.Last.Roster.Members, func(id ID) bool { return !m.met[id] })
	if (silent || !placed || unseen) && m.now.Sub(m.lonely) < lonelyFor {
		return fmt.Sprintf("%d members are no majority of %d, and others may be there", len(members), m.st.Last.Roster.Size())
	}
	return ""
}
