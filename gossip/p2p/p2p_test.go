package p2p

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"shoal/gossip/roster"
)

// loopback is a listener of any free port that only this machine reaches.
func loopback() Config { return Config{Listen: "/ip4/127.0.0.1/tcp/0"} }

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newHost(t testing.TB) *Host {
	t.Helper()
	h, err := New(loopback(), newKey(t))
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

func admit(t testing.TB, at, newcomer *Host) {
	t.Helper()
	record, err := newcomer.Record()
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Admit(string(newcomer.ID()), record); err != nil {
		t.Fatal(err)
	}
}

// newCluster starts n hosts in the order of their ranks, all admitted by all.
func newCluster(t testing.TB, n int) ([]*Host, roster.Roster) {
	t.Helper()
	hosts := make([]*Host, n)
	r := roster.Roster{Generation: 1, Members: make([]roster.ID, n)}
	byID := map[roster.ID]*Host{}
	for i := range hosts {
		h := newHost(t)
		byID[h.ID()] = h
		r.Members[i] = h.ID()
	}
	sortIDs(r.Members)
	for i, id := range r.Members {
		hosts[i] = byID[id]
	}
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				admit(t, a, b)
			}
		}
	}
	return hosts, r
}

func sortIDs(ids []roster.ID) {
	for i := range ids {
		for j := i; j > 0 && ids[j] < ids[j-1]; j-- {
			ids[j], ids[j-1] = ids[j-1], ids[j]
		}
	}
}

// within is a ctx for one test step; a step that needs longer hangs.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// await polls for what another goroutine or process brings about.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}

func TestMessagesArriveInOrder(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	const n = 500
	type message struct {
		from roster.ID
		kind string
		body string
	}
	got := make(chan message, n)
	b.OnMessage(func(from roster.ID, kind string, body []byte) { got <- message{from, kind, string(body)} })
	for i := range n {
		if err := a.Send(within(t, 5*time.Second), b.ID(), "ready", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if m, want := <-got, (message{a.ID(), "ready", fmt.Sprint(i)}); m != want {
			t.Fatalf("message %d: got %v, want %v", i, m, want)
		}
	}
}

func TestMessagesOfManySendersAreWhole(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	got := make(chan int, 64)
	hosts[1].OnMessage(func(_ roster.ID, _ string, body []byte) {
		for _, b := range body {
			if b != body[0] {
				t.Errorf("a message of %d holds %d: frames mixed", body[0], b)
				break
			}
		}
		got <- len(body)
	})
	for i := range 64 {
		go func() {
			body := make([]byte, 10_000)
			for j := range body {
				body[j] = byte(i)
			}
			if err := hosts[0].Send(context.Background(), hosts[1].ID(), "x", body); err != nil {
				t.Error(err)
			}
		}()
	}
	for range 64 {
		if n := <-got; n != 10_000 {
			t.Fatalf("got a message of %d bytes", n)
		}
	}
}

func TestSendReopensAfterTheConnectionBroke(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	got := make(chan string, 16)
	b.OnMessage(func(_ roster.ID, _ string, body []byte) { got <- string(body) })
	send := func(body string) {
		if err := a.Send(within(t, 5*time.Second), b.ID(), "x", []byte(body)); err != nil {
			t.Fatal(err)
		}
		if m := <-got; m != body {
			t.Fatalf("got %q, want %q", m, body)
		}
	}
	send("before")
	if err := a.Libp2p().Network().ClosePeer(b.self); err != nil {
		t.Fatal(err)
	}
	send("after")
}

func TestSendFailures(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	ctx := within(t, 10*time.Second)
	if err := a.Send(ctx, b.ID(), "x", make([]byte, MaxMessageBytes+1)); err == nil {
		t.Error("a message over the limit was sent")
	}
	if err := a.Send(ctx, b.ID(), "", nil); err == nil {
		t.Error("a message without a kind was sent")
	}
	if err := a.Send(ctx, "nobody", "x", nil); err == nil {
		t.Error("a message to no peer ID was sent")
	}
	if err := a.Send(ctx, newHost(t).ID(), "x", nil); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("send to a stranger: %v, want ErrNotAdmitted", err)
	}
	// b takes no messages yet: the stream is refused, and a later Send says why.
	var refused *RefusedError
	await(t, "a refusal", func() bool { return errors.As(a.Send(ctx, b.ID(), "x", nil), &refused) })
	if refused.Peer != b.ID() || refused.Reason != "messages are not taken yet" {
		t.Errorf("refused by %s: %q", refused.Peer, refused.Reason)
	}
}

func TestBadFrameClosesItsStreamOnly(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	got := make(chan string, 1)
	b.OnMessage(func(_ roster.ID, _ string, body []byte) { got <- string(body) })
	s, err := a.open(within(t, 5*time.Second), b.ID(), purposeMessages, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if err := awaitRefusal(s, b.ID()); !errors.As(err, &refused) || refused.Reason != "frame of 4294967295 bytes, want 2 to 1048641" {
		t.Errorf("got %v", err)
	}
	_ = s.Reset()
	if err := a.Send(within(t, 5*time.Second), b.ID(), "x", []byte("still here")); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m != "still here" {
		t.Errorf("got %q", m)
	}
}

func TestUnknownPurposeIsRefused(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	_, err := hosts[0].open(within(t, 5*time.Second), hosts[1].ID(), "torrent", nil)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Reason != `purpose "torrent" is unknown` {
		t.Errorf("got %v", err)
	}
}

func TestStreamsOfOnePeerAreBounded(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	hold := make(chan struct{})
	b.HandleCall("hold", func(ctx context.Context, _ roster.ID, _ []byte) ([]byte, error) {
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return nil, nil
	})
	ctx := within(t, 5*time.Second)
	results := make(chan error, 2*maxStreamsPerPeer)
	for range maxStreamsPerPeer + 1 {
		go func() {
			_, err := a.Call(ctx, b.ID(), "hold", nil)
			results <- err
		}()
	}
	var refused *RefusedError
	if err := <-results; !errors.As(err, &refused) {
		t.Errorf("call %d: %v, want a RefusedError", maxStreamsPerPeer+1, err)
	}
	close(hold)
	for range maxStreamsPerPeer {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
