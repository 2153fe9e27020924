package collective

import (
	"fmt"
	"math"
	"time"

	"shoal/learner/kernel"
)

// send sends one segment or several: as they are at hand in encoded, or first encoded from vec.
func (x *exchange) send(t *turn, p part, until time.Time) error {
	if t.first {
		x.prepare(p)
	}
	if t.encode && x.wire != fp32 {
		if err := x.encodeAll(t, p); err != nil {
			return err
		}
	}
	return x.link.Send(t.peer, p.wire, until)
}

// Invariant: a chunk's first turn is never one that receives a result, as every rank contributes to every chunk before.

// receive takes one segment in: to be added, to be kept for the combiner, or in place of what is there.
func (x *exchange) receive(t *turn, p part, until time.Time) error {
	into, raw := x.vec[p.lo:p.hi], p.wire
	switch {
	case t.op == Reduce && !x.isMean():
		at := t.from + p.lo - t.lo
		into = x.gathered[at : at+p.hi-p.lo]
	case t.op == Reduce:
		into = x.sum[:p.hi-p.lo]
	}
	if x.wire == fp32 {
		raw = wireBytes(into)
	} else if t.op == Reduce {
		raw = x.incoming[:len(p.wire)]
	}
	if err := x.link.Recv(t.peer, raw, until); err != nil {
		return err
	}
	if x.wire != fp32 {
		if err := x.wire.decode(into, raw); err != nil {
			return &OffenceError{t.peer, err.Error()}
		}
	}
	if t.op == Reduce && x.isMean() {
		return t.admit(x.reduce(t, p, into))
	}
	if err := t.admit(kernel.SumSquares(into)); err != nil {
		return err
	}
	if t.first {
		x.prepare(p)
	}
	if t.last != nil {
		x.combine(x.vec[p.lo:p.hi], x.counts, x.gathered, t.last, p.lo-t.lo)
	}
	return nil
}

// reduce adds a segment to this rank's values, which are prepared in the same pass if they can be, and returns the
// segment's sum of squares.
func (x *exchange) reduce(t *turn, p part, segment []float32) float64 {
	share := 1.0
	switch {
	case t.first && x.wire == fp32 && x.factor > 0:
		share = x.factor
	case t.first:
		x.prepare(p)
	}
	return kernel.Reduce(x.vec[p.lo:p.hi], segment, share)
}

// admit refuses a segment, of which it is given the sum of squares, that no honest rank can have sent.
func (t *turn) admit(squares float64) error {
	t.squares += squares
	switch {
	case t.squares <= t.most && !math.IsInf(t.squares, 1):
		return nil
	case t.squares <= math.MaxFloat64:
		return &OffenceError{t.peer, fmt.Sprintf("values of norm %.6g, where members can have %.6g", math.Sqrt(t.squares), math.Sqrt(t.most))}
	}
	return &OffenceError{t.peer, "values that are not finite"}
}

// prepare makes of this rank's values what it contributes: its share of them, and what encodings lost of it before.
func (x *exchange) prepare(p part) {
	segment := x.vec[p.lo:p.hi]
	switch x.factor {
	case 0:
		clear(segment) // even of NaN
	case 1:
	default:
		kernel.Weigh(segment, x.factor)
	}
	if x.wire == fp32 {
		return
	}
	if lost := x.lost[p.lo:p.hi]; x.counts {
		kernel.Add(segment, lost)
	} else {
		copy(x.losing[p.lo:p.hi], lost) // still owed
	}
}

// encodeAll encodes segment by segment.
func (x *exchange) encodeAll(t *turn, p part) error {
	for raw, lo := p.wire, p.lo; lo < p.hi; lo += x.segment {
		hi := min(lo+x.segment, p.hi)
		n := x.wire.bytes(hi - lo)
		if err := x.encode(t, part{lo, hi, raw[:n]}); err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}

// encode writes a segment of vec to where it is sent from, and notes what that loses. Of a result everybody, this rank
// too, has the value as it was sent.
func (x *exchange) encode(t *turn, p part) error {
	segment, sent := x.vec[p.lo:p.hi], x.decoded[:p.hi-p.lo]
	if err := x.wire.encode(p.wire, segment); err != nil {
		return err
	}
	if err := x.decodeWithin(t, sent, p.wire); err != nil {
		return err
	}
	x.lose(x.losing[p.lo:p.hi], segment, sent, t.op == Reduce || x.isMean())
	if t.op == Copy {
		copy(segment, sent)
	}
	return nil
}

// lose notes what is not sent of a segment. What a result loses is this rank's to make good if it is a mean; a member's own
// value cannot make good what a median loses.
func (x *exchange) lose(losing, segment, sent []float32, mine bool) {
	switch {
	case !mine && x.counts:
		clear(losing)
		return
	case !mine:
		return
	case x.counts:
		copy(losing, segment)
	default:
		kernel.Add(losing, segment)
	}
	kernel.Axpy(losing, -1, sent)
}

// decodeWithin decodes what is to be sent, and makes it smaller where rounding, or what was added of earlier losses, took
// it over what the receiver admits.
func (x *exchange) decodeWithin(t *turn, sent []float32, raw []byte) error {
	if err := x.wire.decode(sent, raw); err != nil {
		return errNotFinite
	}
	if math.IsInf(t.most, 1) {
		return nil
	}
	squares := kernel.SumSquares(sent)
	if left := t.most - t.squares; squares > left {
		rescale(raw, math.Sqrt(max(left, 0)/squares)*(1-1e-6))
		if err := x.wire.decode(sent, raw); err != nil {
			return errNotFinite
		}
		squares = kernel.SumSquares(sent)
	}
	t.squares += squares
	return nil
}
