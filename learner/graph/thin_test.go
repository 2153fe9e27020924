package graph

import (
	"math/rand/v2"
	"slices"
	"testing"

	"shoal/learner/kernel"
)

// TestThinBits demands of the gradient by a filter the same bits whichever way round the product is taken.
func TestThinBits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, shape := range [][3]int{{2, 1, 1}, {3, 2, 50}, {17, 16, 7}, {40, 3, 200}, {96, 16, 97}, {130, 9, 480}} {
		in, out, rows := shape[0], shape[1], shape[2]
		x, dy := make([]float32, rows*in), make([]float32, rows*out)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		for i := range dy {
			dy[i] = float32(r.NormFloat64())
		}
		want := make([]float32, in*out)
		kernel.Gemm(kernel.Rows(want, out), kernel.Rows(x, in).Transposed(), kernel.Rows(dy, out), in, out, rows, false)
		k := newThin(in, out)
		if !k.swapped {
			t.Fatalf("%d×%d is not swapped", in, out)
		}
		own := make(memory, k.scratch())
		got := make([]float32, in*out)
		dw := k.begin(got, &own)
		k.part(dw, x, dy, rows)
		if k.end(got, dw); !slices.Equal(got, want) {
			t.Errorf("%d×%d of %d rows: swapped, it has other bits", in, out, rows)
		}
	}
}
