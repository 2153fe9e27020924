package roster

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// quiet is a small cluster without faults, the same every time.
func quiet(members, rounds int) *world {
	p := plan{name: "quiet", members: 2, latency: 10 * time.Millisecond, round: time.Second, fetch: 200 * time.Millisecond, expect: true}
	w := newWorld(1, p, nil)
	for len(w.nodes) < members {
		m := w.add()
		w.after(w.between(0, time.Second), m.boot)
	}
	w.cfg.Expect, w.cfg.Count = members, rounds
	return w
}

// step names an effect of a round's protocol.
func step(before Stable, e Effect) string {
	switch e := e.(type) {
	case Send:
		return "send " + string(e.Message.Kind)
	case Persist:
		switch {
		case e.Stable.Last.Hash != before.Last.Hash || e.Stable.Next != before.Next:
			return "persist commit"
		case e.Stable.Prepared != nil && (before.Prepared == nil || before.Prepared.Ballot != e.Stable.Prepared.Ballot):
			return "persist prepared"
		}
		return "persist promise"
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "roster."))
}

// protocol are the steps of a round in a quiet cluster: after each of them a member is killed.
var protocol = []string{
	"adopt", "finish", "persist commit", "persist prepared", "persist promise", "reduce", "send begin", "send done", "send poll",
	"send ready", "train",
}

// kill is one way of losing a member.
type kill struct {
	name string
	back time.Duration // when it comes again; 0: never
	cut  bool          // the cable, not the process
}

// TestKilledAtAnyMoment kills each member of a cluster after each of the effects that it carries out, whatever that cuts
// in two, or pulls its cable: the others end with the same bits, lose no more than one attempt in one round, and the member
// trains again when it is back. Where KILLS is set it does so after all effects, otherwise after some.
func TestKilledAtAnyMoment(t *testing.T) {
	const local, exchange, detector = time.Second * 11 / 10, 10 * time.Second, 8 * time.Second // at most, in a quiet world
	gather := Defaults().Gather
	if _, one := env(t, "SEED"); one {
		t.Skip("SEED replays one simulation")
	}
	_, all := env(t, "KILLS")
	kills := []kill{{"back at once", time.Second, false}, {"back when all saw it go", 12 * time.Second, false}, {"dead for good", 0, false}, {"a cable pulled", 12 * time.Second, true}}
	for _, members := range []int{2, 3, 5, 8} {
		for _, k := range kills {
			if k.cut && members == 2 {
				continue // both sides go on alone, and one of them gives way
			}
			limit := local + 2*gather // between two rounds of the others
			if members == 2 {
				limit += max(detector, lonelyFor) // maybe before the view told of the other
			}
			if k.cut {
				limit = local + max(exchange, detector) + 3*gather
			}
			t.Run(fmt.Sprintf("%s, one of %d", k.name, members), func(t *testing.T) {
				stride := 1
				if !all {
					stride = members * members
				}
				gap, struck, steps := killEverywhere(t, members, k, stride)
				if gap > limit {
					t.Errorf("the others waited %v for a round, more than %v", gap, limit)
				}
				for _, name := range protocol {
					if steps[name] == 0 && stride == 1 {
						t.Errorf("nobody is killed at %q", name)
					}
				}
				t.Logf("%d kills, at most %v between two rounds; at %v", struck, gap, steps)
			})
		}
	}
}

// killEverywhere kills each member after each of its effects, or every so many, one run each.
func killEverywhere(t *testing.T, members int, k kill, stride int) (gap time.Duration, struck int, steps map[string]int) {
	const rounds = 5
	reference := quiet(members, rounds)
	if failures := simulate(reference); len(failures) > 0 {
		t.Fatal(failures)
	}
	normal, steps := longestGap(reference, ""), map[string]int{}
	for victim := range members {
		for after := 1 + victim%stride; after <= reference.nodes[victim].executed; after += stride {
			w := quiet(members, rounds)
			v := w.nodes[victim]
			w.plan.forks = k.cut // who is cut off goes on alone
			var killed time.Time
			strike := func() {
				killed = w.now
				if !k.cut {
					v.crash()
					w.calm = w.now.Add(k.back)
					if k.back > 0 {
						w.after(k.back, func() { w.revive(v) })
					}
				} else {
					w.isolate(v, k.back, 1, true)
				}
			}
			v.ambush = &ambush{moment: func(e Effect) bool { v.lastStep = step(v.disk.stable, e); return true }, skip: after - 1, do: strike}
			struck++
			for _, failure := range simulate(w) {
				t.Fatalf("%s struck after %d effects, at %q: %s", v.id, after, v.lastStep, failure)
			}
			steps[v.lastStep]++
			gap = max(gap, longestGap(w, v.id))
			if killed.IsZero() {
				continue
			}
			if slow := slowRounds(w, v.id, normal+Defaults().Gather/2); slow > 1 && !k.cut {
				t.Errorf("%s struck after %d effects, at %q: %d rounds of the others took longer than %v", v.id, after, v.lastStep, slow, normal)
			}
			if hashes := finals(w, v.id); len(hashes) > 1 {
				t.Errorf("%s struck after %d effects, at %q: the others end with %v", v.id, after, v.lastStep, hashes)
			}
			if k.back > 0 && !trainsAgain(w, v.id, killed.Add(k.back)) {
				t.Fatalf("%s struck after %d effects, at %q: it did not take part again", v.id, after, v.lastStep)
			}
		}
	}
	return gap, struck, steps
}

// slowRounds is how many rounds took longer than normal for a member other than victim, at most.
func slowRounds(w *world, victim ID, normal time.Duration) int {
	slow, most := map[ID]int{}, 0
	before := map[ID]time.Time{}
	for _, s := range w.ledger.stamps {
		if last, ok := before[s.member]; ok && s.member != victim && s.at.Sub(last) > normal {
			slow[s.member]++
			most = max(most, slow[s.member])
		}
		before[s.member] = s.at
	}
	return most
}

// finals are the states that members other than victim ended with.
func finals(w *world, victim ID) map[string]bool {
	hashes := map[string]bool{}
	for _, n := range w.nodes {
		if n.id != victim {
			hashes[n.machine.Last().Hash] = true
		}
	}
	return hashes
}

// longestGap is the longest time between two commits of one member other than victim.
func longestGap(w *world, victim ID) time.Duration {
	var gap time.Duration
	before := map[ID]time.Time{}
	for _, s := range w.ledger.stamps {
		if last, ok := before[s.member]; ok && s.member != victim {
			gap = max(gap, s.at.Sub(last))
		}
		before[s.member] = s.at
	}
	return gap
}

// trainsAgain reports whether a record holds work that victim did after it was killed, unless only the last round was left.
func trainsAgain(w *world, victim ID, killed time.Time) bool {
	var rounds uint64
	for _, s := range w.ledger.stamps {
		if s.at.Before(killed) {
			rounds = max(rounds, s.record.Round)
		}
	}
	if rounds+3 > uint64(w.cfg.Count) {
		return true
	}
	for _, s := range w.ledger.stamps {
		for _, share := range s.record.Shares {
			if share.ID == victim && s.record.Round > rounds+1 {
				return true
			}
		}
	}
	return false
}

// TestStragglerCostsPatienceOnly lets one member be twenty times slower: rounds last as long as the deadline says, or as
// long as was learned from the first, and what the straggler has done by then counts.
func TestStragglerCostsPatienceOnly(t *testing.T) {
	gather := Defaults().Gather
	tests := []struct {
		name     string
		deadline time.Duration
		limit    time.Duration
	}{
		{"a fixed deadline", 4 * time.Second, 4*time.Second + gather},
		{"an adaptive one", 0, 3*time.Second + 3*gather},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := quiet(4, 5)
			w.cfg.Deadline = test.deadline
			slow := w.nodes[2]
			slow.slow = 20
			for _, failure := range simulate(w) {
				t.Fatal(failure)
			}
			if gap := longestGap(w, ""); gap > test.limit {
				t.Errorf("%v between two rounds, more than %v", gap, test.limit)
			}
			last := slow.machine.Last()
			if len(last.Shares) != 4 || last.Samples[slow.id] == 0 || last.Samples[slow.id] >= last.Samples["m00"] {
				t.Errorf("the last round has shares %v, all rounds samples %v", last.Shares, last.Samples)
			}
		})
	}
}
