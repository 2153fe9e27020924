package roster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// gathering is what a coordinator knows of the answers to its poll.
type gathering struct {
	ready  map[ID]Message
	busy   map[ID]time.Time // last word of a member still training
	polled map[ID]time.Time // first asked at
	gone   map[ID]string    // left out, and why
	lost   map[ID]ID        // of those, against whom
	waited map[ID]bool      // of those, who was waited for to the end
	cut    time.Time        // when members still training were told to stop; zero: not yet
	again  time.Time        // when to repeat the poll
}

func (g *gathering) expect(id ID, now time.Time) {
	if _, known := g.polled[id]; !known {
		g.polled[id] = now
	}
	delete(g.gone, id)
	delete(g.waited, id)
	delete(g.lost, id)
}

// excuse begins anew to wait for those who did not answer yet.
func (g *gathering) excuse(now time.Time) {
	for id := range g.polled {
		g.polled[id] = now
	}
	for id := range g.busy {
		g.busy[id] = now
	}
}

func (g *gathering) absent(id ID, why string) {
	if _, known := g.polled[id]; known {
		g.gone[id] = why
		delete(g.ready, id)
		delete(g.busy, id)
	}
}

// await begins to wait for a ballot; after d this member campaigns for one of its own.
func (m *Machine) await(d time.Duration) { m.enter(Waiting, d) }

// candidates are the members alive that may coordinate: those placed, and all if those stand accused for too long.
func (m *Machine) candidates() []ID {
	if m.stuckFor() >= lonelyFor {
		return m.alive
	}
	return m.placed()
}

// placed are the members alive of the last roster, and if none of them is left, all.
func (m *Machine) placed() []ID {
	var placed []ID
	for _, id := range m.alive {
		if _, ok := m.st.Last.Roster.Rank(id); ok {
			placed = append(placed, id)
		}
	}
	if len(placed) == 0 {
		return m.alive
	}
	return placed
}

// guest reports whether this member leaves coordination to others: it joined after the roster was pinned.
func (m *Machine) guest() bool { return !slices.Contains(m.candidates(), m.self) }

// backoff is how long this member leaves coordination to others: its place in the round's rendezvous order, in units of
// Config.Backoff. Those who were waited for in vain of late come last.
func (m *Machine) backoff() time.Duration {
	key := fmt.Sprintf("coordinator/%s/%d", m.st.Last.Lineage, m.st.Next)
	order := Rendezvous(key, m.candidates())
	slices.SortStableFunc(order, func(a, b ID) int { return cmp.Compare(m.waits.order(a, m.now), m.waits.order(b, m.now)) })
	place := slices.Index(order, m.self)
	return time.Duration(max(place, 0)) * m.cfg.Backoff
}

// campaign makes this member coordinator of a new ballot.
func (m *Machine) campaign() {
	if m.now.Before(m.aside) {
		m.await(m.aside.Sub(m.now))
		return
	}
	if m.guest() || m.paused {
		m.ask()
		m.await(m.cfg.Gather)
		return
	}
	if len(m.alive) < m.cfg.MinMembers {
		m.note("waiting_for_members", fmt.Sprintf("%d of min_members %d", len(m.alive), m.cfg.MinMembers))
		m.await(m.cfg.Gather)
		return
	}
	view := max(m.outview, m.st.Promised.View) + 1
	m.promise(Ballot{Round: m.st.Next, View: view, Coordinator: m.self})
	m.poll = &gathering{
		ready: map[ID]Message{}, busy: map[ID]time.Time{}, polled: map[ID]time.Time{}, gone: map[ID]string{}, lost: map[ID]ID{},
		waited: map[ID]bool{},
	}
	m.enter(Polling, m.cfg.Gather/2)
	m.poll.again = m.now.Add(m.cfg.Gather / 2)
	called := m.called()
	for _, id := range called {
		m.poll.expect(id, m.now)
	}
	for _, id := range m.st.Last.Roster.Members {
		if !slices.Contains(called, id) {
			m.poll.expect(id, m.now)
			m.poll.absent(id, m.absence(id))
		}
	}
	m.poll.ready[m.self] = m.readyMessage()
	m.tell(called, m.pollMessage())
	m.settle()
}

// called are the members that a coordinator polls: those alive, and while this process is young those of the last roster
// that its view may only not have told of yet.
func (m *Machine) called() []ID {
	called := slices.Clone(m.alive)
	if m.now.Sub(m.born) >= lonelyFor {
		return called
	}
	for _, id := range m.st.Last.Roster.Members {
		if !m.met[id] && !slices.Contains(m.left, id) {
			called = append(called, id)
		}
	}
	slices.Sort(called)
	return slices.Compact(called)
}

func (m *Machine) absence(id ID) string {
	if slices.Contains(m.left, id) {
		return "left"
	}
	return "not alive"
}

func (m *Machine) pollMessage() Message {
	base := m.st.Last
	return Message{Kind: Poll, Ballot: m.st.Promised, Record: &base, Cut: !m.poll.cut.IsZero()}
}

func (m *Machine) readyMessage() Message {
	msg := Message{
		Kind: Ready, Ballot: m.st.Promised, Samples: m.samples, Work: m.work, Norm: m.norm, Took: m.took,
		Prepared: m.st.Prepared, Blames: m.blames,
	}
	if m.samples == 0 {
		msg.Reason = m.idle
	}
	if m.paused {
		msg.Reason = isPaused
	}
	return msg
}

// answered takes an answer to this member's poll.
func (m *Machine) answered(from ID, msg Message) {
	if m.phase != Polling || msg.Ballot != m.st.Promised {
		m.remind(from, msg.Ballot)
		return
	}
	m.poll.expect(from, m.now)
	if msg.Kind == Busy {
		m.poll.busy[from] = m.now
	} else {
		m.poll.ready[from] = msg
	}
	m.settle()
}

// remind repeats to a member what it seems to have missed: it still waits for a ballot of this one.
func (m *Machine) remind(to ID, b Ballot) {
	switch {
	case b.Round < m.st.Next:
		m.send(to, m.headMessage())
	case b == m.st.Promised && m.begun != nil && (m.phase == Reducing || m.phase == Preparing):
		m.send(to, *m.begun)
	case m.phase != Waiting: // when waiting it will try again, else it knows nothing of the ballot any more
		m.send(to, Message{Kind: Abort, Ballot: b, Reason: "coordinator started again"})
	}
}

// outbid steps down for a later ballot.
func (m *Machine) outbid(b Ballot) {
	if m.phase != Polling || b.Round != m.st.Next || b.Compare(m.st.Promised) <= 0 {
		return
	}
	m.outview = b.View
	m.retreat("outbid by " + b.String())
}

// settle decides the ballot's roster once every member alive answered, or the time for it is over.
func (m *Machine) settle() {
	g := m.poll
	open, grace := m.expire()
	if open == 0 {
		m.decide()
		return
	}
	if g.cut.IsZero() && m.st.Next > 0 && !m.now.Before(m.patience()) {
		g.cut = m.now
		m.tell(m.called(), m.pollMessage())
		m.note("stragglers_cut", fmt.Sprintf("%d of %d still training", open, len(g.polled)))
	}
	if !m.now.Before(g.again) {
		g.again = m.now.Add(m.cfg.Gather / 2)
		m.tell(m.called(), m.pollMessage())
	}
	m.wake = m.now.Add(m.cfg.Gather / 8)
	if !grace.IsZero() && grace.Before(m.wake) {
		m.wake = grace
	}
}

// decide closes the poll: a roster, what each brings, and what to adopt if anyone has prepared this round.
func (m *Machine) decide() {
	leftOut, stays := m.exclude()
	if !stays {
		return
	}
	members := slices.Sorted(maps.Keys(m.poll.ready))
	best, holders := prepared(m.poll.ready)
	if why := m.premature(members, best); why != "" {
		m.retreatFor(m.cfg.Gather/2+m.backoff(), why)
		return
	}
	b := m.st.Promised
	s := Settled{Roster: nextRoster(m.st.Last.Roster, members), Lineage: nextLineage(m.st.Last, b, members), Missing: m.missing()}
	for _, id := range members {
		answer := m.poll.ready[id]
		s.Samples = append(s.Samples, answer.Samples)
		s.Work = append(s.Work, answer.Work)
		s.Norms = append(s.Norms, answer.Norm)
		s.Took = append(s.Took, answer.Took)
	}
	msg := Message{Kind: Begin, Ballot: b, Settled: &s, Holders: holders}
	if best != nil {
		p := adoption(m.st.Last, *best, b, s)
		msg.Prepared = &p
	} else if m.st.Next > 0 {
		s.Plan = m.plan(s.Roster)
	}
	m.tell(slices.Concat(members, leftOut), msg)
	m.begin(m.self, msg)
	m.begun = &msg
	m.outside = slices.DeleteFunc(m.called(), func(id ID) bool { return slices.Contains(members, id) })
}

// missing lists the members of the last roster that bring nothing, with the rule that left them out, and whoever else was
// waited for in vain.
func (m *Machine) missing() []Absence {
	var out []Absence
	for _, id := range m.st.Last.Roster.Members {
		why := m.poll.gone[id]
		if answer, ready := m.poll.ready[id]; ready && answer.Samples == 0 {
			why = cmp.Or(shorten(answer.Reason), "trained no samples")
		}
		if why != "" && m.st.Next > 0 {
			out = append(out, Absence{id, why, m.poll.lost[id], m.poll.waited[id]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.poll.waited)) {
		if _, placed := m.st.Last.Roster.Rank(id); !placed && m.st.Next > 0 {
			out = append(out, Absence{ID: id, Reason: m.poll.gone[id], Waited: true})
		}
	}
	return out
}

// SetPlanner lets planner choose how the exchange of a ballot runs that this member coordinates: its text for the ballot's
// roster, of up to MaxPlanBytes, reaches every member as Reduce.Plan; an empty text, as without a planner, stands for the
// plan that is configured. It is called within Step, must not wait, and is set before the first Step.
func (m *Machine) SetPlanner(planner func(Roster) string) { m.planner = planner }

// plan asks the planner.
func (m *Machine) plan(r Roster) string {
	if m.planner == nil {
		return ""
	}
	text := m.planner(r)
	if len(text) > MaxPlanBytes || !utf8.ValidString(text) {
		m.note("plan_refused", fmt.Sprintf("%d bytes of plan; the limit is %d of UTF-8, so the plan configured stands", len(text), MaxPlanBytes))
		return ""
	}
	return text
}
