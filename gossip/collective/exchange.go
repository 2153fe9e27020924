package collective

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// exchange carries out one rank's part of a plan:
//
//  1. The plan's moves become this rank's turns, in the order of steps: what it sends, and what it receives.
//  2. A sender goroutine and a receiver loop each walk their turns segment by segment (walk.go), straight from and into vec
//     where the wire type is fp32, and else by way of encoded (segment.go).
//  3. A segment is sent when the turn that it depends on has received it; it is overwritten only after it was sent.
//  4. The first error ends both, and aborts the link.
//
// Invariant: a turn waits only for turns of earlier steps here, and for its own and earlier ones at the peer, so that no
// wait is circular.
type exchange struct {
	own
	*memory
	wire     wire
	vec      []float32
	link     Link
	segment  int
	deadline time.Duration
	sends    []turn
	receives []turn
	sent     gate // passed for every segment sent
	received gate // passed for every segment received
}

// own is how this rank's values count.
type own struct {
	factor   float64 // of its values, in what it contributes
	counts   bool    // whether they do
	combiner         // how they are combined with others'
}

// turn is one move seen from one of its ends.
type turn struct {
	step, peer int
	lo, hi     int // of vec
	at         int // of encoded, where the chunk's first segment is
	op         Op
	after      int     // segments that the other direction must have finished before this turn's first; 0: none
	first      bool    // the first use of the chunk here: this rank's own values are not prepared yet
	encode     bool    // what is sent is a new value: a sum, or with Copy a result
	most       float64 // largest sum of squares that honest ranks' values can have; infinite: no check
	squares    float64 // of the segments so far
	from       int     // in gathered, with a combiner other than the mean
	counts     bool    // whether what comes is from a rank that does
	last       []int   // where all of gathered is from for this chunk, when it is complete with this turn
}

// slack is how much more than its limit a norm may be for each encoding on its way, for rounding.
const slack = 1e-3

// builder makes the turns of one rank by going through a plan once.
type builder struct {
	*exchange
	plan        Plan
	rank        int
	limit       float64
	offsets     []int     // of chunks in encoded
	share       []float64 // [rank·chunks + chunk]: of the mean, by the contributions in it
	depth       []int     // and how often it was encoded on the way
	sentSegs    int
	gotSegs     int
	lastSend    []int   // by chunk: 1 + segments before its last send
	lastReceive []int   // and before its last receive
	touched     []bool  // by chunk
	result      []bool  // by chunk: the result is here, and encoded
	gathered    [][]int // by chunk: where the contributions that count are
	gatheredLen int
}

func newBuilder(x *exchange, plan Plan, rank int, shares []float64, limit float64) *builder {
	b := &builder{
		exchange: x, plan: plan, rank: rank, limit: limit,
		offsets: make([]int, plan.Chunks+1), share: make([]float64, plan.Size*plan.Chunks), depth: make([]int, plan.Size*plan.Chunks),
		lastSend: make([]int, plan.Chunks), lastReceive: make([]int, plan.Chunks),
		touched: make([]bool, plan.Chunks), result: make([]bool, plan.Chunks), gathered: make([][]int, plan.Chunks),
	}
	for c := range plan.Chunks {
		lo, hi := plan.bounds(c, len(x.vec))
		b.offsets[c+1] = b.offsets[c] + (hi-lo)/x.segment*x.wire.bytes(x.segment) + x.wire.bytes((hi-lo)%x.segment)
		for r, share := range shares {
			b.share[r*plan.Chunks+c] = share
		}
	}
	return b
}

// build appends the turns of all steps.
func (b *builder) build() error {
	for s, moves := range b.plan.Steps {
		for _, m := range moves {
			if !b.isMean() && m.Op == Reduce && b.depth[m.From*b.plan.Chunks+m.Chunk] > 0 {
				return fmt.Errorf("%s needs every rank's values in one place, and this plan adds on the way; use plan mesh or star", b.name)
			}
			if m.From == b.rank {
				b.send(s, m)
			}
			if m.To == b.rank {
				b.receive(s, m)
			}
			b.move(m)
		}
	}
	return nil
}

// move notes what a move carries.
func (b *builder) move(m Move) {
	from, to := m.From*b.plan.Chunks+m.Chunk, m.To*b.plan.Chunks+m.Chunk
	if m.Op == Copy {
		b.share[to], b.depth[to] = b.share[from], b.depth[from]+1
		return
	}
	b.share[to] += b.share[from]
	b.depth[to] = max(b.depth[to], b.depth[from]+1)
}

// turn is what both ends of a move have in common.
func (b *builder) turn(step int, m Move) turn {
	lo, hi := b.plan.bounds(m.Chunk, len(b.vec))
	from := m.From*b.plan.Chunks + m.Chunk
	t := turn{step: step, lo: lo, hi: hi, at: b.offsets[m.Chunk], op: m.Op, most: math.Inf(1), counts: b.share[from] > 0}
	if b.wire != fp32 {
		t.most = mostSquares
	}
	if b.limit > 0 {
		norm := b.limit * b.norm(b.share[from], m.Op) * (1 + slack*float64(b.depth[from]+1))
		t.most = min(t.most, norm*norm)
	}
	t.first, b.touched[m.Chunk] = !b.touched[m.Chunk], true
	return t
}

func (b *builder) segments(t turn) int { return (t.hi - t.lo + b.segment - 1) / b.segment }

func (b *builder) send(step int, m Move) {
	t := b.turn(step, m)
	t.peer, t.after = m.To, b.lastReceive[m.Chunk]
	t.encode = m.Op == Reduce || !b.result[m.Chunk]
	b.result[m.Chunk] = m.Op == Copy
	b.lastSend[m.Chunk] = b.sentSegs + 1
	b.sentSegs += b.segments(t)
	b.sends = append(b.sends, t)
}

func (b *builder) receive(step int, m Move) {
	t := b.turn(step, m)
	t.peer, t.after = m.From, b.lastSend[m.Chunk]
	b.result[m.Chunk] = m.Op == Copy
	if !b.isMean() && m.Op == Reduce {
		t.from = b.gatheredLen
		b.gatheredLen += t.hi - t.lo
		if t.counts {
			b.gathered[m.Chunk] = append(b.gathered[m.Chunk], t.from)
		}
		b.complete(m, &t)
	}
	b.lastReceive[m.Chunk] = b.gotSegs + 1
	b.gotSegs += b.segments(t)
	b.receives = append(b.receives, t)
}

// complete moves the mark of a complete chunk to its newest turn.
func (b *builder) complete(m Move, t *turn) {
	for i := range b.receives {
		if r := &b.receives[i]; r.op == Reduce && r.lo == t.lo && r.hi == t.hi {
			r.last = nil
		}
	}
	t.last = append([]int{}, b.gathered[m.Chunk]...)
}

// newExchange makes rank's part. shares are the ranks' of the mean, by rank.
func newExchange(plan Plan, rank int, shares []float64, o own, limit float64, vec []float32, link Link, a *Averager) (*exchange, error) {
	x := &exchange{own: o, memory: &a.memory, wire: a.wire, vec: vec, link: link, segment: a.cfg.Segment, deadline: a.cfg.Deadline}
	b := newBuilder(x, plan, rank, shares, limit)
	if err := b.build(); err != nil {
		return nil, err
	}
	x.sent.tokens, x.received.tokens = make(chan struct{}, b.sentSegs), make(chan struct{}, b.gotSegs)
	x.fit(x.wire, len(vec), min(x.segment, len(vec)), b.offsets[plan.Chunks], b.gatheredLen)
	return x, nil
}

// run walks both lists of turns and returns when both walks have ended.
func (x *exchange) run(ctx context.Context) (result Result, err error) {
	if len(x.sends)+len(x.receives) == 0 { // alone
		x.prepare(part{hi: len(x.vec)})
		clear(x.losing)
		return Result{}, nil
	}
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
		err := walk{x.sends, &x.received, &x.sent, sendMost, x.send, &result.Sent}.run(ctx, x)
		if err != nil {
			cancel(err)
		}
		ended <- err
	}()
	err = walk{x.receives, &x.sent, &x.received, 1, x.receive, &result.Received}.run(ctx, x)
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

// errNotFinite is what this rank's own values are refused for.
var errNotFinite = errors.New("this rank's own values are not finite, or too large to be")
