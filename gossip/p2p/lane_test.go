package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"shoal/gossip/roster"
)

// streamsBetween counts the streams of ours that one host has open to another, by who opened them.
func streamsBetween(h, to *Host, direction network.Direction) int {
	n := 0
	for _, c := range h.Libp2p().Network().ConnsToPeer(to.self) {
		for _, s := range c.GetStreams() {
			if s.Protocol() == Protocol && s.Stat().Direction == direction {
				n++
			}
		}
	}
	return n
}

// fill writes bytes that name their attempt, direction and place.
func fill(b []byte, view uint64, from, at int) []byte {
	r := rand.New(rand.NewPCG(view, uint64(from)))
	for range at {
		r.Uint32()
	}
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// swap moves n bytes each way between two ranks and checks them.
func swap(links []*Links, view uint64, n int) error {
	errs := make(chan error, 4)
	for rank, l := range links {
		go func() { errs <- l.Send(1-rank, fill(make([]byte, n), view, rank, 0), soon()) }()
		go func() {
			got := make([]byte, n)
			err := l.Recv(1-rank, got, soon())
			if err == nil && !bytes.Equal(got, fill(make([]byte, n), view, 1-rank, 0)) {
				err = errors.New("bytes of another attempt")
			}
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs, <-errs, <-errs)
}

func TestLanesAreKept(t *testing.T) {
	hosts, r := newCluster(t, 2)
	for view := range uint64(20) {
		links := openAll(t, hosts, tagOf(r, view), r)
		if err := swap(links, view, 1+int(view)*1000); err != nil {
			t.Fatalf("attempt %d: %v", view, err)
		}
		for _, l := range links {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, h := range hosts {
		if in, out := streamsBetween(h, hosts[1-i], network.DirInbound), streamsBetween(h, hosts[1-i], network.DirOutbound); in != 1 || out != 1 {
			t.Errorf("rank %d has %d streams in and %d out after 20 attempts, want 1 and 1", i, in, out)
		}
	}
}

// Members abort, stop early, read late or leave bytes unread, at every point; whoever receives bytes of an attempt
// receives those that were sent in it.
func TestNoByteReachesAnotherAttempt(t *testing.T) {
	t.Parallel()
	hosts, r := newCluster(t, 2)
	random := rand.New(rand.NewPCG(1, 2))
	whole := 0
	for view := range uint64(100) {
		links := openAll(t, hosts, tagOf(r, view), r)
		var working sync.WaitGroup
		for rank, l := range links {
			sends, takes, size := random.IntN(12), random.IntN(12), 1+random.IntN(30_000)
			late, abort := random.IntN(4) == 0, random.IntN(3) == 0
			if random.IntN(3) == 0 { // as it should be
				sends, takes, size, late, abort = 6, 6, 10_000, false, false
			}
			working.Go(func() {
				var both sync.WaitGroup
				both.Go(func() {
					for n := range sends {
						if l.Send(1-rank, fill(make([]byte, size), view, rank, n*size), brief()) != nil {
							return
						}
					}
				})
				both.Go(func() {
					got, at := make([]byte, 7_777), 0
					for range takes {
						if late {
							time.Sleep(time.Millisecond)
						}
						if l.Recv(1-rank, got, brief()) != nil {
							return
						}
						if !bytes.Equal(got, fill(make([]byte, len(got)), view, 1-rank, at)) {
							t.Errorf("attempt %d: rank %d received bytes of another at %d", view, rank, at)
							return
						}
						at += len(got)
					}
				})
				if abort || late {
					time.Sleep(time.Duration(view%5) * time.Millisecond)
				} else {
					both.Wait()
				}
				if abort {
					l.Abort()
				} else if l.Close() != nil {
					t.Error("close failed")
				}
				both.Wait()
			})
		}
		working.Wait()
		if view%10 == 0 { // and the two still work together
			links := openAll(t, hosts, tagOf(r, 1000+view), r)
			if err := swap(links, view, 50_000); err != nil {
				t.Fatalf("after attempt %d: %v", view, err)
			}
			whole++
			links[0].end(false)
			links[1].end(false)
		}
	}
	if whole != 10 {
		t.Errorf("%d whole exchanges", whole)
	}
	await(t, "streams to be given up", func() bool {
		return streamsBetween(hosts[0], hosts[1], network.DirOutbound) <= 2 && streamsBetween(hosts[0], hosts[1], network.DirInbound) <= 2
	})
}

func brief() time.Time { return time.Now().Add(15 * time.Millisecond) }

func TestReceiverThatStillReadsLosesItsStream(t *testing.T) {
	hosts, r := newCluster(t, 2)
	links := openAll(t, hosts, tagOf(r, 1), r)
	if err := swap(links, 1, 100); err != nil {
		t.Fatal(err)
	}
	stale := make(chan error, 1)
	go func() { stale <- links[1].Recv(0, make([]byte, 100), soon()) }()
	await(t, "a receive under way", func() bool { return !links[1].in[0].turn.TryLock() || unlock(&links[1].in[0].turn) })
	_, _ = links[1].Close(), links[0].Close()
	if err := <-stale; !errors.Is(err, ErrClosed) {
		t.Errorf("a receive when its links close: %v, want ErrClosed", err)
	}
	next := openAll(t, hosts, tagOf(r, 2), r)
	if err := swap(next, 2, 100); err != nil {
		t.Errorf("next attempt: %v", err)
	}
}

// unlock gives a lock back and is false.
func unlock(m *sync.Mutex) bool {
	m.Unlock()
	return false
}

// What is left on a stream is never read as the header of another attempt, even if it looks like one.
func TestLeftoverThatLooksLikeAHeader(t *testing.T) {
	hosts, r := newCluster(t, 2)
	head, err := linkHead{Tag: tagOf(r, 2), From: 0, To: 1}.encode()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := appendFrame(nil, purposeLink, head)
	if err != nil {
		t.Fatal(err)
	}
	links := openAll(t, hosts, tagOf(r, 1), r)
	leftover := append(append([]byte{0}, forged...), make([]byte, 1000)...)
	if err := errors.Join(links[0].Send(1, leftover, soon()), links[1].Recv(0, make([]byte, 1), soon())); err != nil {
		t.Fatal(err)
	}
	next := openAll(t, hosts, tagOf(r, 2), r) // ready to take what comes
	if err := links[1].Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // the receiver looks for a header before the sender hears of its end
	if err := links[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := swap(next, 2, 1000); err != nil {
		t.Error(err)
	}
}

// Whatever a receiver says out of turn, its lane takes no other attempt.
func TestEndsOutOfTurnBreakTheLane(t *testing.T) {
	end := func(n uint64) []byte {
		b, err := appendFrame(nil, kindEnd, append(binary.BigEndian.AppendUint64(nil, n), make([]byte, markBytes)...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, row := range []struct {
		name string
		say  []byte
		keep bool
	}{
		{"as sent", end(100), true},
		{"less than sent", end(99), false},
		{"more than sent", end(101), false},
		{"far more than sent", end(1<<64 - 1), false},
		{"twice", append(end(100), end(100)...), false},
		{"short", []byte("\x00\x00\x00\x05\x03end1"), false},
		{"another word", []byte("\x00\x00\x00\x04\x03foo"), false},
		{"nothing", nil, false},
	} {
		hosts, _ := newCluster(t, 1)
		here, there := newPipe()
		t.Cleanup(func() { _ = here.Close() })
		l := &lane{host: hosts[0], stream: here, to: "peer"}
		l.begin()
		hosts[0].start(l.watch)
		go func() { _, _ = io.ReadFull(there, make([]byte, 100)) }()
		if _, err := l.write(make([]byte, 100), 100, soon()); err != nil {
			t.Fatal(err)
		}
		l.finish()
		if row.say != nil {
			if _, err := there.Write(row.say); err != nil && row.keep {
				t.Fatal(err)
			}
		} else {
			l.giveUp(l.settled)
		}
		<-l.settled
		if row.name == "twice" || row.say == nil { // the second may come when the lane is in use again
			await(t, row.name+": the lane is broken", func() bool {
				lane, _ := hosts[0].takeLane(context.Background(), "peer")
				return lane == nil
			})
			continue
		}
		if lane, _ := hosts[0].takeLane(context.Background(), "peer"); (lane != nil) != row.keep {
			t.Errorf("%s: kept %v, want %v", row.name, lane, row.keep)
		}
	}
}

func FuzzLaneEnds(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x1c\x03end\x00\x00\x00\x00\x00\x00\x00\x640123456789abcdef"), uint16(100))
	f.Add([]byte("\x00\x00\x00\x1c\x03end\xff\xff\xff\xff\xff\xff\xff\xff0123456789abcdef"), uint16(1))
	f.Add([]byte("\x00\x00\x00\x09\x07refused"), uint16(0))
	f.Fuzz(func(t *testing.T, said []byte, sent uint16) {
		l := &lane{stream: &saying{r: bytes.NewReader(said)}, to: "peer", host: &Host{}}
		l.begin()
		l.sent = int64(sent)
		if err := l.listen(); err == nil {
			t.Error("listening ended without an error")
		}
		if agreed := l.took == l.sent; agreed && !bytes.HasPrefix(said, binary.BigEndian.AppendUint64([]byte("\x00\x00\x00\x1c\x03end"), uint64(sent))) {
			t.Errorf("%q passes for the end of %d bytes", said, sent)
		}
	})
}

func TestAbortReachesThoseWithoutAStream(t *testing.T) {
	hosts, r := newCluster(t, 4)
	tag := tagOf(r, 1)
	open := openAll(t, hosts[:3], tag, r)
	blocked := make(chan error, 2)
	go func() { blocked <- open[0].Recv(1, make([]byte, 1), soon()) }()
	go func() { blocked <- open[1].Recv(3, make([]byte, 1), soon()) }()
	time.AfterFunc(20*time.Millisecond, open[2].Abort)
	start := time.Now()
	for range 2 {
		err := <-blocked
		var failed *LinkError
		if !errors.Is(err, ErrAborted) || !errors.As(err, &failed) || failed.Rank != 2 || failed.Peer != hosts[2].ID() {
			t.Errorf("blocked receive: %v, want ErrAborted of rank 2", err)
		}
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	// Rank 3 has not begun; when it does, it hears of the abort.
	await(t, "word at rank 3", func() bool {
		hosts[3].parking.mu.Lock()
		defer hosts[3].parking.mu.Unlock()
		return len(hosts[3].parking.aborts) > 0
	})
	if _, err := hosts[3].Links(context.Background(), tag, r); !errors.Is(err, ErrAborted) {
		t.Errorf("begin an aborted attempt: %v, want ErrAborted", err)
	}
	// Others are not concerned: a stranger to the roster aborts nothing.
	two := roster.Roster{Generation: 1, Members: r.Members[:2]}
	other := openAll(t, hosts[:2], tagOf(r, 2), two)
	text, _ := linkHead{Tag: tagOf(r, 2), From: 0, To: 1}.encode()
	hosts[2].tellAbort(hosts[0].ID(), bytes.Replace(text[:bytes.LastIndex(text, []byte(`,"from"`))], []byte(`{"tag":`), nil, 1))
	if err := swap(other, 2, 10); err != nil {
		t.Errorf("after a stranger's abort: %v", err)
	}
}

func TestLossIsToldAtOnce(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	lost := make(chan roster.ID, 4)
	hosts[0].OnLost(func(id roster.ID) { lost <- id })
	hosts[1].HandleCall("x", func(context.Context, roster.ID, []byte) ([]byte, error) { return nil, nil })
	if _, err := hosts[0].Call(within(t, 5*time.Second), hosts[1].ID(), "x", nil); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	kill(hosts[1])
	if id := <-lost; id != hosts[1].ID() {
		t.Errorf("lost %s, want %s", id, hosts[1].ID())
	}
	if d := time.Since(start); d > patience/2 {
		t.Errorf("told after %v", d)
	}
}
