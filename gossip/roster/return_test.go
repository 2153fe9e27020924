package roster

import (
	"slices"
	"testing"
	"time"
)

// TestAYoungProcessCallsThoseItHasNotSeen holds that a member that was just started again, and coordinates before its view
// is complete, does not leave out whom the view has not told of yet.
func TestAYoungProcessCallsThoseItHasNotSeen(t *testing.T) {
	st := placed()
	s := newScript(Defaults(), "b", st).step(Start{}).step(ViewChange{Alive: []ID{"b", "c"}})
	s.hear("c", Message{Kind: Head, Record: &st.Last}).wait(time.Second).step(Trained{Samples: 6}).wait(time.Second)
	to := func() (ids []ID) {
		for _, poll := range s.sent(Poll) {
			ids = append(ids, poll.To)
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	if got := to(); !slices.Equal(got, []ID{"a", "c"}) {
		t.Fatalf("%s: polls %v", s.m.Phase(), got)
	}
	s.ready("c")
	if begins := s.sent(Begin); len(begins) > 0 {
		t.Fatal("it begins before a could answer")
	}
	s.step(Unreachable{"a"})
	if r, ok := did[Reduce](s); !ok || r.Roster.Size() != 2 {
		t.Errorf("%s: a cannot be reached, and it waits", s.m.Phase())
	}
	s = newScript(Defaults(), "b", st).step(Start{}).wait(lonelyFor + time.Second)
	s.step(ViewChange{Alive: []ID{"b", "c"}}).step(Trained{Samples: 6})
	before := len(s.sent(Poll))
	s.wait(2 * time.Second)
	for _, poll := range s.sent(Poll)[before:] {
		if poll.To == "a" {
			t.Error("after so long it still calls whom the detector never saw")
		}
	}
}

// TestTheCoordinatorPassesOnWhatItLearned holds that members ready for a ballot hear at once that the round is committed.
func TestTheCoordinatorPassesOnWhatItLearned(t *testing.T) {
	s := coordinator().ready("a")
	next := placed().Last
	next.Round, next.Hash, next.Samples = 3, "k3", map[ID]int64{"a": 60}
	s.hear("c", Message{Kind: Head, Record: &next})
	heads := s.sent(Head)
	if len(heads) == 0 || heads[len(heads)-1].To != "a" || heads[len(heads)-1].Message.Record.Hash != "k3" {
		t.Errorf("%s: tells %v", s.m.Phase(), heads)
	}
}

// TestAbortOfACommittedRoundIsAnsweredByIt holds that who gave up a ballot that was committed elsewhere learns of it.
func TestAbortOfACommittedRoundIsAnsweredByIt(t *testing.T) {
	s := inPhase(7).hear("c", Message{Kind: Abort, Ballot: Ballot{3, 9, "a"}, Reason: "no word from every member in time"})
	if heads := s.sent(Head); len(heads) == 0 || heads[len(heads)-1].To != "c" || heads[len(heads)-1].Message.Record.Round != 3 {
		t.Errorf("%s: answers %v", s.m.Phase(), s.last)
	}
}
