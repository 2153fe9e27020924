package p2p

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

// sendTimeout bounds a Send whose ctx has no deadline.
const sendTimeout = 10 * time.Second

// outbox is the long-lived stream of messages to one peer.
type outbox struct {
	turn chan struct{} // holds one token while somebody sends

	stream network.Stream // of the sender that has the turn

	mu      sync.Mutex
	refused error // why the peer closed the stream, until somebody is told
}

// inbox is the stream of messages from one peer that is being read.
type inbox struct {
	stream network.Stream
	done   chan struct{}
}

// OnMessage sets who gets messages. It must be called before traffic; until then messages are refused. f is called for
// one message of a peer after another, in the order sent, and for several peers at once; it owns body. The next message
// of that peer waits until f returns.
func (h *Host) OnMessage(f func(from roster.ID, kind string, body []byte)) { h.onMessage.Store(&f) }

// Send sends one message and returns when the transport has it; a peer that dies afterwards may not have read it, and
// after a connection that broke in the middle it may read a message twice. Messages to one peer arrive in the order in
// which Send was called. A RefusedError says why the peer closed the stream that an earlier message took.
func (h *Host) Send(ctx context.Context, to roster.ID, kind string, body []byte) error {
	frame, err := appendFrame(nil, kind, body)
	if err != nil {
		return err
	}
	box, err := h.outbox(to)
	if err != nil {
		return fmt.Errorf("send %s: %w", kind, err)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	select {
	case box.turn <- struct{}{}:
		defer func() { <-box.turn }()
	case <-ctx.Done():
		return fmt.Errorf("send %s to %s: %w", kind, to, ctx.Err())
	}
	if err := h.sendFrame(ctx, box, to, frame); err != nil {
		return fmt.Errorf("send %s to %s: %w", kind, to, err)
	}
	return nil
}

func (h *Host) outbox(to roster.ID) (*outbox, error) {
	p, err := decode(to)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	box, ok := h.outboxes[p]
	if !ok {
		if err := h.gate.check(p); err != nil {
			return nil, fmt.Errorf("peer %s: %w", to, err)
		}
		box = &outbox{turn: make(chan struct{}, 1)}
		h.outboxes[p] = box
	}
	return box, nil
}

// sendFrame writes to the stream there is, or else to a new one. The caller has the turn.
func (h *Host) sendFrame(ctx context.Context, box *outbox, to roster.ID, frame []byte) error {
	if box.stream != nil {
		err := writeBy(ctx, box.stream, frame)
		if err == nil {
			return nil
		}
		box.stream = nil
		if reason := box.takeRefusal(); reason != nil || ctx.Err() != nil {
			return errors.Join(reason, ctx.Err())
		}
	}
	s, err := h.open(ctx, to, purposeMessages, nil)
	if err != nil {
		return err
	}
	if err := writeBy(ctx, s, frame); err != nil {
		return err
	}
	box.stream = s
	h.start(func() { box.watch(s, to) })
	return nil
}

// writeBy writes all of b before ctx's deadline, or resets the stream: half a frame must not be followed by another.
func writeBy(ctx context.Context, s network.Stream, b []byte) error {
	if deadline, ok := ctx.Deadline(); ok {
		_ = s.SetWriteDeadline(deadline) // fails only on a closed stream, which the write reports
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	if _, err := s.Write(b); err != nil {
		return errors.Join(err, s.Reset())
	}
	return nil
}

// watch waits until the peer ends the stream, so that the next write fails at once and says why.
func (b *outbox) watch(s network.Stream, to roster.ID) {
	var refused *RefusedError
	if err := awaitRefusal(s, to); errors.As(err, &refused) {
		b.mu.Lock()
		b.refused = refused
		b.mu.Unlock()
	}
	_ = s.Reset() // nothing can be done about a stream that is gone already
}

func (b *outbox) takeRefusal() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	reason := b.refused
	b.refused = nil
	return reason
}

// serveMessages delivers a peer's messages in order until the stream ends. A newer stream of the same peer replaces an
// older one, whose sender has given it up.
func (h *Host) serveMessages(s network.Stream, p peer.ID, from roster.ID) {
	deliver := h.onMessage.Load()
	box := &inbox{s, make(chan struct{})}
	defer close(box.done)
	h.mu.Lock()
	older := h.inboxes[p]
	h.inboxes[p] = box
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		if h.inboxes[p] == box {
			delete(h.inboxes, p)
		}
		h.mu.Unlock()
	}()
	if older != nil {
		_ = older.stream.Reset()
		<-older.done
	}
	for {
		kind, body, err := readWhole(s, MaxMessageBytes)
		if err != nil {
			end(s, err)
			return
		}
		if !h.meter.spend(p, goodMessages, 1) || !h.meter.spend(p, goodBytes, len(body)) {
			_ = s.Reset() // with its connection, in a moment
			return
		}
		(*deliver)(from, kind, body)
	}
}

// readWhole waits as long as it takes for a frame to begin, and frameTimeout for its rest.
func readWhole(s network.Stream, limit int) (kind string, body []byte, err error) {
	_ = s.SetReadDeadline(time.Time{}) // fails only on a closed stream, which the read reports
	size, err := readLength(s)
	if err != nil {
		return "", nil, err
	}
	_ = s.SetReadDeadline(time.Now().Add(frameTimeout))
	return readRest(s, size, limit)
}
