package roster

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// askEvery is how often a member that waits for company asks the others where they are.
const askEvery = 500 * time.Millisecond

// catchUpFor bounds a fetch that is not answered: a large state over a slow link takes a minute.
const catchUpFor = 2 * time.Minute

// lingerFor bounds how long a member that is through waits for those behind.
const lingerFor = 20 * time.Second

// ask asks every member alive for its head, now and then.
func (m *Machine) ask() {
	if m.now.Sub(m.asked) < askEvery {
		return
	}
	m.asked = m.now
	m.tell(m.alive, Message{Kind: Ask})
}

// join waits for company: before formation until the expected members are there, after a restart until one of the last
// roster answered. Config.Form bounds both.
func (m *Machine) join() {
	if m.born.IsZero() {
		m.born = m.now
	}
	m.enter(Joining, askEvery)
	if m.st.Next == 0 {
		if m.enough(len(m.alive)) {
			m.await(m.backoff())
		}
		return
	}
	if !m.unsure || m.late() || m.st.Last.Roster.Size() <= 1 || m.finished() { // who is through has nothing to decide
		m.unsure = false
		m.proceed()
	}
}

// late reports whether this member waited for company as long as it should.
func (m *Machine) late() bool { return m.now.Sub(m.born) >= m.cfg.Form }

// enough reports whether n members may form the roster: as many as are expected, or whoever is there when it is late.
func (m *Machine) enough(n int) bool {
	return n >= m.cfg.MinMembers && (m.late() || m.cfg.Expect > 0 && n >= m.cfg.Expect)
}

// head takes a peer's last record: it may be ahead of ours.
func (m *Machine) head(from ID, r Record) {
	if m.isAlive(from) {
		m.heads[from] = r
	}
	if m.consider(from, r) {
		return
	}
	if m.st.Last.Ahead(r) {
		m.send(from, m.headMessage())
	}
	if m.phase == Joining && m.st.Next > 0 && (r.Hash != "" || len(m.alive) >= len(m.st.Last.Roster.Members)) {
		m.unsure = false
		m.proceed()
	}
	if m.phase == Lingering {
		m.linger()
	}
}

// consider starts to catch up with r if it supersedes our last record, and reports whether it did.
func (m *Machine) consider(from ID, r Record) bool {
	if m.phase == CatchingUp || m.phase == Adopting {
		return true
	}
	held := m.st.Prepared != nil && m.st.Prepared.Hash == r.Hash || r.Hash == m.st.Last.Hash || r.Hash == m.initial
	if !r.Ahead(m.st.Last) || !held && m.shuns(r) {
		return false
	}
	if m.phase == Polling { // who waits for this ballot would be the last to know
		m.tell(slices.Sorted(maps.Keys(m.poll.ready)), Message{Kind: Head, Record: &r})
	}
	m.abandon("caught up by " + string(from))
	m.target, m.targetOf = r, from
	if held {
		m.commit(r, false)
		return true
	}
	m.enter(CatchingUp, catchUpFor)
	holders := []ID{from}
	for _, id := range r.Roster.Members {
		if id != from && id != m.self && m.isAlive(id) {
			holders = append(holders, id)
		}
	}
	m.emit(Fetch{Hash: r.Hash, From: holders})
	return true
}

// fetched goes on with the state that was missing.
func (m *Machine) fetched(hash string) {
	switch {
	case m.phase == CatchingUp && hash == m.target.Hash:
		delete(m.chases, m.target.Lineage)
		m.commit(m.target, false)
	case m.phase == Reducing && m.adopt != nil && m.adopt.Hash == hash:
		m.prepare(hash)
	}
}

func (m *Machine) fetchFailed(e FetchFailed) {
	switch {
	case m.phase == CatchingUp && e.Hash == m.target.Hash:
		m.note("catch_up_failed", e.Reason)
		m.missed(m.target.Lineage)
		delete(m.heads, m.targetOf)
		m.enter(Joining, askEvery)
	case m.phase == Reducing && m.adopt != nil && m.adopt.Hash == e.Hash:
		m.withhold(e.Reason)
	}
}

// maxWithheld is how often in a round a state that somebody says it stored may not be had before somebody is blamed.
const maxWithheld = 3

// withhold ends a ballot whose result to adopt nobody gave. Who says it stored a state and never gives it holds up the
// round for ever: the holders are blamed, one for each failure from the third on. Left out, they are as if they had died.
func (m *Machine) withhold(why string) {
	var blame ID
	if m.withheld++; m.withheld >= maxWithheld {
		others := slices.DeleteFunc(slices.Clone(m.holders), func(id ID) bool {
			return id == m.self || m.blamed(id)
		})
		if len(others) > 0 {
			blame = others[0]
			m.accuse(m.st.Promised, blame, fmt.Sprintf("said it stored %.12s and did not give it %d times", m.adopt.Hash, m.withheld))
		}
	}
	m.fail(m.st.Promised, "fetch: "+why, blame, true)
}

// commit makes r the last record and has its state loaded. own says that this member took part to the end.
func (m *Machine) commit(r Record, own bool) {
	if last := m.st.Last; r.Lineage != last.Lineage && last.Lineage != "" {
		m.note("lineage_changed", fmt.Sprintf("%s round %d gives way to %s round %d", last.Lineage, last.Round, r.Lineage, r.Round))
	}
	counted := m.counts(r)
	if counted {
		m.offered, m.work = false, 0 // what comes after it gets a name of its own
	}
	m.st.Last, m.st.Next, m.st.Prepared = r, r.Round+1, nil
	m.st.Promised.Round = min(m.st.Promised.Round, m.st.Next) // a lineage may win that is rounds behind
	m.idle = ""
	m.took, m.outview, m.through, m.unsure, m.lonely = 0, 0, false, false, time.Time{}
	m.aside, m.stuck, m.withheld = time.Time{}, time.Time{}, 0
	m.settleCharges(r)
	maps.DeleteFunc(m.met, func(id ID, _ bool) bool {
		_, placed := r.Roster.Rank(id)
		return !placed && !m.isAlive(id)
	})
	m.persist()
	m.forget()
	m.enter(Adopting, 0)
	m.wake = time.Time{}
	m.emit(Adopt{Record: r, Counted: counted, Own: own})
}

// adopted goes on to the next round from a loaded state.
func (m *Machine) adopted(e Adopted) {
	if m.phase != Adopting {
		return
	}
	m.samples, m.norm = e.Carry, finiteNorm(e.Norm)
	switch {
	case e.Carry == 0:
		m.work, m.offered = 0, false
	case m.work == 0: // kept from an earlier life of this member
		m.work = m.now.UnixNano()
	}
	m.proceed()
}

// proceed begins the next round: train if the roster has a place for this member, else wait to be taken in. Work that an
// exchange took whose end is not known here may yet turn out to be counted: it is not trained upon, only brought again.
func (m *Machine) proceed() {
	if m.finished() {
		m.enter(Lingering, askEvery)
		m.linger()
		return
	}
	_, placed := m.st.Last.Roster.Rank(m.self)
	fresh := placed && m.st.Next > 0 && m.st.Prepared == nil && !m.through && !m.offered
	if m.training || fresh && !m.paused {
		m.enter(Training, 0)
		m.wake = time.Time{}
		if m.training { // still stopping, after a catch-up that failed
			return
		}
		m.training, m.cut, m.began = true, false, m.now
		m.emit(Train{Round: m.st.Next, Roster: m.st.Last.Roster})
		return
	}
	m.await(m.backoff())
}

// linger ends the run once every member alive is through, or has had time. A process that was started again waits as long
// for those of the last roster that its view may not have told of yet.
func (m *Machine) linger() {
	m.wake = m.now.Add(askEvery)
	behind := func(id ID) bool {
		r, ok := m.heads[id]
		return id != m.self && (!ok || r.Round < uint64(m.cfg.Count))
	}
	unseen := func(id ID) bool { return !m.met[id] && !slices.Contains(m.left, id) }
	if m.now.Sub(m.since) < lingerFor && (slices.ContainsFunc(m.alive, behind) || slices.ContainsFunc(m.st.Last.Roster.Members, unseen)) {
		return
	}
	m.phase, m.wake = Ended, time.Time{}
	m.emit(Finish{})
}
