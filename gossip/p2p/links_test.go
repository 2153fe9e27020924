package p2p

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"shoal/gossip/roster"
)

func tagOf(r roster.Roster, view uint64) roster.Tag {
	return roster.Tag{Lineage: "a1", Generation: r.Generation, Ballot: roster.Ballot{Round: 7, View: view, Coordinator: r.Members[0]}}
}

// openAll opens the links of one attempt at every host.
func openAll(t testing.TB, hosts []*Host, tag roster.Tag, r roster.Roster) []*Links {
	t.Helper()
	links := make([]*Links, len(hosts))
	for i, h := range hosts {
		l, err := h.Links(context.Background(), tag, r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Abort)
		links[i] = l
	}
	return links
}

func soon() time.Time { return time.Now().Add(5 * time.Second) }

func TestLinksCarryBytesInOrder(t *testing.T) {
	hosts, r := newCluster(t, 3)
	links := openAll(t, hosts, tagOf(r, 1), r)
	const segments, size = 50, 10_007
	text := func(from, to, n int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i*7 + n*13 + from*3 + to)
		}
		return b
	}
	done := make(chan error, 12)
	for from := range links {
		for to := range links {
			if from == to {
				continue
			}
			go func() {
				for n := range segments {
					if err := links[from].Send(to, text(from, to, n), soon()); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			go func() {
				// The receiver cuts the stream at other places than the sender.
				got := make([]byte, segments*size)
				half := len(got) / 3
				err := errors.Join(links[to].Recv(from, got[:half], soon()), links[to].Recv(from, got[half:], soon()))
				for n := range segments {
					if err == nil && !bytes.Equal(got[n*size:(n+1)*size], text(from, to, n)) {
						err = errors.New("other bytes")
					}
				}
				done <- err
			}()
		}
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range links {
		if sent, received := l.Bytes(); sent != 2*segments*size || received != 2*segments*size {
			t.Errorf("rank %d counts %d sent, %d received", i, sent, received)
		}
	}
}

func TestLinksWaitForALateReceiver(t *testing.T) {
	t.Parallel()
	hosts, r := newCluster(t, 2)
	tag := tagOf(r, 1)
	sender, err := hosts[0].Links(context.Background(), tag, r)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Abort()
	if err := sender.Send(1, []byte("early"), soon()); err != nil {
		t.Fatal(err)
	}
	await(t, "the stream to be parked", func() bool {
		hosts[1].parking.mu.Lock()
		defer hosts[1].parking.mu.Unlock()
		return len(hosts[1].parking.waiting[tag]) == 1
	})
	receiver, err := hosts[1].Links(context.Background(), tag, r)
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Abort()
	// What was sent before a good end is received after it.
	if err := sender.Close(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if err := receiver.Recv(0, got, soon()); err != nil || string(got) != "early" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := receiver.Recv(0, got, soon()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("receive after the end: %v, want ErrUnexpectedEOF", err)
	}
}

func TestAbortFailsPeersAtOnce(t *testing.T) {
	hosts, r := newCluster(t, 2)
	links := openAll(t, hosts, tagOf(r, 1), r)
	b := make([]byte, 1)
	if err := links[0].Send(1, b, soon()); err != nil {
		t.Fatal(err)
	}
	if err := links[1].Recv(0, b, soon()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	time.AfterFunc(20*time.Millisecond, links[0].Abort)
	if err := links[1].Recv(0, b, soon()); !errors.Is(err, ErrAborted) {
		t.Errorf("receive from a peer that aborts: %v, want ErrAborted", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	if err := links[0].Send(1, b, soon()); !errors.Is(err, ErrClosed) {
		t.Errorf("send after abort: %v, want ErrClosed", err)
	}
	if err := links[0].Recv(1, b, soon()); !errors.Is(err, ErrClosed) {
		t.Errorf("receive after abort: %v, want ErrClosed", err)
	}
}

func TestAbortUnblocksASenderWithAFullWindow(t *testing.T) {
	hosts, r := newCluster(t, 2)
	links := openAll(t, hosts, tagOf(r, 1), r)
	segment := make([]byte, 1<<20)
	if err := errors.Join(links[0].Send(1, segment, soon()), links[1].Recv(0, segment, soon())); err != nil {
		t.Fatal(err) // from here on the stream is the attempt's
	}
	done := make(chan error, 1)
	go func() {
		for {
			if err := links[0].Send(1, segment, soon()); err != nil {
				done <- err
				return
			}
		}
	}()
	await(t, "a full window", func() bool { sent, _ := links[0].Bytes(); return sent >= 3<<20 })
	links[1].Abort()
	if err := <-done; !errors.Is(err, ErrAborted) {
		t.Errorf("blocked send: %v, want ErrAborted", err)
	}
}

func TestCtxEndsAnAttempt(t *testing.T) {
	hosts, r := newCluster(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	l, err := hosts[0].Links(ctx, tagOf(r, 1), r)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := l.Recv(1, make([]byte, 1), soon()); !errors.Is(err, ErrClosed) {
		t.Errorf("receive: %v, want ErrClosed", err)
	}
	if _, err := hosts[0].Links(ctx, tagOf(r, 2), r); !errors.Is(err, context.Canceled) {
		t.Errorf("links of a ctx that ended: %v, want Canceled", err)
	}
}

func TestLinksKeepDeadlines(t *testing.T) {
	t.Parallel()
	hosts, r := newCluster(t, 2)
	links := openAll(t, hosts, tagOf(r, 1), r)
	past := func() time.Time { return time.Now().Add(50 * time.Millisecond) }
	var failed *LinkError
	err := links[0].Recv(1, make([]byte, 1), past())
	if !errors.As(err, &failed) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("no stream came: %v, want ErrDeadlineExceeded", err)
	}
	if failed.Rank != 1 || failed.Peer != r.Members[1] {
		t.Errorf("blames rank %d, %s", failed.Rank, failed.Peer)
	}
	if err := links[1].Send(0, make([]byte, 1), soon()); err != nil {
		t.Fatal(err)
	}
	if err := links[0].Recv(1, make([]byte, 2), past()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a segment came: %v, want ErrDeadlineExceeded", err)
	}
	full := links[0].Send(1, make([]byte, 8<<20), time.Now().Add(200*time.Millisecond))
	if !errors.Is(full, os.ErrDeadlineExceeded) {
		t.Errorf("send into a full window: %v, want ErrDeadlineExceeded", full)
	}
	if err := links[0].Send(1, nil, time.Time{}); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no deadline: %v, want an error of its own", err)
	}
	for _, rank := range []int{-1, 0, 2} {
		if err := links[0].Send(rank, nil, soon()); err == nil {
			t.Errorf("rank 0 sent to rank %d of 2", rank)
		}
	}
}

func TestDeadPeerFailsAtOnce(t *testing.T) {
	t.Parallel()
	hosts, r := newCluster(t, 3)
	links := openAll(t, hosts, tagOf(r, 1), r)
	b := make([]byte, 1)
	for _, to := range []int{0, 1} { // connects 2 with both; 1 has no stream yet
		if err := links[2].Send(to, b, soon()); err != nil {
			t.Fatal(err)
		}
	}
	if err := links[0].Recv(2, b, soon()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- links[0].Recv(2, b, soon()) }()
	go func() {
		await(t, "rank 0 and 1 connected", func() bool { return len(hosts[0].Libp2p().Network().ConnsToPeer(hosts[1].self)) > 0 })
		done <- links[0].Recv(1, b, soon()) // waits for a stream that never comes
	}()
	await(t, "rank 0 and 1 connected", func() bool { return len(hosts[0].Libp2p().Network().ConnsToPeer(hosts[1].self)) > 0 })
	time.AfterFunc(50*time.Millisecond, func() { kill(hosts[2]); kill(hosts[1]) })
	start := time.Now()
	for range 2 {
		if err := <-done; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("receive from a dead peer: %v, want the loss of its connection", err)
		}
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
}

// kill closes every connection and the listener without a word, as the kernel does for a process that was killed.
func kill(h *Host) { _ = h.Libp2p().Network().Close() }

func TestExpelledPeerFailsAtOnce(t *testing.T) {
	hosts, r := newCluster(t, 2)
	links := openAll(t, hosts, tagOf(r, 1), r)
	b := make([]byte, 1)
	if err := errors.Join(links[1].Send(0, b, soon()), links[0].Recv(1, b, soon())); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { hosts[0].Expel(hosts[1].ID()) })
	if err := links[0].Recv(1, b, soon()); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("receive from an expelled peer: %v", err)
	}
	if err := links[0].Send(1, b, soon()); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("send to an expelled peer: %v, want ErrNotAdmitted", err)
	}
}

// BenchmarkLinks sends 2.8 MB each way between two hosts, as a ring of two does with 700,000 parameters.
func BenchmarkLinks(b *testing.B) {
	hosts, r := newCluster(b, 2)
	links := openAll(b, hosts, tagOf(r, 1), r)
	const segment, segments = 64 << 10, 43
	b.SetBytes(2 * segment * segments)
	b.ReportAllocs()
	for b.Loop() {
		done := make(chan error, 4)
		for rank, l := range links {
			go func() {
				buf := make([]byte, segment)
				var err error
				for i := 0; i < segments && err == nil; i++ {
					err = l.Send(1-rank, buf, soon())
				}
				done <- err
			}()
			go func() {
				buf := make([]byte, segment)
				var err error
				for i := 0; i < segments && err == nil; i++ {
					err = l.Recv(1-rank, buf, soon())
				}
				done <- err
			}()
		}
		for range cap(done) {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
}
