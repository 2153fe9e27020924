package shards

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// allKinds is one partition of every kind.
func allKinds(seed uint64) []Partition {
	return []Partition{
		{Kind: Strided, Seed: seed}, {Kind: Contiguous, Seed: seed}, {Kind: Shuffled, Seed: seed},
		{Kind: Dirichlet, Alpha: 0.3, Seed: seed}, {Kind: ByLabel, Labels: 2, Seed: seed},
	}
}

func testLabels(n, classes int) []int32 {
	s, labels := newRand(3, uint64(n)), make([]int32, n)
	for i := range labels {
		labels[i] = int32(s.below(uint64(classes)))
	}
	return labels
}

func mustSplit(t testing.TB, p Partition, n int, labels []int32, weights []float64, epoch int) [][]int32 {
	t.Helper()
	shards, err := Split(p, n, labels, weights, epoch)
	if err != nil {
		t.Fatalf("%+v, %d samples, weights %v: %v", p, n, weights, err)
	}
	return shards
}

// checkSplit checks what holds for every kind.
func checkSplit(t testing.TB, shards [][]int32, n int, weights []float64) {
	t.Helper()
	seen, total := make([]bool, n), 0.0
	for _, w := range weights {
		total += w
	}
	for r, shard := range shards {
		for _, i := range shard {
			if seen[i] {
				t.Fatalf("sample %d is dealt twice", i)
			}
			seen[i] = true
		}
		if share := float64(n) * weights[r] / total; math.Abs(float64(len(shard))-share) > 1+1e-3 {
			t.Errorf("rank %d of weights %v has %d samples, its share is %v", r, weights, len(shard), share)
		}
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Fatalf("sample %d is in no shard", i)
	}
}

func TestSplitDealsEverySampleOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 47, 48, 49, 1000} {
		for _, weights := range [][]float64{
			{1}, {1, 1}, {1, 2, 3}, {0, 1}, {1e-300, 1e300}, {5, 0, 5}, {0.1, 0.1, 0.1}, slices.Repeat([]float64{2}, 48),
		} {
			for _, p := range allKinds(11) {
				for epoch := range 2 {
					checkSplit(t, mustSplit(t, p, n, testLabels(n, 10), weights, epoch), n, weights)
				}
			}
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(uint64(1), uint16(100), uint8(3), uint8(0), 0.5, 1.0, uint8(2))
	f.Add(uint64(9), uint16(0), uint8(48), uint8(3), 1e6, 1e-9, uint8(1))
	f.Add(uint64(2), uint16(5), uint8(9), uint8(4), 0.001, 0.0, uint8(255))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, members, kind uint8, alpha, weight float64, k uint8) {
		p := allKinds(seed)[int(kind)%5]
		p.Alpha, p.Labels = alpha, int(k)
		weights := slices.Repeat([]float64{1}, int(members)+1)
		weights[len(weights)-1] = weight
		shards, err := Split(p, int(n), testLabels(int(n), 7), weights, 1)
		if err == nil {
			checkSplit(t, shards, int(n), weights)
		}
	})
}

func TestStridedIsTheRemainder(t *testing.T) {
	for _, n := range []int{1, 10, 95, 96, 97, 1000, 50000} {
		for _, members := range []int{1, 2, 3, 7, 48} {
			shards := mustSplit(t, Partition{Kind: Strided}, n, nil, slices.Repeat([]float64{0.7}, members), 4)
			for r, shard := range shards {
				for k, i := range shard {
					if int(i) != k*members+r {
						t.Fatalf("%d over %d: sample %d of rank %d is %d, want %d", n, members, k, r, i, k*members+r)
					}
				}
			}
		}
	}
}

func TestSplitWeighted(t *testing.T) {
	for _, tt := range []struct {
		kind string
		want [][]int32
	}{
		{Strided, [][]int32{{1, 4}, {0, 2, 3, 5}}},
		{Contiguous, [][]int32{{0, 1}, {2, 3, 4, 5}}},
	} {
		if got := mustSplit(t, Partition{Kind: tt.kind}, 6, nil, []float64{1, 2}, 0); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.kind, got, tt.want)
		}
	}
}

func TestShuffledIsRedrawnEveryEpochAndFixedKindsAreNot(t *testing.T) {
	labels, weights := testLabels(300, 10), []float64{1, 1, 1}
	for _, p := range allKinds(5) {
		a, b := mustSplit(t, p, 300, labels, weights, 0), mustSplit(t, p, 300, labels, weights, 1)
		if same := reflect.DeepEqual(a, b); same == (p.Kind == Shuffled) {
			t.Errorf("%s: epochs 0 and 1 equal: %v", p.Kind, same)
		}
		if !reflect.DeepEqual(a, mustSplit(t, p, 300, labels, weights, 0)) {
			t.Errorf("%s: not the same twice", p.Kind)
		}
		p.Seed++
		drawn := p.Kind != Strided && p.Kind != Contiguous
		if same := reflect.DeepEqual(a, mustSplit(t, p, 300, labels, weights, 0)); same == drawn {
			t.Errorf("%s: seeds 5 and 6 equal: %v", p.Kind, same)
		}
	}
}

// labelsPerRank counts the distinct labels of each shard.
func labelsPerRank(shards [][]int32, labels []int32) []int {
	counts := make([]int, len(shards))
	for r, shard := range shards {
		seen := map[int32]bool{}
		for _, i := range shard {
			seen[labels[i]] = true
		}
		counts[r] = len(seen)
	}
	return counts
}

func TestByLabelGivesFewLabels(t *testing.T) {
	balanced := make([]int32, 1000)
	for i := range balanced {
		balanced[i] = int32(i % 10)
	}
	shards := mustSplit(t, Partition{Kind: ByLabel, Labels: 2, Seed: 1}, 1000, balanced, slices.Repeat([]float64{1}, 10), 0)
	for r, n := range labelsPerRank(shards, balanced) { // 20 runs of 50: two to a label
		if n > 2 {
			t.Errorf("rank %d has %d labels, want at most 2", r, n)
		}
	}
	uneven := testLabels(1000, 10)
	shards = mustSplit(t, Partition{Kind: ByLabel, Labels: 1, Seed: 1}, 1000, uneven, slices.Repeat([]float64{1}, 20), 0)
	for r, n := range labelsPerRank(shards, uneven) { // a run of 50 crosses at most one boundary
		if n > 2 {
			t.Errorf("rank %d has %d labels, want at most 2", r, n)
		}
	}
}

// meanLargest is the mean share of a rank's most frequent label.
func meanLargest(shards [][]int32, labels []int32) float64 {
	sum := 0.0
	for _, shard := range shards {
		count := map[int32]int{}
		top := 0
		for _, i := range shard {
			count[labels[i]]++
			top = max(top, count[labels[i]])
		}
		sum += float64(top) / float64(len(shard))
	}
	return sum / float64(len(shards))
}

func TestDirichletSkewFollowsAlpha(t *testing.T) {
	labels := testLabels(20000, 10)
	last := 2.0
	for _, tt := range []struct{ alpha, lo, hi float64 }{
		{0.001, 0.75, 1}, {0.1, 0.45, 0.85}, {1, 0.2, 0.45}, {1000, 0.1, 0.16},
	} {
		p := Partition{Kind: Dirichlet, Alpha: tt.alpha, Seed: 4}
		got := meanLargest(mustSplit(t, p, 20000, labels, slices.Repeat([]float64{1}, 40), 0), labels)
		if got < tt.lo || got > tt.hi || got >= last {
			t.Errorf("alpha %v: the largest label has a share of %.3f, want %v to %v and below %.3f", tt.alpha, got, tt.lo, tt.hi, last)
		}
		last = got
	}
}

// Draws from the urn must have the moments of Dir(α, …, α): a label's share has mean 1/C and variance
// (C-1)/(C²(αC+1)), to which counting 1000 draws adds less than the tolerance.
func TestUrnMoments(t *testing.T) {
	const classes, draws, ranks, alpha = 4, 1000, 500, 0.5
	labels := iota32(classes) // sample i has label i
	sum, square := 0.0, 0.0
	for seed := range uint64(ranks) {
		rng, drawn, zeros := newRand(seed), make([]int32, 0, draws), 0
		for range draws {
			label := urn(rng, alpha, classes, labels, drawn)
			drawn = append(drawn, label)
			if label == 0 {
				zeros++
			}
		}
		share := float64(zeros) / draws
		sum, square = sum+share, square+share*share
	}
	mean := sum / ranks
	variance := square/ranks - mean*mean
	want := float64(classes-1) / (classes * classes * (alpha*classes + 1))
	if math.Abs(mean-1.0/classes) > 0.03 || math.Abs(variance-want) > 0.01 {
		t.Errorf("share of a label: mean %.3f, variance %.4f, want %.3f and %.4f", mean, variance, 1.0/classes, want)
	}
}

func TestSplitRefuses(t *testing.T) {
	one := []float64{1}
	for _, tt := range []struct {
		name    string
		p       Partition
		n       int
		labels  []int32
		weights []float64
		want    string
	}{
		{"unknown kind", Partition{Kind: "random"}, 1, nil, one, `partition: "random" is unknown`},
		{"alpha 0", Partition{Kind: Dirichlet}, 1, nil, one, "alpha: 0 is outside"},
		{"alpha NaN", Partition{Kind: Dirichlet, Alpha: math.NaN()}, 1, nil, one, "alpha: NaN"},
		{"no labels per rank", Partition{Kind: ByLabel}, 1, nil, one, "labels: 0 is outside"},
		{"negative n", Partition{Kind: Strided}, -1, nil, one, "split -1 samples"},
		{"no members", Partition{Kind: Strided}, 1, nil, nil, "0 members"},
		{"too many members", Partition{Kind: Strided}, 1, nil, make([]float64, MaxMembers+1), "4097 members"},
		{"negative weight", Partition{Kind: Strided}, 1, nil, []float64{1, -2}, "weight -2 of rank 1"},
		{"NaN weight", Partition{Kind: Strided}, 1, nil, []float64{math.NaN()}, "weight NaN of rank 0"},
		{"infinite weight", Partition{Kind: Strided}, 1, nil, []float64{math.Inf(1)}, "weight +Inf"},
		{"no weight", Partition{Kind: Strided}, 1, nil, []float64{0, 0}, "all 2 weights are 0"},
		{"few labels", Partition{Kind: ByLabel, Labels: 1}, 2, []int32{1}, one, "1 labels, want one per sample"},
		{"bad label", Partition{Kind: Dirichlet, Alpha: 1}, 2, []int32{1, -1}, one, "label -1 of sample 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Split(tt.p, tt.n, tt.labels, tt.weights, 0)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Every machine must find these shards, whatever its processor and Go.
func TestSplitRecorded(t *testing.T) {
	want := map[string]string{
		Strided:    "8ec995f3f7d813a8",
		Contiguous: "194ebe292835a979",
		Shuffled:   "add551d5d2c46a0b",
		Dirichlet:  "750718fa31a0ecc1",
		ByLabel:    "db620ec10f74fcbc",
	}
	labels := testLabels(5000, 10)
	for _, p := range allKinds(42) {
		h := sha256.New()
		for _, weights := range [][]float64{slices.Repeat([]float64{1}, 48), {1, 0.3, 2.7, 1e-3}} {
			for r, shard := range mustSplit(t, p, 5000, labels, weights, 3) {
				Order(shard, 42, 3, r)
				binary.Write(h, binary.LittleEndian, shard)
			}
		}
		if got := fmt.Sprintf("%x", h.Sum(nil)[:8]); got != want[p.Kind] {
			t.Errorf("%s: got %s, want %s", p.Kind, got, want[p.Kind])
		}
	}
}

func TestOrder(t *testing.T) {
	base := iota32(100)
	order := func(seed uint64, epoch, rank int) []int32 {
		v := slices.Clone(base)
		Order(v, seed, epoch, rank)
		return v
	}
	a := order(1, 2, 3)
	if !slices.Equal(a, order(1, 2, 3)) {
		t.Error("not the same twice")
	}
	for _, other := range [][]int32{base, order(2, 2, 3), order(1, 3, 3), order(1, 2, 4)} {
		if slices.Equal(a, other) {
			t.Error("two orders are equal that should not be")
		}
	}
	slices.Sort(a)
	if !slices.Equal(a, base) {
		t.Error("not a permutation")
	}
	Order(nil, 1, 2, 3)
}

func TestBelowIsUniform(t *testing.T) {
	s, counts := newRand(1), make([]int, 6)
	for range 60000 {
		counts[s.below(6)]++
	}
	for v, n := range counts {
		if n < 9600 || n > 10400 {
			t.Errorf("%d comes %d times in 60000, want about 10000", v, n)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	labels, weights := testLabels(50000, 10), slices.Repeat([]float64{1}, 48)
	for _, p := range allKinds(1) {
		b.Run(p.Kind, func(b *testing.B) {
			for b.Loop() {
				mustSplit(b, p, 50000, labels, weights, 0)
			}
		})
	}
}
