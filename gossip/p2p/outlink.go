package p2p

import (
	"context"
	"sync"
	"time"
)

// outLink is the lane to one rank.
type outLink struct {
	turn sync.Mutex // held by a Send
	mu   sync.Mutex
	lane *lane // nil before the first Send
}

func (o *outLink) get() *lane {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lane
}

// end gives the lane back, unless a Send is under way on it.
func (o *outLink) end(abort bool) {
	lane := o.get()
	if lane == nil {
		return
	}
	if !abort && o.turn.TryLock() {
		lane.finish()
		o.turn.Unlock()
		return
	}
	lane.abort()
}

// Send writes segment to the lane to rank to, and returns when the bytes may be reused. It fails at the deadline, which
// is required, and sooner when the peer is gone, refuses or aborts. After an error nothing more can be sent.
func (l *Links) Send(to int, segment []byte, deadline time.Time) error {
	if err := l.check(to, deadline); err != nil {
		return l.failed("send to", to, err)
	}
	o := &l.out[to]
	o.turn.Lock()
	defer o.turn.Unlock()
	n, err := l.send(o, to, segment, deadline)
	l.sent.Add(int64(n))
	if err != nil {
		return l.failed("send to", to, err)
	}
	return nil
}

// send writes to the lane there is, or takes one and names the attempt on it.
func (l *Links) send(o *outLink, to int, segment []byte, deadline time.Time) (int, error) {
	if l.isOver() {
		return 0, ErrClosed
	}
	if lane := o.get(); lane != nil {
		return lane.write(segment, len(segment), deadline)
	}
	ctx, cancel := context.WithDeadline(l.host.ctx, deadline)
	defer cancel()
	taken, first, err := l.begin(ctx, to, segment)
	if err != nil {
		return 0, err
	}
	if !l.place(o, taken) {
		taken.abort()
		return 0, ErrClosed
	}
	return taken.write(first, len(segment), deadline)
}

// begin takes a lane to a rank, or opens one, and names the attempt on it. What must be written first is segment, behind
// the header if that was not sent yet: one write, so that the header costs no record and no packet of its own.
func (l *Links) begin(ctx context.Context, to int, segment []byte) (taken *lane, first []byte, err error) {
	head, id := linkHead{Tag: l.tag, From: l.rank, To: to}, l.r.Members[to]
	if taken, head.After = l.host.takeLane(ctx, id); taken == nil {
		text, err := head.encode()
		if err != nil {
			return nil, nil, err
		}
		s, err := l.host.open(ctx, id, purposeLink, text)
		if err != nil {
			return nil, nil, err
		}
		return l.host.newLane(s, id), segment, nil
	}
	text, err := head.encode()
	if err == nil {
		first, err = appendFrame(make([]byte, 0, len(text)+len(segment)+64), purposeLink, text)
	}
	if err != nil {
		taken.abort()
		return nil, nil, err
	}
	return taken, append(first, segment...), nil
}

// place makes a lane the attempt's, unless the attempt is over.
func (l *Links) place(o *outLink, taken *lane) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.isOver() {
		return false
	}
	o.lane = taken
	return true
}
