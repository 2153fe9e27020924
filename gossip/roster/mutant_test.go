package roster

import (
	"strings"
	"testing"
)

// TestMutantsAreFound plants one fault at a time beside the machines and asks the simulation to see it: a check that finds
// nothing is worth nothing.
func TestMutantsAreFound(t *testing.T) {
	mutants := []struct {
		name, kind, want string
		tamper           tamper
	}{
		{"a restart forgets the promise and what is prepared", "ambush", "agreement", tamper{onPersist: func(_, next Stable) Stable {
			next.Promised, next.Prepared = Ballot{}, nil
			return next
		}}},
		{"nobody says what is prepared", "ambush", "agreement", tamper{onMessage: func(_ *node, _ ID, msg Message) (Message, bool) {
			if msg.Kind == Ready {
				msg.Prepared = nil
			}
			return msg, true
		}}},
		{"a member commits without the others", "ambush", "agreement", tamper{onReduced: func(n *node, e Reduced) {
			for _, id := range n.machine.st.Last.Roster.Members {
				n.feed(Received{id, Message{Kind: Done, Ballot: e.Ballot, Hash: e.Hash}})
			}
		}}},
		{"a poll makes forget what is prepared", "ambush", "agreement", tamper{onEvent: func(n *node, e Event) bool {
			if r, ok := e.(Received); ok && r.Message.Kind == Poll {
				if m := n.machine; r.Message.Ballot.Compare(m.st.Promised) > 0 {
					m.st.Prepared = nil
				}
			}
			return true
		}}},
		{"counted work is carried over", "calm", "twice", tamper{onCounted: func(bool) bool { return false }}},
		{"work that is not counted is dropped", "ambush", "lost", tamper{onCounted: func(bool) bool { return true }}},
		{"a failed exchange is not noticed", "failing", "progress", tamper{onEvent: func(_ *node, e Event) bool {
			_, failed := e.(Failed)
			return !failed
		}}},
		{"nobody says whom it blames", "liar", "progress", tamper{onMessage: func(_ *node, _ ID, msg Message) (Message, bool) {
			msg.Blames = nil
			return msg, true
		}}},
		{"a paused member goes on", "held", "paused", tamper{onEvent: func(_ *node, e Event) bool {
			_, pause := e.(Pause)
			return !pause
		}}},
		{"a full disk goes unnoticed", "full", "agreement", tamper{deaf: true}},
		{"a minority keeps its lineage", "partition", "agreement", tamper{onMessage: func(n *node, _ ID, msg Message) (Message, bool) {
			if s := n.machine.settled; s != nil && n.machine.st.Last.Lineage != "" {
				s.Lineage = n.machine.st.Last.Lineage
			}
			return msg, true
		}}},
	}
	for _, mutant := range mutants {
		t.Run(mutant.name, func(t *testing.T) {
			const seeds = 3000
			for seed := range uint64(seeds) {
				w := worldIn(seed, mutant.kind)
				w.tamper = mutant.tamper
				if failures := simulate(w); len(failures) > 0 && strings.Contains(failures[0], mutant.want) {
					t.Logf("seed %d: %.200s", seed, failures[0])
					return
				}
			}
			t.Errorf("%d seeds did not show it by %q", seeds, mutant.want)
		})
	}
}
