package gossip

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"

	"shoal/gossip/roster"
)

// check lets a member in, or says why not.
func (t *table) check(n *memberlist.Node) error {
	if n.Name == string(t.self.ID) {
		return t.checkSelf(n)
	}
	if at, clash := t.elsewhere(n); clash {
		return fmt.Errorf("refuse member %q at %s: it is alive at %s", n.Name, n.Address(), at)
	}
	_, record, err := decodeMeta(n.Meta)
	if err != nil {
		return fmt.Errorf("refuse member %q at %s: %w", n.Name, n.Address(), err)
	}
	if err := t.admit(n.Name, record); err != nil {
		return fmt.Errorf("refuse member %q at %s: %w", n.Name, n.Address(), err)
	}
	return nil
}

// checkSelf handles word of this agent's own identity: at another address it is a double's, until that proves wrong.
func (t *table) checkSelf(n *memberlist.Node) error {
	if n.Address() == t.addr {
		return nil
	}
	switch t.doubles.heard(n.Address()) {
	case silent, mirror, younger:
		return nil
	}
	return fmt.Errorf("stay out: identity %s is alive at %s too, not only here at %s", n.Name, n.Address(), t.addr)
}

// elsewhere reports whether a member is alive at another address than n says, and where. What n says of it then must not
// count: its record, too, may be a double's.
func (t *table) elsewhere(n *memberlist.Node) (at string, clash bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.known[roster.ID(n.Name)]
	if e == nil || e.State != Alive && e.State != Suspect || e.Addr == n.Address() {
		return "", false
	}
	t.clash(Conflict{ID: e.ID, Here: e.Addr, There: n.Address()})
	return e.Addr, true
}

// clash notes one identity at two addresses. The caller holds the lock.
func (t *table) clash(c Conflict) {
	if t.clashes.see(time.Now(), c) {
		offer(t.conflicts, c)
	}
}

// NotifyAlive is asked before a member is let in, and whenever it is heard of.
func (t *table) NotifyAlive(n *memberlist.Node) error {
	if err := t.check(n); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.known[roster.ID(n.Name)]; !known && len(t.known) >= maxMembers+maxGone {
		return fmt.Errorf("refuse member %q: there are %d", n.Name, len(t.known))
	}
	t.clear(roster.ID(n.Name))
	return nil
}

// NotifyMerge is asked before two clusters join: one bad member keeps them apart. A member that is alive at another
// address here does not: it is one of two doubles, of which the cluster keeps the one that it has. This agent's own
// identity is looked for first: a double must not be connected to anybody, whom it would draw from the other.
func (t *table) NotifyMerge(nodes []*memberlist.Node) error {
	var others []*memberlist.Node
	for _, n := range nodes {
		switch {
		case n.State != memberlist.StateAlive && n.State != memberlist.StateSuspect:
		case n.Name != string(t.self.ID):
			others = append(others, n)
		default:
			if err := t.checkSelf(n); err != nil {
				return err
			}
		}
	}
	for _, n := range others {
		if _, clash := t.elsewhere(n); clash {
			continue
		}
		if err := t.check(n); err != nil {
			return err
		}
	}
	return nil
}

// NotifyConflict is called when a member's name is heard of at another address.
func (t *table) NotifyConflict(existing, other *memberlist.Node) {
	if existing.Name == string(t.self.ID) {
		return // checkSelf asks there
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clash(Conflict{ID: roster.ID(existing.Name), Here: existing.Address(), There: other.Address()})
}
