package roster

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// world is a whole cluster in one goroutine: a seeded scheduler, a virtual clock, a network, a failure detector and the
// machines with their agents. Two worlds of one seed are equal to the last event.
type world struct {
	rng   *rand.Rand
	plan  plan
	cfg   Config
	start time.Time
	now   time.Time
	queue callbacks
	seq   int

	nodes     []*node
	byID      map[ID]*node
	links     map[[2]ID]*link
	exchanges map[Tag]*exchange
	ledger    ledger
	tamper    tamper

	steps    int
	calm     time.Time // of the last fault
	failures []string
	fired    map[string]int // faults, by name
	log      io.Writer      // nil: no transcript
}

// callback is something that will happen.
type callback struct {
	at  time.Time
	seq int // of equal times the earlier planned comes first
	do  func()
}

type callbacks []callback

func (c callbacks) Len() int { return len(c) }
func (c callbacks) Less(i, j int) bool {
	return c[i].at.Before(c[j].at) || c[i].at.Equal(c[j].at) && c[i].seq < c[j].seq
}
func (c callbacks) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *callbacks) Push(x any)   { *c = append(*c, x.(callback)) }
func (c *callbacks) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

func (w *world) at(t time.Time, do func()) {
	w.seq++
	heap.Push(&w.queue, callback{t, w.seq, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

// between is a random duration in [lo, hi).
func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)))
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) printf(format string, args ...any) {
	if w.log != nil {
		fmt.Fprintf(w.log, "%9.3fs "+format+"\n", append([]any{w.now.Sub(w.start).Seconds()}, args...)...)
	}
}

// violate records that a promise of the machine was broken.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf("%9.3fs ", w.now.Sub(w.start).Seconds()) + fmt.Sprintf(format, args...)
	w.failures = append(w.failures, text)
	if w.log != nil {
		fmt.Fprintln(w.log, "VIOLATED "+text)
	}
}

// link is the connection from one member to another: messages arrive in the order sent unless it breaks.
type link struct {
	blocked bool // nothing passes
	silent  bool // and nobody is told
	garbled bool // the next message is damaged on the way
	lag     time.Duration
	breaks  int // how often it broke; what was under way then may be lost
	last    time.Time
	again   Message // the last one sent: may come a second time after a break
}

func (w *world) link(from, to ID) *link {
	l := w.links[[2]ID{from, to}]
	if l == nil {
		l = &link{}
		w.links[[2]ID{from, to}] = l
	}
	return l
}

func (w *world) open(a, b ID) bool { return !w.link(a, b).blocked && !w.link(b, a).blocked }

// transmit carries a message.
func (w *world) transmit(from *node, to ID, msg Message) {
	target := w.byID[to]
	if target == nil {
		w.violate("%s sends %s to %s, which never was", from.id, msg.Kind, to)
		return
	}
	from.sent(w)
	msg, keep := w.tamper.message(from, to, w.word(from, msg))
	if !keep {
		return
	}
	l := w.link(from.id, to)
	if l.blocked || !target.running() {
		w.refuse(from, to, l)
		return
	}
	at := w.now.Add(l.lag + w.between(w.plan.latency/20, w.plan.latency))
	if !at.After(l.last) {
		at = l.last.Add(time.Microsecond)
	}
	l.last, l.again = at, msg
	breaks, life := l.breaks, target.life
	arrive := func() {
		if l.blocked || !target.running() || target.life != life {
			w.refuse(from, to, l)
			return
		}
		target.deliver(from.id, msg)
	}
	w.at(at, func() {
		switch {
		case l.garbled:
			w.garble(from, to, l, msg)
		case l.breaks != breaks && w.chance(0.7):
			w.hit("message lost")
			w.refuse(from, to, l)
		case l.breaks != breaks && w.chance(0.5): // what was sent on a new connection comes first
			w.hit("messages swapped")
			w.after(w.between(time.Millisecond, 2*time.Second), arrive)
		default:
			arrive()
		}
	})
}

// refuse tells a sender, late or never, that a message did not arrive.
func (w *world) refuse(from *node, to ID, l *link) {
	wait := w.between(5*time.Millisecond, 500*time.Millisecond)
	if l.blocked {
		if l.silent {
			return
		}
		wait = w.between(50*time.Millisecond, 5*time.Second)
	}
	from.soon(wait, func() { from.feed(Unreachable{to}) })
}

// snap breaks the connections between two members, and may repeat the last message of each.
func (w *world) snap(a, b ID) {
	w.printf("network: %s-%s breaks", a, b)
	for _, pair := range [][2]ID{{a, b}, {b, a}} {
		l := w.link(pair[0], pair[1])
		l.breaks++
		if to := w.byID[pair[1]]; l.again.Kind != "" && w.chance(0.5) && to.running() && !l.blocked {
			w.hit("message twice")
			from, msg := pair[0], l.again
			to.soon(w.between(time.Millisecond, time.Second), func() { to.deliver(from, msg) })
		}
	}
	w.disturb(a, b)
}

// block closes the link from a to b.
func (w *world) block(a, b ID, silent bool) {
	l := w.link(a, b)
	l.blocked, l.silent = true, silent
	l.breaks++
	w.disturb(a, b)
	w.suspect(a, b)
	w.suspect(b, a)
}

func (w *world) unblock(a, b ID) {
	w.link(a, b).blocked = false
	w.suspect(a, b)
	w.suspect(b, a)
}

// suspect lets the failure detector of o look at t after a while: what it finds then is o's view.
func (w *world) suspect(o, t ID) {
	observer := w.byID[o]
	wait := w.between(time.Second, 8*time.Second)
	if w.visible(o, t) {
		wait = w.between(10*time.Millisecond, 3*time.Second)
	}
	observer.soon(wait, func() { observer.look(t, w.visible(o, t)) })
}

// visible is the truth that a failure detector finds in the end.
func (w *world) visible(o, t ID) bool {
	target := w.byID[t]
	return target.running() && w.open(o, t) && (!target.paused || w.now.Sub(target.pausedAt) < 5*time.Second)
}

// noticed lets every failure detector look at a member whose state changed.
func (w *world) noticed(t *node) {
	for _, o := range w.nodes {
		if o != t && o.running() {
			w.suspect(o.id, t.id)
			if t.running() {
				w.suspect(t.id, o.id)
			}
		}
	}
}

// exchange is one all-reduce: every member of the roster must begin the same one, and each has its result at its own time.
type exchange struct {
	tag      Tag
	roster   Roster
	base     string
	parts    map[ID][]unit
	finished map[ID]bool
	broken   bool
}

// reduce lets a member begin an exchange.
func (w *world) reduce(n *node, e Reduce) {
	x := w.exchanges[e.Tag]
	if x == nil {
		x = &exchange{tag: e.Tag, roster: e.Roster, base: n.base, parts: map[ID][]unit{}, finished: map[ID]bool{}}
		w.exchanges[e.Tag] = x
	}
	rank, ok := e.Roster.Rank(n.id)
	switch {
	case !ok || !slices.Equal(x.roster.Members, e.Roster.Members):
		w.violate("%s begins %v with another roster", n.id, e.Tag)
	case x.base != n.base:
		w.violate("%s begins %v from another state", n.id, e.Tag)
	case e.Samples[rank] != sum(n.local) && e.Samples[rank] != 0: // kept from an earlier life, and not told yet
		w.violate("%s is counted for %d samples and holds %d", n.id, e.Samples[rank], sum(n.local))
	case e.Samples[rank] > 0 && e.Norms[rank] != norm(n.local):
		w.violate("%s is counted with a norm of %v and holds %v", n.id, e.Norms[rank], norm(n.local))
	case x.parts[n.id] != nil:
		w.violate("%s begins %v twice", n.id, e.Tag)
	}
	if x.parts[n.id] = []unit{}; e.Samples[rank] > 0 {
		x.parts[n.id] = slices.Clone(n.local)
	}
	n.exchange = x
	n.soon(w.between(4*time.Second, 10*time.Second), func() { w.miss(x, n, "deadline") })
	for _, id := range x.roster.Members {
		if !w.byID[id].running() { // nobody answers there
			w.ruin(x, 200*time.Millisecond)
		}
	}
	if len(x.parts) == x.roster.Size() {
		w.run(x)
	}
}

// run brings an exchange that all have begun to its end.
func (w *world) run(x *exchange) {
	if w.chance(w.plan.failing) {
		w.hit("exchange fails")
		w.after(w.between(time.Millisecond, 500*time.Millisecond), func() { w.ruin(x, 0) })
	}
	if w.lies(x) {
		return
	}
	hash, content := w.ledger.reduce(x)
	for _, id := range x.roster.Members {
		n, own := w.byID[id], hash
		if w.chance(w.plan.flipping) {
			w.hit("bits flipped")
			own = "flipped-" + string(id) + "-" + hash
		}
		n.soon(w.between(50*time.Millisecond, 600*time.Millisecond), func() {
			if x.broken || n.exchange != x {
				return
			}
			x.finished[n.id], n.exchange = true, nil
			w.ledger.contents[own] = content
			n.disk.store(own)
			n.feed(Reduced{x.tag.Ballot, own})
		})
	}
}

// died ruins the exchanges that wait for a member.
func (w *world) died(n *node) {
	for _, o := range w.nodes {
		if x := o.exchange; x != nil && slices.Contains(x.roster.Members, n.id) && !x.finished[n.id] {
			w.ruin(x, 200*time.Millisecond)
		}
	}
}

// ruin fails an exchange for all that are not through; detection is how long they take to see it at most.
func (w *world) ruin(x *exchange, detection time.Duration) {
	if x.broken {
		return
	}
	x.broken = true
	for _, id := range x.roster.Members {
		if n := w.byID[id]; n.exchange == x {
			n.soon(w.between(time.Millisecond, 300*time.Millisecond+detection), func() { w.miss(x, n, "broken") })
		}
	}
}

func (w *world) miss(x *exchange, n *node, why string) {
	if n.exchange != x {
		return
	}
	n.exchange = nil
	if !x.broken {
		w.ruin(x, 0)
	}
	n.feed(Failed{Ballot: x.tag.Ballot, Reason: why})
}

// disturb ruins the exchange that two members share, if there is one.
func (w *world) disturb(a, b ID) {
	if x := w.byID[a].exchange; x != nil && x == w.byID[b].exchange {
		w.ruin(x, 4*time.Second)
	}
}

// pass lets time run until t or until done; false means that too much happened.
func (w *world) pass(until time.Time, done func() bool) bool {
	for len(w.queue) > 0 && !done() && len(w.failures) == 0 {
		if w.queue[0].at.After(until) {
			break
		}
		next := heap.Pop(&w.queue).(callback)
		w.now = next.at
		next.do()
		if w.steps > stepLimit {
			w.violate("%d steps: too many", w.steps)
			return false
		}
	}
	return true
}
