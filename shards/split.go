package shards

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// The kinds of partition. In all of them every sample is in exactly one shard and the size of a shard is within one
// of its member's share n·w/Σw; equal weights give sizes that differ by at most one, the larger ones first.
const (
	Strided    = "strided"    // sample i goes to rank i mod N; unequal weights interleave just as evenly
	Contiguous = "contiguous" // rank by rank, in the order of the set
	Shuffled   = "shuffled"   // redrawn every epoch
	// Dirichlet draws the mixture of labels of every rank from Dir(α, …, α) [Hsu2019, arXiv 1909.06335], fixed over
	// epochs. A label that runs out is replaced by what is left, so mixtures are those drawn only while supplies last.
	Dirichlet = "dirichlet"
	// ByLabel sorts the samples by label, cuts the order into N·k runs and gives k of them to each rank
	// [McMahan2017, arXiv 1602.05629], fixed over epochs. A run that crosses from one label to the next brings both,
	// so a rank has k labels when runs and labels line up and at most a few more when they do not.
	ByLabel = "by-label"
)

// Limits of a partition.
const (
	MaxMembers = 1 << 12 // far beyond any shelf; bounds the memory of a hostile roster
	maxLabels  = 1 << 12 // classes of a set
	urnUnit    = 1 << 20 // one sample's weight in the fixed-point urn of Dirichlet; Alpha is a multiple of 1/urnUnit
)

// Partition says how samples are divided. The zero Seed is a seed like any other.
type Partition struct {
	Kind   string  // one of the constants above
	Alpha  float64 // Dirichlet: concentration per label, > 0
	Labels int     // ByLabel: runs, so about labels, per rank
	Seed   uint64
}

// check returns what is wrong with the partition's own values.
func (p Partition) check() error {
	switch p.Kind {
	case Strided, Contiguous, Shuffled:
	case Dirichlet:
		if !(p.Alpha >= minAlpha && p.Alpha <= maxAlpha) {
			return fmt.Errorf("alpha: %v is outside 1e-6..1e6, give 0.1 for skewed shards and 100 for even ones", p.Alpha)
		}
	case ByLabel:
		if p.Labels < 1 || p.Labels > maxLabels {
			return fmt.Errorf("labels: %d is outside 1..%d, give 2 for skewed shards", p.Labels, maxLabels)
		}
	default:
		return fmt.Errorf("partition: %q is unknown, give strided, contiguous, shuffled, dirichlet or by-label", p.Kind)
	}
	return nil
}

// Split divides the samples 0..n-1 over len(weights) members and returns the shard of each rank. It is pure: equal
// arguments give equal shards on every architecture, as only integers decide. Weights are relative and not negative;
// a member of weight 0 gets nothing. Labels are needed by Dirichlet and ByLabel only, one per sample. Epoch matters to
// Shuffled only. The shards are views of one array that the caller owns; the order in a shard is fixed, see Order.
//
// For example 7 samples, strided over weights 1, 1, 1: [0 3 6] [1 4] [2 5].
func Split(p Partition, n int, labels []int32, weights []float64, epoch int) ([][]int32, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("split %d samples: %w", n, err)
	}
	if n < 0 || n > math.MaxInt32 {
		return nil, fmt.Errorf("split %d samples: want 0..%d", n, math.MaxInt32)
	}
	sizes, err := quotas(n, weights)
	if err != nil {
		return nil, fmt.Errorf("split %d samples: %w", n, err)
	}
	if p.Kind == Dirichlet || p.Kind == ByLabel {
		if err := checkLabels(n, labels); err != nil {
			return nil, fmt.Errorf("split %d samples by %s: %w", n, p.Kind, err)
		}
	}
	switch p.Kind {
	case Strided:
		return strided(n, sizes), nil
	case Shuffled:
		order := iota32(n)
		shuffle(order, newRand(p.Seed, streamShuffled, uint64(epoch)))
		return cut(order, sizes), nil
	case Dirichlet:
		return dirichlet(p, labels, sizes), nil
	case ByLabel:
		return byLabel(p, labels, sizes), nil
	}
	return cut(iota32(n), sizes), nil
}

// Order shuffles a shard in place for one epoch: the order in which rank trains on it. It depends on the arguments
// only, among them the order that indices had.
func Order(indices []int32, seed uint64, epoch, rank int) {
	shuffle(indices, newRand(seed, streamOrder, uint64(epoch), uint64(rank)))
}

func checkLabels(n int, labels []int32) error {
	if len(labels) != n {
		return fmt.Errorf("%d labels, want one per sample", len(labels))
	}
	for i, l := range labels {
		if l < 0 || l >= maxLabels {
			return fmt.Errorf("label %d of sample %d is outside 0..%d", l, i, maxLabels-1)
		}
	}
	return nil
}

// quotas divides n in proportion to weights by largest remainders, ties to the lower rank, so that every quota is
// within one of its share. Weights are first rounded to 2^-32 of the largest, which makes the rest integers.
func quotas(n int, weights []float64) ([]int, error) {
	if len(weights) == 0 || len(weights) > MaxMembers {
		return nil, fmt.Errorf("%d members, want 1..%d", len(weights), MaxMembers)
	}
	top := 0.0
	for r, w := range weights {
		if !(w >= 0) || math.IsInf(w, 1) {
			return nil, fmt.Errorf("weight %v of rank %d: want a finite number >= 0", w, r)
		}
		top = max(top, w)
	}
	if top == 0 {
		return nil, fmt.Errorf("all %d weights are 0: give one member a share", len(weights))
	}
	fixed, total := make([]uint64, len(weights)), uint64(0)
	for r, w := range weights {
		fixed[r] = uint64(w / top * (1 << 32))
		total += fixed[r]
	}
	sizes, rest, left := make([]int, len(weights)), make([]uint64, len(weights)), n
	for r, w := range fixed {
		hi, lo := bits.Mul64(uint64(n), w)
		q, rem := bits.Div64(hi, lo, total)
		sizes[r], rest[r] = int(q), rem
		left -= int(q)
	}
	ranks := make([]int, len(weights))
	for r := range ranks {
		ranks[r] = r
	}
	slices.SortStableFunc(ranks, func(a, b int) int { return cmp.Compare(rest[b], rest[a]) })
	for _, r := range ranks[:left] {
		sizes[r]++
	}
	return sizes, nil
}

// empties are shards of no samples with room for sizes.
func empties(sizes []int) [][]int32 {
	n := 0
	for _, s := range sizes {
		n += s
	}
	back, shards := make([]int32, n), make([][]int32, len(sizes))
	for r, s := range sizes {
		shards[r], back = back[:0:s], back[s:]
	}
	return shards
}

// cut gives each rank its size of consecutive samples of order.
func cut(order []int32, sizes []int) [][]int32 {
	shards := make([][]int32, len(sizes))
	for r, s := range sizes {
		shards[r], order = order[:s:s], order[s:]
	}
	return shards
}

// turns lists the ranks so that each comes up as evenly as its size allows: the k-th turn of a rank of size s is at
// (k+½)/s, ties to the lower rank. Sizes that differ by at most one, larger first, give 0, 1, …, N-1, 0, 1, ….
func turns(n int, sizes []int) []int32 {
	type turn struct{ rank, odd, size uint32 }
	list := make([]turn, 0, n)
	for r, s := range sizes {
		for k := range s {
			list = append(list, turn{uint32(r), uint32(2*k + 1), uint32(s)})
		}
	}
	slices.SortFunc(list, func(a, b turn) int {
		c := cmp.Compare(uint64(a.odd)*uint64(b.size), uint64(b.odd)*uint64(a.size))
		return cmp.Or(c, cmp.Compare(a.rank, b.rank))
	})
	ranks := make([]int32, n)
	for i, t := range list {
		ranks[i] = int32(t.rank)
	}
	return ranks
}

func strided(n int, sizes []int) [][]int32 {
	shards := empties(sizes)
	for i, r := range turns(n, sizes) {
		shards[r] = append(shards[r], int32(i))
	}
	return shards
}

func byLabel(p Partition, labels []int32, sizes []int) [][]int32 {
	rng := newRand(p.Seed, streamByLabel)
	order := iota32(len(labels))
	shuffle(order, rng)
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(labels[a], labels[b]) })
	runs := make([]int32, 0, len(sizes)*p.Labels) // the rank of every run
	for r := range sizes {
		for range p.Labels {
			runs = append(runs, int32(r))
		}
	}
	shuffle(runs, rng)
	shards, taken := empties(sizes), make([]int, len(sizes))
	for _, r := range runs {
		size := sizes[r] / p.Labels
		if taken[r] < sizes[r]%p.Labels {
			size++
		}
		taken[r]++
		shards[r] = append(shards[r], order[:size]...)
		order = order[size:]
	}
	return shards
}
