package roster

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// mute is a member that others see and that never answers a poll.
const mute lie = "mute"

// hostile is a quiet cluster with one member that lies as told, for some rounds; it returns how long these took.
func hostile(t *testing.T, members, rounds int, kind lie) time.Duration {
	t.Helper()
	w := quiet(members, rounds)
	liar := w.nodes[members/2]
	if liar.lie = kind; kind == mute {
		w.tamper.onMessage = func(from *node, _ ID, msg Message) (Message, bool) {
			return msg, from != liar || msg.Kind != Ready && msg.Kind != Busy && msg.Kind != Poll || from.machine.Next() < 2
		}
	}
	through := func() bool {
		return !slices.ContainsFunc(w.nodes, func(n *node) bool {
			return n.machine == nil || n.lie == honest && n.machine.Last().Round < uint64(rounds)
		})
	}
	if !w.pass(w.start.Add(time.Hour), through) || !through() {
		t.Fatalf("%s: not through after %v: %v", kind, w.now.Sub(w.start), w.failures)
	}
	return w.now.Sub(w.start)
}

// TestHostileMembersCostLittle holds that whoever lies in every exchange, or never answers, costs the others little over many
// rounds: they get ever rarer occasions to.
func TestHostileMembersCostLittle(t *testing.T) {
	const rounds, limit = 250, 0.10
	for _, members := range []int{4, 6} {
		peace := hostile(t, members, rounds, honest)
		for _, kind := range append(slices.Clone(lies), mute) {
			t.Run(fmt.Sprint(kind, " among ", members), func(t *testing.T) {
				took := hostile(t, members, rounds, kind)
				slower := took.Seconds()/peace.Seconds() - 1
				t.Logf("%d rounds took %.1f s, %.1f s in peace: %+.1f %%", rounds, took.Seconds(), peace.Seconds(), 100*slower)
				if slower > limit {
					t.Errorf("%+.1f %%, more than %.0f %%", 100*slower, 100*limit)
				}
			})
		}
	}
}

func TestChargesGrowAndAreForgotten(t *testing.T) {
	const gather = time.Second
	now, c := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), charges{}
	for _, want := range []time.Duration{8, 16, 32, 32, 32} {
		c.add("a", now, gather)
		if got := c["a"].until.Sub(now); got != want*gather {
			t.Errorf("held for %v, want %v", got, want*gather)
		}
		if now = c["a"].until; c["a"].holds(now) || !c["a"].holds(now.Add(-1)) {
			t.Errorf("at the end of its time: %+v", c["a"])
		}
	}
	now = now.Add(33 * gather)
	if c.add("a", now, gather); c["a"].times != 1 {
		t.Errorf("after a long time without fault it is the %d. time", c["a"].times)
	}
	for i := range 2 * maxCharged {
		c.add(ID(fmt.Sprint("x", i)), now, gather)
	}
	if len(c) != maxCharged {
		t.Errorf("charges of %d members are kept, the limit is %d", len(c), maxCharged)
	}
	if c.add("b", now.Add(time.Minute), gather); c["b"].times != 1 || len(c) > maxCharged {
		t.Errorf("there is no room for a new one when the old ones are over: %d", len(c))
	}
}

// away makes s commit a round of which somebody is missing that was waited for, or not, and train the next.
func (s *script) away(id ID, waited bool) *script {
	next := s.m.st.Last
	next.Round, next.Hash, next.Samples = next.Round+1, next.Hash+"'", map[ID]int64{"a": next.total() + 60}
	next.Missing = []Absence{{ID: id, Reason: "silent", Waited: waited}}
	return s.hear("a", Message{Kind: Head, Record: &next}).step(Fetched{next.Hash}).step(Adopted{})
}

// TestWhoWasSilentIsNotAwaited holds that a poll waits for a member that was waited for in vain only as long as it takes to
// hear of one that is well, and takes it in if it is.
func TestWhoWasSilentIsNotAwaited(t *testing.T) {
	for _, waited := range []bool{false, true} {
		s := inPhase(2).away("c", waited).wait(4 * time.Second).step(Trained{Samples: 6})
		s.wait(time.Second)
		if s.m.Phase() != Polling {
			t.Fatalf("%s", s.m.Phase())
		}
		before := len(s.effects)
		if s.ready("a").wait(4 * time.Second / graceOf); (s.m.Phase() == Reducing) != waited {
			t.Errorf("waited for in vain before: %v, and now %s after %d effects", waited, s.m.Phase(), len(s.effects)-before)
		}
		s = inPhase(2).away("c", waited).wait(4 * time.Second).step(Trained{Samples: 6})
		s.wait(time.Second)
		if s.ready("c").ready("a"); s.m.Phase() != Reducing || s.m.settled.Roster.Size() != 3 {
			t.Errorf("%s: who answers takes part, %+v", s.m.Phase(), s.m.settled)
		}
	}
}

// TestWhoIsNeededIsAwaited holds that nobody speaks for a lineage without the members that it takes.
func TestWhoIsNeededIsAwaited(t *testing.T) {
	s := inPhase(2).away("c", true).away("a", true).wait(4 * time.Second).step(Trained{Samples: 6})
	if s.wait(1500 * time.Millisecond); s.m.Phase() != Polling || len(s.sent(Begin)) > 0 {
		t.Errorf("%s alone of three", s.m.Phase())
	}
}

// TestTheSilentAreListed holds that a record tells everybody who was waited for in vain, a newcomer, too.
func TestTheSilentAreListed(t *testing.T) {
	s := coordinator().step(ViewChange{Alive: []ID{"a", "b", "c", "d"}}).ready("a").wait(2 * Defaults().Gather)
	if s.m.settled == nil {
		t.Fatalf("still %s", s.m.Phase())
	}
	missing := s.m.settled.Missing
	if len(missing) != 2 || missing[0].ID != "c" || missing[1].ID != "d" || !missing[0].Waited || !missing[1].Waited {
		t.Errorf("missing %+v", missing)
	}
	s.step(Reduced{s.m.st.Promised, "h3"}).hear("a", Message{Kind: Done, Ballot: s.m.st.Promised, Hash: "h3"})
	if !s.m.tardy("c") || !s.m.tardy("d") || s.m.tardy("a") {
		t.Errorf("charged: %+v", s.m.waits)
	}
}
