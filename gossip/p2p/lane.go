package p2p

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"shoal/gossip/roster"
)

// settleTime is how long the two ends of a lane may take to agree that an attempt is over. Members finish an exchange
// within a segment's time of each other; a lane that needs longer is closed, and the next attempt opens another.
const settleTime = 2 * time.Second

// markBytes are the random bytes by which a receiver knows the sender's next header.
const markBytes = 16

// lane is a long-lived stream to one peer. It carries the bytes of one attempt after another, each behind a frame that
// names the attempt; the receiver tells at the end how many bytes it took:
//
//	sender    link {tag, from 0, to 1}  4096 bytes                       link {tag', …, after 5eed…}  …
//	receiver                                        end 4096, 5eed…
//
// Invariant: the sender names another attempt only after the receiver confirmed that it took exactly what was sent of the
// last, and repeats the mark that the receiver drew for that, which no byte sent before can contain. So no byte of one
// attempt can be taken for one of another. After an abort, an error or a disagreement the stream is reset instead.
type lane struct {
	host   *Host
	stream network.Stream
	to     roster.ID

	mu      sync.Mutex
	open    bool          // an attempt is on it at this end
	broken  bool          // a write failed, or the stream is gone
	err     error         // why it takes no more of this attempt
	sent    int64         // bytes of this attempt
	took    int64         // that the peer says it took; -1: it has not ended the attempt
	mark    string        // that the peer drew with its last end
	settled chan struct{} // closed when it is known whether the lane can carry another attempt
	reuse   bool          // it can
	dropped bool          // the stream is being reset: closing it now would pass for a good end
}

// newLane is the lane of a stream on which an attempt was just named.
func (h *Host) newLane(s network.Stream, to roster.ID) *lane {
	l := &lane{host: h, stream: s, to: to}
	l.begin()
	h.start(l.watch)
	return l
}

// begin resets what belongs to one attempt.
func (l *lane) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open, l.err, l.sent, l.took, l.reuse = true, nil, 0, -1, false
	l.settled = make(chan struct{})
}

// write sends bytes, of which the last n are the attempt's.
func (l *lane) write(b []byte, n int, deadline time.Time) (int, error) {
	if err := l.failure(); err != nil {
		return 0, err
	}
	_ = l.stream.SetWriteDeadline(deadline) // fails only on a closed stream, which the write reports
	wrote, err := l.stream.Write(b)
	wrote = max(0, wrote-(len(b)-n))
	l.mu.Lock()
	l.sent += int64(wrote)
	if err != nil {
		l.broken = true
		if l.err == nil {
			l.err = err
		}
		err = l.err
		l.drop() // Invariant: the bytes before a failed segment are all that the peer ever gets.
	}
	l.mu.Unlock()
	return wrote, err
}

func (l *lane) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// finish ends the attempt at this end, in good order. The lane is kept for another one if the peer agrees in time; else
// it is closed, and the peer still receives what was sent.
func (l *lane) finish() {
	h := l.host
	h.mu.Lock()
	kept := h.lanes[l.to] == nil && h.ctx.Err() == nil
	if kept {
		h.lanes[l.to] = l
	}
	h.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = false
	switch {
	case !kept || l.broken:
		l.settle(false)
	case l.took >= 0:
		l.settle(l.took == l.sent)
	default:
		attempt := l.settled // the lane may carry another one by then
		time.AfterFunc(settleTime, func() { l.giveUp(attempt) })
	}
}

// settle decides whether the lane can carry another attempt, once. The caller holds mu.
func (l *lane) settle(reuse bool) {
	select {
	case <-l.settled:
		return
	default:
	}
	l.reuse = reuse
	close(l.settled)
	switch {
	case reuse, l.dropped:
	case l.took >= 0 && l.took != l.sent:
		l.drop() // what is under way belongs to no attempt any more
	default:
		l.host.start(func() { _ = l.stream.Close() }) // fails only on a stream that is gone
	}
}

// giveUp closes a lane whose attempt did not settle in time.
func (l *lane) giveUp(attempt chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.settled == attempt {
		l.settle(false)
	}
}

// abort resets the lane.
func (l *lane) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open, l.broken = false, true
	if l.err == nil {
		l.err = ErrClosed
	}
	l.drop()
	l.settle(false)
}

// drop resets the stream. The caller holds mu.
func (l *lane) drop() {
	l.dropped = true
	l.host.reset(l.stream)
}

// watch reads what the peer says on a lane, so that a blocked write fails at once and says why.
func (l *lane) watch() {
	err := l.listen()
	l.mu.Lock()
	l.broken = true
	if l.err == nil {
		l.err = err
	}
	if l.open || l.reuse { // else it was closed or reset already
		l.drop() // unblocks the writer
	}
	l.reuse = false
	l.settle(false)
	l.mu.Unlock()
	l.host.mu.Lock()
	defer l.host.mu.Unlock()
	if l.host.lanes[l.to] == l {
		delete(l.host.lanes, l.to)
	}
}

// reset ends a stream of an attempt at once. It does not wait for a connection that is full.
func (h *Host) reset(s network.Stream) {
	h.start(func() { _ = s.ResetWithError(codeAborted) }) // a stream that cannot be reset is gone
}

// listen takes the peer's ends of attempts until the stream ends.
func (l *lane) listen() error {
	for {
		kind, body, err := readFrame(l.stream, maxReasonBytes)
		switch {
		case err != nil:
			return fmt.Errorf("the stream is gone: %w", noEOF(err))
		case kind == kindRefused:
			return &RefusedError{l.to, string(body)}
		case kind != kindEnd || len(body) != 8+markBytes:
			return fmt.Errorf("peer %s answered %q with %d bytes where the end of an attempt is awaited", l.to, kind, len(body))
		}
		if err := l.ended(binary.BigEndian.Uint64(body), hex.EncodeToString(body[8:])); err != nil {
			return err
		}
	}
}

// ended notes that the peer took n bytes of the attempt and awaits no more.
func (l *lane) ended(n uint64, mark string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.took >= 0 || n > uint64(l.sent) && !l.open {
		return fmt.Errorf("peer %s ends an attempt after %d bytes, twice or before they were sent", l.to, n)
	}
	l.took, l.mark = int64(min(n, 1<<62)), mark
	if l.open {
		l.err = errors.New("the peer has closed its links")
	} else {
		l.settle(l.took == l.sent)
	}
	return nil
}

// takeLane is a lane to the peer that is ready for another attempt, and the mark of its next header; or nil. It waits for
// one whose last attempt is about to settle.
func (h *Host) takeLane(ctx context.Context, to roster.ID) (taken *lane, mark string) {
	h.mu.Lock()
	l := h.lanes[to]
	delete(h.lanes, to)
	h.mu.Unlock()
	if l == nil {
		return nil, ""
	}
	l.mu.Lock()
	settled := l.settled
	l.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
		l.giveUp(settled)
	}
	l.mu.Lock()
	usable, mark := l.reuse && !l.broken, l.mark
	l.mu.Unlock()
	if !usable {
		return nil, ""
	}
	l.begin()
	return l, mark
}
