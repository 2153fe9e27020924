package eval

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"shoal/learner"
	"shoal/shards"
)

// StatisticsPart and TestPart are how many batches are one part of an evaluation: so few that twenty-four members have nearly
// the same to do of CIFAR-10's test set and of 200 batches for statistics, and so many that what they send each other is
// little.
const (
	StatisticsPart = 5
	TestPart       = 4
)

// Scorer evaluates the state that a model holds, in parts that can be done anywhere and in any order: what comes of all of
// them together has the same bits whoever did which. It is for one goroutine.
type Scorer struct {
	Model   Model
	Source  Source
	Set     *shards.Set
	Config  Config
	Learner learner.Config
}

// Sum is what a part of the test images adds to a score.
type Sum struct {
	Loss            float64 // of all its images
	Correct, Images int
}

// running is the model's memory of its statistics; empty without batch norm.
func (s Scorer) running() []float32 { return s.Model.Shared(false)[len(s.Model.Params()):] }

// batches is how many batches statistics are re-estimated from, and of how many images each is: whole ones, so that each
// counts the same.
func (s Scorer) batches() (count, size int) {
	size = min(s.Learner.Batch, s.Set.Train.N)
	if size < 1 || s.Config.Reestimate < 1 || len(s.running()) == 0 {
		return 0, size
	}
	return min(s.Config.Reestimate, s.Set.Train.N/size), size
}

// Parts is in how many parts the statistics are re-estimated, and in how many the test images are scored.
func (s Scorer) Parts() (statistics, test int) {
	count, _ := s.batches()
	return ceilDiv(count, StatisticsPart), ceilDiv(ceilDiv(s.Set.Test.N, s.Learner.Batch), TestPart)
}

// Images is how many test images a part is of.
func (s Scorer) Images(part int) int {
	size := TestPart * s.Learner.Batch
	return max(min(size, s.Set.Test.N-part*size), 0)
}

// Share is the most images that one of so many members looks at if they divide an evaluation evenly, and nobody waits.
func (s Scorer) Share(members int) int {
	count, size := s.batches()
	statistics, test := s.Parts()
	return min(ceilDiv(statistics, members)*StatisticsPart, count)*size + min(ceilDiv(test, members)*TestPart*s.Learner.Batch, s.Set.Test.N)
}

// Statistics are the batch-norm statistics of parts [lo, hi), each the plain mean over its batches. Those of the model are
// as they were afterwards.
func (s Scorer) Statistics(ctx context.Context, lo, hi int) ([][]float32, error) {
	if err := s.within(lo, hi, true); err != nil {
		return nil, err
	}
	before := slices.Clone(s.running())
	defer copy(s.running(), before)
	count, _ := s.batches()
	all, order := make([][]float32, 0, hi-lo), s.order()
	for part := lo; part < hi; part++ {
		first := part * StatisticsPart
		if err := s.reestimate(ctx.Done(), order, first, min(first+StatisticsPart, count)); err != nil {
			return nil, errors.Join(context.Cause(ctx), err)
		}
		all = append(all, slices.Clone(s.running()))
	}
	return all, nil
}

// Merge is the mean of the statistics of all parts, in their order; nil if there are none.
func (s Scorer) Merge(parts [][]float32) []float32 {
	count, _ := s.batches()
	sum, mean := make([]float64, len(s.running())), make([]float32, len(s.running()))
	for k, part := range parts {
		batches := float64(min(StatisticsPart, count-k*StatisticsPart))
		for i, x := range part {
			sum[i] += batches * float64(x)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	for i, x := range sum {
		mean[i] = float32(x / float64(count))
	}
	return mean
}

// Test scores parts [lo, hi) of the test images by the statistics given; nil: by the model's own. Those of the model are as
// they were afterwards. The end of ctx ends it between two batches.
func (s Scorer) Test(ctx context.Context, statistics []float32, lo, hi int) ([]Sum, error) {
	if err := s.within(lo, hi, false); err != nil {
		return nil, err
	}
	if statistics != nil {
		if len(statistics) != len(s.running()) {
			return nil, fmt.Errorf("%d statistics for a model that has %d", len(statistics), len(s.running()))
		}
		before := slices.Clone(s.running())
		defer copy(s.running(), before)
		copy(s.running(), statistics)
	}
	x, labels := buffers(s.Learner)
	image, sums := len(x)/len(labels), make([]Sum, hi-lo)
	for batch := lo * TestPart; batch < hi*TestPart && batch*s.Learner.Batch < s.Set.Test.N; batch++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		first := batch * s.Learner.Batch
		n := min(s.Learner.Batch, s.Set.Test.N-first)
		s.Source.Test(x[:n*image], labels[:n], first, first+n)
		got, err := s.Model.Score(x[:n*image], labels[:n])
		if err != nil {
			return nil, fmt.Errorf("test images [%d, %d): %w", first, first+n, err)
		}
		sum := &sums[batch/TestPart-lo]
		sum.Loss, sum.Correct, sum.Images = sum.Loss+got.Loss*float64(got.N), sum.Correct+got.Correct, sum.Images+got.N
	}
	return sums, nil
}

// Total is the score that the sums of all parts are, in their order.
func (s Scorer) Total(sums []Sum) Result {
	var r Result
	correct := 0
	for _, sum := range sums {
		r.Loss, r.Images, correct = r.Loss+sum.Loss, r.Images+sum.Images, correct+sum.Correct
	}
	r.Loss /= float64(r.Images)
	r.Accuracy = float64(correct) / float64(r.Images)
	r.Reestimated, _ = s.batches()
	return r
}

// within refuses parts that are none.
func (s Scorer) within(lo, hi int, statistics bool) error {
	all, test := s.Parts()
	if !statistics {
		all = test
	}
	if lo < 0 || hi <= lo || hi > all {
		return fmt.Errorf("parts [%d, %d) of %d: there are no such", lo, hi, all)
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
