package kernel

// gemmArgs is struct gemm of csrc/gemm.c.
type gemmArgs struct {
	a, b, c                              *float32
	m, n, k, aRow, aCol, bRow, cRow, add int
	soon, right                          *float32 // what a later call reads: soons rows of copiedDeep, soonRow apart, and its b; nil: not known
	soonRow, soons                       int
}

// A block of rows of a stays in the second cache while the panels of b pass by: gemmBlock of its elements are multiplied in
// one call, short enough for the scheduler (assembly is not preempted), and gemmWhole of them before the next panel.
const (
	gemmBlock = 48 << 10
	gemmWhole = 256 << 10
)

// A block of c that gemmCopied works on stays in the second cache: copiedRows by copiedCols. What it copies of a at once, on
// its stack, is copiedRows by copiedDeep; csrc/gemm.c knows rows of copiedDeep floats.
const (
	copiedRows = 288
	copiedCols = 1024
	copiedDeep = 2 * tileDeep
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
	if s != neon && a.Col == 1 && m >= copiedRows/2 && n >= copiedCols/2 && k >= copiedDeep {
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

// gemmCopied works on blocks of c: it copies some columns of a block of rows of a and multiplies the copy by panels of b, while
// the block of c stays in the second cache. Rows of a wide matrix lie whole pages apart: each would take the place of another
// in the first cache.
func gemmCopied(s set, c, a, b Matrix, m, n, k int, add bool) {
	rows, cols := evenly(m, copiedRows, 6), evenly(n, copiedCols, s.panel()*s.lanes()) // tiles have 6 rows
	for j := 0; j < n; j += cols {
		for i := 0; i < m; i += rows {
			gemmCopiedBlock(s, c.From(i, j), a.From(i, 0), b.From(0, j), min(m-i, rows), min(n-j, cols), k, add)
		}
	}
}

// evenly cuts n into as few parts as there can be of at most most, which are alike but for the last, in units.
func evenly(n, most, unit int) int {
	parts := (n + most - 1) / most
	return ((n+parts-1)/parts + unit - 1) / unit * unit
}

// gemmCopiedBlock is one block. What is copied next, and the next panel of b, are fetched meanwhile.
func gemmCopiedBlock(s set, c, a, b Matrix, m, n, k int, add bool) {
	var copied [copiedRows * copiedDeep]float32
	for p := 0; p < k; p += copiedDeep {
		next := p + copiedDeep
		s.gatherRows(copied[:], a.From(0, p), m, min(k, next)-p)
		for from := 0; from < n; {
			to := s.panelEnd(from, n)
			args := panelArgs(c.From(0, from), Rows(copied[:], copiedDeep), b.From(p, from), m, to-from, min(k, next)-p, add || p > 0)
			if next < k {
				first, last := m*from/n, m*to/n // a share of the rows
				args.soon, args.soonRow, args.soons = &a.Data[first*a.Row+next], a.Row, last-first
			}
			switch {
			case to < n:
				args.right = &b.Data[p*b.Row+to]
			case next < k:
				args.right = &b.Data[next*b.Row]
			}
			s.gemm(&args)
			from = to
		}
	}
}

// gatherArgs is struct gather of csrc/gemm.c.
type gatherArgs struct {
	from, to  *float32
	n, stride int
}

// gatherRows copies so many floats of n rows of a, copiedDeep apart.
func (s set) gatherRows(to []float32, a Matrix, n, floats int) {
	if floats == copiedDeep {
		s.gather(&gatherArgs{&a.Data[0], &to[0], n, a.Row})
		return
	}
	for r := range n {
		copy(to[r*copiedDeep:][:floats], a.From(r, 0).Data)
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
