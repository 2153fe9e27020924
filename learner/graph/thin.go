package graph

import "shoal/learner/kernel"

// thin is how the product of a transposed input and a gradient is taken, (in, out). A result of a few columns fills no
// panel of vectors, while its transpose does: then that is computed, with the same bits, and turned at the end.
type thin struct {
	in, out int
	swapped bool
}

// thinCols is how many columns are few.
const thinCols = 16

func newThin(in, out int) thin { return thin{in, out, out <= thinCols && in > out} }

func (t thin) scratch() int {
	if !t.swapped {
		return 0
	}
	return t.in * t.out
}

// begin is where the result is computed: out, or memory for its transpose.
func (t thin) begin(out []float32, own *memory) []float32 {
	if !t.swapped {
		return out[:t.in*t.out]
	}
	return own.take(t.in * t.out)
}

// end brings what was computed to out.
func (t thin) end(out, computed []float32) {
	if t.swapped {
		kernel.Transpose(out, computed, t.out, t.in)
	}
}

// operands are those of the product that is computed, and its size.
func (t thin) operands(x, dy []float32) (a, b kernel.Matrix, rows, cols int) {
	if t.swapped {
		return kernel.Rows(dy, t.out).Transposed(), kernel.Rows(x, t.in), t.out, t.in
	}
	return kernel.Rows(x, t.in).Transposed(), kernel.Rows(dy, t.out), t.in, t.out
}

// part computes it from n rows.
func (t thin) part(to, x, dy []float32, n int) {
	a, b, rows, cols := t.operands(x, dy)
	kernel.Gemm(kernel.Rows(to, cols), a, b, rows, cols, n, false)
}
