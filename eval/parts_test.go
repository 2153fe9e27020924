package eval

import (
	"math"
	"slices"
	"testing"

	"shoal/learner"
	"shoal/shards"
)

// However an evaluation is divided, and whoever does which part, its result has the same bits; and an evaluator's statistics
// are those that it leaves in a model that is saved.
func TestPartsMakeTheSameScore(t *testing.T) {
	cfg := learner.Defaults()
	cfg.Width, cfg.Batch, cfg.Threads = 0.1, 2, 1
	l, err := learner.New(cfg, 2, 1)
	must(t, err)
	defer l.Close()
	set := &shards.Set{Name: "noise", Std: [3]float64{1, 1, 1}, Train: noise(34), Test: noise(29)}
	s := Scorer{l, shards.NewLoader(set, shards.Config{}, cfg.Input, 1), set, Config{Reestimate: 13}, cfg}
	before := slices.Clone(l.Shared(true))
	want, err := ScoreModel(t.Context(), l, s.Source, set, s.Config, cfg)
	must(t, err)
	statistics, test := s.Parts()
	if statistics != 3 || test != 4 || want.Reestimated != 13 || want.Images != 29 {
		t.Fatalf("%d and %d parts of %+v", statistics, test, want)
	}
	var parts [][]float32
	for k := range statistics {
		part, err := s.Statistics(t.Context(), k, k+1)
		must(t, err)
		parts = append(parts, part...)
	}
	sums := make([]Sum, test)
	for k := test - 1; k >= 0; k-- {
		part, err := s.Test(t.Context(), s.Merge(parts), k, k+1)
		must(t, err)
		sums[k] = part[0]
		if sums[k].Images != s.Images(k) {
			t.Errorf("part %d is of %d images, not %d", k, sums[k].Images, s.Images(k))
		}
	}
	if got := s.Total(sums); got != want {
		t.Errorf("in parts %+v, at once %+v", got, want)
	}
	if !slices.Equal(before, l.Shared(true)) {
		t.Error("the model is another afterwards")
	}
	must(t, Reestimate(l, s.Source, set, s.Config, cfg))
	if !slices.Equal(s.running(), s.Merge(parts)) {
		t.Error("a saved model has other statistics than those it was scored by")
	}
}

// The mean of parts is the mean over all batches, the short last part among them.
func TestMergeIsTheMeanOfBatches(t *testing.T) {
	m := &counting{shared: []float32{1, 7}, norm: true}
	s := Scorer{m, numbered{}, setOf(48, 9), Config{Reestimate: 12}, learner.Config{Batch: 4, Input: 2}}
	if got := s.Merge([][]float32{{1}, {2}, {6}}); math.Abs(float64(got[0])-(5*1+5*2+2*6)/12.0) > 1e-6 {
		t.Errorf("merged to %v", got)
	}
	for members, want := range map[int]int{1: 48 + 9, 2: 40 + 9, 3: 20 + 9, 40: 20 + 9} {
		if got := s.Share(members); got != want {
			t.Errorf("a share of %d members is %d images, want %d", members, got, want)
		}
	}
	for _, bad := range [][2]int{{-1, 1}, {1, 1}, {0, 4}} {
		if _, err := s.Statistics(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("statistics of parts %v", bad)
		}
		if _, err := s.Test(t.Context(), nil, bad[0], bad[1]); err == nil {
			t.Errorf("a score of parts %v", bad)
		}
	}
	if _, err := s.Test(t.Context(), []float32{1, 2}, 0, 1); err == nil {
		t.Error("more statistics than the model has")
	}
}
