package p2p

import (
	"context"
	"errors"
	"fmt"
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

// Links carry the bytes of one attempt between the ranks of its roster: one lane for each pair and direction, taken by
// the first Send. Sends and receives of different ranks may run at once; those of one rank and direction may not.
type Links struct {
	host  *Host
	tag   roster.Tag
	r     roster.Roster
	rank  int
	peers []peer.ID // by rank

	out []outLink
	in  []inLink

	sent, received atomic.Int64

	once    sync.Once
	over    chan struct{} // closed by Close and Abort
	aborted bool          // how it ended, once it is over
	aborter atomic.Int64  // 1 + the rank that told us to abort; 0: none
}

// Links opens the links of one attempt. Streams on which peers named it before wait for it up to ten seconds; streams of
// other attempts are refused by name. A tag is used once. When ctx ends before Close, the links abort.
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
	h.endProbe()
	for _, p := range h.parking.aborters(tag) {
		if l.abortedBy(p) {
			return nil, l.failed("", 0, nil)
		}
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

// Close ends the attempt in good order and waits for nothing: peers still receive what was sent. A Send or Recv that is
// under way fails, and its stream is reset.
func (l *Links) Close() error {
	l.end(false)
	return nil
}

// Abort resets every stream and tells the other members, so that they fail at once instead of at their deadline; those
// that have not begun the attempt yet fail when they do. It waits for nothing. Abort after Close does nothing.
func (l *Links) Abort() { l.end(true) }

func (l *Links) end(abort bool) {
	l.once.Do(func() {
		l.aborted = abort
		close(l.over) // from here on no stream is added
		for i := range l.out {
			l.out[i].end(abort)
		}
		if abort {
			l.tell()
		}
		l.host.parking.finish(l)
	})
}

func (l *Links) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
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
	aborter := int(l.aborter.Load()) - 1
	switch {
	case aborter >= 0:
		op, rank, err = "abort by", aborter, ErrAborted
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
