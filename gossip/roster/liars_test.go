package roster

import (
	"slices"
	"time"
)

// lie is what a member does that others can only judge by the outcome. Its machine is honest: the lies are told beside it.
type lie string

const (
	honest    lie = ""
	wrongHash lie = "wrong hash"       // tells some of the others that it stored something else
	poison    lie = "poisoned segment" // sends what is not finite; whoever gets it blames it
	slander   lie = "false word"       // blames another for what it did itself
	withhold  lie = "withheld state"   // stores states, and gives them to nobody
)

var lies = []lie{wrongHash, poison, slander, withhold}

// lying is how often a liar lies.
const lying = 0.7

// lies fails an exchange if one of its members lies now.
func (w *world) lies(x *exchange) bool {
	for _, id := range x.roster.Members {
		liar := w.byID[id]
		if liar.lie != poison && liar.lie != slander || x.roster.Size() < 2 || !w.chance(lying) {
			continue
		}
		w.hit(string(liar.lie))
		others := slices.DeleteFunc(slices.Clone(x.roster.Members), func(o ID) bool { return o == id })
		accuser, accused := w.byID[others[w.rng.IntN(len(others))]], liar
		if liar.lie == slander {
			accuser, accused = liar, accuser
		}
		accuser.soon(w.between(50*time.Millisecond, 600*time.Millisecond), func() {
			if accuser.exchange == x {
				accuser.exchange = nil
				w.ruin(x, 0)
				accuser.feed(Failed{x.tag.Ballot, "not finite", accused.id})
			}
		})
		return true
	}
	return false
}

// word is what a member says instead of msg.
func (w *world) word(n *node, msg Message) Message {
	if n.lie == wrongHash && msg.Kind == Done && w.chance(lying) {
		w.hit(string(wrongHash))
		msg.Hash = "lie-" + msg.Hash
	}
	return msg
}

// hit counts a fault that happened.
func (w *world) hit(fault string) { w.fired[fault]++ }

// hold lets one member rest for a while, or all of them.
func (w *world) hold(n *node) {
	held := []*node{n}
	if w.chance(0.2) {
		held = w.nodes
		w.hit("all paused")
	}
	long := w.between(time.Second, 20*time.Second)
	for _, n := range held {
		if n.running() && !n.paused && !n.held {
			w.hit("pause")
			life := n.life
			n.hold(true)
			w.after(long, func() {
				if n.life == life && !n.paused {
					n.hold(false)
				}
			})
		}
	}
}

// slow makes a member's local steps take longer for a while.
func (w *world) slow(n *node) {
	w.hit("slow CPU")
	n.slow *= 4
	w.after(w.between(5*time.Second, 20*time.Second), func() { n.slow /= 4 })
}

// lag delays what crosses a link for a while.
func (w *world) lag(n *node) {
	o := w.other(n)
	if o == nil {
		return
	}
	w.hit("delay")
	long, end := w.between(300*time.Millisecond, 3*time.Second), w.between(2*time.Second, 10*time.Second)
	for _, l := range []*link{w.link(n.id, o.id), w.link(o.id, n.id)} {
		l.lag = long
		w.after(end, func() { l.lag = 0 })
	}
}

// corrupt damages the next message between two members.
func (w *world) corrupt(n *node) {
	if o := w.other(n); o != nil {
		w.link(n.id, o.id).garbled = true
	}
}

// garble damages a message as it arrives: its reader must refuse it, and ends the connection. What still reads is refused
// by the encryption of the real streams.
func (w *world) garble(from *node, to ID, l *link, msg Message) {
	w.hit("corrupted frame")
	l.garbled = false
	b, err := msg.Encode()
	if err != nil {
		w.violate("wire: %v", err)
		return
	}
	for range 1 + w.rng.IntN(4) {
		b[w.rng.IntN(len(b))] ^= byte(1 + w.rng.IntN(255))
	}
	if _, err := Decode(b[:w.rng.IntN(len(b)+1)]); err == nil {
		w.hit("corrupted frame that reads")
	}
	w.snap(from.id, to)
	w.refuse(from, to, l)
}

// fill leaves a member no room on its disk for a while: it ends when it must write, and is started again.
func (w *world) fill(n *node) {
	if !n.running() {
		return
	}
	life := n.life
	n.full = true
	w.after(10*time.Second, func() {
		if n.life == life {
			n.full = false
		}
	})
}

// stuffed ends a member that could not write.
func (n *node) stuffed() {
	w := n.w
	w.hit("full disk")
	w.printf("%s: cannot write, its disk is full", n.id)
	if w.tamper.deaf {
		return
	}
	n.crash()
	w.after(w.between(2*time.Second, 15*time.Second), func() { w.revive(n) })
}

// counted counts ballots that failed, and checks that who rests leaves coordination to others.
func (l *ledger) counted(n *node, effects []Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case Note:
			l.w.fired["note "+e.Event]++
		case Send:
			if n.held && e.Message.Kind == Poll {
				l.w.violate("paused: %s coordinates %v", n.id, e.Message.Ballot)
			}
		}
	}
}
