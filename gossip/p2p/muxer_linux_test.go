package p2p

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/sys/unix"
)

// narrow is one direction of a link that lets so many bytes pass each second, behind a buffer as large as a kernel's.
type narrow struct {
	mu      sync.Mutex
	changed *sync.Cond
	queue   []byte // on their way
	arrived []byte
	closed  bool
	late    bool // past the write deadline
	timer   *time.Timer
}

const kernelBytes = 4 << 20

func newNarrow(rate int) *narrow {
	n := &narrow{}
	n.changed = sync.NewCond(&n.mu)
	go func() {
		for {
			time.Sleep(10 * time.Millisecond)
			n.mu.Lock()
			k := min(rate/100, len(n.queue))
			n.arrived, n.queue = append(n.arrived, n.queue[:k]...), n.queue[k:]
			n.changed.Broadcast()
			over := n.closed
			n.mu.Unlock()
			if over {
				return
			}
		}
	}()
	return n
}

func (n *narrow) write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.queue) >= kernelBytes && !n.closed && !n.late {
		n.changed.Wait()
	}
	switch {
	case n.closed:
		return 0, net.ErrClosed
	case n.late:
		return 0, os.ErrDeadlineExceeded
	}
	n.queue = append(n.queue, b...)
	return len(b), nil
}

func (n *narrow) read(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.arrived) == 0 && !n.closed {
		n.changed.Wait()
	}
	if len(n.arrived) == 0 {
		return 0, io.EOF
	}
	k := copy(b, n.arrived)
	n.arrived = n.arrived[k:]
	return k, nil
}

func (n *narrow) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.changed.Broadcast()
}

func (n *narrow) deadline(t time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late = false
	if n.timer != nil {
		n.timer.Stop()
	}
	if !t.IsZero() {
		n.timer = time.AfterFunc(time.Until(t), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.late = true
			n.changed.Broadcast()
		})
	}
}

// narrowConn is one end of a link.
type narrowConn struct {
	net.Conn
	in, out *narrow
}

func (c narrowConn) Read(b []byte) (int, error)         { return c.in.read(b) }
func (c narrowConn) Write(b []byte) (int, error)        { return c.out.write(b) }
func (c narrowConn) SetWriteDeadline(t time.Time) error { c.out.deadline(t); return nil }
func (c narrowConn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

// A link that is full for minutes, one way or both, as a large model makes a slow one, keeps its connection.
func TestKeepAliveOnAFullLink(t *testing.T) {
	for _, row := range []struct {
		rate int // bytes a second
		ways int
	}{{1_250_000, 1}, {1_250_000, 2}, {125_000, 1}, {125_000, 2}} {
		rate := row.rate
		synctest.Test(t, func(t *testing.T) {
			up, down := newNarrow(rate), newNarrow(rate)
			const n = 12 << 20
			a, err := newMuxer().NewConn(narrowConn{in: down, out: up}, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := newMuxer().NewConn(narrowConn{in: up, out: down}, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 2*row.ways)
			move := func(from, to network.MuxedStream) {
				go func() { _, err := from.Write(make([]byte, n)); done <- err }()
				go func() { _, err := io.ReadFull(to, make([]byte, n)); done <- err }()
			}
			s, err := a.OpenStream(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			r, err := b.AcceptStream()
			if err != nil {
				t.Fatal(err)
			}
			move(s, r)
			if row.ways == 2 {
				move(r, s)
			}
			start := time.Now()
			for range cap(done) {
				if err := <-done; err != nil {
					t.Errorf("%d bytes a second, %d ways: %v after %v", rate, row.ways, err, time.Since(start))
				}
			}
			_, _ = a.Close(), b.Close()
			time.Sleep(time.Second) // the link's goroutines end
		})
	}
}

// A link that swallows everything is given up, by the multiplexer where the kernel cannot.
func TestDeadLinkIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := newNarrow(0), newNarrow(0)
		a, err := newMuxer().NewConn(narrowConn{in: down, out: up}, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepAlive + muxTimeout + time.Second)
		synctest.Wait()
		if !a.IsClosed() {
			t.Error("it is believed alive")
		}
		_ = a.Close()
		time.Sleep(time.Second) // the link's goroutines end
	})
}

// Connections of every profile that has a TCP socket beneath have their acknowledgements watched.
func TestAcknowledgementsAreWatched(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMuxer().NewConn(c, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || time.Duration(ms)*time.Millisecond != ackTimeout {
			t.Errorf("unacknowledged for %d ms at most, %v", ms, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
