package gossip

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"shoal/gossip/roster"
)

const (
	// maxMembers bounds the live members; a cluster of Pis has a few dozen.
	maxMembers = 1024
	// maxGone bounds the dead and left members that stay listed, and that are asked to join again.
	maxGone = 64
)

// entry is a member as the table knows it.
type entry struct {
	Member
	record  []byte
	leaving bool      // it said goodbye
	gone    time.Time // since when it is dead or left
}

// table holds the members, from what memberlist tells. It implements memberlist's delegates, which are called under
// memberlist's own lock: they take the table's, keep copies, and never call back. memberlist's Members races with its
// own updates, so it is not used.
type table struct {
	self      Node
	meta      atomic.Pointer[[]byte] // of this agent
	admit     func(name string, record []byte) error
	resized   func(n int)   // hears how many members are known, under memberlist's lock of its members
	changed   chan struct{} // something differs from the last view
	conflicts chan Conflict
	doubles   *doubles
	addr      string // of this agent, host:port

	mu      sync.Mutex
	known   map[roster.ID]*entry
	clashes clashes
}

var (
	_ memberlist.Delegate         = (*table)(nil)
	_ memberlist.EventDelegate    = (*table)(nil)
	_ memberlist.AliveDelegate    = (*table)(nil)
	_ memberlist.MergeDelegate    = (*table)(nil)
	_ memberlist.ConflictDelegate = (*table)(nil)
	_ memberlist.PingDelegate     = (*table)(nil)
)

func newTable(self Node, meta []byte, admit func(string, []byte) error, conflictAfter time.Duration) *table {
	t := &table{
		self: self, admit: admit,
		changed: make(chan struct{}, 1), conflicts: make(chan Conflict, maxConflicts), resized: func(int) {},
		doubles: &doubles{}, known: map[roster.ID]*entry{}, clashes: clashes{after: conflictAfter},
	}
	t.meta.Store(&meta)
	return t
}

// attach makes the table memberlist's delegate. memberlist reads SuspicionMult under the lock of its members only, which
// it holds when it tells that there is one more.
func (t *table) attach(conf *memberlist.Config) {
	t.resized = func(n int) { conf.SuspicionMult = suspicionMult(n) }
	conf.Delegate, conf.Events, conf.Alive, conf.Merge, conf.Conflict, conf.Ping = t, t, t, t, t, t
}

// touch asks for a new view.
func (t *table) touch() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// members lists everybody, sorted by ID.
func (t *table) members() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Member, 0, len(t.known))
	for _, e := range t.known {
		list = append(list, e.Member)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// live is the addresses of the live members but this one, and dead those of the dead.
func (t *table) live() []string { return t.addrs(Alive, Suspect) }
func (t *table) dead() []string { return t.addrs(Dead) }

func (t *table) addrs(states ...State) []string {
	var addrs []string
	for _, m := range t.members() {
		if m.ID != t.self.ID && slices.Contains(states, m.State) {
			addrs = append(addrs, m.Addr)
		}
	}
	return addrs
}

// readmit calls admit for every live member.
func (t *table) readmit() {
	t.mu.Lock()
	records := map[roster.ID][]byte{}
	for id, e := range t.known {
		if id != t.self.ID && (e.State == Alive || e.State == Suspect) {
			records[id] = e.record
		}
	}
	t.mu.Unlock()
	for id, record := range records {
		_ = t.admit(string(id), record) // was admitted before; if it cannot be now, it is shut out
	}
}

// NotifyJoin is called when a member is let in.
func (t *table) NotifyJoin(n *memberlist.Node) {
	t.put(n)
}

// NotifyUpdate is called when a member's metadata changed.
func (t *table) NotifyUpdate(n *memberlist.Node) {
	t.put(n)
}

func (t *table) put(n *memberlist.Node) {
	name, record, err := decodeMeta(n.Meta)
	if err != nil {
		return // NotifyAlive refused it already
	}
	id := roster.ID(n.Name)
	t.mu.Lock()
	t.known[id] = &entry{Member: Member{id, name, n.Address(), Alive}, record: bytes.Clone(record)}
	t.resized(len(t.known))
	t.mu.Unlock()
	t.touch()
}

// NotifyLeave is called when a member is declared dead or has left: which of them, memberlist does not say.
func (t *table) NotifyLeave(n *memberlist.Node) {
	t.mu.Lock()
	if e := t.known[roster.ID(n.Name)]; e != nil {
		e.State, e.gone = Dead, time.Now()
		if e.leaving || e.ID == t.self.ID {
			e.State = Left
		}
		t.forget()
	}
	t.mu.Unlock()
	t.touch()
}

// forget drops the member that is gone longest while too many are listed.
func (t *table) forget() {
	var gone []*entry
	for _, e := range t.known {
		if e.State == Dead || e.State == Left {
			gone = append(gone, e)
		}
	}
	slices.SortFunc(gone, func(a, b *entry) int { return cmp.Or(a.gone.Compare(b.gone), cmp.Compare(a.ID, b.ID)) })
	for _, e := range gone[:max(0, len(gone)-maxGone)] {
		delete(t.known, e.ID)
	}
}

// suspect marks a live member whose probe failed.
func (t *table) suspect(id roster.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.known[id]; e != nil && e.State == Alive && id != t.self.ID {
		e.State = Suspect
		t.touch()
	}
}

// clear takes a suspicion back. The caller holds the lock.
func (t *table) clear(id roster.ID) {
	if e := t.known[id]; e != nil && e.State == Suspect {
		e.State = Alive
		t.touch()
	}
}

// NotifyPingComplete is called when a member answered a probe.
func (t *table) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear(roster.ID(n.Name))
}

// NotifyMsg takes a goodbye, or a question of a double.
func (t *table) NotifyMsg(text []byte) {
	if q, err := decodeQuestion(text); err == nil {
		v, fresh := t.doubles.take(q)
		if fresh && (v == older || v == younger) {
			offer(t.conflicts, Conflict{ID: t.self.ID, Here: t.addr, There: q.addr, Later: v == older})
		}
		return
	}
	id, err := decodeGoodbye(text)
	if err != nil {
		return // of another version, or not of ours
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.known[id]; e != nil && id != t.self.ID {
		e.leaving = true
	}
}

// NodeMeta is this agent's metadata.
func (t *table) NodeMeta(int) []byte { return *t.meta.Load() }

// AckPayload, GetBroadcasts, LocalState and MergeRemoteState carry nothing.
func (t *table) AckPayload() []byte              { return nil }
func (t *table) GetBroadcasts(int, int) [][]byte { return nil }
func (t *table) LocalState(bool) []byte          { return nil }
func (t *table) MergeRemoteState([]byte, bool)   {}

// offer puts v into a bounded channel and drops the oldest to make room.
func offer[T any](c chan T, v T) {
	for {
		select {
		case c <- v:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}
