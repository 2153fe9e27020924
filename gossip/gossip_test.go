package gossip

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"

	"shoal/gossip/p2p"
	"shoal/gossip/roster"
)

// swift is the profile of pi, some fifteen times faster.
func swift() tuning {
	return tuning{
		probeInterval: 100 * time.Millisecond, probeTimeout: 60 * time.Millisecond,
		gossipInterval: 10 * time.Millisecond, pushPullInterval: 300 * time.Millisecond,
		rejoinFirst: 10 * time.Millisecond, rejoinEvery: 200 * time.Millisecond,
		quiet: 5 * time.Millisecond, restless: 50 * time.Millisecond,
		readmit: 50 * time.Millisecond, conflictAfter: 100 * time.Millisecond,
		rereadKeys: 20 * time.Millisecond, askAgain: 400 * time.Millisecond,
	}
}

// agent is a host and its membership.
type agent struct {
	*Gossip
	host *p2p.Host
	log  *logged
	last View
}

// prover signs as whoever has this identity.
func prover(id roster.ID) func([]byte) ([]byte, error) {
	return func(text []byte) ([]byte, error) {
		sum := sha256.Sum256(append([]byte("private key of "+id), text...))
		return sum[:], nil
	}
}

// logged collects lines for a test's messages.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	return len(line), nil
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "")
}

func newIdentity(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newHost(t testing.TB, identity crypto.PrivKey) *p2p.Host {
	t.Helper()
	h, err := p2p.New(p2p.Config{Listen: "/ip4/127.0.0.1/tcp/0"}, identity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func recordOf(t testing.TB, h *p2p.Host) []byte {
	t.Helper()
	record, err := h.Record()
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// newAgent starts a member at any free port; other fields of cfg hold.
func newAgent(t testing.TB, key Keys, cfg Config) *agent {
	t.Helper()
	return newAgentAs(t, newHost(t, newIdentity(t)), key, cfg)
}

func newAgentAs(t testing.TB, h *p2p.Host, key Keys, cfg Config) *agent {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	a := &agent{host: h, log: &logged{}}
	var err error
	self := Node{h.ID(), "pi-" + string(h.ID())[46:], recordOf(t, h)}
	if a.Gossip, err = start(context.Background(), cfg, Setup{Self: self, Keys: key, Admit: h.Admit, Prove: prover(self.ID), Log: a.log}, swift(), listen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func newKeyFor(t testing.TB) Keys {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return Keys{key}
}

// state is what the newest view says of a member, "" if it is not listed.
func (a *agent) state(id roster.ID) string {
	for _, m := range a.last.Members {
		if m.ID == id {
			return m.State.String()
		}
	}
	return ""
}

// see reads views until one fits.
func (a *agent) see(t testing.TB, what string, fits func() bool) {
	t.Helper()
	limit := time.After(5 * time.Second)
	for !fits() {
		select {
		case v := <-a.Views():
			if v.Seq <= a.last.Seq {
				t.Errorf("view %d after %d", v.Seq, a.last.Seq)
			}
			a.last = v
		case <-limit:
			t.Fatalf("%s: not within 5 s; last view %v; log:\n%s", what, a.last, a.log)
		}
	}
}

// seeStates reads views until every member of ids has a state.
func (a *agent) seeState(t testing.TB, state State, ids ...roster.ID) {
	t.Helper()
	a.see(t, fmt.Sprintf("%s %v", state, ids), func() bool {
		return !slices.ContainsFunc(ids, func(id roster.ID) bool { return a.state(id) != state.String() })
	})
}

func TestThreeAgentsConvergeAndTalk(t *testing.T) {
	key := newKeyFor(t)
	a := newAgent(t, key, Config{})
	b := newAgent(t, key, Config{Seeds: []string{a.Addr()}})
	c := newAgent(t, key, Config{Seeds: []string{b.Addr()}})
	all := []*agent{a, b, c}
	ids := []roster.ID{a.host.ID(), b.host.ID(), c.host.ID()}
	got := make(chan string, 9)
	for _, x := range all {
		x.host.OnMessage(func(from roster.ID, _ string, body []byte) { got <- string(from) + ">" + string(body) })
		x.seeState(t, Alive, ids...)
		for i, m := range x.last.Members {
			if i > 0 && x.last.Members[i-1].ID >= m.ID {
				t.Errorf("view is not sorted: %v", x.last)
			}
			if want := all[slices.Index(ids, m.ID)]; m.Addr != want.Addr() || m.Name != "pi-"+string(m.ID)[46:] {
				t.Errorf("member %s: name %q at %s, want %s", m.ID, m.Name, m.Addr, want.Addr())
			}
		}
	}
	// Who is in a view is admitted: it can be talked to.
	want := map[string]bool{}
	for _, x := range all {
		for _, id := range ids {
			if id == x.host.ID() {
				continue
			}
			want[string(x.host.ID())+">"+string(id)] = true
			if err := x.host.Send(context.Background(), id, "x", []byte(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range len(want) {
		if m := <-got; !want[m] {
			t.Errorf("got %s", m)
		}
	}
	// A member that dies is dead, one that leaves has left, and both stay listed.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	a.seeState(t, Dead, c.host.ID())
	b.seeState(t, Dead, c.host.ID())
	if err := b.Leave(time.Second); err != nil {
		t.Fatal(err)
	}
	a.seeState(t, Left, b.host.ID())
	if got := a.state(c.host.ID()); got != "dead" {
		t.Errorf("c is %q after b left", got)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Leave(time.Second); err == nil {
		t.Error("left after close")
	}
}

func TestSeedThatIsDownIsTriedAgain(t *testing.T) {
	key := newKeyFor(t)
	hold, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := hold.Addr().String()
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, key, Config{Seeds: []string{addr}})
	a.see(t, "itself alone", func() bool { return len(a.last.Members) == 1 && a.state(a.host.ID()) == "alive" })
	b := newAgent(t, key, Config{Listen: addr})
	a.seeState(t, Alive, b.host.ID())
	b.seeState(t, Alive, a.host.ID())
	// Nobody has b as a seed now but a's memory: it comes back at its address, and is found.
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	a.seeState(t, Dead, b.host.ID())
	again := newAgentAs(t, b.host, key, Config{Listen: addr})
	a.seeState(t, Alive, b.host.ID())
	again.seeState(t, Alive, a.host.ID())
	select {
	case err := <-a.Refused():
		t.Errorf("a seed that is down counts as a refusal: %v", err)
	case c := <-a.Conflicts():
		t.Errorf("a restart counts as a conflict: %v", c)
	default:
	}
}

func TestOtherKeyIsRefusedOnBothSides(t *testing.T) {
	a := newAgent(t, newKeyFor(t), Config{})
	b := newAgent(t, newKeyFor(t), Config{Seeds: []string{a.Addr()}})
	var keyError *KeyError
	select {
	case err := <-b.Refused():
		if !errors.As(err, &keyError) || keyError.Addr != a.Addr() || !strings.Contains(err.Error(), "copy the key file") {
			t.Errorf("refused with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("no refusal; log:\n%s", b.log)
	}
	for _, x := range []*agent{a, b} {
		x.see(t, "itself", func() bool { return x.last.Seq > 0 })
		if len(x.last.Members) != 1 {
			t.Errorf("members %v", x.last.Members)
		}
	}
	// The one that was knocked at goes on: a stranger must not stop it.
	select {
	case err := <-a.Refused():
		t.Errorf("the seed was told %v", err)
	default:
	}
	if !strings.Contains(a.log.String(), "no installed keys could decrypt") {
		t.Errorf("the seed's log says nothing of the stranger:\n%s", a.log)
	}
	if err := a.host.Send(context.Background(), b.host.ID(), "x", nil); !errors.Is(err, p2p.ErrNotAdmitted) {
		t.Errorf("send to a stranger: %v", err)
	}
}

// TestForgedMemberIsKeptOut has a holder of the cluster key present another's record as its own.
func TestForgedMemberIsKeptOut(t *testing.T) {
	key := newKeyFor(t)
	a := newAgent(t, key, Config{})
	victim, forger := newHost(t, newIdentity(t)), newHost(t, newIdentity(t))
	for _, row := range []struct {
		name string
		self Node
	}{
		{"another's record", Node{forger.ID(), "forger", recordOf(t, victim)}},
		{"another's name", Node{victim.ID(), "forger", recordOf(t, forger)}},
		{"no record", Node{forger.ID(), "forger", []byte("trust me")}},
		{"no peer ID", Node{"forger", "forger", recordOf(t, forger)}},
	} {
		log := &logged{}
		g, err := start(context.Background(), Config{Listen: "127.0.0.1:0", Seeds: []string{a.Addr()}},
			Setup{Self: row.self, Keys: key, Admit: accept, Log: log}, swift(), listen)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); !strings.Contains(a.log.String(), fmt.Sprintf("refuse member %q", row.self.ID)); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not refused; log:\n%s", row.name, a.log)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	a.see(t, "itself", func() bool { return a.last.Seq > 0 })
	if len(a.last.Members) != 1 {
		t.Errorf("members %v", a.last.Members)
	}
}

func TestStartFailures(t *testing.T) {
	key := newKeyFor(t)
	a := newAgent(t, key, Config{})
	h := newHost(t, newIdentity(t))
	good := Node{h.ID(), "pi", recordOf(t, h)}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, row := range []struct {
		name, listen string
		ctx          context.Context
		self         Node
		want         string
		is           error
	}{
		{"busy port", a.Addr(), t.Context(), good, "take a free port", syscall.EADDRINUSE},
		{"no port", "127.0.0.1", t.Context(), good, "gossip.listen", nil},
		{"long name", "127.0.0.1:0", t.Context(), Node{h.ID(), strings.Repeat("x", 65), good.Record}, "limit 64", nil},
		{"name with escapes", "127.0.0.1:0", t.Context(), Node{h.ID(), "\x1b[31m", good.Record}, "does not print", nil},
		{"no record", "127.0.0.1:0", t.Context(), Node{h.ID(), "pi", nil}, "no peer record", nil},
		{"ctx over", "127.0.0.1:0", ended, good, "canceled", context.Canceled},
	} {
		g, err := Start(row.ctx, Config{Listen: row.listen}, Setup{Self: row.self, Keys: key, Admit: accept})
		if err == nil {
			_ = g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || (row.is != nil && !errors.Is(err, row.is)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestListenOnEveryInterfaceAdvertisesOne(t *testing.T) {
	h := newHost(t, newIdentity(t))
	g, err := Start(t.Context(), Config{Listen: ":0"}, Setup{Self: Node{h.ID(), "pi", recordOf(t, h)}, Keys: newKeyFor(t), Admit: h.Admit})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	host, port, err := net.SplitHostPort(g.Addr())
	if err != nil || net.ParseIP(host).IsUnspecified() || port == "0" {
		t.Errorf("others are told %s, %v", g.Addr(), err)
	}
}

// A host that gets another address tells the others, who then reach it there.
func TestNewAddressesAreTold(t *testing.T) {
	key := newKeyFor(t)
	a := newAgent(t, key, Config{})
	b := newAgent(t, key, Config{Seeds: []string{a.Addr()}})
	a.seeState(t, Alive, b.host.ID())
	b.seeState(t, Alive, a.host.ID())
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		err := WatchAddresses(ctx, a.host.Libp2p(), func() {
			if err := a.Renew(recordOf(t, a.host)); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	defer func() { cancel(); watching.Wait() }()
	before := len(a.host.Addrs())
	at, err := ma.NewMultiaddr("/ip4/127.0.0.1/tcp/0")
	if err == nil {
		err = a.host.Libp2p().Network().Listen(at)
	}
	if err != nil {
		t.Fatal(err)
	}
	id := a.host.Libp2p().ID()
	until(t, "b knows both addresses", b, func() bool { return len(b.host.Libp2p().Peerstore().Addrs(id)) == before+1 })
	cancel() // addresses may change once more
	watching.Wait()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Renew(recordOf(t, a.host)); err == nil {
		t.Error("renewed after close")
	}
}

// Many real agents that start at once on one machine agree on who is there.
func TestManyRealAgentsAgree(t *testing.T) {
	const n = 32
	var all []*Gossip
	var seeds []string
	began := time.Now()
	for i := range n {
		self := Node{roster.ID(fmt.Sprintf("agent-%02d", i)), fmt.Sprint(i), []byte("record")}
		g, err := start(t.Context(), Config{Listen: "127.0.0.1:0", Seeds: seeds}, Setup{Self: self, Keys: Keys{{1}}, Admit: accept}, pi(), listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close() })
		if all = append(all, g); i == 0 {
			seeds = []string{g.Addr()}
		}
	}
	for _, g := range all {
		for len(g.table.live()) != n-1 {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("one of %d sees %d others after 20 s", n, len(g.table.live()))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Logf("%d agree after %v", n, time.Since(began).Round(time.Millisecond))
}
