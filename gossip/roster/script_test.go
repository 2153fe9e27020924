package roster

import (
	"slices"
	"testing"
	"time"
)

// These are single members led by hand through what once went wrong, or easily could.

func TestMessagesKeepTheirRecord(t *testing.T) {
	s := inPhase(6) // prepared; asked before it commits
	s.hear("c", Message{Kind: Ask})
	asked := s.sent(Head)
	before := *asked[len(asked)-1].Message.Record
	s.hear("a", Message{Kind: Done, Ballot: s.m.st.Promised, Hash: "h3"}).hear("c", Message{Kind: Done, Ballot: s.m.st.Promised, Hash: "h3"})
	if s.m.Last().Round != 3 {
		t.Fatalf("at round %d", s.m.Last().Round)
	}
	if after := *asked[len(asked)-1].Message.Record; after.Hash != before.Hash || after.Round != 2 {
		t.Errorf("a head on its way changed from %+v to %+v", before, after)
	}
}

func TestBeginThatCountsWrongIsRefused(t *testing.T) {
	s := inPhase(4) // ready with 6 samples
	settled := s.settled(60)
	s.hear("a", Message{Kind: Begin, Ballot: s.m.st.Promised, Settled: &settled})
	if _, reduces := did[Reduce](s); reduces {
		t.Error("it takes part with samples that it does not hold")
	}
	if aborts := s.sent(Abort); len(aborts) != 2 {
		t.Errorf("told %v; both others wait for it", aborts)
	}
}

func TestBeginTwiceReducesOnce(t *testing.T) {
	s := inPhase(5)
	settled := s.settled(6)
	s.hear("a", Message{Kind: Begin, Ballot: s.m.st.Promised, Settled: &settled})
	if len(s.last) != 0 {
		t.Errorf("a repeated begin leads to %v", s.last)
	}
}

// TestAFailedBallotDoesNotBeginAgain holds that a poll and a begin that come late, or twice, do not bring back a ballot that
// failed here: its exchange would run a second time under one name.
func TestAFailedBallotDoesNotBeginAgain(t *testing.T) {
	for _, stage := range []int{5, 6} {
		s := inPhase(stage)
		b := s.m.st.Promised
		s.hear("c", Message{Kind: Abort, Ballot: b, Reason: "broken"})
		before := len(s.sent(Ready))
		s.hear("a", Message{Kind: Poll, Ballot: b, Record: &s.m.st.Last})
		if aborts := s.sent(Abort); len(s.sent(Ready)) > before || len(aborts) == 0 || aborts[len(aborts)-1].To != "a" {
			t.Errorf("stage %d: %s, answers %v", stage, s.m.Phase(), s.last)
		}
		settled := s.settled(6)
		s.hear("a", Message{Kind: Begin, Ballot: b, Settled: &settled})
		if s.m.Phase() == Reducing || s.m.Phase() == Preparing {
			t.Errorf("stage %d: it begins again", stage)
		}
		s.hear("a", Message{Kind: Poll, Ballot: Ballot{3, b.View + 1, "a"}, Record: &s.m.st.Last})
		if s.m.Phase() != Following {
			t.Errorf("stage %d: %s, and the next ballot is polled", stage, s.m.Phase())
		}
	}
}

func TestOldBeginIsRefused(t *testing.T) {
	s := inPhase(4)
	settled := s.settled(6)
	s.hear("c", Message{Kind: Begin, Ballot: Ballot{3, 8, "c"}, Settled: &settled})
	if s.m.Phase() != Following || len(s.sent(Abort)) != 2 {
		t.Errorf("%s after the begin of an earlier ballot, aborts %v", s.m.Phase(), s.sent(Abort))
	}
}

func TestAbortAfterCommitChangesNothing(t *testing.T) {
	s := inPhase(7)
	ballot := s.m.st.Promised
	s.hear("c", Message{Kind: Abort, Ballot: ballot, Reason: "late"}).step(Failed{ballot, "late", "c"}).step(Unreachable{"c"})
	if s.m.Phase() != Adopting || s.m.Last().Round != 3 {
		t.Errorf("%s at round %d", s.m.Phase(), s.m.Last().Round)
	}
}

func TestDoneOfACommittedRoundIsAnsweredByIt(t *testing.T) {
	s := inPhase(7)
	s.hear("c", Message{Kind: Done, Ballot: s.m.st.Promised, Hash: "h3"})
	heads := s.sent(Head)
	if len(heads) == 0 || heads[len(heads)-1].To != "c" || heads[len(heads)-1].Message.Record.Round != 3 {
		t.Errorf("answered %v", s.last)
	}
}

func TestLostDoneIsRepeated(t *testing.T) {
	s := inPhase(6).hear("a", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "h3"})
	before := len(s.sent(Done))
	s.wait(Defaults().Gather)
	for _, again := range s.sent(Done)[before:] {
		if again.To != "c" {
			t.Errorf("repeated to %s, which said its own", again.To)
		}
	}
	if len(s.sent(Done)) == before {
		t.Error("nothing is repeated to a member that says nothing")
	}
	if s.wait(3 * Defaults().Gather); len(s.sent(Abort)) == 0 || s.m.st.Prepared == nil {
		t.Errorf("%s: no abort, or what was prepared is forgotten", s.m.Phase())
	}
}

func TestHashesThatDifferAbort(t *testing.T) {
	s := inPhase(6).hear("a", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "other"}).hear("c", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "h3"})
	if s.m.Last().Round != 2 || len(s.sent(Abort)) != 2 {
		t.Errorf("at round %d, aborts %v", s.m.Last().Round, s.sent(Abort))
	}
}

func TestEndedOnlyTells(t *testing.T) {
	cfg, st := Defaults(), placed()
	cfg.Count = 2
	st.Last.Roster = Roster{1, []ID{"b"}}
	s := newScript(cfg, "b", st).step(Start{}).wait(time.Minute)
	if _, finished := did[Finish](s); !finished {
		t.Fatalf("still %s", s.m.Phase())
	}
	other := st.Last
	other.Round, other.Hash, other.Samples = 9, "h9", map[ID]int64{"a": 1000}
	s.step(ViewChange{Alive: []ID{"a", "b"}})
	if s.hear("a", Message{Kind: Head, Record: &other}); len(s.last) != 0 || !s.m.Wake().IsZero() {
		t.Errorf("after the end: %v, wake %v", s.last, s.m.Wake())
	}
	if s.hear("a", Message{Kind: Ask}); len(s.last) != 1 || s.last[0].(Send).Message.Record.Round != 2 {
		t.Errorf("a late member is told %v", s.last)
	}
}

func TestFormationAwaitsWhomItExpects(t *testing.T) {
	cfg := Defaults()
	cfg.Expect, cfg.Form = 3, time.Minute
	s := newScript(cfg, "b", Stable{}).step(Start{}).step(ViewChange{Alive: []ID{"a", "b"}}).wait(30 * time.Second)
	if polls := s.sent(Poll); len(polls) != 0 || s.m.Phase() != Joining {
		t.Errorf("%s, %d polls with two of three", s.m.Phase(), len(polls))
	}
	s.step(ViewChange{Alive: []ID{"a", "b", "c"}}).wait(2 * time.Second)
	polls := s.sent(Poll)
	if len(polls) == 0 {
		t.Fatalf("%s, and nobody is polled with all there", s.m.Phase())
	}
	s.hear("a", Message{Kind: Ready, Ballot: s.m.st.Promised}).wait(10 * time.Second) // c says nothing
	if begins := s.sent(Begin); len(begins) != 0 {
		t.Errorf("begins with two of three: %+v", begins[0].Message.Settled)
	}
	s.wait(30 * time.Second) // the time to form is over, and nobody answers
	if adopt, ok := did[Adopt](s); !ok || adopt.Record.Round != 0 || adopt.Record.Roster.Size() != 1 {
		t.Errorf("%s: does not begin when it is late", s.m.Phase())
	}
}

func TestMinimumOfMembers(t *testing.T) {
	cfg := Defaults()
	cfg.MinMembers = 2
	s := newScript(cfg, "b", Stable{}).step(Start{}).wait(5 * time.Minute)
	if len(s.sent(Poll)) != 0 || s.m.Phase() != Joining {
		t.Errorf("%s alone, with a minimum of two", s.m.Phase())
	}
	s.step(ViewChange{Alive: []ID{"a", "b"}}).wait(2 * time.Second)
	if len(s.sent(Poll)) == 0 {
		t.Error("two do not begin")
	}
}

// alone is member c of a, b and c when the others are gone for good, with its steps done.
func alone(alive ...ID) *script {
	st := placed()
	st.Last.Roster = Roster{1, []ID{"a", "b", "c"}}
	s := newScript(Defaults(), "c", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}})
	s.hear("a", Message{Kind: Head, Record: &st.Last}).wait(time.Second).step(Trained{Samples: 6})
	return s.step(ViewChange{Alive: append(alive, "c")})
}

func TestMinorityWaitsForTheDetector(t *testing.T) {
	s := alone("a", "b").wait(10 * time.Second) // nobody answers, and both are in view
	if _, reduces := did[Reduce](s); reduces {
		t.Error("it goes on without members that are in view")
	}
	if s.wait(lonelyFor + 10*time.Second); !slices.ContainsFunc(s.effects, func(e Effect) bool { _, ok := e.(Reduce); return ok }) {
		t.Errorf("%s: it waits for ever", s.m.Phase())
	}
	s = alone().wait(5 * time.Second) // the detector has spoken
	r, reduces := did[Reduce](s)
	if !reduces || r.Tag.Lineage == "l" {
		t.Errorf("alone: reduces %v, %+v", reduces, r)
	}
}

func TestSleeperDoesNotDecideAlone(t *testing.T) {
	s := alone("a", "b").wait(time.Second)
	if s.m.Phase() != Polling {
		t.Fatalf("%s", s.m.Phase())
	}
	s.now = s.now.Add(45 * time.Second) // stopped
	s.step(Tick{})
	if s.m.Phase() != Polling || len(s.sent(Begin)) != 0 {
		t.Errorf("%s, begins %v", s.m.Phase(), s.sent(Begin))
	}
	if note, ok := did[Note](s); !ok || note.Event != "overslept" {
		t.Errorf("says %+v", note)
	}
}

func TestJoinerWaitsToBeTakenIn(t *testing.T) {
	st := placed()
	s := newScript(Defaults(), "x", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "x"}}).hear("a", Message{Kind: Head, Record: &st.Last})
	s.wait(time.Second).step(ViewChange{Alive: []ID{"x"}}).wait(10 * time.Second)
	if _, reduces := did[Reduce](s); reduces {
		t.Error("it goes on before it can have seen the others")
	}
	s.step(ViewChange{Alive: []ID{"b", "x"}}).hear("b", Message{Kind: Poll, Ballot: Ballot{3, 99, "b"}, Record: &st.Last})
	if ready := s.sent(Ready); len(ready) == 0 || ready[len(ready)-1].To != "b" {
		t.Errorf("%s: it does not answer the poll", s.m.Phase())
	}
}

func TestALineageThatWinsMayBeRoundsBehind(t *testing.T) {
	st := placed()
	st.Next, st.Last.Round, st.Promised = 9, 8, Ballot{9, 4, "c"}
	s := newScript(Defaults(), "b", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}})
	other := st.Last
	other.Lineage, other.Hash, other.Round, other.Samples = "m", "g5", 5, map[ID]int64{"a": 1000}
	s.hear("a", Message{Kind: Head, Record: &other}).step(Fetched{"g5"})
	if note := slices.ContainsFunc(s.effects, func(e Effect) bool { n, ok := e.(Note); return ok && n.Event == "lineage_changed" }); !note {
		t.Error("it does not say so")
	}
	s.step(Adopted{})
	if s.m.Next() != 6 || s.m.Last().Lineage != "m" {
		t.Fatalf("next is round %d of %s", s.m.Next(), s.m.Last().Lineage)
	}
	s.step(Trained{Samples: 5}).hear("c", Message{Kind: Poll, Ballot: Ballot{6, 5, "c"}, Record: &other})
	if len(s.sent(Ready)) == 0 {
		t.Errorf("the promise %v for a round that it left still binds", s.m.st.Promised)
	}
}

// TestWorkOfUnknownEndIsNotTrainedUpon holds that local work which an exchange took, and which a record lacks, stays apart
// from new work: another record may hold it.
func TestWorkOfUnknownEndIsNotTrainedUpon(t *testing.T) {
	s := inPhase(5).step(Failed{Ballot{3, 9, "a"}, "broken", ""})
	other := placed().Last
	other.Round, other.Hash, other.Ballot, other.Samples = 3, "k3", Ballot{3, 10, "c"}, map[ID]int64{"a": 25, "b": 24, "c": 16}
	s.hear("c", Message{Kind: Head, Record: &other}).step(Fetched{"k3"})
	adopt, ok := did[Adopt](s)
	if !ok || adopt.Counted {
		t.Fatalf("%+v", adopt)
	}
	trains := len(slices.DeleteFunc(slices.Clone(s.effects), func(e Effect) bool { _, ok := e.(Train); return !ok }))
	s.step(Adopted{Carry: 6})
	if again := len(slices.DeleteFunc(slices.Clone(s.effects), func(e Effect) bool { _, ok := e.(Train); return !ok })); again != trains {
		t.Error("it trains on top of it")
	}
	next := other
	next.Round, next.Hash, next.Ballot, next.Samples = 4, "k4", Ballot{4, 11, "a"}, map[ID]int64{"a": 30, "b": 30, "c": 20}
	next.Work = map[ID]int64{"b": s.m.work}
	s.hear("a", Message{Kind: Head, Record: &next}).step(Fetched{"k4"})
	if adopt, _ := did[Adopt](s); adopt.Record.Round != 4 || !adopt.Counted {
		t.Errorf("the record %+v holds it, counted %v", adopt.Record, adopt.Counted)
	}
}

func TestWorkKeptFromAnEarlierLifeIsNamed(t *testing.T) {
	s := inPhase(1).hear("a", Message{Kind: Head, Record: &Record{
		Round: 4, Hash: "h4", Lineage: "l", Roster: Roster{2, []ID{"a", "c"}}, Samples: map[ID]int64{"a": 90},
	}})
	s.step(Fetched{"h4"}).step(Adopted{Carry: 61}).hear("a", Message{Kind: Poll, Ballot: Ballot{5, 20, "a"}, Record: &s.m.st.Last})
	if ready := s.sent(Ready); len(ready) != 1 || ready[0].Message.Samples != 61 || ready[0].Message.Work == 0 {
		t.Errorf("ready with %v", ready)
	}
}

func TestCountsByTheNameOfTheWork(t *testing.T) {
	s := inPhase(6)
	own := map[ID]int64{"a": 1, "b": s.m.work}
	tests := []struct {
		name   string
		record Record
		want   bool
	}{
		{"the round it took part in", Record{Round: 3, Work: own}, true},
		{"a later round that holds it", Record{Round: 5, Work: own}, true},
		{"as many samples of other work", Record{Round: 3, Samples: map[ID]int64{"b": 30}, Work: map[ID]int64{"b": 8}}, false},
		{"none of its own", Record{Round: 5}, false},
	}
	for _, test := range tests {
		if got := s.m.counts(test.record); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestStragglerIsCut follows a coordinator that is done early: the others are told to stop when patience ends, not before.
func TestStragglerIsCut(t *testing.T) {
	st := placed()
	s := newScript(Defaults(), "b", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}})
	s.hear("a", Message{Kind: Head, Record: &st.Last}).wait(time.Second)
	s.now = s.now.Add(10 * time.Second)
	s.step(Trained{Samples: 6}).wait(500 * time.Millisecond)
	if s.m.Phase() != Polling {
		t.Fatalf("%s", s.m.Phase())
	}
	began := s.now
	for s.now.Sub(began) < 40*time.Second && s.m.Phase() == Polling {
		s.hear("a", Message{Kind: Ready, Ballot: s.m.st.Promised, Samples: 5, Took: 10 * time.Second})
		s.hear("c", Message{Kind: Busy, Ballot: s.m.st.Promised, Reason: "training"}).wait(time.Second)
		for _, poll := range s.sent(Poll) {
			if poll.Message.Cut {
				if waited := s.now.Sub(began); waited < 20*time.Second || waited > 25*time.Second {
					t.Errorf("cut after %v; twice its own 10 s and Gather are due", waited)
				}
				return
			}
		}
	}
	t.Errorf("%s after %v, nobody was cut", s.m.Phase(), s.now.Sub(began))
}
