package kernel

// gemmArgs is struct gemm of csrc/gemm.c.
type gemmArgs struct {
	a, b, c                              *float32
	m, n, k, aRow, aCol, bRow, cRow, add int
}

// A block of rows of a stays in the second cache while the panels of b pass by: gemmBlock of its elements are multiplied in
// one call, short enough for the scheduler (assembly is not preempted), and gemmWhole of them before the next panel.
const (
	gemmBlock = 48 << 10
	gemmWhole = 256 << 10
)

// deep is how many products a call sums at most: a multiple of tileDeep. So much of a panel of b stays in the first cache.
func (s set) deep() int {
	if s == avx512 {
		return 2 * tileDeep
	}
	return 5 * tileDeep
}

// gemmSIMD is Gemm in vector code: a block of rows of a at a time, by panels of a few vectors of b. A panel of c stays in the
// second cache, beside the block, until all its products are summed.
func gemmSIMD(s set, c, a, b Matrix, m, n, k int, add bool) {
	width := s.lanes()
	vectors := (n + width - 1) / width
	panels := (vectors + s.panel() - 1) / s.panel()
	deep := s.deep()
	block := max(min(gemmBlock/min(k, deep), gemmWhole/k)/48, 1) * 48 // a multiple of every tile's rows
	for i := 0; i < m; i += block {
		from := 0
		for j := range panels {
			to := min(vectors*(j+1)/panels*width, n)
			for p := 0; p < k; p += deep {
				args := gemmArgs{
					a: &a.Data[i*a.Row+p*a.Col], b: &b.Data[p*b.Row+from], c: &c.Data[i*c.Row+from],
					m: min(m-i, block), n: to - from, k: min(k-p, deep),
					aRow: a.Row, aCol: a.Col, bRow: b.Row, cRow: c.Row,
				}
				if add || p > 0 {
					args.add = 1
				}
				s.gemm(&args)
			}
			from = to
		}
	}
}

// lanes are the floats in a vector.
func (s set) lanes() int { return [...]int{generic: 1, avx2: 8, avx512: 16, neon: 4}[s] }

// panel is how many vectors of columns a call of gemm takes.
func (s set) panel() int {
	if s == avx2 {
		return 2
	}
	return 4
}

// transposeArgs is struct transpose of csrc/transpose.c.
type transposeArgs struct {
	src, dst           *float32
	rows, cols, r0, r1 int
}

func transposeSIMD(s set, dst, src []float32, rows, cols int) {
	if rows <= 0 || cols <= 0 {
		return
	}
	_, _ = dst[rows*cols-1], src[rows*cols-1]
	step := max(callLen/(16*cols), 1) * 16 // whole blocks
	for r := 0; r < rows; r += step {
		s.transpose(&transposeArgs{&src[0], &dst[0], rows, cols, r, min(r+step, rows)})
	}
}
