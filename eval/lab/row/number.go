package row

import (
	"encoding/json"
	"math"
)

// Number is a measured value that may have left the numbers, as the loss of a run that diverged has. JSON knows neither
// NaN nor infinity: both are written as null, and null is read as NaN.
type Number float64

// Finite reports whether the value is a number that can be computed with.
func (n Number) Finite() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// MarshalJSON writes the shortest text that reads back as the same value, or null.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Finite() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads a number, or null as NaN.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}
