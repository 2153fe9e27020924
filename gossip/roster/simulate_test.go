package roster

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Limits of a simulated world; each is some times what is seen without a fault.
const (
	stepLimit         = 400_000
	busyLimit         = 2000
	messagesPerSecond = 60 // of one member, times the members
	progressIn        = 20 * time.Minute
)

// plan is what may happen in a world.
type plan struct {
	name    string
	members int // at most
	latency time.Duration
	round   time.Duration // of local steps
	fetch   time.Duration // at most
	faults  time.Duration // for so long things go wrong
	every   time.Duration // one of the faults
	late    int           // members that join later

	crash, blank, stop, suspicion, part, oneway, snap, leave, ambush float64 // of all faults, by weight
	hold, slow, lag, garble, full                                    float64 // likewise

	failing, flipping float64       // exchanges that fail, results that differ
	straggler         float64       // chance that a member is slow
	liars             int           // members that lie, as long as they are fewer than half of the first
	forks             bool          // two lineages may be alive
	expect            bool          // the first round waits for all
	least             int           // members of a round; 0: one
	deadline          time.Duration // 0: adaptive
}

// plans are the kinds of worlds; a seed chooses one.
func plans() []plan {
	calm := plan{members: 6, latency: 20 * time.Millisecond, round: 3 * time.Second, fetch: time.Second, every: 4 * time.Second}
	vary := func(name string, change func(*plan)) plan {
		p := calm
		p.name = name
		change(&p)
		return p
	}
	trouble := func(p *plan) { p.faults = 30 * time.Second }
	return []plan{
		vary("calm", func(p *plan) { p.members, p.expect = 8, true }),
		vary("joiners", func(p *plan) { p.late, p.fetch = 3, 8*time.Second; trouble(p) }),
		vary("stragglers", func(p *plan) { p.straggler, p.round = 0.4, 8*time.Second }),
		vary("deadline", func(p *plan) { p.straggler, p.deadline, p.crash, p.late = 0.5, 4*time.Second, 1, 1; trouble(p) }),
		vary("failing", func(p *plan) { p.failing, p.flipping, p.snap = 0.4, 0.05, 1; p.forks = true; trouble(p) }),
		vary("crash", func(p *plan) { p.crash = 1; trouble(p) }),
		vary("crash-fast", func(p *plan) {
			p.crash, p.round, p.every, p.faults = 1, 300*time.Millisecond, 800*time.Millisecond, 12*time.Second
		}),
		vary("blank", func(p *plan) { p.crash, p.blank, p.late, p.forks = 1, 1, 1, true; trouble(p) }),
		vary("stop", func(p *plan) { p.stop, p.forks = 1, true; p.faults = time.Minute }),
		vary("suspicion", func(p *plan) { p.suspicion, p.forks = 1, true; trouble(p) }),
		vary("partition", func(p *plan) { p.part, p.members, p.forks = 1, 5, true; trouble(p) }),
		vary("oneway", func(p *plan) { p.oneway, p.part, p.forks = 2, 1, true; trouble(p) }),
		vary("pair", func(p *plan) { p.members, p.part, p.crash, p.snap, p.forks = 2, 1, 1, 1, true; trouble(p) }),
		vary("leave", func(p *plan) { p.leave, p.crash, p.late, p.forks = 1, 0.5, 2, true; trouble(p) }),
		vary("formation", func(p *plan) { p.expect, p.crash, p.snap, p.suspicion, p.forks = true, 1, 1, 1, true; trouble(p) }),
		vary("minimum", func(p *plan) { p.least, p.crash, p.part, p.late, p.forks = 2, 1, 1, 1, true; trouble(p) }),
		vary("ambush", func(p *plan) {
			p.ambush, p.members, p.forks = 1, 5, true
			p.round, p.every, p.faults = 400*time.Millisecond, 700*time.Millisecond, 25*time.Second
		}),
		vary("ambush-three", func(p *plan) {
			p.ambush, p.members, p.forks, p.late, p.straggler, p.failing = 1, 3, true, 1, 0.3, 0.1
			p.round, p.every, p.faults = 300*time.Millisecond, 400*time.Millisecond, 25*time.Second
		}),
		vary("held", func(p *plan) { p.hold, p.crash = 3, 1; p.forks = true; trouble(p) }),
		vary("network", func(p *plan) { p.snap, p.lag, p.garble, p.slow, p.forks = 2, 2, 2, 1, true; trouble(p) }),
		vary("full", func(p *plan) {
			p.full, p.ambush, p.members, p.forks = 2, 1, 4, true
			p.round, p.every, p.faults = 400*time.Millisecond, 500*time.Millisecond, 25*time.Second
		}),
		vary("liar", func(p *plan) { p.members, p.liars, p.expect = 7, 3, true }),
		vary("liar-crash", func(p *plan) { p.members, p.liars, p.crash, p.snap, p.forks = 5, 1, 1, 1, true; trouble(p) }),
		everything(),
	}
}

// everything is the world in which all that can go wrong does.
func everything() plan {
	return plan{
		name: "everything", members: 7, latency: 300 * time.Millisecond, round: 2 * time.Second, fetch: 5 * time.Second, late: 2,
		faults: 40 * time.Second, every: 1200 * time.Millisecond, forks: true, straggler: 0.2, failing: 0.1, flipping: 0.02, liars: 1,
		crash: 3, ambush: 2, blank: 1, stop: 1, suspicion: 2, part: 2, oneway: 1, snap: 2, leave: 1,
		hold: 1, slow: 1, lag: 1, garble: 2, full: 1,
	}
}

func newWorld(seed uint64, p plan, log io.Writer) *world {
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), plan: p, start: start, now: start, log: log,
		byID: map[ID]*node{}, links: map[[2]ID]*link{}, exchanges: map[Tag]*exchange{}, fired: map[string]int{},
	}
	w.ledger = newLedger(w)
	w.cfg = Defaults()
	w.cfg.Count, w.cfg.Form = 3+w.rng.IntN(3), 15*time.Second
	if p.ambush > 0 {
		w.cfg.Count, w.cfg.Form = 8+w.rng.IntN(10), 3*time.Second
	}
	n := 2 + w.rng.IntN(p.members-1)
	if p.expect {
		w.cfg.Expect = n
	}
	w.cfg.MinMembers, w.cfg.Deadline = max(1, p.least), p.deadline
	for range n {
		m := w.add()
		w.after(w.between(0, 2*time.Second+w.plan.faults/2), m.boot)
	}
	for range min(p.liars, (n-1)/2) {
		w.nodes[w.rng.IntN(n)].lie = lies[w.rng.IntN(len(lies))]
	}
	for range p.late {
		m := w.add()
		w.after(w.between(5*time.Second, 5*time.Second+p.faults), m.boot)
	}
	return w
}

// add makes a member that is not started yet.
func (w *world) add() *node {
	n := &node{w: w, id: ID(fmt.Sprintf("m%02d", len(w.nodes))), slow: 1, skew: w.between(-time.Hour, time.Hour)}
	n.drift = 1e-3 * (w.rng.Float64() - 0.5)
	if w.chance(w.plan.straggler) {
		n.slow = 2 + 6*w.rng.Float64()
	}
	w.nodes = append(w.nodes, n)
	w.byID[n.id] = n
	return n
}

// simulate runs one world to its end and returns what went wrong.
func simulate(w *world) []string {
	w.calm = w.now.Add(w.plan.faults)
	if w.plan.faults > 0 {
		w.after(w.between(0, 2*w.plan.every), w.fault)
		w.at(w.calm, w.heal)
	}
	over := func() bool {
		left := 0 // who can still do something
		for _, n := range w.nodes {
			if n.running() || !n.born {
				left++
			}
		}
		return w.now.After(w.calm) && left < w.cfg.MinMembers
	}
	w.pass(w.calm.Add(progressIn), over)
	if len(w.failures) == 0 && !over() {
		w.violate("progress: not through %v after the last fault", progressIn)
	}
	for _, n := range w.nodes {
		if n.ended && n.machine.Last().Round < uint64(w.cfg.Count) && !n.told() {
			w.violate("progress: %s ended after round %d of %d", n.id, n.machine.Last().Round, w.cfg.Count)
		}
	}
	if len(w.failures) > 0 {
		for _, n := range w.nodes {
			m := n.machine
			if m != nil {
				w.failures = append(w.failures, fmt.Sprintf("  %s running %v paused %v %s next %d of %s, alive %v", n.id, n.running(), n.paused, m.Phase(), m.Next(), m.Last().Lineage, m.alive))
			}
		}
	}
	return w.failures
}

func (n *node) told() bool { return n.machine.Phase() != Ended }

// env reads a number for the simulation from the environment.
func env(t *testing.T, name string) (uint64, bool) {
	text := cmp.Or(os.Getenv("SHOAL_"+name), os.Getenv(name))
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: give a number", name, text)
	}
	return n, true
}

func worldOf(seed uint64, log io.Writer) *world {
	all := plans()
	p := all[seed/2%uint64(len(all))]
	if seed%2 == 1 {
		p = everything()
	}
	w := newWorld(seed, p, log)
	w.tamper.encode = seed%64 < 4
	return w
}

// worldIn is a world of one kind.
func worldIn(seed uint64, kind string) *world {
	for _, p := range plans() {
		if p.name == kind {
			return newWorld(seed, p, nil)
		}
	}
	panic("no plan is called " + kind)
}

// found are seeds of which a world once broke a law: the only member left of a roster gave the result that it had prepared
// to nobody, and nobody else was to coordinate; and it stepped aside for those.
var found = []uint64{6821, 3749}

// TestSimulate runs whole clusters under faults, one per seed: SEEDS=10000 runs as many, SEED=7 runs one of them and
// prints what happened.
func TestSimulate(t *testing.T) {
	if seed, ok := env(t, "SEED"); ok {
		for _, failure := range simulate(worldOf(seed, os.Stdout)) {
			t.Error(failure)
		}
		return
	}
	seeds := uint64(512)
	if n, ok := env(t, "SEEDS"); ok {
		seeds = n
	}
	seen, bad := newCoverage(), 0
	for i := range seeds + uint64(len(found)) {
		seed := i
		if i >= seeds {
			seed = found[i-seeds]
		}
		w := worldOf(seed, nil)
		failures := simulate(w)
		seen.add(seed, w)
		if len(failures) > 0 {
			if bad++; bad <= 10 {
				t.Errorf("seed %d (%s): replay with make simulate SEED=%d\n%s", seed, w.plan.name, seed, fmt.Sprint(join(failures)))
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d seeds failed", bad, seeds)
	}
	t.Log(seen.report())
	for _, fault := range faultNames {
		if seeds >= 512 && seen.fired[fault] == 0 {
			t.Errorf("no seed met the fault %q", fault)
		}
	}
}

func join(lines []string) string {
	var s string
	for _, l := range lines {
		s += "  " + l + "\n"
	}
	return s
}
