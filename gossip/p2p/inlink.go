package p2p

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// inLink is the stream from one rank.
type inLink struct {
	turn   sync.Mutex // held by a Recv; guards the two below
	took   int64      // bytes of the attempt
	torn   bool       // a receive failed, so where the stream is at is not known
	mu     sync.Mutex
	stream network.Stream
	err    error         // why none will come
	ready  chan struct{} // closed when either is set
}

func (i *inLink) get() (network.Stream, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stream, i.err
}

// accept takes a stream that a peer opened, if the peer has the rank that it claims.
func (l *Links) accept(s network.Stream, p peer.ID, head linkHead) error {
	if head.To != l.rank || head.From >= len(l.peers) || l.peers[head.From] != p {
		return fmt.Errorf("rank %d of %d is not this peer, or rank %d is not here", head.From, len(l.peers), head.To)
	}
	i := &l.in[head.From]
	i.mu.Lock()
	defer i.mu.Unlock()
	if l.isOver() {
		return errors.New("it is over")
	}
	if i.stream != nil {
		return fmt.Errorf("rank %d has a stream already", head.From)
	}
	first := i.err == nil
	i.stream, i.err = s, nil
	if first {
		close(i.ready)
	}
	return nil
}

// Recv fills segment from the stream of rank from. It fails at the deadline, which is required, and sooner when the peer
// is gone, refuses or aborts.
func (l *Links) Recv(from int, segment []byte, deadline time.Time) error {
	if err := l.check(from, deadline); err != nil {
		return l.failed("receive from", from, err)
	}
	i := &l.in[from]
	i.turn.Lock()
	defer i.turn.Unlock()
	if l.isOver() {
		return l.failed("receive from", from, ErrClosed)
	}
	s, err := l.incoming(i, deadline)
	if err != nil {
		return l.failed("receive from", from, err)
	}
	_ = s.SetReadDeadline(deadline) // fails only on a closed stream, which the read reports
	n, err := io.ReadFull(s, segment)
	i.took += int64(n)
	l.received.Add(int64(n))
	if err != nil {
		i.torn = true
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the peer closed the stream %d bytes into a segment of %d: %w", n, len(segment), io.ErrUnexpectedEOF)
		}
		return l.failed("receive from", from, err)
	}
	return nil
}

// incoming waits for the stream from a rank.
func (l *Links) incoming(i *inLink, deadline time.Time) (network.Stream, error) {
	select {
	case <-i.ready:
		return i.get()
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-i.ready:
	case <-l.over:
		return nil, ErrClosed
	case <-timer.C:
		return nil, fmt.Errorf("no stream came: %w", os.ErrDeadlineExceeded)
	}
	return i.get()
}

// release says how many bytes were taken from the stream of a rank, and whether that is all there is to say: a stream on
// which a receive failed or is under way can carry nothing else.
func (l *Links) release(from int) (took int64, clean bool) {
	i := &l.in[from]
	if !l.isOver() || l.aborted || !i.turn.TryLock() {
		return 0, false
	}
	defer i.turn.Unlock()
	return i.took, !i.torn
}

// lost fails the receives that wait for a stream of a peer whose last connection is gone.
func (l *Links) lost(p peer.ID) {
	for rank := range l.in {
		if l.peers[rank] != p {
			continue
		}
		i := &l.in[rank]
		i.mu.Lock()
		if i.stream == nil && i.err == nil {
			i.err = errors.New("the connection is lost")
			close(i.ready)
		}
		i.mu.Unlock()
	}
}
