package roster

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// promise makes b the ballot this member takes part in, durably, and forgets what belonged to the one before.
func (m *Machine) promise(b Ballot) {
	m.forget()
	m.st.Promised = b
	m.persist()
}

// forget drops what belongs to the promised ballot only.
func (m *Machine) forget() {
	m.poll, m.begun, m.outside, m.settled, m.adopt, m.stored = nil, nil, nil, nil, nil, ""
	clear(m.dones)
}

// abandon stops an exchange at work.
func (m *Machine) abandon(why string) {
	if m.phase == Reducing {
		m.emit(Cancel{m.st.Promised})
		m.note("ballot_abandoned", m.st.Promised.String()+": "+why)
	}
	if m.training && !m.cut {
		m.cut = true
		m.emit(Cut{})
	}
}

// retreat goes back to waiting, with everything local kept.
func (m *Machine) retreat(why string) { m.retreatFor(m.backoff()+m.cfg.Backoff, why) }

func (m *Machine) retreatFor(d time.Duration, why string) {
	m.note("ballot_failed", m.st.Promised.String()+": "+why)
	if m.phase == Reducing {
		m.emit(Cancel{m.st.Promised})
	}
	if m.phase == Reducing || m.phase == Preparing {
		m.over = m.st.Promised
	}
	m.forget()
	m.await(d)
}

// polled answers a coordinator's poll.
func (m *Machine) polled(from ID, msg Message) {
	b, base := msg.Ballot, *msg.Record
	if b.Coordinator != from {
		return
	}
	if m.phase == CatchingUp || m.phase == Adopting {
		m.send(from, Message{Kind: Busy, Ballot: b, Reason: "catching up"})
		return
	}
	if m.consider(from, base) {
		m.send(from, Message{Kind: Busy, Ballot: b, Reason: "catching up"})
		return
	}
	if b.Round != m.st.Next || m.st.Last.Ahead(base) || base.Ahead(m.st.Last) || m.finished() { // ahead: of a lineage left alone
		m.send(from, m.headMessage())
		return
	}
	switch order := b.Compare(m.st.Promised); {
	case b == m.over: // a word from before it failed here: no ballot begins twice
		m.send(from, Message{Kind: Abort, Ballot: b, Reason: "this ballot failed here"})
		return
	case order < 0:
		m.send(from, Message{Kind: Nack, Ballot: m.st.Promised})
		return
	case order > 0:
		if m.phase == Reducing {
			m.emit(Cancel{m.st.Promised})
		}
		m.promise(b)
		if !m.training {
			m.enter(Following, m.cfg.Gather)
		}
	case m.phase == Reducing || m.phase == Preparing || m.phase == Polling:
		return // a repeated poll of the ballot at work
	}
	m.heard = m.now
	m.reply(msg.Cut)
}

// reply tells the coordinator of the promised ballot how far this member is.
func (m *Machine) reply(cut bool) {
	to := m.st.Promised.Coordinator
	if m.training {
		if (cut || m.paused) && !m.cut {
			m.cut = true
			m.emit(Cut{})
		}
		m.send(to, Message{Kind: Busy, Ballot: m.st.Promised, Reason: "training"})
		return
	}
	m.enter(Following, m.cfg.Gather)
	m.send(to, m.readyMessage())
}

// trained ends this member's local steps.
func (m *Machine) trained(e Trained) {
	if !m.training {
		return
	}
	m.training, m.through = false, true
	m.samples, m.norm, m.took = e.Samples, finiteNorm(e.Norm), m.now.Sub(m.began)
	m.idle = shorten(e.Reason)
	m.work = m.now.UnixNano()
	if m.phase != Training {
		return
	}
	b := m.st.Promised
	if b.Round == m.st.Next && b.Coordinator != m.self && !m.heard.IsZero() && m.now.Sub(m.heard) < 2*m.cfg.Gather {
		m.reply(false)
		return
	}
	m.await(m.backoff())
}

// listen speaks to a coordinator that fell silent, to see whether it can be reached, and gives up on it in time.
func (m *Machine) listen() {
	if quiet := m.now.Sub(m.heard); quiet >= 3*m.cfg.Gather {
		m.retreat(fmt.Sprintf("coordinator silent for %v", quiet))
		return
	}
	m.send(m.st.Promised.Coordinator, m.readyMessage())
	m.wake = m.now.Add(m.cfg.Gather / 2)
}

// begin takes the coordinator's decision on the promised ballot.
func (m *Machine) begin(from ID, msg Message) {
	b, s := msg.Ballot, msg.Settled
	if b.Coordinator != from {
		return
	}
	if !slices.Contains(s.Roster.Members, m.self) {
		if b == m.st.Promised && m.phase == Following {
			m.heard = m.now // it goes on without this member, and must not be disturbed
		}
		return
	}
	if why := m.refuse(msg); why != "" {
		m.tell(s.Roster.Members, Message{Kind: Abort, Ballot: b, Reason: why}) // they must not wait for this member
		return
	}
	if m.phase != Following && m.phase != Polling {
		return // a second time
	}
	m.settled, m.adopt, m.holders, m.poll = s, msg.Prepared, msg.Holders, nil
	m.history = append(m.history, s.Took...)
	m.history = m.history[max(0, len(m.history)-historyLen):]
	m.phase, m.since, m.wake = Reducing, m.now, time.Time{}
	switch {
	case b.Round == 0 && m.adopt == nil:
		m.prepare(m.initial)
	case m.adopt == nil:
		tag := Tag{Lineage: s.Lineage, Generation: s.Roster.Generation, Ballot: b}
		m.offered = m.samples > 0
		m.emit(Reduce{Tag: tag, Roster: s.Roster, Samples: s.Samples, Norms: s.Norms, Plan: s.Plan})
	case m.adopt.Hash == m.initial || slices.Contains(msg.Holders, m.self):
		m.prepare(m.adopt.Hash)
	default:
		m.emit(Fetch{Hash: m.adopt.Hash, From: msg.Holders})
	}
}

// refuse says why this member cannot do what a begin asks for; empty if it can, or does already.
func (m *Machine) refuse(msg Message) string {
	rank, _ := msg.Settled.Roster.Rank(m.self)
	switch {
	case msg.Ballot != m.st.Promised || m.phase != Following && m.phase != Polling && m.phase != Reducing && m.phase != Preparing:
		return "not following"
	case msg.Prepared == nil && (msg.Settled.Work[rank] != m.work || msg.Settled.Samples[rank] != m.samples || msg.Settled.Norms[rank] != m.norm):
		return "counted for work that it does not hold" // told before it crashed
	}
	return ""
}

// finiteNorm is x, or the largest number if x is no norm: who bounds norms then makes nothing of the work.
func finiteNorm(x float64) float64 {
	if checkNorm(x) != nil {
		return math.MaxFloat64
	}
	return x
}

// counts reports whether this member's local work is in r.
func (m *Machine) counts(r Record) bool { return m.offered && m.work != 0 && r.Work[m.self] == m.work }

// reduced stores the outcome of the exchange.
func (m *Machine) reduced(e Reduced) {
	if m.phase == Reducing && e.Ballot == m.st.Promised && m.adopt == nil {
		m.prepare(e.Hash)
	}
}

// prepare promises hash for the round, durably, and tells the roster.
func (m *Machine) prepare(hash string) {
	p := m.settled.prepared(m.st.Promised, hash)
	if m.adopt != nil { // only the ballot under which it may commit is new
		p = *m.adopt
		p.Ballot = m.st.Promised
	}
	m.st.Prepared = &p
	m.persist()
	m.stored = hash
	m.dones[m.self] = hash
	m.enter(Preparing, m.cfg.Gather/2)
	m.tell(m.settled.Roster.Members, Message{Kind: Done, Ballot: m.st.Promised, Hash: hash})
	m.unanimous()
}

// insist repeats its own word to those who have not said theirs, and gives up on them in time.
func (m *Machine) insist() {
	if m.now.Sub(m.since) >= 3*m.cfg.Gather {
		for _, id := range m.settled.Roster.Members {
			if _, told := m.dones[id]; !told {
				m.tardied(id)
			}
		}
		m.fail(m.st.Promised, "no word from every member in time", "", true)
		return
	}
	for _, id := range m.settled.Roster.Members {
		if _, told := m.dones[id]; !told {
			m.send(id, Message{Kind: Done, Ballot: m.st.Promised, Hash: m.stored})
		}
	}
	m.wake = m.now.Add(m.cfg.Gather / 2)
}

// done takes a member's word that it stored a result of the promised ballot, which may come before our own, or even
// before the coordinator's begin.
func (m *Machine) done(from ID, msg Message) {
	if msg.Ballot.Round < m.st.Next { // committed here; the other missed a word
		m.send(from, m.headMessage())
		return
	}
	if msg.Ballot != m.st.Promised {
		return
	}
	m.dones[from] = msg.Hash
	m.unanimous()
}

// unanimous commits once every member of the roster stored the same hash.
func (m *Machine) unanimous() {
	if m.phase != Preparing {
		return
	}
	told, same := 0, 0
	for _, id := range m.settled.Roster.Members {
		if hash, ok := m.dones[id]; ok {
			told++
			if hash == m.stored {
				same++
			}
		}
	}
	switch {
	case same < told:
		m.differ()
	case same == m.settled.Roster.Size():
		outside := m.outside
		m.commit(successor(m.st.Last, *m.st.Prepared), true)
		m.tell(outside, m.headMessage()) // or the next round would wait for them to catch up
	}
}

// aborted takes a member's word that a ballot cannot succeed. Whom it blames it says again when it is ready for the next.
func (m *Machine) aborted(from ID, msg Message) {
	why := string(from) + ": " + shorten(msg.Reason)
	if msg.Ballot.Round < m.st.Next { // committed here
		m.send(from, m.headMessage())
		return
	}
	if m.phase == Following && msg.Ballot == m.st.Promised && from == msg.Ballot.Coordinator {
		m.retreat(why)
		return
	}
	m.fail(msg.Ballot, why, msg.Blame, false)
}

// fail ends an attempt that cannot succeed; tell says that the others do not know yet, and whom to blame, if anybody.
func (m *Machine) fail(b Ballot, why string, blame ID, tell bool) {
	if b != m.st.Promised || m.phase != Reducing && m.phase != Preparing {
		return
	}
	if tell {
		m.tell(m.settled.Roster.Members, Message{Kind: Abort, Ballot: b, Reason: why, Blame: blame})
	}
	if blame != "" {
		why += " (" + string(blame) + " is blamed)"
	}
	m.retreat(why)
}
