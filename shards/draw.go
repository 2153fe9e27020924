package shards

import (
	"math/bits"
	"math/rand/v2"
)

// Streams keep the draws for different purposes apart under one seed.
const (
	streamShuffled = iota + 1
	streamOrder
	streamByLabel
	streamDirichlet
	streamAugment
	streamHoldOut
	streamBuiltin
)

// mix is a bijection that spreads every bit of x over all of the result (SplitMix64, [Steele2014]).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// mixAll hashes a seed and what is drawn for.
func mixAll(seed uint64, path ...uint64) uint64 {
	h := mix(seed)
	for _, p := range path {
		h = mix(h ^ p)
	}
	return h
}

// source draws integers from PCG, whose output is fixed for all Go versions and machines. The methods of rand.Rand
// are not, so the few that are needed are here.
type source struct{ pcg rand.PCG }

func newRand(seed uint64, path ...uint64) *source {
	h := mixAll(seed, path...)
	s := &source{}
	s.pcg.Seed(h, mix(h))
	return s
}

// below returns a uniform number in [0, n), n > 0, by Lemire's multiplication [arXiv 1805.10941].
func (s *source) below(n uint64) uint64 {
	hi, lo := bits.Mul64(s.pcg.Uint64(), n)
	if lo < n {
		for floor := -n % n; lo < floor; {
			hi, lo = bits.Mul64(s.pcg.Uint64(), n)
		}
	}
	return hi
}

// between returns a uniform number in [lo, hi].
func (s *source) between(lo, hi int) int { return lo + int(s.below(uint64(hi-lo+1))) }

// shuffle permutes v uniformly (Fisher and Yates).
func shuffle(v []int32, s *source) {
	for i := len(v) - 1; i > 0; i-- {
		j := s.below(uint64(i + 1))
		v[i], v[j] = v[j], v[i]
	}
}

func iota32(n int) []int32 {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(i)
	}
	return v
}

// pools holds the samples that are not dealt out yet, by label.
type pools struct {
	by   [][]int32
	left int
}

func newPools(labels []int32, s *source) *pools {
	classes := int32(0)
	for _, l := range labels {
		classes = max(classes, l+1)
	}
	p := &pools{by: make([][]int32, classes), left: len(labels)}
	order := iota32(len(labels))
	shuffle(order, s)
	for _, i := range order {
		p.by[labels[i]] = append(p.by[labels[i]], i)
	}
	return p
}

// take removes one sample of a label that has some left.
func (p *pools) take(label int32) int32 {
	pool := p.by[label]
	p.by[label] = pool[:len(pool)-1]
	p.left--
	return pool[len(pool)-1]
}

// any is the label of a uniformly chosen sample of what is left, at least one.
func (p *pools) any(s *source) int32 {
	k := int(s.below(uint64(p.left)))
	for l, pool := range p.by {
		if k < len(pool) {
			return int32(l)
		}
		k -= len(pool)
	}
	panic("shards: pools lost count of its samples")
}

// dirichlet deals samples out one turn at a time, each of a label that its rank's urn gives while there are any.
func dirichlet(p Partition, labels []int32, sizes []int) [][]int32 {
	rng := newRand(p.Seed, streamDirichlet)
	left := newPools(labels, rng)
	shards := empties(sizes)
	for _, r := range turns(len(labels), sizes) {
		label := urn(rng, p.Alpha, len(left.by), labels, shards[r])
		if len(left.by[label]) == 0 {
			label = left.any(rng)
		}
		shards[r] = append(shards[r], left.take(label))
	}
	return shards
}

// urn draws a label by Pólya's scheme [Blackwell1973]: it is fresh with probability αC/(αC+t), where t samples are
// drawn, and otherwise that of a drawn sample chosen uniformly. Such draws are distributed as draws from a mixture that
// is itself drawn from Dir(α, …, α) over the C labels, and need no logarithm, whose last bit depends on the machine.
func urn(rng *source, alpha float64, classes int, labels, drawn []int32) int32 {
	fresh := uint64(alpha*urnUnit) * uint64(classes)
	u := rng.below(fresh + uint64(len(drawn))*urnUnit)
	if u < fresh {
		return int32(rng.below(uint64(classes)))
	}
	return labels[drawn[(u-fresh)/urnUnit]]
}
