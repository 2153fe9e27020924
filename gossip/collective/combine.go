package collective

import (
	"fmt"
	"math"
	"slices"
)

// combiner makes one value of a coordinate out of the members'. The mean adds up; the others see all values at once, and
// take each member's as one, whatever its weight, as long as that is above 0. With fewer liars than
//
//   - trimmed: ⌈trim·m⌉ of m members, which is how many are left out at each end
//   - median: half of them
//
// every coordinate of the result lies among honest members' values of it, and the result is off the honest mean by
// O(their spread), against any size of lie ([Yin2018], theorems 1 and 4: α < 1/2 for the median, α ≤ β < 1/2 for the
// β-trimmed mean). The mean withstands nobody but by Limits.
type combiner struct {
	name  string  // mean | trimmed | median
	trim  float64 // share left out at each end
	count int     // members that count
	row   []float64
}

// combineNames are the ways to make one value out of the members'.
func combineNames() []string { return []string{"mean", "trimmed", "median"} }

func newCombiner(cfg Config, weights []float64) (combiner, error) {
	c := combiner{name: cfg.Combine, trim: cfg.Trim}
	if !slices.Contains(combineNames(), c.name) {
		return c, fmt.Errorf("combine: %q is unknown; give one of %v", c.name, combineNames())
	}
	if c.name == "trimmed" && !(c.trim >= 0 && c.trim < 0.5) {
		return c, fmt.Errorf("trim: %v is outside [0, 0.5)", c.trim)
	}
	for _, w := range weights {
		if w > 0 {
			c.count++
		}
	}
	return c, nil
}

func (c *combiner) isMean() bool { return c.name == "mean" }

// out is how many values of m are left out at each end; at least one stays.
func (c *combiner) out() int {
	if c.name == "median" {
		return (c.count - 1) / 2
	}
	return min(int(math.Ceil(c.trim*float64(c.count)-1e-9)), (c.count-1)/2)
}

// norm is the largest norm of what a move carries, in limits: of a sum its share; of one member's values 1; and of a
// combination of m members', k left out at each end, √(m/(m−2k)) or, of the median, √2: by coordinate, so many members
// have values at least as large, and their squares together are at most m limits'.
func (c *combiner) norm(share float64, op Op) float64 {
	switch {
	case c.isMean():
		return share
	case op == Copy && c.name == "median":
		return math.Sqrt2
	case op == Copy:
		return math.Sqrt(float64(c.count) / float64(c.count-2*c.out()))
	case share > 0:
		return 1
	}
	return 0
}

// combine writes the combination to vec: of vec itself, if this rank counts, and of what begins at the places of gathered,
// each from element lo on.
func (c *combiner) combine(vec []float32, counts bool, gathered []float32, places []int, lo int) {
	k := c.out()
	for i := range vec {
		row := c.row[:0]
		if counts {
			row = insert(row, float64(vec[i]))
		}
		for _, at := range places {
			row = insert(row, float64(gathered[at+lo+i]))
		}
		sum := 0.0
		for _, x := range row[k : len(row)-k] {
			sum += x
		}
		vec[i] = float32(sum / float64(len(row)-2*k))
		c.row = row[:0]
	}
}

// insert keeps a row sorted; rows are as short as a cluster is small.
func insert(row []float64, x float64) []float64 {
	row = append(row, x)
	for i := len(row) - 1; i > 0 && row[i-1] > x; i-- {
		row[i], row[i-1] = row[i-1], x
	}
	return row
}
