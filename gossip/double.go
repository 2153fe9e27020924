package gossip

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Two agents with one identity are two nodes with a copied state directory, mostly a cloned SD card. An agent that hears
// of its own identity at another address asks there. Nobody answers after a restart at another address: that is old news.
// Who answers proves that it has the identity's key and says how long it has run, by its own clock, since a Pi's calendar
// is wrong after boot; the one that runs for less stops. Until it knows, an agent that is new keeps out of the cluster.

const (
	// questionVersion is the first byte of a question and its answer.
	questionVersion = 2
	asks, answers   = 1, 2 // the second byte
	nonceBytes      = 16
	maxProofBytes   = 128
	// maxDoubles bounds the addresses that are asked, and maxQuestions the questions that wait to be sent.
	maxDoubles, maxQuestions = 16, 16
	// level is how little two running times may differ: then the instances decide, on both sides alike.
	level = time.Second
)

// question is the first word between two agents of one identity, or the answer to it:
//
//	02 kind instance(16) nonce(16) up(8) length-of-address address proof
//
// kind is 1 for a question and 2 for its answer, which has the same nonce; instance is drawn at each start; up is how long
// the sender has run, in nanoseconds, big endian; address is the sender's host:port of membership; the proof is the
// identity's signature of all before it.
type question struct {
	kind     byte
	instance [nonceBytes]byte
	nonce    [nonceBytes]byte
	up       time.Duration
	addr     string
	proof    []byte
}

// claim is what the proof signs.
func (q question) claim() []byte {
	b := append([]byte{questionVersion, q.kind}, q.instance[:]...)
	b = append(b, q.nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(q.up))
	return append(append(b, byte(len(q.addr))), q.addr...)
}

func (q question) encode() []byte { return append(q.claim(), q.proof...) }

// decodeQuestion is encode's inverse. It checks the form, not the proof.
func decodeQuestion(text []byte) (question, error) {
	const head = 2 + 2*nonceBytes + 8 + 1
	if len(text) < head || text[0] != questionVersion || text[1] != asks && text[1] != answers {
		return question{}, fmt.Errorf("decode question of %d bytes", len(text))
	}
	q := question{kind: text[1], instance: [nonceBytes]byte(text[2:]), nonce: [nonceBytes]byte(text[2+nonceBytes:])}
	q.up = time.Duration(binary.BigEndian.Uint64(text[2+2*nonceBytes:]))
	n := int(text[head-1])
	if len(text) < head+n || len(text)-head-n > maxProofBytes || q.up < 0 {
		return question{}, fmt.Errorf("decode question of %d bytes: address of %d, up %v", len(text), n, q.up)
	}
	q.addr, q.proof = string(text[head:head+n]), bytes.Clone(text[head+n:])
	if _, err := netip.ParseAddrPort(q.addr); err != nil {
		return question{}, fmt.Errorf("decode question: %w", err)
	}
	return q, nil
}

// verdict is what is known of an address at which this agent's identity was heard of.
type verdict int

const (
	pending verdict = iota // asked; nobody has answered yet
	silent                 // nobody answers: old news
	mirror                 // this agent itself answers: another address of this node
	older                  // another agent answers, which has run for longer
	younger                // or for less
)

// inquiry is one address that is asked.
type inquiry struct {
	nonce   [nonceBytes]byte
	asked   time.Time
	verdict verdict
}

// doubles finds out about other agents of this identity. It is safe for concurrent use.
type doubles struct {
	prove    func(text []byte) ([]byte, error) // nil: nothing is asked or answered
	instance [nonceBytes]byte
	started  time.Time
	pause    time.Duration // between two questions to an address; half of it is waited for an answer

	ask   chan string   // addresses to ask
	reply chan question // answers to send

	mu   sync.Mutex
	open map[string]*inquiry
}

func newDoubles(prove func([]byte) ([]byte, error), pause time.Duration) (*doubles, error) {
	d := &doubles{
		prove: prove, started: time.Now(), pause: pause,
		ask: make(chan string, maxQuestions), reply: make(chan question, maxQuestions), open: map[string]*inquiry{},
	}
	if _, err := rand.Read(d.instance[:]); err != nil {
		return nil, fmt.Errorf("draw an instance: %w", err)
	}
	return d, nil
}

// heard takes word of this identity at another address, and reports what is known of it. The caller is memberlist: this
// must be quick.
func (d *doubles) heard(addr string) verdict {
	if d.prove == nil {
		return silent
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.inquiry(addr)
	if i == nil {
		return pending
	}
	now := time.Now()
	if now.Sub(i.asked) < d.pause {
		if i.verdict == pending && now.Sub(i.asked) > d.pause/2 {
			i.verdict = silent
		}
		return i.verdict
	}
	i.asked = now
	offer(d.ask, addr)
	return i.verdict
}

// inquiry is what is known of an address, a new one if nothing is, or nil if that is one too many. The caller holds the
// lock.
func (d *doubles) inquiry(addr string) *inquiry {
	for known, old := range d.open {
		if time.Since(old.asked) > 10*d.pause {
			delete(d.open, known)
		}
	}
	i := d.open[addr]
	if i == nil && len(d.open) < maxDoubles {
		i = &inquiry{}
		d.open[addr] = i
	}
	return i
}

// met takes the question of a double, and reports whether there is a new verdict. One that is younger, as it says, is
// about to end: there is no use in asking it. One that is older must prove that it says so now.
func (d *doubles) met(q question) (verdict, bool) {
	v := d.judge(q)
	if v == older {
		d.heard(q.addr)
	}
	if v != younger {
		return v, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.inquiry(q.addr)
	if i == nil {
		return v, false
	}
	before := i.verdict
	i.asked, i.verdict = time.Now(), v
	return v, before != v
}

// say makes a question or an answer of this agent.
func (d *doubles) say(kind byte, nonce [nonceBytes]byte, from string) (question, error) {
	q := question{kind: kind, instance: d.instance, nonce: nonce, up: time.Since(d.started), addr: from}
	var err error
	if q.proof, err = d.prove(q.claim()); err != nil {
		return q, fmt.Errorf("sign a question: %w", err)
	}
	return q, nil
}

// proved reports whether q is of this identity. Ed25519 signs the same text the same way.
func (d *doubles) proved(q question) bool {
	mine, err := d.prove(q.claim())
	return err == nil && bytes.Equal(mine, q.proof)
}

// take handles a question or an answer that came in. It returns the verdict of an answer, and whether there is a new one.
func (d *doubles) take(q question) (verdict, bool) {
	if d.prove == nil || !d.proved(q) {
		return pending, false // of another, who has nothing to ask here
	}
	if q.kind == asks {
		offer(d.reply, q)
		return d.met(q)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.open {
		if i.nonce != q.nonce || i.nonce == [nonceBytes]byte{} {
			continue
		}
		before := i.verdict
		i.verdict, i.nonce = d.judge(q), [nonceBytes]byte{}
		return i.verdict, i.verdict != before
	}
	return pending, false
}

// judge says which of the two is older.
func (d *doubles) judge(q question) verdict {
	mine := time.Since(d.started)
	switch {
	case q.instance == d.instance:
		return mirror
	case q.up > mine+level:
		return older
	case q.up < mine-level:
		return younger
	case bytes.Compare(q.instance[:], d.instance[:]) < 0:
		return older
	}
	return younger
}

// inquire sends questions and answers until Close.
func (g *Gossip) inquire() {
	d := g.table.doubles
	for {
		select {
		case <-g.ctx.Done():
			return
		case addr := <-d.ask:
			g.ask(addr)
		case q := <-d.reply:
			if answer, err := d.say(answers, q.nonce, g.addr); err == nil {
				_ = g.sendTo(q.addr, answer.encode()) // who asked and is gone again needs none
			}
		}
	}
}

// ask sends one question, without waiting for its answer.
func (g *Gossip) ask(addr string) {
	d := g.table.doubles
	var nonce [nonceBytes]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return
	}
	d.mu.Lock()
	i := d.open[addr]
	if i != nil {
		i.nonce = nonce
	}
	d.mu.Unlock()
	if i == nil {
		return
	}
	q, err := d.say(asks, nonce, g.addr)
	if err == nil {
		err = g.sendTo(addr, q.encode())
	}
	if err != nil {
		d.mu.Lock()
		i.verdict = silent
		d.mu.Unlock()
	}
}

// sendTo tells a member something over TCP.
func (g *Gossip) sendTo(addr string, text []byte) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("send to %q: %w", addr, err)
	}
	return g.list.SendReliable(&memberlist.Node{Addr: to.Addr().AsSlice(), Port: to.Port()}, text)
}
