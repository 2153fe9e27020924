package collective

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Result is what an exchange cost one rank.
type Result struct {
	Sent, Received int64 // bytes of vector, without the link's own framing
}

// Averager averages vectors with other ranks, one exchange at a time. It keeps what exchanges can share: their memory, and
// what this rank's encodings lost, which is added to its next contribution (error feedback, [Seide2014], [Karimireddy2019]).
// Its methods are not to be called at once.
type Averager struct {
	cfg Config
	memory
	wire    wire // of the last exchange
	pending bool // losing is of a successful exchange that nobody has decided about
}

// memory is what an exchange works in, kept for the next one.
type memory struct {
	sum      []float32 // one segment received, to be added
	decoded  []float32 // one segment as it is sent
	incoming []byte    // one segment as it is received, to be added
	encoded  []byte    // the whole vector as it is sent
	gathered []float32 // what is to be combined
	lost     []float32 // by this rank's encodings up to the last Commit, of the sum of all contributions
	losing   []float32 // the same after this exchange
}

// fit makes room for an exchange.
func (m *memory) fit(w wire, elements, segment, encoded, gathered int) {
	grow(&m.sum, segment)
	grow(&m.gathered, gathered)
	if w == fp32 {
		return
	}
	grow(&m.decoded, segment)
	grow(&m.incoming, w.bytes(segment))
	grow(&m.encoded, encoded)
	if len(m.lost) != elements { // another vector: what was lost of the last one is of no use
		m.lost, m.losing = make([]float32, elements), make([]float32, elements)
	}
}

// grow makes room for n values, whatever they are.
func grow[T any](s *[]T, n int) {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
}

// NewAverager makes an averager. Of cfg, Wire, Combine, Trim, Segment and Deadline are used.
func NewAverager(cfg Config) *Averager { return &Averager{cfg: cfg} }

// Mean replaces vec, at every rank, by the mean over ranks weighted by weights: Σ wᵢ·sᵢ·xᵢ / Σ wᵢ, where the scales s in
// [0, 1] clip contributions; or by the configured combination of the sᵢ·xᵢ of weight above 0. Every rank calls it with the
// same plan, weights, scales, limit, configuration and length of vec, and its own rank and link (nil will do where the plan
// has one rank). On return all ranks hold the same bits. A rank of weight or scale 0 has no influence, whatever its values,
// and still receives the mean; among combined values one of scale 0 is zero.
//
// limit is the largest L2 norm of any sᵢ·xᵢ, this rank's too; 0 is no check. A rank that receives values that are not
// finite, or more than the contributions in them can have, returns an *OffenceError. What a chunk is checked for is its own
// norm: n liars' chunks may add up to √n limits.
//
// With e = 2⁻¹¹ (fp16) or 1/254 (int8) an element of the mean is off by at most about e·max|x| times (n+1)/2 in a ring,
// log₂n + 2 in a tree, and 2 in a star or mesh, besides float32's own rounding; over rounds the errors cancel, for what
// encodings lost of this exchange is in the next one, if Commit is called.
//
// A segment that takes longer than the deadline, a failed link or the end of ctx ends the exchange with an error; vec's
// content is undefined then, so the caller keeps a copy.
func (a *Averager) Mean(ctx context.Context, plan Plan, rank int, weights, scales []float64, limit float64, vec []float32, link Link) (Result, error) {
	a.pending = false
	x, err := a.newExchange(plan, rank, weights, scales, limit, vec, link)
	if err == nil {
		err = context.Cause(ctx)
	}
	var result Result
	if err == nil {
		result, err = x.run(ctx)
	}
	if err != nil {
		return result, fmt.Errorf("average by %s at rank %d of %d: %w", plan.Name, rank, plan.Size, err)
	}
	a.pending = true
	return result, nil
}

// Commit keeps what the last successful exchange lost, to be added to the next contribution: call it when its mean became
// the shared state.
func (a *Averager) Commit() {
	if a.pending && a.wire != fp32 {
		a.lost, a.losing = a.losing, a.lost
	}
	a.pending = false
}

// Rollback forgets it: the ballot failed, and the same contribution will be sent again, with what was lost before.
func (a *Averager) Rollback() { a.pending = false }

// newExchange refuses what cannot be averaged, and prepares the rest.
func (a *Averager) newExchange(plan Plan, rank int, weights, scales []float64, limit float64, vec []float32, link Link) (*exchange, error) {
	if rank < 0 || rank >= plan.Size {
		return nil, errors.New("there is no such rank")
	}
	if link == nil && plan.Size > 1 {
		return nil, errors.New("there is no link")
	}
	if !littleEndian() {
		return nil, errors.New("this machine is big-endian; the wire format is not")
	}
	if !(limit >= 0) || math.IsInf(limit, 0) {
		return nil, fmt.Errorf("limit %v, give a finite norm from 0", limit)
	}
	shares, err := sharesOf(weights, scales, plan.Size)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.validateWire(); err != nil {
		return nil, err
	}
	if a.wire, err = wireNamed(a.cfg.Wire); err != nil {
		return nil, err
	}
	o := own{factor: scales[rank] * shares[rank], counts: shares[rank] > 0}
	if o.combiner, err = newCombiner(a.cfg, weights); err != nil {
		return nil, err
	}
	if !o.isMean() {
		o.factor = 0
		if o.counts {
			o.factor = scales[rank]
		}
	}
	return newExchange(plan, rank, shares, o, limit, vec, link, a)
}

// sharesOf are the ranks' shares of the mean.
func sharesOf(weights, scales []float64, size int) ([]float64, error) {
	if len(weights) != size || len(scales) != size {
		return nil, fmt.Errorf("%d weights and %d scales, give one of each per rank", len(weights), len(scales))
	}
	sum := 0.0
	for r, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) {
			return nil, fmt.Errorf("rank %d has weight %v, give finite ones from 0", r, w)
		}
		if !(scales[r] >= 0 && scales[r] <= 1) {
			return nil, fmt.Errorf("rank %d has scale %v, give ones in [0, 1]", r, scales[r])
		}
		sum += w
	}
	if sum == 0 || math.IsInf(sum, 0) {
		return nil, fmt.Errorf("weights sum to %v, give finite ones that are not all 0", sum)
	}
	shares := make([]float64, size)
	for r, w := range weights {
		shares[r] = w / sum
	}
	return shares, nil
}

// Lost is what this rank's encodings lost up to the last Commit: nil if nothing did. It is the averager's own memory, and
// whoever keeps it over the end of a process gives it back with Recall.
func (a *Averager) Lost() []float32 { return a.lost }

// Recall makes what an earlier averager of this rank had lost this one's, for vectors of that length.
func (a *Averager) Recall(lost []float32) {
	a.lost, a.losing, a.pending = append([]float32(nil), lost...), make([]float32, len(lost)), false
}
