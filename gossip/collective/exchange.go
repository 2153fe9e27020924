package collective

import (
	"context"
	"fmt"
	"time"

	"shoal/learner/kernel"
)

// exchange carries out one rank's part of a plan:
//
//  1. The plan's moves become this rank's turns, in the order of steps: what it sends, and what it receives.
//  2. A sender goroutine and a receiver loop each walk their turns segment by segment, straight from and into vec.
//  3. A segment is sent when the turn that it depends on has received it; it is overwritten only after it was sent.
//  4. The first error ends both, and aborts the link.
//
// Invariant: a turn waits only for turns of earlier steps here, and for its own and earlier ones at the peer, so that no
// wait is circular.
type exchange struct {
	vec      []float32
	scratch  []float32 // one segment to be added
	link     Link
	segment  int
	deadline time.Duration
	sends    []turn
	receives []turn
	sent     gate // passed for every segment sent
	received gate // passed for every segment received
}

// turn is one move seen from one of its ends.
type turn struct {
	step, peer int
	lo, hi     int // of vec
	op         Op
	after      int // segments that the other direction must have finished before this turn's first; 0: none
}

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

func newExchange(plan Plan, rank int, vec []float32, link Link, cfg Config) *exchange {
	x := &exchange{vec: vec, link: link, segment: cfg.Segment, deadline: cfg.Deadline}
	var sent, received int                  // segments so far
	lastSend := make([]int, plan.Chunks)    // by chunk: 1 + segments before its last send
	lastReceive := make([]int, plan.Chunks) // and before its last receive
	for s, moves := range plan.Steps {
		for _, m := range moves {
			lo, hi := plan.bounds(m.Chunk, len(vec))
			segments := (hi - lo + cfg.Segment - 1) / cfg.Segment
			if m.From == rank {
				x.sends = append(x.sends, turn{step: s, peer: m.To, lo: lo, hi: hi, op: m.Op, after: lastReceive[m.Chunk]})
				lastSend[m.Chunk] = sent + 1
				sent += segments
			}
			if m.To == rank {
				x.receives = append(x.receives, turn{step: s, peer: m.From, lo: lo, hi: hi, op: m.Op, after: lastSend[m.Chunk]})
				lastReceive[m.Chunk] = received + 1
				received += segments
			}
		}
	}
	x.scratch = make([]float32, min(cfg.Segment, len(vec)))
	x.sent.tokens, x.received.tokens = make(chan struct{}, sent), make(chan struct{}, received)
	return x
}

// run walks both lists of turns and returns when both walks have ended.
func (x *exchange) run(ctx context.Context) (result Result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(aborted)
		if l, ok := x.link.(interface{ Abort() }); ok {
			l.Abort()
		}
	})
	ended := make(chan error, 1)
	go func() {
		err := walk{x.sends, &x.received, &x.sent, x.send, &result.Sent}.run(ctx, x)
		if err != nil {
			cancel(err)
		}
		ended <- err
	}()
	err = walk{x.receives, &x.sent, &x.received, x.receive, &result.Received}.run(ctx, x)
	if err != nil {
		cancel(err)
	}
	if sendErr := <-ended; sendErr != nil {
		err = sendErr
	}
	if !stop() {
		<-aborted
	}
	if err != nil {
		return result, context.Cause(ctx) // what failed first, not what the abort broke after it
	}
	return result, nil
}

// walk is one direction of an exchange.
type walk struct {
	turns  []turn
	before *gate // of the other direction
	after  *gate // of this one
	move   func(ctx context.Context, t turn, segment []float32) error
	bytes  *int64 // moved so far
}

func (w walk) run(ctx context.Context, x *exchange) error {
	for _, t := range w.turns {
		for k, lo := 0, t.lo; lo < t.hi; k, lo = k+1, lo+x.segment {
			count := 0
			if t.after > 0 {
				count = t.after + k
			}
			if err := w.before.wait(ctx, count); err != nil {
				return err
			}
			segment := x.vec[lo:min(lo+x.segment, t.hi)]
			if err := w.move(ctx, t, segment); err != nil {
				return fmt.Errorf("step %d with rank %d, elements [%d, %d): %w", t.step, t.peer, lo, lo+len(segment), err)
			}
			*w.bytes += int64(4 * len(segment))
			w.after.pass()
		}
	}
	return nil
}

func (x *exchange) send(ctx context.Context, t turn, segment []float32) error {
	return x.link.Send(t.peer, wireBytes(segment), x.until(ctx))
}

func (x *exchange) receive(ctx context.Context, t turn, segment []float32) error {
	into := segment
	if t.op == Reduce {
		into = x.scratch[:len(segment)]
	}
	if err := x.link.Recv(t.peer, wireBytes(into), x.until(ctx)); err != nil {
		return err
	}
	if t.op == Reduce {
		kernel.Add(segment, into)
	}
	return nil
}

// until is the deadline of a segment that begins now.
func (x *exchange) until(ctx context.Context) time.Time {
	at := time.Now().Add(x.deadline)
	if end, ok := ctx.Deadline(); ok && end.Before(at) {
		return end
	}
	return at
}
