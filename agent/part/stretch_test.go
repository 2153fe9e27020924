package part

import (
	"fmt"
	"slices"
	"testing"

	"shoal/learner"
	"shoal/shards"
)

// TestStretchesAreAPass: over the rounds of a pass all ranks together train on every sample once, whatever their shares, each
// on its share, and in no round on more or less of it than a step's batch beside an even distance.
func TestStretchesAreAPass(t *testing.T) {
	const n, batch = 1003, 8
	train := shards.Images{N: n, Labels: make([]int32, n)}
	for _, shares := range [][]float64{Equal(1), Equal(3), {1, 0.25, 0.5}, {4, 1, 1, 1}, {1, 1e-6}} {
		for _, steps := range []int{0, 1, 7} {
			t.Run(fmt.Sprint(shares, steps), func(t *testing.T) {
				r := Recipe{Seed: 3, Data: shards.Defaults(), Learner: learner.Defaults()}
				r.Learner.Batch, r.Rounds.Steps = batch, steps
				pass := r.StepsPerEpoch(n, shares)
				each := pass
				if steps > 0 {
					each = steps
				}
				seen := make([]int, n)
				for rank, share := range shares {
					mine := countPass(t, r, train, rank, shares, pass, each, seen)
					if want := n * share / total(shares); float64(mine) < want-1 || float64(mine) > want+1 {
						t.Errorf("rank %d trains on %d samples, want %v", rank, mine, want)
					}
				}
				if i := slices.IndexFunc(seen, func(times int) bool { return times != 1 }); i >= 0 {
					t.Errorf("sample %d is seen %d times in a pass", i, seen[i])
				}
			})
		}
	}
}

func total(shares []float64) (sum float64) {
	for _, s := range shares {
		sum += s
	}
	return sum
}

// countPass goes through the rounds of the first pass, and counts the samples of it.
func countPass(t *testing.T, r Recipe, train shards.Images, rank int, shares []float64, pass, each int, seen []int) (mine int) {
	t.Helper()
	least, most, whole := pass, 0, 0
	for round := 1; (round-1)*each < pass; round++ {
		s, err := r.Stretch(train, round, rank, shares)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range s.Batches {
			if s.Epochs[i] > 0 {
				continue
			}
			mine += len(b)
			for _, sample := range b {
				seen[sample]++
			}
		}
		if round*each <= pass {
			whole++
			least, most = min(least, len(s.Batches)), max(most, len(s.Batches))
		}
	}
	if unequal := slices.Min(shares) < slices.Max(shares); unequal && whole > 0 && most-least > 1 {
		t.Errorf("rank %d takes %d to %d steps in a round", rank, least, most)
	}
	return mine
}
