package kernel

// Matrix is a view of a matrix: element (i, j) is Data[i·Row+j·Col].
type Matrix struct {
	Data     []float32
	Row, Col int
}

// Rows is the view of row-major data with width columns.
func Rows(data []float32, width int) Matrix { return Matrix{Data: data, Row: width, Col: 1} }

// Transposed is the same matrix with rows and columns exchanged.
func (m Matrix) Transposed() Matrix { return Matrix{Data: m.Data, Row: m.Col, Col: m.Row} }

// From is the matrix without its first i rows and j columns.
func (m Matrix) From(i, j int) Matrix {
	return Matrix{Data: m.Data[i*m.Row+j*m.Col:], Row: m.Row, Col: m.Col}
}

// The tile that stays in registers, and how many products are summed there before they are added to the result.
const (
	tileRows = 4
	tileCols = 4
	tileDeep = 96
)

// Gemm computes c = a·b, or c += a·b with add, where c is (m, n), a is (m, k) and b is (k, n). a may have any strides,
// while b and c must have Col 1. Each element sums its products in order of k, in blocks of 96, and then the blocks: short
// sums keep the rounding small.
func Gemm(c, a, b Matrix, m, n, k int, add bool) {
	if c.Col != 1 || b.Col != 1 {
		panic("kernel: Gemm: columns of b and c must be adjacent")
	}
	if m <= 0 || n <= 0 {
		return
	}
	if k <= 0 {
		zeroRows(c, m, n, add)
		return
	}
	gemm(active(), c, a, b, m, n, k, add)
}

func gemm(s set, c, a, b Matrix, m, n, k int, add bool) {
	if s == generic {
		gemmGeneric(c, a, b, m, n, k, add)
		return
	}
	_, _, _ = a.Data[(m-1)*a.Row+(k-1)*a.Col], b.Data[(k-1)*b.Row+n-1], c.Data[(m-1)*c.Row+n-1] // vector code checks nothing
	gemmSIMD(s, c, a, b, m, n, k, add)
}

// zeroRows is a product of no terms.
func zeroRows(c Matrix, m, n int, add bool) {
	for i := 0; i < m && !add; i++ {
		clear(c.Data[i*c.Row:][:n])
	}
}

func gemmGeneric(c, a, b Matrix, m, n, k int, add bool) {
	for p := 0; p < k; p += tileDeep {
		deep := min(k-p, tileDeep)
		a, b := a.From(0, p), b.From(p, 0)
		for i := 0; i < m; i += tileRows {
			gemmRows(c.From(i, 0), a.From(i, 0), b, min(m-i, tileRows), n, deep, add || p > 0)
		}
	}
}

// gemmRows is a strip of at most tileRows rows.
func gemmRows(c, a, b Matrix, m, n, k int, add bool) {
	j := 0
	for ; j+tileCols <= n; j += tileCols {
		if m == tileRows {
			tile4x4(c.Data[j:], c.Row, a, b.Data[j:], b.Row, k, add)
			continue
		}
		for i := range m {
			tile1x4(c.Data[i*c.Row+j:], a.From(i, 0), b.Data[j:], b.Row, k, add)
		}
	}
	for ; j < n; j++ {
		for i := range m {
			tile1x1(c.Data[i*c.Row+j:], a.From(i, 0), b.Data[j:], b.Row, k, add)
		}
	}
}

// tile4x4 has its sixteen sums in registers.
func tile4x4(c []float32, ldc int, a Matrix, b []float32, ldb, k int, add bool) {
	var c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23, c30, c31, c32, c33 float32
	span := (k-1)*a.Col + 1
	a0, a1, a2, a3 := a.Data[:span], a.Data[a.Row:][:span], a.Data[2*a.Row:][:span], a.Data[3*a.Row:][:span]
	for i, j := 0, 0; i < len(a0); i, j = i+a.Col, j+ldb {
		row := (*[tileCols]float32)(b[j:])
		b0, b1, b2, b3 := row[0], row[1], row[2], row[3]
		x := a0[i]
		c00 += x * b0
		c01 += x * b1
		c02 += x * b2
		c03 += x * b3
		x = a1[i]
		c10 += x * b0
		c11 += x * b1
		c12 += x * b2
		c13 += x * b3
		x = a2[i]
		c20 += x * b0
		c21 += x * b1
		c22 += x * b2
		c23 += x * b3
		x = a3[i]
		c30 += x * b0
		c31 += x * b1
		c32 += x * b2
		c33 += x * b3
	}
	put4(c, c00, c01, c02, c03, add)
	put4(c[ldc:], c10, c11, c12, c13, add)
	put4(c[2*ldc:], c20, c21, c22, c23, add)
	put4(c[3*ldc:], c30, c31, c32, c33, add)
}

// tile1x4 is a single row at the lower edge.
func tile1x4(c []float32, a Matrix, b []float32, ldb, k int, add bool) {
	var c0, c1, c2, c3 float32
	for i, j, p := 0, 0, 0; p < k; i, j, p = i+a.Col, j+ldb, p+1 {
		row := (*[tileCols]float32)(b[j:])
		x := a.Data[i]
		c0 += x * row[0]
		c1 += x * row[1]
		c2 += x * row[2]
		c3 += x * row[3]
	}
	put4(c, c0, c1, c2, c3, add)
}

// tile1x1 is a single element at the right edge.
func tile1x1(c []float32, a Matrix, b []float32, ldb, k int, add bool) {
	var sum float32
	for i, j, p := 0, 0, 0; p < k; i, j, p = i+a.Col, j+ldb, p+1 {
		sum += a.Data[i] * b[j]
	}
	if add {
		sum += c[0]
	}
	c[0] = sum
}

func put4(c []float32, s0, s1, s2, s3 float32, add bool) {
	row := (*[tileCols]float32)(c)
	if add {
		s0, s1, s2, s3 = s0+row[0], s1+row[1], s2+row[2], s3+row[3]
	}
	row[0], row[1], row[2], row[3] = s0, s1, s2, s3
}

// Transpose writes the transpose of src, (rows, cols) row-major, to dst, (cols, rows) row-major.
func Transpose(dst, src []float32, rows, cols int) {
	if s := active(); s != generic {
		transposeSIMD(s, dst, src, rows, cols)
		return
	}
	const block = 16 // both sides of a block stay in the first cache
	for r0 := 0; r0 < rows; r0 += block {
		for c0 := 0; c0 < cols; c0 += block {
			for r := r0; r < min(r0+block, rows); r++ {
				for c, v := range src[r*cols+c0 : r*cols+min(c0+block, cols)] {
					dst[(c0+c)*rows+r] = v
				}
			}
		}
	}
}
