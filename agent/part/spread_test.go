package part

import (
	"math"
	"slices"
	"testing"
)

// Passes over whole states do what loops do, at every length that a piece may have.
func TestPassesAreLoops(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, pieceLen - 1, pieceLen, pieceLen + 1, 4*pieceLen + 3} {
		local, base := make([]float32, n), make([]float32, n+2)
		want, squares, length := make([]float32, n), 0.0, 0.0
		for i := range local {
			local[i], base[i] = float32(i%613)-7.5, float32(i%31)
			want[i] = local[i] - base[i]
			squares += float64(want[i]) * float64(want[i])
			length += float64(local[i]) * float64(local[i])
		}
		delta, copied := make([]float32, n), make([]float32, n)
		Delta(delta, local, base)
		twice := make([]float32, n+1)
		Copy(base, copied, twice)
		offered, state := make([]float32, n), make([]float32, n+2)
		Offer(offered, state, local, base)
		if !slices.Equal(delta, want) || !slices.Equal(offered, want) || !slices.Equal(copied, base[:n]) || !slices.Equal(twice[:n], base[:n]) || !slices.Equal(state, base) {
			t.Errorf("%d values: another delta or copy", n)
		}
		swapped := slices.Clone(base)
		Swap(copied, swapped[:n])
		Swap(swapped[:n], copied)
		if !slices.Equal(swapped, base) {
			t.Errorf("%d values: swapped twice they are others", n)
		}
		if got := Norm(local, base); math.Abs(got-math.Sqrt(squares)) > 1e-9*got {
			t.Errorf("%d values: norm %v, want %v", n, got, math.Sqrt(squares))
		}
		if got := Length(local); math.Abs(got-math.Sqrt(length)) > 1e-9*got {
			t.Errorf("%d values: length %v, want %v", n, got, math.Sqrt(length))
		}
		if !Finite(local) {
			t.Errorf("%d values are not finite", n)
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			if n > 0 {
				local[n-1] = float32(bad)
				if Finite(local) {
					t.Errorf("%d values: %v is finite", n, bad)
				}
			}
		}
	}
}
