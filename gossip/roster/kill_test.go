package roster

import (
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

// TestKilledAtAnyMoment kills each member of a cluster after each of the effects that it carries out, whatever that cuts
// in two, or pulls its cable: the others lose no more than the attempt, and the member trains again when it is back.
func TestKilledAtAnyMoment(t *testing.T) {
	const local, exchange, detector = time.Second * 11 / 10, 10 * time.Second, 8 * time.Second // at most, in a quiet world
	gather := Defaults().Gather
	tests := []struct {
		name    string
		members int
		back    time.Duration // 0: never
		cut     bool          // the cable, not the process
		limit   time.Duration // between two rounds of the others
	}{
		{"back at once", 3, time.Second, false, local + 2*gather},
		{"back when all saw it go", 4, 12 * time.Second, false, local + 2*gather},
		{"dead for good", 3, 0, false, local + 2*gather},
		{"one of two", 2, 12 * time.Second, false, local + max(detector, lonelyFor) + 2*gather}, // maybe before its view came
		{"a cable pulled", 3, 12 * time.Second, true, local + max(exchange, detector) + 3*gather},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			gap, kills := killEverywhere(t, test.members, test.back, test.cut)
			if gap > test.limit {
				t.Errorf("the others waited %v for a round, more than %v", gap, test.limit)
			}
			t.Logf("%d kills, at most %v between two rounds", kills, gap)
		})
	}
}

// killEverywhere kills each member after each of its effects, one run each; back is when it comes again.
func killEverywhere(t *testing.T, members int, back time.Duration, cut bool) (gap time.Duration, kills int) {
	const rounds = 5
	reference := quiet(members, rounds)
	if failures := simulate(reference); len(failures) > 0 {
		t.Fatal(failures)
	}
	for victim := range members {
		for after := 1; after < reference.nodes[victim].executed; after++ {
			w := quiet(members, rounds)
			v := w.nodes[victim]
			w.plan.forks = cut // who is cut off goes on alone
			var killed time.Time
			strike := func() {
				killed = w.now
				if !cut {
					v.crash()
					w.calm = w.now.Add(back)
					if back > 0 {
						w.after(back, func() { w.revive(v) })
					}
				} else {
					w.isolate(v, back, 1, true)
				}
			}
			v.ambush = &ambush{moment: func(Effect) bool { return true }, skip: after - 1, do: strike}
			kills++
			for _, failure := range simulate(w) {
				t.Fatalf("%s struck after %d effects: %s", v.id, after, failure)
			}
			gap = max(gap, longestGap(w, v.id))
			if !killed.IsZero() && back > 0 && !trainsAgain(w, v.id, killed.Add(back)) {
				t.Fatalf("%s struck after %d effects: it did not take part again", v.id, after)
			}
		}
	}
	return gap, kills
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
