package roster

import (
	"fmt"
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

// TestARecordThatNobodyGivesIsLeftAlone holds that a lineage ahead whose state is not to be had does not keep this member
// from its own rounds, and is tried again later.
func TestARecordThatNobodyGivesIsLeftAlone(t *testing.T) {
	s := inPhase(4)
	ahead := placed().Last
	ahead.Lineage, ahead.Hash, ahead.Round, ahead.Samples = "m", "g7", 7, map[ID]int64{"c": 9000}
	for k := range maxChased {
		if s.hear("c", Message{Kind: Head, Record: &ahead}); s.m.Phase() != CatchingUp {
			t.Fatalf("attempt %d: %s", k, s.m.Phase())
		}
		s.step(FetchFailed{"g7", "refused"})
	}
	ahead.Round, ahead.Hash = 8, "g8" // it goes on, and on
	if s.hear("c", Message{Kind: Head, Record: &ahead}); s.m.Phase() == CatchingUp {
		t.Fatal("it chases on")
	}
	s.hear("c", Message{Kind: Poll, Ballot: Ballot{3, 30, "c"}, Record: &ahead})
	if s.m.st.Promised.View == 30 || s.m.Phase() == CatchingUp {
		t.Fatalf("%s: it promised a ballot on a record that it does not hold", s.m.Phase())
	}
	last := placed().Last
	s.hear("a", Message{Kind: Poll, Ballot: Ballot{3, 40, "a"}, Record: &last})
	if ready := s.sent(Ready); s.m.Phase() != Following || ready[len(ready)-1].Message.Ballot.View != 40 {
		t.Errorf("%s: it takes no part in the ballots of its own lineage", s.m.Phase())
	}
	s.now = s.now.Add(Defaults().Gather << maxChased)
	if s.hear("c", Message{Kind: Head, Record: &ahead}); s.m.Phase() != CatchingUp {
		t.Errorf("%s: it never tries again", s.m.Phase())
	}
	for i := range 3 * maxLineages {
		other := ahead
		other.Lineage, other.Hash = fmt.Sprint("x", i), fmt.Sprint("x", i)
		s.hear("c", Message{Kind: Head, Record: &other}).step(FetchFailed{s.m.target.Hash, "refused"})
	}
	if len(s.m.chases) > maxLineages {
		t.Errorf("%d lineages are remembered", len(s.m.chases))
	}
}

// TestAFinishedMemberComesBackAlone holds that who is through and is started again does not wait as long as before a first
// round: it stays a while for those that its view may not have told of yet, tells them where the run ended, and ends.
func TestAFinishedMemberComesBackAlone(t *testing.T) {
	st := placed()
	cfg := Defaults()
	cfg.Count, cfg.MinMembers, cfg.Form = int(st.Last.Round), 2, time.Hour
	s := newScript(cfg, "b", st).step(Start{}).wait(lingerFor - time.Second)
	if _, ended := did[Finish](s); ended {
		t.Fatal("it ends before the others can be in its view")
	}
	if s.hear("a", Message{Kind: Ask}); len(s.sent(Head)) == 0 {
		t.Error("it does not tell where the run ended")
	}
	if _, ended := did[Finish](s.wait(2 * time.Second)); !ended {
		t.Errorf("%s: it is through, nobody is there, and it waits", s.m.Phase())
	}
	s = newScript(cfg, "b", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}})
	s.hear("a", Message{Kind: Head, Record: &st.Last}).hear("c", Message{Kind: Head, Record: &st.Last})
	if _, ended := did[Finish](s.wait(askEvery)); !ended {
		t.Errorf("%s: all are through, and it waits", s.m.Phase())
	}
}
