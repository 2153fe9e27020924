package shards

import (
	"math"
	"slices"
	"testing"
)

func TestBalanceExample(t *testing.T) {
	labels := []int32{0, 0, 0, 0, 1, 1}
	indices := []int32{0, 1, 2, 3, 4, 5}
	Balance(indices, labels)
	if want := []int32{0, 4, 1, 2, 5, 3}; !slices.Equal(indices, want) {
		t.Errorf("order %v, want %v", indices, want)
	}
	Balance(nil, nil)
}

// TestBalance: the same samples, each label's in the order they had, and every stretch from the start within one of its
// share of each label, which makes every batch within two.
func TestBalance(t *testing.T) {
	for _, n := range []int{1, 2, 11, 12, 13, 1041} {
		labels := testLabels(3*n, 10)
		indices := iota32(3 * n)[n : 2*n]
		Order(indices, 7, 1, 2)
		before := slices.Clone(indices)
		Balance(indices, labels)
		whole := map[int32]int{}
		for label := range int32(10) {
			of := func(list []int32) []int32 {
				return slices.DeleteFunc(slices.Clone(list), func(i int32) bool { return labels[i] != label })
			}
			if got, want := of(indices), of(before); !slices.Equal(got, want) {
				t.Errorf("%d samples: label %d is %v, want %v", n, label, got, want)
			}
			whole[label] = len(of(before))
		}
		soFar := map[int32]int{}
		for k, i := range indices {
			soFar[labels[i]]++
			for label, all := range whole {
				if share := float64(k+1) * float64(all) / float64(n); math.Abs(float64(soFar[label])-share) > 5 {
					t.Errorf("%d samples: %d of label %d among the first %d, its share is %.1f", n, soFar[label], label, k+1, share)
				}
			}
		}
	}
}
