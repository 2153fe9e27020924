package collective

import (
	"context"
	"fmt"
	"time"
)

// gate lets one goroutine wait for another's count. A token is empty and there is one per segment, so that passing never
// blocks and none of them takes memory.
type gate struct {
	tokens chan struct{}
	seen   int // by the waiting goroutine
}

func (g *gate) pass() { g.tokens <- struct{}{} }

func (g *gate) wait(ctx context.Context, count int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for g.seen < count {
		select {
		case <-g.tokens:
			g.seen++
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// walk is one direction of an exchange.
type walk struct {
	turns  []turn
	before *gate // of the other direction
	after  *gate // of this one
	move   func(t *turn, p part, until time.Time) error
	bytes  *int64 // moved so far
}

// part is one segment of a turn.
type part struct {
	lo, hi int    // of vec
	wire   []byte // where it is as sent
}

func (w walk) run(ctx context.Context, x *exchange) error {
	for i := range w.turns {
		t := &w.turns[i]
		for k, lo := 0, t.lo; lo < t.hi; k, lo = k+1, lo+x.segment {
			count := 0
			if t.after > 0 {
				count = t.after + k
			}
			if err := w.before.wait(ctx, count); err != nil {
				return err
			}
			p := x.part(t, k, lo, min(lo+x.segment, t.hi))
			if err := w.move(t, p, x.until(ctx)); err != nil {
				return fmt.Errorf("step %d with rank %d, elements [%d, %d): %w", t.step, t.peer, p.lo, p.hi, err)
			}
			*w.bytes += int64(len(p.wire))
			w.after.pass()
		}
	}
	return nil
}

// part is the k-th segment of a turn.
func (x *exchange) part(t *turn, k, lo, hi int) part {
	if x.wire == fp32 {
		return part{lo, hi, wireBytes(x.vec[lo:hi])}
	}
	at := t.at + k*x.wire.bytes(x.segment)
	return part{lo, hi, x.encoded[at : at+x.wire.bytes(hi-lo)]}
}

// until is the deadline of a segment that begins now.
func (x *exchange) until(ctx context.Context) time.Time {
	at := time.Now().Add(x.deadline)
	if end, ok := ctx.Deadline(); ok && end.Before(at) {
		return end
	}
	return at
}
