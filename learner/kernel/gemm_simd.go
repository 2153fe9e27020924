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

// gemmPacked packs so many rows and columns of b at once, to stay in the second cache, and multiplies as many rows of a by them
// in one call as csrc/gemm.c has in a strip.
const (
	packedDeep  = 2 * tileDeep
	packedCols  = 1024
	stripRows   = 12
	packedFromM = 144 // below these sizes, packing costs more than it saves
	packedFromN = 512
	packedFromK = 3 * tileDeep
)

// deep is how many products a call sums at most: a multiple of tileDeep. So much of a panel of b stays in the first cache.
func (s set) deep() int {
	if s == avx512 {
		return tileDeep
	}
	return 3 * tileDeep
}

// gemmSIMD is Gemm in vector code: a block of rows of a at a time, by panels of a few vectors of b. A panel of c stays in the
// second cache, beside the block, until all its products are summed.
func gemmSIMD(s set, c, a, b Matrix, m, n, k int, add bool) {
	if s != neon && m >= packedFromM && n >= packedFromN && k >= packedFromK { // small ARM cores share a second cache
		gemmPacked(s, c, a, b, m, n, k, add)
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

// panelsArgs is struct panels of csrc/gemm.c, and stripArgs is struct strip.
type (
	panelsArgs struct {
		b, panels  *float32
		n, k, bRow int
	}
	stripArgs struct {
		a, panels, c                   *float32
		next                           *float32 // the rows that are multiplied after these; nil: there are none
		m, n, k, aRow, aCol, cRow, add int
	}
)

// packed has room for a part of b.
type packed [packedDeep * packedCols]float32

// sparePacked has those that were used before: a product allocates nothing.
var sparePacked = make(chan *packed, 64)

// gemmPacked is for products that do not fit into the second cache. Rows of a pass over packed parts of b, one strip after
// another, and c is written along its rows (Van Zee and van de Geijn, BLIS, 2015, with the two operands exchanged).
func gemmPacked(s set, c, a, b Matrix, m, n, k int, add bool) {
	var p *packed
	select {
	case p = <-sparePacked:
	default:
		p = new(packed)
	}
	cols := evenly(n, packedCols, 2*s.lanes())
	for j := 0; j < n; j += cols {
		for i := 0; i < k; i += packedDeep {
			s.multiplyPacked(p, c.From(0, j), a.From(0, i), b.From(i, j), m, min(n-j, cols), min(k-i, packedDeep), add || i > 0)
		}
	}
	select {
	case sparePacked <- p:
	default:
	}
}

// evenly cuts n into as few parts as there can be of at most most, which are alike but for the last, in units.
func evenly(n, most, unit int) int {
	parts := (n + most - 1) / most
	return ((n+parts-1)/parts + unit - 1) / unit * unit
}

// multiplyPacked is one part of b.
func (s set) multiplyPacked(p *packed, c, a, b Matrix, m, n, k int, add bool) {
	s.panels(&panelsArgs{&b.Data[0], &p[0], n, k, b.Row})
	for i := 0; i < m; i += stripRows {
		args := stripArgs{
			a: &a.Data[i*a.Row], panels: &p[0], c: &c.Data[i*c.Row], m: min(m-i, stripRows), n: n, k: k, aRow: a.Row, aCol: a.Col, cRow: c.Row,
		}
		if i+stripRows < m && a.Col == 1 {
			args.next = &a.Data[(i+stripRows)*a.Row]
		}
		if add {
			args.add = 1
		}
		s.strip(&args)
	}
}

// gemmPanel is one call.
func gemmPanel(s set, c, a, b Matrix, m, n, k int, add bool) {
	args := gemmArgs{
		a: &a.Data[0], b: &b.Data[0], c: &c.Data[0], m: m, n: n, k: k, aRow: a.Row, aCol: a.Col, bRow: b.Row, cRow: c.Row,
	}
	if add {
		args.add = 1
	}
	s.gemm(&args)
}

// panelEnd is the column before which a panel ends that begins at from, of n columns: panels are about equally wide.
func (s set) panelEnd(from, n int) int {
	vectors := (n - from + s.lanes() - 1) / s.lanes()
	panels := (vectors + s.panel() - 1) / s.panel()
	return min(from+vectors/panels*s.lanes(), n)
}

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
