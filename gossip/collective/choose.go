package collective

import (
	"math"
	"math/bits"
	"slices"
)

const (
	// chooseSegment is the segment that plans are compared with, in bytes: the configured one's default.
	chooseSegment = 64 << 10
	// chooseGain is how much cheaper than the ring a plan has to be: measurements are no better than that.
	chooseGain = 0.95
	// sameRate is how close to the best bottleneck a ring's may be, if less latency is to be had for it.
	sameRate = 0.9
	// starts is how many tours the search begins with.
	starts = 8
	// exactSize is the largest ring whose order is found exactly, in size²·2^size steps; maxOrderWork bounds the
	// search for a larger one's from one start, in ranks looked at.
	exactSize    = 11
	maxOrderWork = 1 << 20
)

// Choose is the plan that costs least by Cost for a vector of so many bytes on the wire over the links as measured
// (len(links) ranks), each at its place in the ring's best order. nodes is the node of each rank; nil: each has its own.
// Where several ranks share a node, plans of two levels are tried too. The result depends on the arguments alone.
func Choose(bytes int, links Matrix, nodes []int) Plan {
	n := len(links)
	order := RingOrder(links, nodes)
	groups := nodes
	if nodes == nil || allDifferent(nodes) || slices.Min(nodes) == slices.Max(nodes) {
		groups = nil
	}
	var best Plan
	var least float64
	for _, name := range Names() {
		for _, on := range [][]int{nil, groups} {
			p, err := Arrange(name, n, order, on)
			if err != nil {
				continue // more ranks than a plan may have, or nodes that are none
			}
			if cost := p.Cost(bytes, chooseSegment, links, nodes); best.Size == 0 || cost < chooseGain*least {
				best, least = p, cost
			}
			if groups == nil {
				break
			}
		}
	}
	return best
}

func allDifferent(nodes []int) bool {
	sorted := slices.Sorted(slices.Values(nodes))
	return len(slices.Compact(sorted)) == len(nodes)
}

// RingOrder is the order of a ring through all ranks whose slowest edge is as fast as can be, and among those within a
// tenth of it one with little latency: exact for few ranks, else a greedy tour improved by reversals and moves of stretches (2-opt, or-opt). nil is the
// order of the ranks, which is as good. Rank 0 comes first.
func RingOrder(links Matrix, nodes []int) []int {
	n := len(links)
	if n < 4 && (n < 3 || symmetric(links, nodes)) {
		return nil
	}
	w := newWays(links, nodes)
	search := w.greedy
	if n <= exactSize {
		search = w.exact
	}
	found := search()
	if floor := w.bottleneck(found); w.bottleneck(identity(n)) >= floor*sameRate && w.latency(identity(n)) <= w.latency(found)*1.0001 {
		return nil
	}
	return found
}

func symmetric(links Matrix, nodes []int) bool {
	for a := range links {
		for b := range a {
			if links.at(a, b, nodes) != links.at(b, a, nodes) {
				return false
			}
		}
	}
	return true
}

// ways are the edges of a tour, from and to each rank.
type ways struct {
	n       int
	rate    []float64 // [from·n + to]
	alpha   []float64
	fastest float64
	latest  float64
}

func newWays(links Matrix, nodes []int) ways {
	n := len(links)
	w := ways{n: n, rate: make([]float64, n*n), alpha: make([]float64, n*n), latest: math.SmallestNonzeroFloat64}
	for a := range n {
		for b := range n {
			if a != b {
				e := links.at(a, b, nodes)
				w.rate[a*n+b], w.alpha[a*n+b] = e.Rate, e.Alpha
				w.fastest, w.latest = max(w.fastest, e.Rate), max(w.latest, e.Alpha)
			}
		}
	}
	return w
}

func (w ways) bottleneck(order []int) float64 {
	least := math.Inf(1)
	for i, r := range order {
		least = min(least, w.rate[r*w.n+order[(i+1)%len(order)]])
	}
	return least
}

func (w ways) latency(order []int) float64 {
	sum := 0.0
	for i, r := range order {
		sum += w.alpha[r*w.n+order[(i+1)%len(order)]]
	}
	return sum
}

// exact finds the tour by dynamic programming over the sets of ranks visited ([Held1962]): first the best bottleneck,
// then the least latency over edges that are nearly as fast.
func (w ways) exact() []int {
	_, floor := w.tour(func(so, edge float64) float64 { return -min(-so, edge) }, math.Inf(-1), w.rate, 0)
	order, _ := w.tour(func(so, edge float64) float64 { return so + edge }, 0, w.alpha, -floor*sameRate)
	return order
}

// tour is the tour from rank 0 with the least of what join makes of its edges' values, beginning with zero, among those
// whose edges all have rate floor or more; and that least.
func (w ways) tour(join func(so, edge float64) float64, zero float64, value []float64, floor float64) ([]int, float64) {
	n, full := w.n, 1<<(w.n-1)-1 // sets of the ranks but 0
	cost, last := make([]float64, (full+1)*n), make([]int8, (full+1)*n)
	for i := range cost {
		cost[i] = math.Inf(1)
	}
	for set := 1; set <= full; set++ {
		for rest := set; rest != 0; rest &= rest - 1 {
			to := bits.TrailingZeros(uint(rest)) + 1
			before := set &^ (1 << (to - 1))
			if before == 0 {
				if w.rate[to] >= floor {
					cost[set*n+to] = join(zero, value[to])
				}
				continue
			}
			for from := 1; from < n; from++ {
				if before>>(from-1)&1 == 0 || w.rate[from*n+to] < floor || math.IsInf(cost[before*n+from], 1) {
					continue
				}
				if c := join(cost[before*n+from], value[from*n+to]); c < cost[set*n+to] {
					cost[set*n+to], last[set*n+to] = c, int8(from)
				}
			}
		}
	}
	end, least := 0, math.Inf(1)
	for from := 1; from < n; from++ {
		if w.rate[from*n] < floor || math.IsInf(cost[full*n+from], 1) {
			continue
		}
		if c := join(cost[full*n+from], value[from*n]); c < least {
			end, least = from, c
		}
	}
	order := make([]int, n)
	for i, set, r := n-1, full, end; i > 0; i-- {
		order[i] = r
		set, r = set&^(1<<(r-1)), int(last[set*n+r])
	}
	return order, least
}

// greedy goes from a rank to the rank of the fastest edge each time, improves that, and takes the best of several starts.
func (w ways) greedy() []int {
	var best []int
	for start := 0; start < w.n; start += (w.n + starts - 1) / starts {
		order, used := []int{start}, make([]bool, w.n)
		used[start] = true
		for len(order) < w.n {
			from, next := order[len(order)-1], -1
			for to := range w.n {
				if !used[to] && (next < 0 || w.better(from, to, next)) {
					next = to
				}
			}
			order, used[next] = append(order, next), true
		}
		rotate(order, slices.Index(order, 0))
		if order = w.improve(order); best == nil || w.strain(order) < w.strain(best)*(1-1e-9) {
			best = order
		}
	}
	return best
}

// better says whether the edge to a is to be taken rather than the one to b.
func (w ways) better(from, a, b int) bool {
	ra, rb := w.rate[from*w.n+a], w.rate[from*w.n+b]
	if min(ra, rb) >= sameRate*max(ra, rb) {
		return w.alpha[from*w.n+a] < w.alpha[from*w.n+b]
	}
	return ra > rb
}

// improve reverses or moves stretches of the order, rank 0 staying first, until none makes it better or the work is at its
// limit.
func (w ways) improve(order []int) []int {
	least, trial, work := w.strain(order), make([]int, w.n), 0
	try := func(change func()) bool {
		copy(trial, order)
		change()
		work += 2 * w.n
		strain := w.strain(trial)
		if strain >= least*(1-1e-9) {
			return false
		}
		least = strain
		copy(order, trial)
		return true
	}
	for found := true; found; {
		found = false
		for i := 1; i < w.n; i++ {
			for j := i + 1; j < w.n && work < maxOrderWork; j++ {
				found = try(func() { slices.Reverse(trial[i : j+1]) }) || found
				found = try(func() { rotate(trial[i:j+1], 1) }) || found   // the first of the stretch behind it
				found = try(func() { rotate(trial[i:j+1], j-i) }) || found // the last before it
			}
		}
	}
	return order
}

// strain is small for tours without slow edges: Σ (fastest rate / rate)⁶, and latency where rates are alike.
func (w ways) strain(order []int) float64 {
	sum := 0.0
	for i, r := range order {
		e := r*w.n + order[(i+1)%len(order)]
		ratio := w.fastest / w.rate[e]
		sum += ratio*ratio*ratio*ratio*ratio*ratio + w.alpha[e]/w.latest
	}
	return sum
}

// rotate moves the first so many elements behind the others.
func rotate(s []int, by int) {
	slices.Reverse(s[:by])
	slices.Reverse(s[by:])
	slices.Reverse(s)
}
