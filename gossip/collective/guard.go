package collective

import (
	"fmt"
	"math"
	"slices"
)

// maxBound is the largest bound that a configuration may have; beyond it nothing is bounded.
const maxBound = 1e6

// OffenceError says that a rank sent what no honest member can have sent: values that are not finite, or a sum too large
// for the members whose contributions are in it. What was received from it is not used.
type OffenceError struct {
	Rank int    // that the bytes came from
	What string // was wrong with them
}

func (e *OffenceError) Error() string { return fmt.Sprintf("rank %d sent %s", e.Rank, e.What) }

// Limits returns what every contribution is scaled by, given the members' norms by rank, so that none has more than bound
// times the median norm, and the largest norm left. norms are the L2 norms of the deltas as the members say; 0 is a member
// that has none, and does not count in the median. A norm that is negative or not finite is a lie: its scale is 0. bound 0
// is no bound: scales are 1 and limit is 0, which is no check.
//
// Of m norms in order the median is the one at m/2, so that the bound is some honest member's where less than half lie.
// Clipping to a norm is what [Sun2019] found to be enough against members that boost their delta; each of the others can
// still move the mean by its share of limit. The result depends on the arguments alone, and has the same bits everywhere.
func Limits(norms []float64, bound float64) (scales []float64, limit float64) {
	scales = make([]float64, len(norms))
	for r := range scales {
		scales[r] = 1
	}
	if bound == 0 {
		return scales, 0
	}
	var known []float64
	for r, norm := range norms {
		if !(norm >= 0) || math.IsInf(norm, 0) {
			scales[r] = 0
		} else if norm > 0 {
			known = append(known, norm)
		}
	}
	if len(known) == 0 {
		return scales, math.SmallestNonzeroFloat64 // nobody has anything to send
	}
	slices.Sort(known)
	most := bound * known[len(known)/2]
	for r, norm := range norms {
		if scales[r] == 1 && norm > most {
			scales[r] = most / norm
		}
	}
	return scales, min(most, known[len(known)-1])
}
