package agent

import (
	"testing"

	"shoal/gossip/roster"
)

// What the wire lost of a contribution is made up for only if the contribution counted: by the exchange at hand, by the
// record that a later ballot made of it, or by a record further on that names the work.
func TestSettledExchange(t *testing.T) {
	b1, b2 := roster.Ballot{Round: 3, View: 1, Coordinator: "a"}, roster.Ballot{Round: 3, View: 2, Coordinator: "b"}
	for _, c := range []struct {
		name    string
		adopted roster.Adopt
		want    bool
	}{
		{"committed", roster.Adopt{Record: roster.Record{Ballot: b1}, Counted: true, Own: true}, true},
		{"without work of this member's", roster.Adopt{Record: roster.Record{Ballot: b1}, Own: true}, true},
		{"another ballot's", roster.Adopt{Record: roster.Record{Ballot: b2}}, false},
		{"rounds later", roster.Adopt{Record: roster.Record{Ballot: roster.Ballot{Round: 5}}, Counted: true}, true},
	} {
		x := exchange{done: exchanged{ballot: b1}}
		if x.settle(c.adopted); x.counted != c.want {
			t.Errorf("%s: counted is %v", c.name, x.counted)
		}
	}
}
