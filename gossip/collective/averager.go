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

// Averager averages vectors with other ranks, one exchange at a time. It keeps what exchanges can share: their memory.
// Its methods are not to be called at once.
type Averager struct {
	cfg Config
}

// NewAverager makes an averager. Of cfg, Segment and Deadline are used.
func NewAverager(cfg Config) *Averager { return &Averager{cfg: cfg} }

// Mean replaces vec, at every rank, by the mean over ranks weighted by weights: Σ wᵢ·sᵢ·xᵢ / Σ wᵢ, where the scales s in
// [0, 1] clip contributions. Every rank calls it with the same plan, weights, scales, limit, configuration and length of
// vec, and its own rank and link (nil will do where the plan has one rank). On return all ranks hold the same bits. A rank
// of weight or scale 0 has no influence, whatever its values, and still receives the mean.
//
// limit is the largest L2 norm of any xᵢ·sᵢ; 0 is no check. A rank that receives values that are not finite, or more than
// the contributions in them can have, returns an *OffenceError.
//
// A segment that takes longer than the deadline, a failed link or the end of ctx ends the exchange with an error; vec's
// content is undefined then, so the caller keeps a copy.
func (a *Averager) Mean(ctx context.Context, plan Plan, rank int, weights, scales []float64, limit float64, vec []float32, link Link) (Result, error) {
	share, err := check(plan, rank, weights, scales, limit, link, a.cfg)
	if err == nil {
		err = context.Cause(ctx)
	}
	var result Result
	if err == nil {
		scale(vec, share)
		result, err = newExchange(plan, rank, vec, link, a.cfg).run(ctx)
	}
	if err != nil {
		return result, fmt.Errorf("average by %s at rank %d of %d: %w", plan.Name, rank, plan.Size, err)
	}
	return result, nil
}

// Commit keeps what the last successful exchange left to be added to the next contribution: call it when its mean became
// the shared state.
func (a *Averager) Commit() {}

// Rollback forgets it: the ballot failed, and the same contribution will be sent again.
func (a *Averager) Rollback() {}

// check refuses what cannot be averaged, and returns the rank's share of the mean.
func check(plan Plan, rank int, weights, scales []float64, limit float64, link Link, cfg Config) (share float64, err error) {
	if rank < 0 || rank >= plan.Size {
		return 0, errors.New("there is no such rank")
	}
	if len(weights) != plan.Size || len(scales) != plan.Size {
		return 0, fmt.Errorf("%d weights and %d scales, give one of each per rank", len(weights), len(scales))
	}
	if link == nil && plan.Size > 1 {
		return 0, errors.New("there is no link")
	}
	if !littleEndian() {
		return 0, errors.New("this machine is big-endian; the wire format is not")
	}
	if !(limit >= 0) || math.IsInf(limit, 0) {
		return 0, fmt.Errorf("limit %v, give a finite norm from 0", limit)
	}
	sum := 0.0
	for r, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) {
			return 0, fmt.Errorf("rank %d has weight %v, give finite ones from 0", r, w)
		}
		if !(scales[r] >= 0 && scales[r] <= 1) {
			return 0, fmt.Errorf("rank %d has scale %v, give ones in [0, 1]", r, scales[r])
		}
		sum += w
	}
	if sum == 0 || math.IsInf(sum, 0) {
		return 0, fmt.Errorf("weights sum to %v, give finite ones that are not all 0", sum)
	}
	return weights[rank] / sum * scales[rank], cfg.validateWire()
}

// scale multiplies by a share in float64, so that only one rounding is added; a share of 0 clears even NaN.
func scale(vec []float32, share float64) {
	if share == 0 {
		clear(vec)
		return
	}
	if share == 1 {
		return
	}
	for i, x := range vec {
		vec[i] = float32(float64(x) * share)
	}
}
