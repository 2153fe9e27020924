package chaos

import (
	"fmt"
	"slices"
)

// Growth compares the beginning of what was read off many agents again and again with the end: the medians of the first
// and of the last quarter of the readings, in the order of time. It needs eight readings; less give zeros.
func Growth(readings []float64) (first, last float64) {
	quarter := len(readings) / 4
	if quarter < 2 {
		return 0, 0
	}
	return Median(readings[:quarter]), Median(readings[len(readings)-quarter:])
}

// Median is the middle of the values, the upper one of an even number; 0 of none. It does not change them.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile is the smallest value that at least a share q of the values does not exceed; 0 of none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// Grew is an error if readings grew by more than a share of what they were and slack, which is what they may vary by.
func Grew(what string, readings []float64, share, slack float64) error {
	first, last := Growth(readings)
	if limit := first*(1+share) + slack; last > limit {
		return fmt.Errorf("%s grew from %.6g to %.6g (medians of the first and last quarter), more than to %.6g", what, first, last, limit)
	}
	return nil
}
