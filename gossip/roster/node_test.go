package roster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// node is one member: its machine, its disk, and what an agent does for it.
type node struct {
	w       *world
	id      ID
	machine *Machine
	disk    disk

	life     int // of this process; what belongs to an earlier one is void
	up       bool
	ended    bool // finished, and left on purpose
	paused   bool
	pausedAt time.Time
	inbox    []func() // while paused
	crashIn  int      // effects until it dies; 0: not planned
	ambush   *ambush
	lastStep string
	executed int  // effects
	noted    bool // the step at work tells of a change of lineage
	born     bool

	view     map[ID]bool
	departed map[ID]bool
	tick     time.Time
	idle     int // steps at one reading of the clock
	stepped  time.Time

	base     string // state that local work is on top of
	lineage  string // of it
	local    []unit // work that no committed state holds, as far as this agent was told
	made     []unit // work of this process, wherever it is now
	training *job
	adopting *Adopt
	exchange *exchange
	slow     float64       // how much longer its steps take
	skew     time.Duration // of its clock, at the world's start
	drift    float64       // of its clock, seconds a second
	bootedAt time.Time
	held     bool // by a Pause
	full     bool // its disk
	lie      lie

	second  time.Time // start of the second in which messages are counted
	counted int
}

// disk is what survives a crash.
type disk struct {
	stable Stable
	states []string // hashes, oldest first
	local  []unit   // unfinished work of an agent that left in good order
	base   string   // of it
}

// statesKept is how many states an agent keeps beside those its machine may need.
const statesKept = 3

func (d *disk) has(hash string) bool { return slices.Contains(d.states, hash) }

func (d *disk) store(hash string) {
	if !d.has(hash) {
		d.states = append(d.states, hash)
	}
	for i := 0; len(d.states) > statesKept && i < len(d.states); {
		h := d.states[i]
		if h == hash || h == d.stable.Last.Hash || h == untrained || d.stable.Prepared != nil && d.stable.Prepared.Hash == h {
			i++
			continue
		}
		d.states = slices.Delete(d.states, i, i+1)
	}
}

// job is local training at work.
type job struct {
	began time.Time     // or went on
	spent time.Duration // before that
	long  time.Duration
	total int64
	over  bool
}

// clock is what the member's own clock shows at a moment of the world.
func (n *node) clock(at time.Time) time.Time {
	elapsed := at.Sub(n.w.start)
	return at.Add(n.skew + time.Duration(n.drift*float64(elapsed)))
}

// moment is when the world is at what the member's clock will show, or just after.
func (n *node) moment(shown time.Time) time.Time {
	elapsed := float64(shown.Sub(n.w.start)-n.skew) / (1 + n.drift)
	return n.w.start.Add(time.Duration(elapsed) + time.Microsecond)
}

func (n *node) running() bool { return n.up && !n.ended }

// soon does something in this process's life, unless it dies before; a paused process does it when it goes on.
func (n *node) soon(d time.Duration, do func()) {
	life := n.life
	n.w.after(d, func() {
		switch {
		case n.life != life || !n.running():
		case n.paused:
			n.inbox = append(n.inbox, do)
		default:
			do()
		}
	})
}

// boot starts the process.
func (n *node) boot() {
	w := n.w
	if n.born { // a small machine forgets the time when it is off
		n.skew, n.drift = w.between(-time.Hour, time.Hour), 1e-3*(w.rng.Float64()-0.5)
	}
	n.up, n.born, n.bootedAt, n.held, n.full = true, true, w.now, false, false
	n.life++
	n.view, n.departed = map[ID]bool{n.id: true}, map[ID]bool{}
	n.local, n.made, n.training, n.adopting, n.exchange, n.tick = nil, nil, nil, nil, nil, time.Time{}
	n.base, n.lineage = n.disk.stable.Last.Hash, n.disk.stable.Last.Lineage
	if n.disk.base == n.base {
		n.local = n.disk.local
		n.made = slices.Clone(n.local)
	}
	n.disk.local = nil
	n.machine = NewMachine(w.cfg, n.id, untrained, n.disk.stable)
	if !n.disk.has(untrained) {
		n.disk.states = append(n.disk.states, untrained)
	}
	w.printf("%s: starts, next round %d", n.id, n.disk.stable.Next)
	n.feed(Start{})
	w.noticed(n)
}

// crash ends the process without a word. blank takes the disk too.
func (n *node) crash() {
	if !n.running() {
		return
	}
	n.w.printf("%s: crashes", n.id)
	n.up, n.paused, n.inbox, n.crashIn, n.ambush, n.held = false, false, nil, 0, nil, false
	n.life++
	n.exchange = nil
	n.w.died(n)
	n.w.noticed(n)
}

func (n *node) pause() {
	if !n.running() || n.paused {
		return
	}
	n.w.printf("%s: stops (SIGSTOP)", n.id)
	n.paused, n.pausedAt = true, n.w.now
	if n.exchange != nil {
		n.w.ruin(n.exchange, 6*time.Second)
	}
	for range 2 { // a detector that looked too early looks again
		n.w.after(6*time.Second, func() { n.w.noticed(n) })
	}
}

func (n *node) resume() {
	if !n.running() || !n.paused {
		return
	}
	n.w.printf("%s: goes on (SIGCONT)", n.id)
	n.paused = false
	inbox, life := n.inbox, n.life
	n.inbox = nil
	for _, do := range inbox {
		if n.life == life && n.running() {
			do()
		}
	}
	n.w.noticed(n)
}

// look takes the failure detector's word on a member.
func (n *node) look(t ID, visible bool) {
	gone := n.w.byID[t].ended && !visible
	if n.view[t] == visible && n.departed[t] == gone {
		return
	}
	if n.view[t], n.departed[t] = visible, gone; !visible {
		delete(n.view, t)
	}
	if !gone {
		delete(n.departed, t)
	}
	n.feed(ViewChange{Alive: slices.Sorted(maps.Keys(n.view)), Departed: slices.Sorted(maps.Keys(n.departed))})
}

func (n *node) deliver(from ID, msg Message) {
	msg = n.w.tamper.wire(n.w, msg)
	n.feed(Received{from, msg})
}

// feed gives the machine an event and does what it asks for.
func (n *node) feed(e Event) {
	if !n.running() {
		return
	}
	if n.paused {
		n.inbox = append(n.inbox, func() { n.feed(e) })
		return
	}
	w := n.w
	if w.steps++; !w.tamper.hears(n, e) {
		return
	}
	if n.idle++; !n.stepped.Equal(w.now) {
		n.idle, n.stepped = 0, w.now
	}
	if n.idle > busyLimit {
		w.violate("%s took %d steps at one moment, the last for %T", n.id, n.idle, e)
		return
	}
	effects := n.machine.Step(n.clock(w.now), e)
	if w.log != nil && (len(effects) > 0 || !tickOnly(e)) {
		w.printf("%s %-8s <- %s", n.id, n.machine.Phase(), show(e))
	}
	w.ledger.stepped(n, effects)
	n.execute(effects)
	if n.running() {
		n.alarm()
		w.tamper.reduced(n, e)
	}
}

// alarm plans the tick that the machine wants.
func (n *node) alarm() {
	wake := n.machine.Wake()
	if !wake.IsZero() {
		wake = n.moment(wake)
	}
	if wake.IsZero() || wake.Equal(n.tick) {
		return
	}
	n.tick = wake
	n.soon(max(0, wake.Sub(n.w.now)), func() {
		if n.tick.Equal(wake) {
			n.tick = time.Time{}
			n.feed(Tick{})
		}
	})
}

func (n *node) execute(effects []Effect) {
	life := n.life
	for _, e := range effects {
		n.executed++
		if n.crashIn > 0 {
			if n.crashIn--; n.crashIn == 0 {
				n.crash()
			}
		}
		n.w.spring(n, e)
		if n.life != life || !n.running() {
			return
		}
		if n.w.log != nil {
			n.w.printf("%s %8s -> %s", n.id, "", show(e))
		}
		n.do(e)
	}
}

func (n *node) do(e Effect) {
	w := n.w
	switch e := e.(type) {
	case Persist:
		if n.full {
			n.stuffed()
			return
		}
		if prev := n.disk.stable.Last; e.Stable.Last.Hash != prev.Hash || e.Stable.Last.Lineage != prev.Lineage {
			w.ledger.commit(n, prev, e.Stable.Last)
		}
		n.disk.stable = w.tamper.persist(n.disk.stable, e.Stable)
	case Send:
		w.transmit(n, e.To, e.Message)
	case Train:
		n.train(e)
	case Cut:
		n.cut()
	case Reduce:
		if n.exchange != nil {
			w.violate("%s begins %v within %v", n.id, e.Tag, n.exchange.tag)
		}
		w.reduce(n, e)
	case Cancel:
		if x := n.exchange; x != nil && x.tag.Ballot == e.Ballot {
			n.exchange = nil
			w.ruin(x, 0)
		}
	case Fetch:
		n.fetch(e)
	case Adopt:
		n.adopt(e)
	case Finish:
		w.printf("%s: finished", n.id)
		n.ended = true
		w.noticed(n)
	}
}

// train does local steps: some seconds, more on a slow node, fewer with more members.
func (n *node) train(e Train) {
	switch {
	case n.training != nil:
		n.w.violate("%s trains twice at once", n.id)
		return
	case n.adopting != nil:
		n.w.violate("%s trains while it loads", n.id)
		return
	case n.base != n.machine.Last().Hash:
		n.w.violate("%s trains on %.8s, not on its last record", n.id, n.base)
	}
	long := time.Duration(float64(n.w.between(n.w.plan.round*9/10, n.w.plan.round*11/10)) * n.slow)
	j := &job{began: n.w.now, long: long, total: int64(20 + 120/e.Roster.Size() + int(e.Round))}
	n.training = j
	n.goOn(j)
}

// goOn lets local steps run until their end, unless they are held.
func (n *node) goOn(j *job) {
	if n.held {
		return
	}
	j.began = n.w.now
	n.soon(j.long-j.spent, func() { n.trained(j, j.long) })
}

func (n *node) cut() {
	if j := n.training; j != nil {
		n.soon(n.w.between(time.Millisecond, 300*time.Millisecond), func() { n.trained(j, 0) })
	}
}

// hold lets the member rest, or ends that.
func (n *node) hold(held bool) {
	if !n.running() || n.held == held {
		return
	}
	if j := n.training; j != nil && held {
		j.spent += n.w.now.Sub(j.began)
	}
	if n.held = held; held {
		n.feed(Pause{})
		return
	}
	if n.feed(Resume{}); n.training != nil {
		n.goOn(n.training)
	}
}

// trained ends local steps that have come to so much, or were cut.
func (n *node) trained(j *job, upTo time.Duration) {
	spent := j.spent
	if !n.held {
		spent += n.w.now.Sub(j.began)
	}
	if j.over || n.training != j || spent < upTo {
		return
	}
	j.over, n.training = true, nil
	share := min(1, spent.Seconds()/j.long.Seconds())
	if samples := int64(share * float64(j.total)); samples > 0 {
		u := n.w.ledger.unit(n.id, samples)
		n.local, n.made = append(n.local, u), append(n.made, u)
	}
	n.feed(Trained{Samples: sum(n.local), Norm: norm(n.local)})
	if n.running() && n.adopting != nil {
		n.load()
	}
}

func (n *node) fetch(e Fetch) {
	if len(e.From) == 0 || slices.Contains(e.From, n.id) {
		n.w.violate("%s fetches from %v", n.id, e.From)
	}
	n.soon(n.w.between(20*time.Millisecond, n.w.plan.fetch), func() {
		for _, id := range e.From {
			from := n.w.byID[id]
			if from.lie == withhold && from.disk.has(e.Hash) {
				n.w.hit(string(withhold))
				continue
			}
			if from.running() && !from.paused && n.w.open(n.id, id) && from.disk.has(e.Hash) && !n.w.chance(n.w.plan.failing) {
				n.disk.store(e.Hash)
				n.feed(Fetched{e.Hash})
				return
			}
		}
		n.feed(FetchFailed{e.Hash, "nobody has it"})
	})
}

// adopt loads a committed state once training stopped.
func (n *node) adopt(e Adopt) {
	if n.adopting != nil {
		n.w.violate("%s adopts twice at once", n.id)
	}
	n.adopting = &e
	if n.training == nil {
		n.load()
	}
}

func (n *node) load() {
	n.soon(n.w.between(time.Millisecond, 100*time.Millisecond), func() {
		e := n.adopting
		n.adopting = nil
		if !n.disk.has(e.Record.Hash) {
			n.w.violate("%s adopts %s, which it has not stored", n.id, e.Record.Hash)
		}
		n.w.ledger.adopted(n, e)
		if n.w.tamper.forget(e.Counted) {
			n.local = nil
		}
		n.w.ledger.kept(n, e.Record)
		n.base, n.lineage = e.Record.Hash, e.Record.Lineage
		n.feed(Adopted{sum(n.local), norm(n.local)})
	})
}

// sent counts a message against the limit of a second.
func (n *node) sent(w *world) {
	if w.now.Sub(n.second) >= time.Second {
		n.second, n.counted = w.now, 0
	}
	n.counted++
	if limit := messagesPerSecond * len(w.nodes); n.counted == limit {
		w.violate("%s sent %d messages in a second", n.id, limit)
	}
}

func tickOnly(e Event) bool { _, ok := e.(Tick); return ok }

// show writes an event or effect for the transcript.
func show(v any) string {
	switch v := v.(type) {
	case Received:
		return fmt.Sprintf("%s %s", v.From, brief(v.Message))
	case Send:
		return fmt.Sprintf("%s %s", v.To, brief(v.Message))
	case Persist:
		return fmt.Sprintf("persist next %d promised %v prepared %v", v.Stable.Next, v.Stable.Promised, v.Stable.Prepared)
	case Adopt:
		return fmt.Sprintf("adopt %d %.12s of %s %v counted %v own %v %v", v.Record.Round, v.Record.Hash, v.Record.Lineage, v.Record.Roster,
			v.Counted, v.Own, v.Record.Samples)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T%+v", v, v), "roster.")
}

func brief(m Message) string {
	s := fmt.Sprintf("%s %v", m.Kind, m.Ballot)
	if m.Record != nil {
		s += fmt.Sprintf(" at %d %.12s of %s", m.Record.Round, m.Record.Hash, m.Record.Lineage)
	}
	if m.Prepared != nil {
		s += fmt.Sprintf(" prepared %+v", *m.Prepared)
	}
	if m.Settled != nil {
		s += fmt.Sprintf(" settled %+v", *m.Settled)
	}
	if m.Blame != "" || len(m.Blames) > 0 {
		s += fmt.Sprintf(" blames %s%v", m.Blame, m.Blames)
	}
	return s + fmt.Sprintf(" %v %.12s %s", m.Samples, m.Hash, m.Reason)
}
