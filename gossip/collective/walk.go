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

// look takes what has been passed already, up to a count, and returns how many were seen.
func (g *gate) look(count int) int {
	for g.seen < count {
		select {
		case <-g.tokens:
			g.seen++
		default:
			return g.seen
		}
	}
	return g.seen
}

const (
	// sendMost is how many segments are sent at once, if as many are ready: of 16384 elements they are a MiB. What a
	// byte costs the CPU is a quarter less than one by one, for fewer calls and fewer wake-ups at both ends.
	sendMost = 16
	// atEase is the part of the deadline that a move may take if more is to be moved at once: a slow link gets the whole
	// deadline for every segment.
	atEase = 64
)

// walk is one direction of an exchange.
type walk struct {
	turns  []turn
	before *gate // of the other direction
	after  *gate // of this one
	most   int   // segments moved at once, where they take a small part of the deadline
	move   func(t *turn, p part, until time.Time) error
	bytes  *int64 // moved so far
}

// part is one segment of a turn, or several in a row.
type part struct {
	lo, hi int    // of vec
	wire   []byte // where it is as sent
}

func (w walk) run(ctx context.Context, x *exchange) error {
	most := 1
	for i := range w.turns {
		t := &w.turns[i]
		for k, lo := 0, t.lo; lo < t.hi; {
			n, err := w.ready(ctx, t, k, most)
			if err != nil {
				return err
			}
			p, began := x.part(t, k, lo, min(lo+n*x.segment, t.hi)), time.Now()
			n = (p.hi - p.lo + x.segment - 1) / x.segment
			if err := w.move(t, p, x.until(ctx, began)); err != nil {
				return fmt.Errorf("step %d with rank %d, elements [%d, %d): %w", t.step, t.peer, p.lo, p.hi, err)
			}
			*w.bytes += int64(len(p.wire))
			for range n {
				w.after.pass()
			}
			k, lo = k+n, p.hi
			switch {
			case time.Since(began) > x.deadline/atEase:
				most = 1
			case n == most:
				most = min(2*most, w.most)
			}
		}
	}
	return nil
}

// ready waits until the k-th segment of a turn may be moved, and says how many may from it on, of at most so many, if the
// turn has as many.
func (w walk) ready(ctx context.Context, t *turn, k, most int) (int, error) {
	if t.after == 0 {
		return most, w.before.wait(ctx, 0)
	}
	first := t.after + k
	if err := w.before.wait(ctx, first); err != nil {
		return 0, err
	}
	return min(most, 1+w.before.look(first+most-1)-first), nil
}

// part is what lies between lo and hi, from the k-th segment of a turn on.
func (x *exchange) part(t *turn, k, lo, hi int) part {
	if x.wire == fp32 {
		return part{lo, hi, wireBytes(x.vec[lo:hi])}
	}
	at := t.at + k*x.wire.bytes(x.segment)
	n := (hi-lo)/x.segment*x.wire.bytes(x.segment) + x.wire.bytes((hi-lo)%x.segment)
	return part{lo, hi, x.encoded[at : at+n]}
}

// until is the deadline of what began to move then.
func (x *exchange) until(ctx context.Context, began time.Time) time.Time {
	at := began.Add(x.deadline)
	if end, ok := ctx.Deadline(); ok && end.Before(at) {
		return end
	}
	return at
}
