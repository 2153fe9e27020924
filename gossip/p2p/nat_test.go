package p2p

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"shoal/gossip/roster"
)

// hostWith starts a host with a configuration, and options that override it.
func hostWith(t testing.TB, cfg Config, more ...libp2p.Option) *Host {
	t.Helper()
	h, err := listen(cfg, newKey(t), more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func natConfig() Config {
	cfg := loopback()
	cfg.Profile = "nat"
	return cfg
}

// both admits two hosts to each other.
func both(t testing.TB, a, b *Host) {
	t.Helper()
	admit(t, a, b)
	admit(t, b, a)
}

// exchange runs one attempt between two hosts.
func exchange(t testing.TB, a, b *Host, view uint64) {
	t.Helper()
	hosts := []*Host{a, b}
	if b.ID() < a.ID() {
		hosts = []*Host{b, a}
	}
	r := roster.Roster{Generation: 1, Members: []roster.ID{hosts[0].ID(), hosts[1].ID()}}
	links := openAll(t, hosts, tagOf(r, view), r)
	if err := swap(links, view, 300_000); err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Two hosts that listen nowhere meet through a third one's relay.
func TestExchangeThroughARelay(t *testing.T) {
	t.Parallel()
	cfg := natConfig()
	cfg.RelayService = true
	relay := hostWith(t, cfg)
	address := relay.Addrs()[0] + "/p2p/" + string(relay.ID())
	cfg = natConfig()
	cfg.Relays = []string{address}
	a, b := hostWith(t, cfg, libp2p.NoListenAddrs, libp2p.EnableRelay()), hostWith(t, cfg, libp2p.NoListenAddrs, libp2p.EnableRelay())
	records := make(chan []byte, 16)
	a.OnRecord(func(record []byte) { records <- record })
	for _, h := range []*Host{a, b} {
		// The relay admits them by a record of no use, as membership would by one of addresses that nobody reaches.
		if err := relay.Admit(string(h.ID()), seal(t, h.self, h.Libp2p().Peerstore().PrivKey(h.self), 1, "/ip4/192.0.2.1/tcp/1")); err != nil {
			t.Fatal(err)
		}
	}
	relayed := func(h *Host) bool {
		return slices.ContainsFunc(h.Addrs(), func(s string) bool { return strings.Contains(s, "/p2p-circuit") })
	}
	deadline := time.Now().Add(20 * time.Second)
	for !relayed(a) || !relayed(b) {
		if time.Now().After(deadline) {
			t.Fatalf("no place at the relay: %v, %v", a.Addrs(), b.Addrs())
		}
		time.Sleep(20 * time.Millisecond)
	}
	select {
	case record := <-records:
		if rec, err := verifyRecord(a.self, record); err != nil || !strings.Contains(rec.Addrs[0].String(), "/p2p-circuit") {
			t.Errorf("told of record %v, %v", rec, err)
		}
	case <-time.After(5 * time.Second):
		t.Error("not told that the addresses changed")
	}
	both(t, a, b)
	for view := range uint64(3) {
		exchange(t, a, b, view)
	}
	for _, c := range a.Libp2p().Network().ConnsToPeer(b.self) {
		if !strings.Contains(c.RemoteMultiaddr().String()+c.LocalMultiaddr().String(), "/p2p-circuit") {
			t.Errorf("connected by %s", c.RemoteMultiaddr())
		}
	}
	b.HandleCall("x", func(context.Context, roster.ID, []byte) ([]byte, error) { return make([]byte, 1<<20), nil })
	if answer, err := a.Call(within(t, 10*time.Second), b.ID(), "x", nil); err != nil || len(answer) != 1<<20 {
		t.Errorf("call through the relay: %d bytes, %v", len(answer), err)
	}
}

// A relay serves members only.
func TestRelayServesMembersOnly(t *testing.T) {
	t.Parallel()
	cfg := natConfig()
	cfg.RelayService = true
	relay := hostWith(t, cfg)
	a, b, stranger := newKey(t), newKey(t), newKey(t)
	relay.gate.mu.Lock()
	relay.gate.admitted[idOf(t, a)], relay.gate.admitted[idOf(t, b)] = admission{}, admission{}
	relay.gate.mu.Unlock()
	g := relay.gate
	if !g.AllowReserve(idOf(t, a), nil) || g.AllowReserve(idOf(t, stranger), nil) {
		t.Error("places for strangers, or none for members")
	}
	if !g.AllowConnect(idOf(t, a), nil, idOf(t, b)) || g.AllowConnect(idOf(t, a), nil, idOf(t, stranger)) || g.AllowConnect(idOf(t, stranger), nil, idOf(t, a)) {
		t.Error("circuits for strangers, or none for members")
	}
	cfg = natConfig()
	cfg.Relays = []string{relay.Addrs()[0] + "/p2p/" + string(relay.ID())}
	shut := hostWith(t, cfg, libp2p.NoListenAddrs, libp2p.EnableRelay())
	time.Sleep(200 * time.Millisecond)
	if n := len(relay.Libp2p().Network().ConnsToPeer(shut.self)); n != 0 {
		t.Errorf("a stranger holds %d connections to the relay", n)
	}
}

func TestQUIC(t *testing.T) {
	t.Parallel()
	a, b := hostWith(t, natConfig()), hostWith(t, natConfig())
	both(t, a, b)
	for _, h := range []*Host{a, b} {
		// Only the addresses of QUIC, so that no connection is of TCP.
		other := map[*Host]*Host{a: b, b: a}[h]
		book := h.Libp2p().Peerstore()
		addrs := book.Addrs(other.self)
		book.ClearAddrs(other.self)
		for _, addr := range addrs {
			if strings.Contains(addr.String(), "/quic-v1") {
				book.AddAddr(other.self, addr, peerstore.PermanentAddrTTL)
			}
		}
		_ = h.Libp2p().Network().ClosePeer(other.self)
	}
	if _, err := a.Libp2p().Network().DialPeer(within(t, 5*time.Second), b.self); err != nil {
		t.Fatal(err)
	}
	for view := range uint64(3) {
		exchange(t, a, b, view)
	}
	quic := func(c network.Conn) bool { return strings.Contains(c.RemoteMultiaddr().String(), "/quic-v1") }
	if conns := a.Libp2p().Network().ConnsToPeer(b.self); !slices.ContainsFunc(conns, quic) {
		t.Errorf("connections %v, none of QUIC", conns)
	}
}
