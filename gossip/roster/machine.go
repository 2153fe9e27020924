package roster

import (
	"fmt"
	"slices"
	"time"
)

// Machine decides for one member: it pins rosters, runs ballots, commits rounds and catches up, by write-all, read-one
// commit. Inputs are events with a clock reading, outputs are effects; it does no I/O, starts nothing and reads no clock.
// It is not safe for concurrent use.
//
// Invariant: a member commits a ballot only after every member of its roster stored the same hash for it, and a member
// that stored one says so in every later ballot of the round, which then adopts it. So no two members of one lineage
// commit different states for one round.
type Machine struct {
	cfg     Config
	self    ID
	initial string // hash of the state before any training

	now    time.Time
	out    []Effect
	st     Stable
	alive  []ID
	left   []ID
	phase  Phase
	since  time.Time // of the phase
	wake   time.Time // when the phase wants to act without an event; zero: never
	slept  bool      // the last wake came far too late
	born   time.Time // of this process
	asked  time.Time // when the heads of peers were last asked for
	heads  map[ID]Record
	chases map[string]chase // of lineages ahead whose state was not to be had
	met    map[ID]bool      // members that this process saw alive, of the last roster and the view
	unsure bool             // restarted or new: must hear from a peer before acting alone

	training bool      // a Train is not answered yet
	cut      bool      // and was told to stop
	through  bool      // the local steps of the next round are done
	began    time.Time // of the local steps
	took     time.Duration
	idle     string  // why they left no samples
	samples  int64   // in the local state, not in any committed one
	norm     float64 // of what they changed
	work     int64   // names what was trained; 0: nothing
	offered  bool    // an exchange took it, and its end is not known here
	history  []time.Duration

	heard    time.Time // from the coordinator of the promised ballot
	poll     *gathering
	lonely   time.Time // since when only a minority answers; zero: not so
	outview  uint64    // latest view of the round that outbid this member
	begun    *Message  // as coordinator: what the ballot at work began with
	outside  []ID      // as coordinator: who answered, or could have, and has no part in it
	over     Ballot    // the last one that had begun, and failed here
	settled  *Settled
	adopt    *Prepared
	holders  []ID          // who said they stored what is to be adopted
	withheld int           // times in this round that they did not give it
	stored   string        // hash this member reduced or fetched for the promised ballot
	dones    map[ID]string // hashes told for the promised ballot
	target   Record        // what CatchingUp fetches
	targetOf ID
	blames   []Absence // whom this member blames for a ballot of the next round, or held to of late
	waits    charges   // those who were waited for in vain
	faults   charges   // those whom this member blamed
	aside    time.Time // until then this member leaves coordination to others
	stuck    time.Time // since when accusations stand that nobody can be left out for; zero: none do
	paused   bool
	planner  func(Roster) string
}

// NewMachine returns the machine of member self, which goes on from st. initial is the hash of the untrained state, which
// every member makes from the configured seed.
func NewMachine(cfg Config, self ID, initial string, st Stable) *Machine {
	return &Machine{
		cfg: cfg, self: self, initial: initial, st: st, alive: []ID{self},
		phase: Joining, heads: map[ID]Record{}, chases: map[string]chase{}, met: map[ID]bool{self: true}, dones: map[ID]string{}, unsure: true,
		waits: charges{}, faults: charges{},
	}
}

// Phase is what the machine is doing.
func (m *Machine) Phase() Phase { return m.phase }

// Coordinating reports whether this member coordinates the ballot at work.
func (m *Machine) Coordinating() bool {
	return m.phase != Joining && m.st.Promised.Round == m.st.Next && m.st.Promised.Coordinator == m.self
}

// Last is the last committed record, zero before formation.
func (m *Machine) Last() Record { return m.st.Last }

// Next is the round to be committed next.
func (m *Machine) Next() uint64 { return m.st.Next }

// Offered reports whether an exchange took the local work and its end is not known here: a record may hold the work, so
// a process that ends now must not keep it for its next life.
func (m *Machine) Offered() bool { return m.offered }

// Wake is when the machine wants a Tick, zero for never.
func (m *Machine) Wake() time.Time { return m.wake }

// Step takes one event at one clock reading and returns what is to be done, in order.
func (m *Machine) Step(now time.Time, event Event) []Effect {
	m.now, m.out = now, nil
	if m.phase == Ended { // it only tells the late where the run ended
		if r, ok := event.(Received); ok && (r.Message.Kind == Ask || r.Message.Kind == Poll) {
			m.send(r.From, m.headMessage())
		}
		return m.out
	}
	switch e := event.(type) {
	case Start:
		m.join()
	case ViewChange:
		m.see(e)
	case Unreachable:
		m.lose(e.ID, "unreachable")
	case Received:
		if e.From != m.self {
			m.receive(e.From, e.Message)
		}
	case Trained:
		m.trained(e)
	case Reduced:
		m.reduced(e)
	case Failed:
		m.accuse(e.Ballot, e.Blame, e.Reason)
		m.fail(e.Ballot, e.Reason, e.Blame, true)
	case Pause:
		m.pause()
	case Resume:
		m.resume()
	case Fetched:
		m.fetched(e.Hash)
	case FetchFailed:
		m.fetchFailed(e)
	case Adopted:
		m.adopted(e)
	}
	m.pass()
	return m.out
}

func (m *Machine) emit(e Effect)             { m.out = append(m.out, e) }
func (m *Machine) send(to ID, msg Message)   { m.emit(Send{To: to, Message: msg}) }
func (m *Machine) persist()                  { m.emit(Persist{m.st}) }
func (m *Machine) note(event, detail string) { m.emit(Note{event, detail}) }
func (m *Machine) finished() bool            { return m.st.Next > uint64(m.cfg.Count) }
func (m *Machine) isAlive(id ID) bool        { return slices.Contains(m.alive, id) }
func (m *Machine) enter(p Phase, d time.Duration) {
	m.phase, m.since, m.wake = p, m.now, m.now.Add(d)
}

// headMessage tells this member's last record. The record is a copy: a message outlives the step that made it.
func (m *Machine) headMessage() Message {
	last := m.st.Last
	return Message{Kind: Head, Record: &last}
}

// tell sends msg to every id but this member.
func (m *Machine) tell(ids []ID, msg Message) {
	for _, id := range ids {
		if id != m.self {
			m.send(id, msg)
		}
	}
}

// receive takes a message of a peer.
func (m *Machine) receive(from ID, msg Message) {
	switch msg.Kind {
	case Ask:
		m.send(from, m.headMessage())
	case Head:
		m.head(from, *msg.Record)
	case Poll:
		m.polled(from, msg)
	case Ready, Busy:
		m.answered(from, msg)
	case Nack:
		m.outbid(msg.Ballot)
	case Begin:
		m.begin(from, msg)
	case Done:
		m.done(from, msg)
	case Abort:
		m.aborted(from, msg)
	}
}

// see takes a new view. Members that are gone fail the ballot that needs them.
func (m *Machine) see(v ViewChange) {
	before := m.alive
	m.alive, m.left = slices.Clone(v.Alive), slices.Clone(v.Departed)
	if !m.isAlive(m.self) {
		m.alive = append(m.alive, m.self)
	}
	slices.Sort(m.alive)
	for _, id := range before {
		if !m.isAlive(id) {
			delete(m.heads, id)
			m.lose(id, "gone from the view")
		}
	}
	for _, id := range m.alive {
		m.met[id] = true
		if !slices.Contains(before, id) {
			m.welcome(id)
		}
	}
}

// welcome greets a member that appeared: whoever is behind learns it from the other's head.
func (m *Machine) welcome(id ID) {
	m.send(id, Message{Kind: Ask})
	if m.phase == Polling {
		m.poll.expect(id, m.now)
		m.send(id, m.pollMessage())
	}
}

// lose reacts to a member that cannot be reached.
func (m *Machine) lose(id ID, why string) {
	switch m.phase {
	case Polling:
		m.poll.absent(id, why)
		m.settle()
	case Following:
		if id == m.st.Promised.Coordinator {
			m.retreat("coordinator " + string(id) + " " + why)
		}
	case Reducing, Preparing:
		if m.settled != nil && slices.Contains(m.settled.Roster.Members, id) {
			m.fail(m.st.Promised, string(id)+" "+why, "", true)
		}
	case CatchingUp:
		if id == m.targetOf {
			m.fetchFailed(FetchFailed{m.target.Hash, why})
		}
	}
}

// pass acts on what only time can bring.
func (m *Machine) pass() {
	if m.phase == Joining || m.phase == Lingering {
		m.ask()
	}
	if m.wake.IsZero() || m.now.Before(m.wake) {
		return
	}
	if m.now.Sub(m.wake) > max(m.cfg.Gather, sleptFor) && !m.slept {
		m.oversleep()
		return
	}
	m.slept = false
	switch m.phase {
	case Joining:
		m.join()
	case Waiting:
		m.campaign()
	case Polling:
		m.settle()
	case Following:
		m.listen()
	case Preparing:
		m.insist()
	case CatchingUp:
		m.fetchFailed(FetchFailed{m.target.Hash, "not in time"})
	case Lingering:
		m.linger()
	}
}

// sleptFor is how late a process is woken that was stopped, rather than only busy.
const sleptFor = 2 * time.Second

// oversleep forgives the others a silence in which this process did not run: what they said is still to be read.
func (m *Machine) oversleep() {
	m.slept = true
	m.note("overslept", fmt.Sprintf("by %v", m.now.Sub(m.wake)))
	m.heard = m.now
	if m.poll != nil {
		m.poll.excuse(m.now)
	}
	m.wake = m.now.Add(m.cfg.Gather / 2)
}
