// Package spread puts runs that differ in nothing but their seed together, and says how far apart they came out: the mean
// never stands alone, but with the smallest and largest value and the number of runs behind it.
package spread

import (
	"fmt"
	"math"
)

// Spread is what repetitions of one measurement gave. Mean, Min and Max are NaN when no value was finite.
type Spread struct {
	N    int     `json:"n"` // finite values
	Mean float64 `json:"mean"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Lost int     `json:"lost,omitempty"` // values that were NaN or infinite and are in none of the above
}

// Of is the spread of values. Those that are not finite are counted in Lost and are in no mean.
func Of(values ...float64) Spread {
	s := Spread{Min: math.Inf(1), Max: math.Inf(-1)}
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			s.Lost++
			continue
		}
		s.N++
		s.Mean += (v - s.Mean) / float64(s.N)
		s.Min, s.Max = min(s.Min, v), max(s.Max, v)
	}
	if s.N == 0 {
		s.Mean, s.Min, s.Max = math.NaN(), math.NaN(), math.NaN()
	}
	// Invariant: Min <= Mean <= Max, which rounding alone would not keep for equal values.
	s.Mean = max(s.Min, min(s.Max, s.Mean))
	return s
}

// Known reports whether there is any value.
func (s Spread) Known() bool { return s.N > 0 }

// Text is the mean, and the range behind it if there are several values: "61.2 % (60.8 % to 61.9 %, n = 3)", or "24 (n = 3)"
// if all are written alike. The format writes one value; what is not known is a dash.
func (s Spread) Text(format func(float64) string) string {
	lost := ""
	if s.Lost > 0 {
		lost = fmt.Sprintf(" (%d not finite)", s.Lost)
	}
	switch {
	case s.N == 0:
		return "–" + lost
	case s.N == 1:
		return format(s.Mean) + lost
	case format(s.Min) == format(s.Max):
		return fmt.Sprintf("%s (n = %d)%s", format(s.Mean), s.N, lost)
	}
	return fmt.Sprintf("%s (%s to %s, n = %d)%s", format(s.Mean), format(s.Min), format(s.Max), s.N, lost)
}

// Apart reports whether two spreads do not touch: no value of one lies within the range of the other. Two single values
// that differ are apart too, but say nothing of repetitions; ask for N.
func (s Spread) Apart(o Spread) bool {
	return s.Known() && o.Known() && (s.Max < o.Min || o.Max < s.Min)
}
