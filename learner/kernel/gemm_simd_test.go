package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// product is a case of Gemm on guarded memory.
type product struct {
	m, n, k         int
	a, b, c         guarded
	aRow, aCol, pad int
}

// newProduct draws matrices; layout 0 has a row-major, 1 transposed, and 2 with gaps in both directions.
func newProduct(r *rand.Rand, m, n, k, layout, pad int) product {
	p := product{m: m, n: n, k: k, aRow: k + pad, aCol: 1, pad: pad}
	switch layout {
	case 1:
		p.aRow, p.aCol = 1, m+pad
	case 2:
		p.aRow, p.aCol = 2*(k+pad)+1, 2
	}
	p.a = newGuarded((m-1)*p.aRow + (k-1)*p.aCol + 1).fill(r)
	p.b = newGuarded((k-1)*(n+pad) + n).fill(r)
	p.c = newGuarded((m-1)*(n+pad) + n).fill(r)
	return p
}

// run multiplies into a copy of c, the rows [0, cut) and the others apart.
func (p product) run(t *testing.T, s set, add bool, cut int) []float32 {
	t.Helper()
	c := newGuarded(len(p.c.Data))
	copy(c.Data, p.c.Data)
	out, a, b := Rows(c.Data, p.n+p.pad), Matrix{p.a.Data, p.aRow, p.aCol}, Rows(p.b.Data, p.n+p.pad)
	if cut > 0 {
		gemm(s, out, a, b, cut, p.n, p.k, add)
	}
	if cut < p.m {
		gemm(s, out.From(cut, 0), a.From(cut, 0), b, p.m-cut, p.n, p.k, add)
	}
	c.check(t)
	return c.Data
}

// verify compares a set with the generic code: they may differ by 5e-7 for each product, none of which is above 1. What is
// between the rows must be as it was, and a cut must not change a bit.
func (p product) verify(t *testing.T, s set, add bool) {
	t.Helper()
	got, want := p.run(t, s, add, 0), p.run(t, generic, add, 0)
	for i := range got {
		if i%(p.n+p.pad) >= p.n {
			if got[i] != p.c.Data[i] {
				t.Fatalf("%v %d×%d×%d: wrote beside column %d", s, p.m, p.n, p.k, p.n)
			}
		} else if !near(got[i], want[i], float64(p.k+1), 5e-7) {
			t.Fatalf("%v %d×%d×%d add %v, a (%d, %d): element %d is %v, want %v", s, p.m, p.n, p.k, add, p.aRow, p.aCol, i, got[i], want[i])
		}
	}
	if cut := p.m / 3; !slices.Equal(got, p.run(t, s, add, cut)) {
		t.Fatalf("%v %d×%d×%d: differs when cut at row %d", s, p.m, p.n, p.k, cut)
	}
}

func TestGemmSets(t *testing.T) {
	for _, s := range vectors(t) {
		r := rand.New(rand.NewPCG(1, uint64(s)))
		for m := 1; m <= 27; m++ {
			for n := 1; n <= 67; n += 1 + n/20 {
				newProduct(r, m, n, 1+(m+n)%9, (m+n)%3, n%2).verify(t, s, m%2 == 0)
			}
		}
		for _, shape := range [][3]int{
			{1, 1, 255}, {3, 5, 256}, {5, 3, 257}, {9, 10, 1280}, {100, 8, 16}, {97, 96, 16}, {50, 80, 33}, {385, 17, 256},
			{200, 16, 520}, {8, 16, 1000}, {16, 96, 600}, {3075, 9, 3}, {271, 513, 97}, {132, 576, 200}, {150, 530, 290},
		} {
			for layout := range 3 {
				newProduct(r, shape[0], shape[1], shape[2], layout, layout).verify(t, s, layout == 1)
			}
		}
	}
}

// TestGemmPacked holds that packing is not seen in the result, in every set.
func TestGemmPacked(t *testing.T) {
	multiply := func(t *testing.T, p product, run func(c, a, b Matrix)) []float32 {
		c := newGuarded(len(p.c.Data))
		copy(c.Data, p.c.Data)
		run(Rows(c.Data, p.n+p.pad), Matrix{p.a.Data, p.aRow, p.aCol}, Rows(p.b.Data, p.n+p.pad))
		c.check(t)
		return c.Data
	}
	for _, s := range vectors(t) {
		r := rand.New(rand.NewPCG(5, uint64(s)))
		verify := func(m, n, k, layout int, add bool) {
			p := newProduct(r, m, n, k, layout, (m+n)%3)
			got := multiply(t, p, func(c, a, b Matrix) { gemmPacked(s, c, a, b, m, n, k, add) })
			want := multiply(t, p, func(c, a, b Matrix) { gemmSIMD(s, c, a, b, m, n, k, add) })
			if !slices.Equal(got, want) {
				t.Fatalf("%v %d×%d×%d, a (%d, %d), add %v: differs when packed", s, m, n, k, p.aRow, p.aCol, add)
			}
		}
		for m := 1; m <= 2*stripRows+1; m++ {
			for n := 1; n <= 67; n += 1 + n/20 {
				verify(m, n, 1+(m*n)%19, (m+n)%3, n%2 == 0)
			}
		}
		for layout := range 3 {
			verify(stripRows+5, packedCols+7, packedDeep+3, layout, layout == 1)
			verify(2*stripRows, 40, 2*packedDeep, layout, layout == 0)
		}
	}
}

func TestGemmPanicsOnShortSlices(t *testing.T) {
	long, short := make([]float32, 6), make([]float32, 5)
	for _, s := range available {
		for i := range 3 {
			data := [3][]float32{long, long, long}
			data[i] = short
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%v: no panic when matrix %d is short", s, i)
					}
				}()
				gemm(s, Rows(data[0], 2), Rows(data[1], 2), Rows(data[2][:len(data[2])-2], 2), 3, 2, 2, false)
			}()
		}
	}
}

func TestGemmAllocatesNothing(t *testing.T) {
	const m, n, k = packedFromM + 1, packedFromN + 1, packedFromK + 1
	a, b, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
	for _, s := range vectors(t) {
		run := func() { gemm(s, Rows(c, n), Rows(a, k), Rows(b, n), m, n, k, false) }
		if got := testing.AllocsPerRun(5, run); got != 0 {
			t.Errorf("%v: a product allocates %v times", s, got)
		}
	}
}

func FuzzGemm(f *testing.F) {
	f.Add(uint64(1), uint16(7), uint8(9), uint16(30), uint8(0), true)
	f.Add(uint64(2), uint16(400), uint8(65), uint16(257), uint8(5), false)
	f.Add(uint64(3), uint16(299), uint8(199), uint16(100), uint8(24), true)
	f.Add(uint64(4), uint16(299), uint8(249), uint16(300), uint8(60), false) // packed
	f.Fuzz(func(t *testing.T, seed uint64, m uint16, n uint8, k uint16, layout uint8, add bool) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := newProduct(r, 1+int(m%512), (1+int(n))*(1+int(layout/12%6)), 1+int(k%600), int(layout%3), int(layout/3%4))
		for _, s := range vectors(t) {
			p.verify(t, s, add)
		}
	})
}

// BenchmarkGemm has a square product and the pointwise layers of MobileNetV2 0.5, forward and, as T, by the filter.
func BenchmarkGemm(b *testing.B) {
	for _, shape := range [][3]int{
		{256, 256, 256}, {4096, 96, 16}, {4096, 16, 96}, {4096, 8, 16}, {1024, 32, 96}, {1024, 192, 32}, {256, 480, 80},
		{256, 80, 480}, {192, 160, 960}, {192, 1280, 160}, {1024, 1024, 1024}, {512, 512, 512},
	} {
		m, n, k := shape[0], shape[1], shape[2]
		r, size := rand.New(rand.NewPCG(1, 2)), max(m*k, k*n, m*n)
		x, y, z := newGuarded(size).fill(r).Data, newGuarded(size).fill(r).Data, newGuarded(size).fill(r).Data
		measure := func(name string, run func(s set)) {
			for _, s := range available {
				b.Run(fmt.Sprintf("%dx%dx%d%s/%v", m, n, k, name, s), func(b *testing.B) {
					for b.Loop() {
						run(s)
					}
					b.ReportMetric(2*float64(m*n*k)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
				})
			}
		}
		measure("", func(s set) { gemm(s, Rows(z, n), Rows(x, k), Rows(y, n), m, n, k, false) })
		measure("T", func(s set) { gemm(s, Rows(y, n), Rows(x, k).Transposed(), Rows(z, n), k, n, m, false) })
	}
}
