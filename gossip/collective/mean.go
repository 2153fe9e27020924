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

// Mean replaces vec, at every rank, by the mean over ranks weighted by weights: Σ wᵢ·xᵢ / Σ wᵢ. Every rank calls it with
// the same plan, weights, segment and length of vec, and its own rank and link (nil will do where the plan has one rank).
// On return all ranks hold the same bits. A rank of weight 0 has no influence, whatever its values, and still receives
// the mean.
//
// A segment that takes longer than cfg.Deadline, a failed link or the end of ctx ends the exchange with an error; vec's
// content is undefined then, so the caller keeps a copy. Of cfg, Segment and Deadline are used.
func Mean(ctx context.Context, plan Plan, rank int, weights []float64, vec []float32, link Link, cfg Config) (Result, error) {
	share, err := check(plan, rank, weights, link, cfg)
	if err == nil {
		err = context.Cause(ctx)
	}
	var result Result
	if err == nil {
		scale(vec, share)
		result, err = newExchange(plan, rank, vec, link, cfg).run(ctx)
	}
	if err != nil {
		return result, fmt.Errorf("average by %s at rank %d of %d: %w", plan.Name, rank, plan.Size, err)
	}
	return result, nil
}

// check refuses what cannot be averaged, and returns the rank's share of the mean.
func check(plan Plan, rank int, weights []float64, link Link, cfg Config) (share float64, err error) {
	if rank < 0 || rank >= plan.Size {
		return 0, errors.New("there is no such rank")
	}
	if len(weights) != plan.Size {
		return 0, fmt.Errorf("%d weights, give one per rank", len(weights))
	}
	if link == nil && plan.Size > 1 {
		return 0, errors.New("there is no link")
	}
	if !littleEndian() {
		return 0, errors.New("this machine is big-endian; the wire format is not")
	}
	sum := 0.0
	for r, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) {
			return 0, fmt.Errorf("rank %d has weight %v, give finite ones from 0", r, w)
		}
		sum += w
	}
	if sum == 0 || math.IsInf(sum, 0) {
		return 0, fmt.Errorf("weights sum to %v, give finite ones that are not all 0", sum)
	}
	return weights[rank] / sum, cfg.validateWire()
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
