package kernel

// gemmArgs is struct gemm of csrc/gemm.c.
type gemmArgs struct {
	a, b, c                              *float32
	m, n, k, aRow, aCol, bRow, cRow, add int
	soon                                 *float32 // soons rows of copiedDeep, soonRow apart, that a later call reads
	soonRow, soons                       int
}

// A block of rows of a stays in the second cache while the panels of b pass by: gemmBlock of its elements are multiplied in
// one call, short enough for the scheduler (assembly is not preempted), and gemmWhole of them before the next panel.
const (
	gemmBlock = 48 << 10
	gemmWhole = 256 << 10
)

// What gemmCopied copies at once, on its stack, and from how many columns of b on that pays. csrc/gemm.c fetches rows of
// copiedDeep floats.
const (
	copiedRows = 288
	copiedDeep = 2 * tileDeep
	copiedCols = 512
)

// deep is how many products a call sums at most: a multiple of tileDeep. So much of a panel of b stays in the first cache.
func (s set) deep() int {
	if s == avx512 {
		return copiedDeep
	}
	return 5 * tileDeep
}

// gemmSIMD is Gemm in vector code: a block of rows of a at a time, by panels of a few vectors of b. A panel of c stays in the
// second cache, beside the block, until all its products are summed.
func gemmSIMD(s set, c, a, b Matrix, m, n, k int, add bool) {
	if s != neon && a.Col == 1 && m >= copiedRows/2 && n >= copiedCols && k >= copiedDeep {
		gemmCopied(s, c, a, b, m, n, k, add)
		return
	}
	deep := s.deep()
	block := max(min(gemmBlock/min(k, deep), gemmWhole/k)/48, 1) * 48 // a multiple of every tile's rows
	for i := 0; i < m; i += block {
		for from := 0; from < n; {
			to := s.panelEnd(from, n)
			for p := 0; p < k; p += deep {
				gemmPanel(s, c.From(i, from), a.From(i, p), b.From(p, from), min(m-i, block), to-from, min(k-p, deep), add || p > 0)
			}
			from = to
		}
	}
}

// gemmCopied copies some columns of a block of rows of a and multiplies the copy by all panels of b, while the block's rows
// of c stay in the second cache. Rows of a wide matrix lie whole pages apart: each would take the place of another in the
// first cache. What is copied next, and the next panel of b, are fetched meanwhile.
func gemmCopied(s set, c, a, b Matrix, m, n, k int, add bool) {
	var copied [copiedRows * copiedDeep]float32
	blocks := (m + copiedRows - 1) / copiedRows
	block := ((m+blocks-1)/blocks + 5) / 6 * 6 // all alike; 6 rows are a tile
	for i := 0; i < m; i += block {
		rows := min(m-i, block)
		for p := 0; p < k; p += copiedDeep {
			deep := min(k-p, copiedDeep)
			for r := range rows {
				copy(copied[r*copiedDeep:][:deep], a.From(i+r, p).Data)
			}
			for from := 0; from < n; {
				to := s.panelEnd(from, n)
				args := panelArgs(c.From(i, from), Rows(copied[:], copiedDeep), b.From(p, from), rows, to-from, deep, add || p > 0)
				if p+2*copiedDeep <= k { // a share of the rows that are copied next
					first, last := rows*from/n, rows*to/n
					args.soon, args.soonRow, args.soons = &a.Data[(i+first)*a.Row+p+copiedDeep], a.Row, last-first
				}
				s.gemm(&args)
				from = to
			}
		}
	}
}

// gemmPanel is one call.
func gemmPanel(s set, c, a, b Matrix, m, n, k int, add bool) {
	args := panelArgs(c, a, b, m, n, k, add)
	s.gemm(&args)
}

func panelArgs(c, a, b Matrix, m, n, k int, add bool) gemmArgs {
	args := gemmArgs{
		a: &a.Data[0], b: &b.Data[0], c: &c.Data[0], m: m, n: n, k: k, aRow: a.Row, aCol: a.Col, bRow: b.Row, cRow: c.Row,
	}
	if add {
		args.add = 1
	}
	return args
}

// panelEnd is the column before which a panel ends that begins at from, of n columns: panels are about equally wide.
func (s set) panelEnd(from, n int) int {
	vectors := (n - from + s.lanes() - 1) / s.lanes()
	panels := (vectors + s.panel() - 1) / s.panel()
	return min(from+vectors/panels*s.lanes(), n)
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
