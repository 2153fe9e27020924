package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"shoal/gossip/roster"
)

// Whatever is asked when, a peer gets no more than its burst and what comes in since, and gets that if it asks evenly.
func TestBucketKeepsItsRate(t *testing.T) {
	q := quota{rate: 10, burst: 25}
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(1000, 0)
	for range 200 {
		var b bucket
		now, got := start, 0.0
		for range 100 {
			now = now.Add(time.Duration(random.IntN(500)) * time.Millisecond)
			if random.IntN(20) == 0 {
				now = now.Add(-time.Second) // a clock that goes back gives nothing
			}
			n := float64(1 + random.IntN(9))
			if b.take(q, n, now) {
				got += n
			}
			if limit := q.burst + q.rate*100*0.5; got > limit {
				t.Fatalf("%v of %v", got, limit)
			}
		}
	}
	var b bucket
	for i := range 1000 {
		if !b.take(q, 1, start.Add(time.Duration(i)*100*time.Millisecond)) {
			t.Fatalf("refused number %d at the rate it may use", i)
		}
	}
	if b = (bucket{}); b.take(q, 26, start) || !b.take(q, 25, start) || b.take(q, 1, start) {
		t.Error("a full bucket holds its burst, no more and no less")
	}
}

func TestCutOffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.admitted["a"], g.admitted["b"] = admission{}, admission{}
		if !g.cutOff("a", time.Now().Add(cutOffTime)) || g.cutOff("a", time.Now().Add(time.Hour)) {
			t.Error("cut off not once")
		}
		if err := g.check("a"); !errors.Is(err, ErrCutOff) || !strings.Contains(err.Error(), "30s") || g.connects("a") {
			t.Errorf("after it: %v", err)
		}
		if !g.connects("b") {
			t.Error("another is concerned")
		}
		time.Sleep(cutOffTime + time.Second)
		if !g.connects("a") || !g.cutOff("a", time.Now().Add(cutOffTime)) {
			t.Error("it does not end")
		}
	})
}

// A member floods in every way there is; it is cut off and named, and two others exchange and call as if nothing was.
func TestFloodingPeerIsCutOff(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name, what string
		flood      func(from, at *Host) error
	}{
		{"messages", "messages", func(from, at *Host) error { return from.Send(ctx, at.ID(), "x", nil) }},
		{"large messages", "bytes", func(from, at *Host) error { return from.Send(ctx, at.ID(), "x", make([]byte, MaxMessageBytes)) }},
		{"calls", "calls", func(from, at *Host) error {
			_, err := from.Call(ctx, at.ID(), "x", nil)
			return err
		}},
		{"streams", "new streams", func(from, at *Host) error {
			s, err := from.openOnce(ctx, at.self, at.ID(), frame(t, purposeMessages))
			if err == nil {
				_ = s.Reset()
			}
			return err
		}},
		{"streams of other protocols", "new streams", func(from, at *Host) error {
			s, err := from.Libp2p().Network().NewStream(ctx, at.self)
			if err == nil {
				_, err = s.Write([]byte("\x13/multistream/1.0.0\n\x06/what\n"))
				_ = s.Reset()
			}
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			flooded(t, row.what, row.flood)
		})
	}
}

func frame(t testing.TB, kind string) []byte {
	t.Helper()
	b, err := appendFrame(nil, kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func flooded(t *testing.T, what string, flood func(from, at *Host) error) {
	hosts, r := newCluster(t, 3)
	type cut struct {
		id   roster.ID
		what string
	}
	cuts := make(chan cut, 10)
	for _, h := range hosts[:2] {
		h.OnMessage(func(roster.ID, string, []byte) {})
		h.HandleCall("x", func(context.Context, roster.ID, []byte) ([]byte, error) { return []byte("y"), nil })
		h.OnCutOff(func(id roster.ID, what string, until time.Time) { cuts <- cut{id, what} })
	}
	// A twentieth of what is allowed: the same law, sooner.
	hosts[0].meter.mu.Lock()
	for i := range hosts[0].meter.quotas {
		hosts[0].meter.quotas[i].burst /= 20
		hosts[0].meter.quotas[i].rate /= 20
	}
	hosts[0].meter.mu.Unlock()
	two := roster.Roster{Generation: 1, Members: r.Members[:2]}
	honest := make(chan error, 1)
	go func() { honest <- behave(hosts[:2], two) }()
	deadline := time.Now().Add(10 * time.Second)
	for flood(hosts[2], hosts[0]) == nil {
		if time.Now().After(deadline) {
			t.Fatal("the flood goes on")
		}
	}
	select {
	case c := <-cuts:
		if c.id != hosts[2].ID() || !strings.Contains(c.what, what) {
			t.Errorf("cut off %s for %q, want %s for %q", c.id, c.what, hosts[2].ID(), what)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was told")
	}
	if err := <-honest; err != nil {
		t.Errorf("an honest member noticed: %v", err)
	}
	await(t, "the connection to close", func() bool { return !isConnected(hosts[0].Libp2p().Network(), hosts[2].self) })
	if err := hosts[2].Send(within(t, 300*time.Millisecond), hosts[0].ID(), "x", nil); err == nil {
		t.Error("it is let in again at once")
	}
	if err := hosts[0].Send(within(t, time.Second), hosts[2].ID(), "x", nil); !errors.Is(err, ErrCutOff) {
		t.Errorf("send to it: %v, want ErrCutOff", err)
	}
}

// behave is what honest members do: exchanges, messages, calls.
func behave(hosts []*Host, r roster.Roster) error {
	for view := range uint64(20) {
		var links []*Links
		for _, h := range hosts {
			l, err := h.Links(context.Background(), tagOf(r, view), r)
			if err != nil {
				return err
			}
			links = append(links, l)
		}
		err := swap(links, view, 50_000)
		for i, l := range links {
			err = errors.Join(err, l.Close(), hosts[i].Send(context.Background(), hosts[1-i].ID(), "done", make([]byte, 2000)))
		}
		if err != nil {
			return err
		}
	}
	_, err := hosts[1].Call(context.Background(), hosts[0].ID(), "x", nil)
	return err
}

// Half-open and huge frames hold a bounded number of streams, and nothing else.
func TestHalfOpenFramesHoldTheirStreamsOnly(t *testing.T) {
	hosts, r := newCluster(t, 3)
	for _, h := range hosts[:2] {
		h.OnMessage(func(roster.ID, string, []byte) {})
		h.HandleCall("x", func(context.Context, roster.ID, []byte) ([]byte, error) { return nil, nil })
	}
	held := 0
	for i := range 3 * maxStreamsPerPeer {
		s, err := hosts[2].Libp2p().NewStream(within(t, 5*time.Second), hosts[0].self, Protocol)
		if err != nil {
			break
		}
		defer s.Reset()
		length := binary.BigEndian.AppendUint32(nil, 100)
		if i%2 == 1 {
			length = binary.BigEndian.AppendUint32(nil, 1<<31)
		}
		if _, err := s.Write(length); err == nil {
			held++
		}
	}
	if held == 0 {
		t.Fatal("no stream was opened")
	}
	hosts[0].mu.Lock()
	n := hosts[0].streams[hosts[2].self]
	hosts[0].mu.Unlock()
	if n > maxStreamsPerPeer {
		t.Errorf("%d streams are served, limit %d", n, maxStreamsPerPeer)
	}
	if err := behave(hosts[:2], roster.Roster{Generation: 1, Members: r.Members[:2]}); err != nil {
		t.Errorf("an honest member noticed: %v", err)
	}
}

func TestManyAgentsMayShareAnAddress(t *testing.T) {
	limits := connLimiter()
	from := netip.MustParseAddr("192.0.2.7")
	for i := range 48 { // the papers' ranks, all behind one router
		if !limits.Allow(from) {
			t.Fatalf("agent %d is kept out", i)
		}
	}
}
