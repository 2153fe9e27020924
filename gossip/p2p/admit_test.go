package p2p

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"

	"shoal/gossip/roster"
)

// seal signs a record of id with key, whoever that is.
func seal(t testing.TB, id peer.ID, key crypto.PrivKey, seq uint64, addrs ...string) []byte {
	t.Helper()
	rec := &peer.PeerRecord{PeerID: id, Seq: seq}
	for _, a := range addrs {
		rec.Addrs = append(rec.Addrs, ma.StringCast(a))
	}
	envelope, err := record.Seal(rec, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := envelope.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func idOf(t testing.TB, key crypto.PrivKey) peer.ID {
	t.Helper()
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAdmitRefusesForgedRecords(t *testing.T) {
	h := newHost(t)
	alice, mallory := newKey(t), newKey(t)
	id := idOf(t, alice)
	const addr = "/ip4/127.0.0.1/tcp/9"
	good := seal(t, id, alice, 1, addr)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf("/ip4/10.0.0.%d/tcp/1", i)
	}
	for _, row := range []struct {
		name, as string
		record   []byte
		want     string
	}{
		{"signed by another", id.String(), seal(t, id, mallory, 1, addr), "signed by another"},
		{"of another", id.String(), seal(t, idOf(t, mallory), mallory, 1, addr), "record is of"},
		{"tampered", id.String(), flipped, "open record"},
		{"not signed", id.String(), []byte("let me in"), "open record"},
		{"absent", id.String(), nil, "open record"},
		{"no address", id.String(), seal(t, id, alice, 1), "no address"},
		{"too long", id.String(), seal(t, id, alice, 1, many...), "limit 440"},
		{"not a peer ID", "alice", good, "parse peer ID"},
	} {
		err := h.Admit(row.as, row.record)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if h.gate.admits(id) {
			t.Fatalf("%s: admitted", row.name)
		}
	}
	if err := h.Admit(id.String(), good); err != nil || !h.gate.admits(id) {
		t.Errorf("good record: %v", err)
	}
}

func TestAdmitUpdatesAddresses(t *testing.T) {
	h := newHost(t)
	key := newKey(t)
	id := idOf(t, key)
	addrs := func() string { return fmt.Sprint(h.Libp2p().Peerstore().Addrs(id)) }
	for _, row := range []struct {
		seq        uint64
		addr, want string
	}{
		{5, "/ip4/10.0.0.1/tcp/1", "[/ip4/10.0.0.1/tcp/1]"},
		{6, "/ip4/10.0.0.2/tcp/1", "[/ip4/10.0.0.2/tcp/1]"},
		{2, "/ip4/10.0.0.3/tcp/1", "both"},                  // its clock went back
		{7, "/ip4/10.0.0.4/tcp/1", "[/ip4/10.0.0.4/tcp/1]"}, // and forth
	} {
		if err := h.Admit(id.String(), seal(t, id, key, row.seq, row.addr)); err != nil {
			t.Fatal(err)
		}
		if got := addrs(); got != row.want && (row.want != "both" || !strings.Contains(got, ".2/") || !strings.Contains(got, ".3/")) {
			t.Errorf("after record %d: %s, want %s", row.seq, got, row.want)
		}
	}
	h.Expel(roster.ID(id.String()))
	if got := addrs(); got != "[]" {
		t.Errorf("after expulsion: %s", got)
	}
}

func TestRecordIsUsable(t *testing.T) {
	for _, listen := range []string{"/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/0"} {
		h, err := New(Config{Listen: listen}, newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		text, err := h.Record()
		if err != nil {
			t.Fatal(err)
		}
		rec, err := verifyRecord(h.self, text)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(text); n > MaxRecordBytes || len(rec.Addrs) == 0 || len(rec.Addrs) > maxRecordAddrs {
			t.Errorf("%s: %d bytes, addresses %s", listen, n, rec.Addrs)
		}
		for _, a := range rec.Addrs {
			if strings.Contains(a.String(), "/0.0.0.0/") || strings.HasSuffix(a.String(), "/tcp/0") {
				t.Errorf("%s: nobody can dial %s", listen, a)
			}
		}
	}
}

func TestReachable(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"", ""},
		{"/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1"},
		{"/ip4/127.0.0.1/tcp/1 /ip6/fe80::1/tcp/1", "/ip4/127.0.0.1/tcp/1"},
		{"/ip4/127.0.0.1/tcp/1 /ip6/2001:db8::1/tcp/1 /ip4/8.8.8.8/tcp/1 /ip4/192.168.0.2/tcp/1", "/ip4/192.168.0.2/tcp/1 /ip4/8.8.8.8/tcp/1 /ip6/2001:db8::1/tcp/1"},
		{"/ip4/10.0.0.1/tcp/1 /ip4/10.0.0.2/tcp/1 /ip4/10.0.0.3/tcp/1 /ip4/10.0.0.4/tcp/1 /ip4/10.0.0.5/tcp/1", "/ip4/10.0.0.1/tcp/1 /ip4/10.0.0.2/tcp/1 /ip4/10.0.0.3/tcp/1 /ip4/10.0.0.4/tcp/1"},
	} {
		var in, got []ma.Multiaddr
		for _, a := range strings.Fields(row.in) {
			in = append(in, ma.StringCast(a))
		}
		got = reachable(in)
		if text := strings.Trim(fmt.Sprint(got), "[]"); text != row.want {
			t.Errorf("%s: got %s, want %s", row.in, text, row.want)
		}
	}
}

func TestBusyPortIsNamed(t *testing.T) {
	h := newHost(t)
	listen := h.Addrs()[0]
	_, err := New(Config{Listen: listen}, newKey(t))
	if err == nil || !strings.Contains(err.Error(), "p2p.listen \""+listen+"\"") || !strings.Contains(err.Error(), "take a free port") {
		t.Errorf("busy port: %v", err)
	}
}

func TestStrangerHoldsNoConnection(t *testing.T) {
	t.Parallel()
	a, stranger := newHost(t), newHost(t)
	admit(t, stranger, a) // the stranger knows where a is; a does not know the stranger
	if err := stranger.Send(within(t, 5*time.Second), a.ID(), "x", nil); err == nil {
		t.Error("a stranger's message was sent")
	}
	await(t, "no connection on either side", func() bool {
		return len(a.Libp2p().Network().Conns()) == 0 && len(stranger.Libp2p().Network().Conns()) == 0
	})
}

func TestLateAdmissionIsRetried(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	got := make(chan string, 1)
	b.OnMessage(func(_ roster.ID, kind string, _ []byte) { got <- kind })
	admit(t, a, b)
	record, err := a.Record()
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() {
		if err := b.Admit(string(a.ID()), record); err != nil {
			t.Error(err)
		}
	})
	if err := a.Send(within(t, 5*time.Second), b.ID(), "hello", nil); err != nil {
		t.Fatal(err)
	}
	if kind := <-got; kind != "hello" {
		t.Errorf("got %q", kind)
	}
}

func TestExpelAndAdmitAgain(t *testing.T) {
	t.Parallel()
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	b.OnMessage(func(roster.ID, string, []byte) {})
	if err := a.Send(within(t, 5*time.Second), b.ID(), "x", nil); err != nil {
		t.Fatal(err)
	}
	b.Expel(a.ID())
	await(t, "no connection", func() bool { return b.Libp2p().Network().Connectedness(a.self) != network.Connected })
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.Call(ctx, b.ID(), "x", nil); err == nil {
		t.Error("an expelled peer was answered")
	}
	admit(t, b, a)
	await(t, "a connection that nobody asked for", func() bool { return b.Libp2p().Network().Connectedness(a.self) == network.Connected })
}
