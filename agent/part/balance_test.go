package part

import (
	"slices"
	"testing"

	"shoal/learner"
	"shoal/shards"
)

// TestBalancedBatches: with data.balance a rank trains on the same samples, and its batches have every label about as often.
func TestBalancedBatches(t *testing.T) {
	train := shards.Images{N: 480, Labels: make([]int32, 480)}
	for i := range train.Labels {
		train.Labels[i] = int32(i*7%480) % 10
	}
	r := Recipe{Seed: 3, Data: shards.Defaults(), Learner: learner.Defaults()}
	r.Learner.Batch = 20
	widest := func(balance bool) (samples []int32, most int) {
		r.Data.Balance = balance
		s, err := r.Stretch(train, 1, 1, Equal(4))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range s.Batches {
			var count [10]int
			for _, i := range b {
				count[train.Labels[i]]++
			}
			most = max(most, slices.Max(count[:]))
			samples = append(samples, b...)
		}
		slices.Sort(samples)
		return samples, most
	}
	plain, before := widest(false)
	balanced, after := widest(true)
	if !slices.Equal(plain, balanced) || len(plain) != 120 {
		t.Errorf("balanced batches have other samples: %d and %d", len(balanced), len(plain))
	}
	if before < 5 || after > 4 {
		t.Errorf("one label has %d places of a batch of 20 without balance, and %d with", before, after)
	}
}
