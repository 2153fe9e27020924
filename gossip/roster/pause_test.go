package roster

import (
	"testing"
	"time"
)

func TestPausedCoordinatorLeavesTheBallot(t *testing.T) {
	s := coordinator().ready("a").step(Pause{})
	if aborts := s.sent(Abort); len(aborts) != 2 || s.m.Phase() != Waiting {
		t.Fatalf("%s, tells %v", s.m.Phase(), aborts)
	}
	polls := len(s.sent(Poll))
	if s.wait(time.Minute); len(s.sent(Poll)) > polls {
		t.Error("it polls while it is paused")
	}
	if s.step(Resume{}).wait(time.Minute); len(s.sent(Poll)) == polls {
		t.Error("it does not coordinate any more")
	}
}

func TestPausedMemberIsCutWhenPolled(t *testing.T) {
	s := inPhase(2).step(Pause{})
	if _, cut := did[Cut](s); cut {
		t.Error("it is cut before anybody waits for it")
	}
	s.hear("a", Message{Kind: Poll, Ballot: Ballot{3, 9, "a"}, Record: &s.m.st.Last})
	if _, cut := did[Cut](s); !cut {
		t.Fatal("polled, it keeps the others waiting")
	}
	s.step(Trained{Samples: 4, Norm: 1})
	ready := s.sent(Ready)
	if len(ready) != 1 || ready[0].Message.Samples != 4 || ready[0].Message.Norm != 1 || ready[0].Message.Reason != isPaused {
		t.Errorf("answers %+v", ready)
	}
}

func TestPausedMemberTakesPartWithoutWork(t *testing.T) {
	s := inPhase(7).step(Pause{}).step(Adopted{})
	if _, train := did[Train](s); !train {
		t.Fatal("it never trained")
	}
	trains := len(s.trains())
	s.hear("a", Message{Kind: Poll, Ballot: Ballot{4, 20, "a"}, Record: &s.m.st.Last})
	ready := s.sent(Ready)
	if last := ready[len(ready)-1].Message; last.Ballot.Round != 4 || last.Samples != 0 || last.Reason != isPaused || len(s.trains()) != trains {
		t.Errorf("answers %+v, trains %d times", last, len(s.trains())-trains)
	}
	s.hear("a", Message{Kind: Abort, Ballot: Ballot{4, 20, "a"}, Reason: "broken"}).step(Resume{})
	if len(s.trains()) != trains+1 {
		t.Errorf("%s: resumed, it does not train", s.m.Phase())
	}
}

func (s *script) trains() []Train {
	var all []Train
	for _, e := range s.effects {
		if train, ok := e.(Train); ok {
			all = append(all, train)
		}
	}
	return all
}

// TestPausedClusterRests pauses members of a cluster: some do not hold up the others and say why they brought nothing, all
// commit no round, and the run ends once they are resumed.
func TestPausedClusterRests(t *testing.T) {
	const rest, long = 5 * time.Second, time.Minute
	for members := 2; members <= 5; members++ {
		for paused := 1; paused <= members; paused++ {
			w := quiet(members, 30)
			during := map[uint64]bool{}
			held := w.nodes[:paused]
			w.after(rest, func() {
				for _, n := range held {
					n.hold(true)
				}
			})
			w.after(rest+long, func() {
				for _, n := range held {
					n.hold(false)
				}
			})
			w.calm = w.now.Add(rest + long)
			for _, failure := range simulate(w) {
				t.Fatalf("%d of %d: %s", paused, members, failure)
			}
			told := false
			for _, s := range w.ledger.stamps {
				if at := s.at.Sub(w.start); at > rest+3*time.Second && at < rest+long {
					during[s.record.Round] = true
					for _, a := range s.record.Missing {
						told = told || a.ID == held[0].id && a.Reason == isPaused
					}
				}
			}
			switch {
			case paused == members && len(during) > 0:
				t.Errorf("all %d are paused, and rounds %v were committed", members, during)
			case paused < members && (len(during) < 20 || !told):
				t.Errorf("%d of %d paused: the others committed %d rounds in %v; told %v", paused, members, len(during), long, told)
			}
		}
	}
}
