package roster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func ids(n int) []ID {
	var all []ID
	for i := range n {
		all = append(all, ID(fmt.Sprintf("m%02d", i)))
	}
	return all
}

// mostOf asks for a majority of ready.
func mostOf(ready []ID) func([]ID) bool {
	return func(rest []ID) bool { return majority(Roster{Members: ready}, rest) }
}

func TestLeaveOut(t *testing.T) {
	said := func(pairs ...string) []accusation {
		var all []accusation
		for _, p := range pairs {
			from, to, _ := strings.Cut(strings.TrimSuffix(p, "!"), ">")
			all = append(all, accusation{ID(from), ID(to), "why", strings.HasSuffix(p, "!")})
		}
		return all
	}
	tests := []struct {
		name  string
		ready string
		said  []accusation
		out   string
	}{
		{"nobody", "a b c", nil, ""},
		{"the accused", "a b c", said("a>b"), "b"},
		{"the accuser, if it was the accused's loss before", "a b c", said("a>b!"), "a"},
		{"whom two blame, whatever it says", "a b c d e", said("c>a", "a>b", "b>a"), "a"},
		{"who blames two", "a b c d e", said("a>b", "a>c"), "a"},
		{"two liars", "a b c d e", said("a>d", "b>e"), "d e"},
		{"the accuser, where the accused must stay", "a b", said("b>a"), "b"},
		{"the first may rule alone with half", "a b", said("a>b"), "b"},
		{"half, if the other half has the first", "a b c d", said("a>b", "c>d", "a>d"), "b d"},
		{"nobody, if nobody can be", "a b c", said("a>b", "b>c", "c>a"), ""},
		{"who is not here neither accuses nor is accused", "a b c", said("x>a", "b>x"), ""},
		{"oneself", "a b c", said("a>a"), ""},
	}
	for _, test := range tests {
		var ready []ID
		for id := range strings.FieldsSeq(test.ready) {
			ready = append(ready, ID(id))
		}
		var out []string
		for id, a := range leaveOut(ready, test.said, mostOf(ready)) {
			out = append(out, string(id))
			if a.ID != id || a.Reason == "" || a.By == "" || a.By == id {
				t.Errorf("%s: %s is left out as %+v", test.name, id, a)
			}
		}
		slices.Sort(out)
		if got := strings.Join(out, " "); got != test.out {
			t.Errorf("%s: %q is left out, want %q", test.name, got, test.out)
		}
	}
}

// TestLeaveOutSparesTheHonest lets fewer than half of a cluster lie: whatever they say and the others find, no more members
// are left out than lie, and nobody stays together with whom it blames.
func TestLeaveOutSparesTheHonest(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 3000 {
		n := 3 + rng.IntN(12)
		ready := ids(n)
		liars := subset(ready, 0)
		for _, k := range rng.Perm(n)[:1+rng.IntN((n-1)/2)] {
			liars = append(liars, ready[k])
		}
		var said []accusation
		for range rng.IntN(3 * n) {
			a := accusation{from: ready[rng.IntN(n)], to: ready[rng.IntN(n)], again: rng.IntN(2) == 0}
			if slices.Contains(liars, a.from) || slices.Contains(liars, a.to) {
				said = append(said, a)
			}
		}
		out := leaveOut(ready, said, mostOf(ready))
		if out == nil || len(out) > len(liars) {
			t.Fatalf("of %d with liars %v, who said %v: %v", n, liars, said, out)
		}
		for _, a := range said {
			_, from := out[a.from]
			if _, to := out[a.to]; !from && !to && a.from != a.to {
				t.Fatalf("%v and %v stay together: %v", a.from, a.to, out)
			}
		}
		rng.Shuffle(len(said), func(i, j int) { said[i], said[j] = said[j], said[i] })
		if again := leaveOut(ready, said, mostOf(ready)); len(again) != len(out) {
			t.Fatalf("in another order %d are left out, not %d", len(again), len(out))
		}
	}
}

// coordinator is member b of a, b and c that polls for round 3, with its steps done.
func coordinator() *script { return inPhase(3) }

func (s *script) ready(from ID, blames ...Absence) *script {
	return s.hear(from, Message{Kind: Ready, Ballot: s.m.st.Promised, Samples: 5, Work: 9, Norm: 2, Blames: blames})
}

func TestTheBlamedIsLeftOut(t *testing.T) {
	s := coordinator().ready("a", Absence{ID: "c", Reason: "not finite"}).ready("c")
	r, ok := did[Reduce](s)
	if !ok || !slices.Equal(r.Roster.Members, []ID{"a", "b"}) {
		t.Fatalf("%s: reduces %v with %v", s.m.Phase(), ok, r.Roster)
	}
	missing := s.m.settled.Missing
	if len(missing) != 1 || missing[0].ID != "c" || missing[0].By != "a" || !strings.Contains(missing[0].Reason, "blamed by a: not finite") {
		t.Errorf("missing %+v", missing)
	}
	if begins := s.sent(Begin); !slices.ContainsFunc(begins, func(e Send) bool { return e.To == "c" }) {
		t.Error("who is left out is not told, and would disturb the ballot")
	}
	if !slices.Equal(r.Norms, []float64{2, s.m.norm}) {
		t.Errorf("norms %v", r.Norms)
	}
}

func TestWhoIsLeftOutKeepsStill(t *testing.T) {
	s := inPhase(4)
	settled := s.settled(6)
	settled.Roster.Members = []ID{"a", "c"}
	settled.Samples, settled.Work, settled.Norms, settled.Took = settled.Samples[:2], settled.Work[:2], settled.Norms[:2], settled.Took[:2]
	for range 12 {
		s.hear("a", Message{Kind: Begin, Ballot: s.m.st.Promised, Settled: &settled}).wait(Defaults().Gather)
	}
	if len(s.sent(Poll)) > 0 || len(s.sent(Abort)) > 0 || s.m.Phase() != Following {
		t.Errorf("%s, %v, %v", s.m.Phase(), s.sent(Poll), s.sent(Abort))
	}
}

func TestABlamedCoordinatorStepsAside(t *testing.T) {
	s := coordinator().ready("c").ready("a", Absence{ID: "b", Reason: "not finite"})
	if aborts := s.sent(Abort); len(aborts) != 2 || s.m.Phase() != Waiting {
		t.Fatalf("%s, tells %v", s.m.Phase(), aborts)
	}
	polls := len(s.sent(Poll))
	s.hear("c", Message{Kind: Poll, Ballot: Ballot{3, 90, "c"}, Record: &s.m.st.Last}).hear("c", Message{Kind: Abort, Ballot: Ballot{3, 90, "c"}, Reason: "again"})
	if s.wait(3 * Defaults().Gather); len(s.sent(Poll)) > polls {
		t.Error("another failure lets it forget that it is blamed")
	}
	if s.wait(3 * Defaults().Gather); len(s.sent(Poll)) == polls {
		t.Error("it never tries again, and may be the only one left")
	}
}

func TestTheOnlyCandidateStays(t *testing.T) {
	st := placed()
	st.Last.Roster = Roster{1, []ID{"b"}}
	s := newScript(Defaults(), "b", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}}).step(Trained{Samples: 6}).wait(time.Second)
	s.ready("a", Absence{ID: "b", Reason: "not finite"}).ready("c")
	if r, ok := did[Reduce](s); !ok || !slices.Equal(r.Roster.Members, []ID{"b", "c"}) {
		t.Errorf("%s: reduces %v with %v", s.m.Phase(), ok, r.Roster)
	}
}

func TestBlameIsSaidAgainForAWhile(t *testing.T) {
	s := inPhase(5).step(Failed{Ballot{3, 9, "a"}, "a poisoned segment", "c"})
	if aborts := s.sent(Abort); len(aborts) != 2 || aborts[0].Message.Blame != "c" {
		t.Fatalf("tells %+v", aborts)
	}
	s.hear("c", Message{Kind: Poll, Ballot: Ballot{3, 12, "c"}, Record: &s.m.st.Last})
	ready := s.sent(Ready)
	if last := ready[len(ready)-1].Message; len(last.Blames) != 1 || last.Blames[0].ID != "c" || last.Blames[0].Reason != "a poisoned segment" {
		t.Errorf("says %+v", last)
	}
	next := placed().Last
	goOn := func() {
		next.Round, next.Hash, next.Samples = next.Round+1, next.Hash+"'", map[ID]int64{"a": next.Samples["a"] + 60}
		head := next
		s.hear("a", Message{Kind: Head, Record: &head}).step(Fetched{next.Hash}).step(Adopted{})
	}
	goOn()
	if len(s.m.blames) != 1 {
		t.Errorf("in the next round it blames %v", s.m.blames)
	}
	s.wait(9 * Defaults().Gather)
	if goOn(); len(s.m.blames) > 0 {
		t.Errorf("after 9 Gather and another round it still blames %v", s.m.blames)
	}
}

func TestBlameComesLateOrTooOften(t *testing.T) {
	s := inPhase(5).hear("c", Message{Kind: Abort, Ballot: Ballot{3, 9, "a"}, Reason: "broken"})
	s.step(Failed{Ballot{3, 9, "a"}, strings.Repeat("ü", 300), "c"}) // found out after it heard of the failure
	if len(s.m.blames) != 1 || len(s.m.blames[0].Reason) > maxReasonBytes {
		t.Errorf("blames %+v", s.m.blames)
	}
	for i := range 3 * maxBlames {
		s.step(Failed{Ballot{3, 9, "a"}, "x", ID(fmt.Sprint("x", i))})
	}
	s.step(Failed{Ballot{2, 9, "a"}, "another round", "a"}).step(Failed{Ballot{3, 9, "a"}, "itself", "b"})
	if len(s.m.blames) != maxBlames {
		t.Errorf("%d are blamed; a message holds %d", len(s.m.blames), maxBlames)
	}
}

func TestWhoDiffersFromMostIsBlamed(t *testing.T) {
	s := inPhase(6).hear("c", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "other"})
	if len(s.sent(Abort)) > 0 {
		t.Fatal("one against one: it cannot know who is wrong")
	}
	s.hear("a", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "h3"})
	if aborts := s.sent(Abort); len(aborts) != 2 || aborts[0].Message.Blame != "c" || len(s.m.blames) != 1 {
		t.Errorf("tells %+v, blames %v", aborts, s.m.blames)
	}
	s = inPhase(6).hear("c", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "g3"}).hear("a", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "g3"})
	if len(s.sent(Abort)) != 2 || len(s.m.blames) > 0 {
		t.Errorf("in the wrong itself, it blames %v", s.m.blames)
	}
	s = inPhase(6).hear("c", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "x"}).hear("a", Message{Kind: Done, Ballot: Ballot{3, 9, "a"}, Hash: "y"})
	if len(s.sent(Abort)) != 2 || len(s.m.blames) > 0 {
		t.Errorf("three results, and it blames %v", s.m.blames)
	}
}

// TestALiarCostsItsOwnRounds runs clusters in which one member lies all the time: all rounds are committed, nobody honest is
// left out two rounds in a row, and what an honest member brought when it was left out counts later.
func TestALiarCostsItsOwnRounds(t *testing.T) {
	for _, kind := range lies {
		for _, members := range []int{3, 4, 5, 8} {
			t.Run(fmt.Sprint(kind, " among ", members), func(t *testing.T) {
				w := quiet(members, 8)
				w.nodes[members/2].lie = kind
				for _, failure := range simulate(w) {
					t.Fatal(failure)
				}
				out, last := 0, w.nodes[0].machine.Last()
				before := map[ID]uint64{}
				for _, s := range w.ledger.stamps {
					if s.member != "m00" {
						continue
					}
					for _, a := range s.record.Missing {
						if a.By == "" || w.byID[a.ID].lie != honest {
							continue
						}
						if out++; before[a.ID] > 0 && before[a.ID]+1 == s.record.Round {
							t.Errorf("%s is left out in round %d, and was in the one before: %s", a.ID, s.record.Round, a.Reason)
						}
						before[a.ID] = s.record.Round
					}
				}
				for _, n := range w.nodes {
					if n.lie == honest && last.Samples[n.id] == 0 {
						t.Errorf("no work of %s counts: %v", n.id, last.Samples)
					}
				}
				t.Logf("%d rounds, honest members left out %d times, %v", last.Round, out, last.Samples)
			})
		}
	}
}

func TestPlannerSpeaksForTheRoster(t *testing.T) {
	plan := func(text string) *script {
		s := coordinator()
		var asked Roster
		s.m.SetPlanner(func(r Roster) string { asked = r; return text })
		s.ready("a").ready("c")
		if asked.Size() != 3 {
			t.Errorf("asked for %v", asked)
		}
		return s
	}
	s := plan(`{"plan":"tree"}`)
	r, _ := did[Reduce](s)
	if begins := s.sent(Begin); r.Plan != `{"plan":"tree"}` || len(begins) != 2 || begins[0].Message.Settled.Plan != r.Plan {
		t.Errorf("reduces with plan %q, told %+v", r.Plan, begins)
	}
	for _, text := range []string{"", strings.Repeat("x", MaxPlanBytes+1), "\xff"} {
		if r, ok := did[Reduce](plan(text)); !ok || r.Plan != "" {
			t.Errorf("a planner's %.10q becomes %.10q", text, r.Plan)
		}
	}
}

// A member that says it stored a state which nobody ever gets would hold up the round for ever.
func TestWhoWithholdsAStateIsBlamed(t *testing.T) {
	s := inPhase(4)
	for k := range 3 {
		b := Ballot{3, uint64(20 + 3*k), "a"}
		settled := s.settled(6)
		p := settled.prepared(b, "never seen")
		s.hear("a", Message{Kind: Poll, Ballot: b, Record: &s.m.st.Last})
		s.hear("a", Message{Kind: Begin, Ballot: b, Settled: &settled, Prepared: &p, Holders: []ID{"c"}})
		if s.m.Phase() != Reducing {
			t.Fatalf("attempt %d: %s", k, s.m.Phase())
		}
		s.step(FetchFailed{"never seen", "refused"})
		if got, want := len(s.m.blames), k/2; got != want {
			t.Errorf("attempt %d: blames %v", k, s.m.blames)
		}
	}
	if aborts := s.sent(Abort); len(aborts) == 0 || aborts[len(aborts)-1].Message.Blame != "c" || s.m.blames[0].ID != "c" {
		t.Errorf("tells %+v, blames %+v", aborts, s.m.blames)
	}
}

// Where all of a roster that are left stand accused, one that joined later coordinates, in time.
func TestAGuestTakesOver(t *testing.T) {
	st := placed()
	s := newScript(Defaults(), "d", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "d"}, Departed: []ID{"b", "c"}})
	s.hear("a", Message{Kind: Head, Record: &st.Last}).wait(time.Second)
	for k := range 3 {
		b := Ballot{3, uint64(20 + k), "a"}
		settled := s.settled(6)
		settled.Roster.Members, settled.Samples = []ID{"a", "d"}, []int64{5, 6}
		settled.Work, settled.Norms, settled.Took = settled.Work[:2], settled.Norms[:2], settled.Took[:2]
		p := settled.prepared(b, "never given")
		s.hear("a", Message{Kind: Poll, Ballot: b, Record: &st.Last}).step(Trained{Samples: 6})
		s.hear("a", Message{Kind: Begin, Ballot: b, Settled: &settled, Prepared: &p, Holders: []ID{"a"}})
		if s.m.Phase() != Reducing {
			t.Fatalf("attempt %d: %s", k, s.m.Phase())
		}
		s.step(FetchFailed{"never given", "refused"})
	}
	if !s.m.blamed("a") || !s.m.guest() {
		t.Fatalf("blames %v, guest %v", s.m.blames, s.m.guest())
	}
	began := s.now
	for len(s.sent(Poll)) == 0 && s.now.Sub(began) < 2*lonelyFor {
		s.wait(100 * time.Millisecond)
	}
	if took := s.now.Sub(began); took < lonelyFor || took > lonelyFor+5*time.Second {
		t.Errorf("it coordinates after %v, want a little more than %v", took, lonelyFor)
	}
}

// TestAVetoEnds holds that accusations among members who are too few without either side do not hold up a round for ever:
// in time those here go on without one, under a lineage of their own.
func TestAVetoEnds(t *testing.T) {
	st := placed()
	s := newScript(Defaults(), "b", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}}).hear("a", Message{Kind: Head, Record: &st.Last})
	s.step(ViewChange{Alive: []ID{"a", "b"}, Departed: []ID{"c"}}).wait(time.Second).step(Trained{Samples: 6})
	began := s.now
	for s.now.Sub(began) < 3*lonelyFor {
		if s.wait(100 * time.Millisecond); s.m.Phase() == Polling {
			s.ready("a", Absence{ID: "b", Reason: "not finite"})
		}
		if s.m.Phase() == Reducing {
			s.step(Failed{Ballot: s.m.st.Promised, Reason: "broken"})
		}
		for _, abort := range s.sent(Abort) {
			if strings.Contains(abort.Message.Reason, "steps aside") {
				if waited := s.now.Sub(began); waited < lonelyFor {
					t.Errorf("it steps aside after %v, and the two could have spoken for the lineage", waited)
				}
				return
			}
		}
	}
	t.Errorf("%s: after %v nobody gave way", s.m.Phase(), s.now.Sub(began))
}
