package graph

import (
	"math/rand/v2"
	"slices"
	"testing"

	"shoal/learner/kernel"
)

// TestDenseDWParts compares the gradient that is made in parts with that of whole sums, for fewer images than are planned
// for, and demands the same bits of any number of workers.
func TestDenseDWParts(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	const images, planned = 3, 5
	for _, c := range []struct{ side, size, stride, pad, in, out int }{
		{12, 3, 1, 1, 5, 7}, {13, 3, 1, 1, 16, 64}, {31, 3, 2, 1, 9, 33}, {16, 5, 1, 2, 6, 3}, {15, 3, 1, 0, 17, 20},
	} {
		g := kernel.NewWindow(c.side, c.side, c.size, c.stride, c.pad, false)
		x, dy := make([]float32, images*g.H*g.W*c.in), make([]float32, images*g.OutH*g.OutW*c.out)
		for _, v := range [][]float32{x, dy} {
			for i := range v {
				v[i] = float32(r.NormFloat64())
			}
		}
		dw := func(workers, block int) []float32 {
			pool := NewPool(workers)
			defer pool.Close()
			k := newDenseDW(g, c.in, c.out, planned)
			if k.block == 0 {
				t.Fatalf("%+v is not made in parts", c)
			}
			if k.block = min(k.block, block); block == 0 {
				k.taps = 1
			}
			out := make([]float32, k.filter())
			k.run(&frame{pool: pool, n: images}, out, [][]float32{x, dy}, make([]float32, k.scratch(workers)))
			return out
		}
		const most = 1 << 30
		got := dw(1, most)
		alike(t, "gradient in parts", got, dw(1, 0), 1e-6)
		alike(t, "gradient in small parts", dw(2, 50), got, 1e-6)
		if !slices.Equal(dw(3, most), got) {
			t.Errorf("%+v: three workers give other bits than one", c)
		}
	}
}
