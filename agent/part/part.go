// Package part is what one member of a roster computes in a round: which batches its local steps are on, what they
// changed, and the state that follows from the mean of that. It knows neither a wire nor a clock, so a running agent and a
// member of a virtual cluster compute the same bits.
package part

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"shoal/gossip/collective"
	"shoal/gossip/roster"
	"shoal/learner"
	"shoal/shards"
)

// Recipe is the part of a configuration that decides what members compute. All of a roster have the same one.
type Recipe struct {
	Seed      uint64
	Data      shards.Config
	Learner   learner.Config
	Rounds    roster.Config
	Averaging collective.Config
}

// Formation is the shared state before any training, a vector of its own: what the learner shares (parameters, running
// statistics, and momentum if that is averaged), and behind it one zero for each of params parameters if the outer
// optimiser keeps something.
func (r Recipe) Formation(shared []float32, params int) []float32 {
	state := append([]float32(nil), shared...)
	if r.Averaging.Outer.HasVelocity() {
		state = append(state, make([]float32, params)...)
	}
	return state
}

// Follow makes of a state the one that follows it, by the mean of what the roster's work changed: the first params values
// by the outer step, running statistics and momentum by the mean itself. len(mean) is that of what the learner shares.
// Equal bits in give equal bits out, on every member. A state that is not finite is an error, and is of no use.
func (r Recipe) Follow(state, mean []float32, params int) error {
	shared, velocity := state[:len(mean)], state[len(mean):]
	var not atomic.Bool
	spread(len(mean), func(_, lo, hi int) {
		split := min(max(lo, params), hi)
		if lo < split {
			r.Averaging.Outer.Step(shared[lo:split], mean[lo:split], velocity[min(lo, len(velocity)):])
		}
		for i, d := range mean[split:hi] {
			shared[split+i] += d
		}
		if !finite(shared[lo:hi]) { // while it is in the cache
			not.Store(true)
		}
	})
	if not.Load() || !Finite(velocity) {
		return errors.New("the state that would follow is not finite; if averaging.outer is set, lower its rate")
	}
	return nil
}

// Weights are the members' shares in the mean, by rank: their samples, or with the rule "equal" 1. Members without samples
// have none, unless nobody has any.
func Weights(samples []int64, rule string) []float64 {
	w, none := make([]float64, len(samples)), true
	for i, n := range samples {
		if n > 0 {
			w[i], none = float64(n), false
			if rule == "equal" {
				w[i] = 1
			}
		}
	}
	for i := range w {
		if none {
			w[i] = 1
		}
	}
	return w
}

// Rate is the learning rate of step k of so many in a round.
func (r Recipe) Rate(round, k, steps int) float64 {
	at := float64(round-1) + float64(k)/float64(steps)
	return r.Learner.Optimizer.Rate * r.Learner.Schedule.Factor(at, r.Rounds.Count)
}

// Stretch is the local steps of one round: lists of sample indices, one a step, and the epoch that each is of.
type Stretch struct {
	Batches [][]int32
	Epochs  []int // by batch
}

// Equal are the shares of a training set of size members that are alike.
func Equal(size int) []float64 { return slices.Repeat([]float64{1}, size) }

// StepsPerEpoch is how many steps a pass over a training set of n samples is for members with such shares of it: as many as
// the largest share needs.
func (r Recipe) StepsPerEpoch(n int, shares []float64) int {
	sum := 0.0
	for _, s := range shares {
		sum += s
	}
	return ceilDiv(int(math.Ceil(float64(n)*slices.Max(shares)/sum)), r.Learner.Batch)
}

// Stretch lays out the steps of a round for a rank of members with such shares of the training set: one pass over the shard,
// or with Rounds.Steps the next so many steps of the passes that follow each other. A pass has as many steps on every rank.
// A rank whose shard is shorter skips the last of them if shares are equal, and else some at even distances.
func (r Recipe) Stretch(train shards.Images, round, rank int, shares []float64) (Stretch, error) {
	var s Stretch
	batch, steps, perEpoch := r.Learner.Batch, r.Rounds.Steps, r.StepsPerEpoch(train.N, shares)
	first, last := (round-1)*perEpoch, round*perEpoch
	if steps > 0 {
		first, last = (round-1)*steps, round*steps
	}
	pass := perEpoch
	epoch, indices := -1, []int32(nil)
	for step := first; step < last; step++ {
		if e := step / perEpoch; e != epoch {
			var err error
			if indices, err = r.shard(train, rank, shares, e); err != nil {
				return s, err
			}
			if epoch = e; slices.Min(shares) < slices.Max(shares) {
				pass = ceilDiv(len(indices), batch)
			}
		}
		if at, ok := placed(step%perEpoch, perEpoch, pass); ok && at*batch < len(indices) {
			s.Batches = append(s.Batches, indices[at*batch:min((at+1)*batch, len(indices))])
			s.Epochs = append(s.Epochs, epoch)
		}
	}
	return s, nil
}

// placed is the batch that is trained on at a step of a pass, if one is, when batches are spread evenly over steps.
func placed(step, steps, batches int) (int, bool) {
	at := ceilDiv(step*batches, steps)
	return at, at < batches && at*steps/batches == step
}

// shard is the order in which a rank trains on its samples in an epoch.
func (r Recipe) shard(train shards.Images, rank int, shares []float64, epoch int) ([]int32, error) {
	parts, err := shards.Split(shards.NewPartition(r.Data, r.Seed), train.N, train.Labels, shares, epoch)
	if err != nil {
		return nil, fmt.Errorf("split %d samples for %d members: %w", train.N, len(shares), err)
	}
	shards.Order(parts[rank], r.Seed, epoch, rank)
	if r.Data.Balance {
		shards.Balance(parts[rank], train.Labels)
	}
	return parts[rank], nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
