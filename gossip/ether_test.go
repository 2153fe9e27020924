package gossip

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"shoal/gossip/roster"
)

// ether is a network in memory for whole memberships under testing/synctest. What it does to a message is up to the
// test: both functions are asked for every packet and every write to a stream.
type ether struct {
	mu       sync.Mutex
	antennas map[string]*antenna
	rng      *rand.Rand
	delay    func(from, to string) time.Duration
	cut      func(from, to string) bool // nothing gets through, and nobody says so
}

func newEther(seed uint64) *ether {
	return &ether{
		antennas: map[string]*antenna{}, rng: rand.New(rand.NewPCG(seed, 1)),
		delay: func(string, string) time.Duration { return time.Millisecond },
		cut:   func(string, string) bool { return false },
	}
}

// path asks for the fate of a message. A host that is switched off is cut off from all.
func (e *ether) path(from, to string) (delay time.Duration, cut bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.delay(from, to), e.antennas[from] == nil || e.antennas[to] == nil || e.cut(from, to)
}

func (e *ether) at(addr string) *antenna {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.antennas[addr]
}

// change lets a test change what the ether does.
func (e *ether) change(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// wire is the ether as membership takes it.
func (e *ether) wire(_ context.Context, conf *memberlist.Config, at string) (string, error) {
	a := &antenna{ether: e, addr: at, packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 128)}
	e.change(func() { e.antennas[at] = a })
	conf.Transport = a
	return at, nil
}

// antenna is one host's transport.
type antenna struct {
	ether   *ether
	addr    string
	packets chan *memberlist.Packet
	streams chan net.Conn
}

var _ memberlist.NodeAwareTransport = (*antenna)(nil)

func (a *antenna) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	addr, err := net.ResolveTCPAddr("tcp", a.addr)
	return addr.IP, addr.Port, err
}

func (a *antenna) WriteTo(b []byte, to string) (time.Time, error) {
	now := time.Now()
	delay, cut := a.ether.path(a.addr, to)
	if cut {
		return now, nil
	}
	b = slices.Clone(b)
	time.AfterFunc(delay, func() {
		if there := a.ether.at(to); there != nil {
			select {
			case there.packets <- &memberlist.Packet{Buf: b, From: place(a.addr), Timestamp: time.Now()}:
			default: // as a full socket buffer
			}
		}
	})
	return now, nil
}

func (a *antenna) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	return a.WriteTo(b, to.Addr)
}

func (a *antenna) PacketCh() <-chan *memberlist.Packet { return a.packets }
func (a *antenna) StreamCh() <-chan net.Conn           { return a.streams }

func (a *antenna) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	delay, cut := a.ether.path(a.addr, to)
	there := a.ether.at(to)
	if cut || 2*delay > timeout {
		time.Sleep(timeout)
		return nil, fmt.Errorf("dial %s: %w", to, os.ErrDeadlineExceeded)
	}
	time.Sleep(2 * delay)
	here, far := net.Pipe()
	select {
	case there.streams <- &lineConn{Conn: far, line: there, peer: a.addr}:
		return &lineConn{Conn: here, line: a, peer: to}, nil
	default:
		return nil, fmt.Errorf("dial %s: refused", to)
	}
}

func (a *antenna) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return a.DialTimeout(to.Addr, timeout)
}

// Shutdown switches the host off.
func (a *antenna) Shutdown() error {
	a.ether.change(func() {
		if a.ether.antennas[a.addr] == a {
			delete(a.ether.antennas, a.addr)
		}
	})
	return nil
}

// place is a net.Addr.
type place string

func (place) Network() string  { return "ether" }
func (p place) String() string { return string(p) }

// lineConn is one end of a stream whose writes take their time, or never arrive.
type lineConn struct {
	net.Conn
	line *antenna
	peer string

	mu       sync.Mutex
	deadline time.Time
}

func (c *lineConn) LocalAddr() net.Addr  { return place(c.line.addr) }
func (c *lineConn) RemoteAddr() net.Addr { return place(c.peer) }

func (c *lineConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

func (c *lineConn) Write(b []byte) (int, error) {
	delay, cut := c.line.ether.path(c.line.addr, c.peer)
	c.mu.Lock()
	left := time.Minute
	if !c.deadline.IsZero() {
		left = time.Until(c.deadline)
	}
	c.mu.Unlock()
	if cut || delay > left {
		time.Sleep(max(left, 0))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(delay)
	return c.Conn.Write(b)
}

// boat is one membership in the ether, and what its views said.
type boat struct {
	*Gossip
	id   roster.ID
	addr string
	log  *logged

	mu     sync.Mutex
	states map[roster.ID]State
	deaths map[roster.ID]time.Time // the last
	done   chan struct{}
}

// launch starts boat i at its own berth.
func launch(t testing.TB, e *ether, i int, cfg Config, tune tuning) *boat {
	t.Helper()
	return launchWith(t, e, i, i, cfg, tune, "")
}

// launchAs starts a boat with the identity of boat i.
func launchAs(t testing.TB, e *ether, i, berth int, cfg Config, tune tuning) *boat {
	t.Helper()
	return launchWith(t, e, i, berth, cfg, tune, "")
}

func launchWith(t testing.TB, e *ether, i, berth int, cfg Config, tune tuning, memory string) *boat {
	t.Helper()
	b := &boat{
		id: boatID(i), addr: boatAddr(berth), log: &logged{}, states: map[roster.ID]State{}, deaths: map[roster.ID]time.Time{},
		done: make(chan struct{}),
	}
	cfg.Listen = b.addr
	self := Node{b.id, string(b.id), []byte("record of " + b.id)}
	var err error
	with := Setup{Self: self, Keys: Keys{{1}}, Admit: accept, Prove: prover(b.id), Memory: memory, Log: b.log}
	if b.Gossip, err = start(context.Background(), cfg, with, tune, e.wire); err != nil {
		t.Fatal(err)
	}
	go b.watch()
	return b
}

func boatID(i int) roster.ID { return roster.ID(fmt.Sprintf("boat-%02d", i)) }
func boatAddr(i int) string  { return fmt.Sprintf("10.0.0.%d:7946", i+1) }

// watch keeps what views say, until the boat sinks.
func (b *boat) watch() {
	defer close(b.done)
	for {
		select {
		case <-b.Gossip.ctx.Done():
			return
		case v := <-b.Views():
			b.mu.Lock()
			for _, m := range v.Members {
				if m.State == Dead && b.states[m.ID] != Dead {
					b.deaths[m.ID] = time.Now()
				}
				b.states[m.ID] = m.State
			}
			b.mu.Unlock()
		}
	}
}

// sees is how many members are alive in the boat's view, itself included.
func (b *boat) sees() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, s := range b.states {
		if s == Alive || s == Suspect {
			n++
		}
	}
	return n
}

// died is when the boat learnt of a death, and whether it did.
func (b *boat) died(id roster.ID) (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.deaths[id]
	return at, ok
}

// killed lists everybody whose death the boat believed at some time.
func (b *boat) killed() []roster.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.deaths))
}

// sink is a power cut: nobody is told.
func (b *boat) sink(t testing.TB) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	<-b.done
}

// dock ends all boats that still float, and waits until memberlist has given up all that it had begun.
func dock(t testing.TB, boats []*boat) {
	t.Helper()
	for _, b := range boats {
		if b.Gossip.ctx.Err() == nil {
			b.sink(t)
		}
	}
	time.Sleep(time.Minute)
}

// fleet launches n boats that know the first, and waits until all see all.
func fleet(t testing.TB, e *ether, n int, tune tuning) []*boat {
	t.Helper()
	var boats []*boat
	for i := range n {
		boats = append(boats, launch(t, e, i, Config{Seeds: []string{boatAddr(0)}}, tune))
	}
	together(t, boats, time.Minute)
	return boats
}

// together waits until all boats see each other, and returns how long that took.
func together(t testing.TB, boats []*boat, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for slices.ContainsFunc(boats, func(b *boat) bool { return b.sees() != len(boats) }) {
		if time.Since(began) > within {
			var seen []string
			for _, b := range boats {
				seen = append(seen, fmt.Sprint(b.sees()))
			}
			t.Fatalf("%d boats see %s after %v; log of the first:\n%s", len(boats), strings.Join(seen, " "), within, boats[0].log)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}
