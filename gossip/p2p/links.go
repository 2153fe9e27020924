package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

// codeAborted is the reset code by which Abort tells a peer that lives from one that is gone.
const codeAborted network.StreamErrorCode = 0x5A01

// Links carry the bytes of one attempt between the ranks of its roster: one stream for each pair and direction, opened
// by the first Send. Sends and receives of different ranks may run at once; those of one rank and direction may not.
type Links struct {
	host  *Host
	tag   roster.Tag
	r     roster.Roster
	rank  int
	peers []peer.ID // by rank

	out []outLink
	in  []inLink

	sent, received atomic.Int64

	once sync.Once
	over chan struct{} // closed by Close and Abort
}

// outLink is the stream to one rank.
type outLink struct {
	mu     sync.Mutex
	stream network.Stream // nil before the first Send
	err    error          // why the peer takes no more
}

// inLink is the stream from one rank.
type inLink struct {
	mu     sync.Mutex
	stream network.Stream
	err    error         // why none will come
	ready  chan struct{} // closed when either is set
}

// Links opens the links of one attempt. Streams that peers opened before wait for it up to ten seconds; streams of other
// attempts are refused by name. A tag is used once. When ctx ends before Close, the links abort.
func (h *Host) Links(ctx context.Context, tag roster.Tag, r roster.Roster) (*Links, error) {
	rank, ok := r.Rank(h.id)
	if !ok {
		return nil, fmt.Errorf("open links of attempt %s: %s is not in its roster of %d", tagName(tag), h.id, r.Size())
	}
	l := &Links{
		host: h, tag: tag, r: r, rank: rank,
		out: make([]outLink, r.Size()), in: make([]inLink, r.Size()), over: make(chan struct{}),
	}
	for i, id := range r.Members {
		p, err := decode(id)
		if err != nil {
			return nil, fmt.Errorf("open links of attempt %s: rank %d: %w", tagName(tag), i, err)
		}
		l.peers = append(l.peers, p)
		l.in[i].ready = make(chan struct{})
	}
	if err := h.parking.claim(l); err != nil {
		return nil, err
	}
	if h.ctx.Err() != nil || ctx.Err() != nil {
		l.Abort()
		return nil, fmt.Errorf("open links of attempt %s: %w", tagName(tag), errors.Join(h.ctx.Err(), ctx.Err()))
	}
	h.start(func() {
		select {
		case <-ctx.Done():
			l.Abort()
		case <-l.over:
		}
	})
	return l, nil
}

// Bytes is how many bytes of segments were sent and received so far.
func (l *Links) Bytes() (sent, received int64) { return l.sent.Load(), l.received.Load() }

// Close ends the attempt in good order and waits for nothing: peers still receive what was sent.
func (l *Links) Close() error {
	return l.end(func(s network.Stream) error { return s.Close() })
}

// Abort resets every stream, so that peers fail at once instead of at their deadline. A peer to which no stream is open
// yet does not hear of it. Abort after Close does nothing.
func (l *Links) Abort() {
	_ = l.end(func(s network.Stream) error { return s.ResetWithError(codeAborted) }) // a stream that cannot be reset is gone
}

func (l *Links) end(finish func(network.Stream) error) error {
	var errs []error
	l.once.Do(func() {
		close(l.over) // from here on no stream is added
		for i := range l.out {
			if s, _ := l.out[i].get(); s != nil {
				errs = append(errs, finish(s))
			}
			if s, _ := l.in[i].get(); s != nil {
				errs = append(errs, finish(s))
			}
		}
		l.host.parking.finish(l)
	})
	if err := errors.Join(errs...); err != nil && !errors.Is(err, network.ErrReset) {
		return fmt.Errorf("close links of attempt %s: %w", tagName(l.tag), err)
	}
	return nil
}

func (l *Links) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

func (o *outLink) get() (network.Stream, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stream, o.err
}

func (i *inLink) get() (network.Stream, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stream, i.err
}

// Send writes segment to the stream to rank to, and returns when the bytes may be reused. It fails at the deadline,
// which is required, and sooner when the peer is gone, refuses or aborts. After an error nothing more can be sent.
func (l *Links) Send(to int, segment []byte, deadline time.Time) error {
	if err := l.check(to, deadline); err != nil {
		return l.failed("send to", to, err)
	}
	s, err := l.outgoing(to, deadline)
	if err != nil {
		return l.failed("send to", to, err)
	}
	_ = s.SetWriteDeadline(deadline) // fails only on a closed stream, which the write reports
	n, err := s.Write(segment)
	l.sent.Add(int64(n))
	if err != nil {
		// Invariant: the bytes before a failed segment are all that the peer ever gets.
		err = l.out[to].fail(err)
		_ = s.ResetWithError(codeAborted) // it may be gone already
		return l.failed("send to", to, err)
	}
	return nil
}

// Recv fills segment from the stream of rank from. It fails at the deadline, which is required, and sooner when the peer
// is gone, refuses or aborts.
func (l *Links) Recv(from int, segment []byte, deadline time.Time) error {
	if err := l.check(from, deadline); err != nil {
		return l.failed("receive from", from, err)
	}
	s, err := l.incoming(from, deadline)
	if err != nil {
		return l.failed("receive from", from, err)
	}
	_ = s.SetReadDeadline(deadline) // fails only on a closed stream, which the read reports
	n, err := io.ReadFull(s, segment)
	l.received.Add(int64(n))
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the peer closed the stream %d bytes into a segment of %d: %w", n, len(segment), io.ErrUnexpectedEOF)
		}
		return l.failed("receive from", from, err)
	}
	return nil
}

// check refuses what no stream can carry.
func (l *Links) check(rank int, deadline time.Time) error {
	switch {
	case l.isOver():
		return ErrClosed
	case rank < 0 || rank >= len(l.peers) || rank == l.rank:
		return fmt.Errorf("no such rank beside rank %d of %d", l.rank, len(l.peers))
	case deadline.IsZero():
		return errors.New("no deadline")
	}
	return nil
}

// failed wraps what went wrong with a rank, in terms of the attempt.
func (l *Links) failed(op string, rank int, err error) error {
	var reset *network.StreamError
	var late net.Error
	switch {
	case l.isOver():
		err = ErrClosed
	case errors.As(err, &reset) && reset.Remote && reset.ErrorCode == codeAborted:
		err = ErrAborted
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		err = fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
	}
	e := &LinkError{Op: op, Rank: rank, Tag: l.tag, Err: err}
	if rank >= 0 && rank < len(l.r.Members) {
		e.Peer = l.r.Members[rank]
	}
	return e
}

// outgoing is the stream to a rank, opened if need be.
func (l *Links) outgoing(to int, deadline time.Time) (network.Stream, error) {
	o := &l.out[to]
	s, err := o.get()
	if err != nil || s != nil {
		return s, err
	}
	head, err := linkHead{l.tag, l.rank, to}.encode()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(l.host.ctx, deadline)
	defer cancel()
	if s, err = l.host.open(ctx, l.r.Members[to], purposeLink, head); err != nil {
		return nil, err
	}
	o.mu.Lock()
	if !l.isOver() {
		o.stream = s
	}
	o.mu.Unlock()
	if l.isOver() {
		return nil, errors.Join(ErrClosed, s.ResetWithError(codeAborted))
	}
	l.host.start(func() { l.watch(to, s) })
	return s, nil
}

// watch waits for the peer to end a stream that we write, so that a blocked Send fails at once and says why.
func (l *Links) watch(to int, s network.Stream) {
	err := awaitRefusal(s, l.r.Members[to])
	if errors.Is(err, io.EOF) {
		err = errors.New("the peer has closed its links")
	}
	_ = l.out[to].fail(err)
	if errors.As(err, new(*RefusedError)) {
		_ = s.Reset() // unblocks the writer; the stream may be gone already
	}
}

// fail sets why a stream takes no more, unless that is known, and returns what is known.
func (o *outLink) fail(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	return o.err
}

// incoming waits for the stream from a rank.
func (l *Links) incoming(from int, deadline time.Time) (network.Stream, error) {
	i := &l.in[from]
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
