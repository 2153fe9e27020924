package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// use makes the process use a set until the test ends; tests of this package do not run side by side.
func use(t testing.TB, s set) {
	before := chosen.Load()
	chosen.Store(uint32(s) + 1)
	t.Cleanup(func() { chosen.Store(before) })
}

// memory hands out guarded slices and remembers them, for comparison with another run of the same kernel.
type memory struct {
	r     *rand.Rand
	wild  bool // some are NaN, infinite, zeros of both signs or where an activation bends
	given []guarded
}

// floats are multiples of 1/32 in [-2, 2): sums of their products are exact, in any order and fused or not.
func (m *memory) floats(n int) []float32 {
	g := newGuarded(max(n, 0))
	special := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 6}
	for i := range g.Data {
		g.Data[i] = float32(m.r.IntN(128)-64) / 32
		if m.wild && m.r.IntN(12) == 0 {
			g.Data[i] = float32(special[m.r.IntN(len(special))])
		}
	}
	m.given = append(m.given, g)
	return g.Data
}

// same fails unless two runs left the same values everywhere, within tolerance times their size, and all guards whole.
func (m *memory) same(t *testing.T, want *memory, tolerance float64, what string) {
	t.Helper()
	for b, got := range m.given {
		got.check(t)
		for i, v := range got.Data {
			w := want.given[b].Data[i]
			if !near(v, w, 1+math.Abs(float64(w)), tolerance) {
				t.Fatalf("%s: slice %d has %v at %d of %d, want %v", what, b, v, i, len(got.Data), w)
			}
		}
	}
}

// compared runs a kernel in the generic and in every other set on the same values.
func compared(t *testing.T, seed uint64, tolerance float64, what string, run func(m *memory)) {
	t.Helper()
	for _, s := range vectors(t) {
		for _, wild := range []bool{false, true} {
			var runs [2]*memory
			for i, s := range []set{generic, s} {
				use(t, s)
				runs[i] = &memory{r: rand.New(rand.NewPCG(seed, 7)), wild: wild}
				run(runs[i])
			}
			runs[1].same(t, runs[0], tolerance, fmt.Sprintf("%v %s wild %v", s, what, wild))
		}
	}
}

// lengths are every small one, those around the vectors', and one that takes several calls.
func lengths() []int {
	var all []int
	for n := range 70 {
		all = append(all, n)
	}
	return append(all, 127, 128, 129, 1000, 2*callLen+5)
}

func TestVectorKernels(t *testing.T) {
	for _, n := range lengths() {
		what := fmt.Sprintf("of %d", n)
		compared(t, 1, 0, "add "+what, func(m *memory) { Add(m.floats(n), m.floats(n)) })
		compared(t, 1, 0, "add to itself "+what, func(m *memory) { x := m.floats(n); Add(x, x) })
		compared(t, 2, 0, "sum "+what, func(m *memory) { Sum(m.floats(n), m.floats(n), m.floats(n)) })
		compared(t, 3, 0, "axpy "+what, func(m *memory) { Axpy(m.floats(n), 0.75, m.floats(n)) })
		compared(t, 4, 0, "scale "+what, func(m *memory) { Scale(m.floats(n), 0.75) })
		for _, act := range []Clamp{None, ReLU, ReLU6, 1.5} {
			compared(t, 5, 0, "mask "+what, func(m *memory) { Mask(m.floats(n), m.floats(n), m.floats(n), act) })
		}
		for _, nesterov := range []bool{false, true} {
			compared(t, 6, 0, "descend "+what, func(m *memory) {
				Descend(m.floats(n), m.floats(n), m.floats(n), 0.125, 0.5, 0.25, nesterov)
			})
		}
	}
}

// rowsOf runs a test for shapes (rows, c) and a range of the rows.
func rowsOf(each func(what string, c, rows, r0, r1 int)) {
	for _, c := range []int{1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 15, 16, 17, 24, 31, 32, 33, 47, 48, 63, 64, 65, 72, 96, 100, 130, 960} {
		for _, rows := range []int{1, 2, 4, 5, 13, 64, 129} {
			if r0, r1 := rows/5, rows-rows/9; c < 34 || rows < 14 {
				each(fmt.Sprintf("rows [%d, %d) of %d×%d", r0, r1, rows, c), c, rows, r0, r1)
			}
		}
	}
	each("many rows", 24, 4000, 1, 3999)
	each("no rows", 24, 4, 2, 2)
}

func TestNormKernels(t *testing.T) {
	rowsOf(func(what string, c, rows, r0, r1 int) {
		n := rows * c
		if r0 < r1 {
			compared(t, 1, 3e-6, "moments "+what, func(m *memory) { Moments(m.floats(2*c), m.floats(n), c, r0, r1) })
		}
		compared(t, 2, 0, "columns "+what, func(m *memory) { Columns(m.floats(c), m.floats(n), c, r0, r1) })
		compared(t, 3, 0, "skip "+what, func(m *memory) {
			Normalize(m.floats(n), m.floats(n), m.floats(n), m.floats(c), m.floats(c), c, None, r0, r1)
		})
		for _, act := range []Clamp{None, ReLU, ReLU6} {
			what := fmt.Sprintf("%s, activation %v", what, act)
			compared(t, 4, 0, "normalize "+what, func(m *memory) {
				Normalize(m.floats(n), m.floats(n), nil, m.floats(c), m.floats(c), c, act, r0, r1)
			})
			compared(t, 5, 0, "normalize in place "+what, func(m *memory) {
				x := m.floats(n)
				Normalize(x, x, nil, m.floats(c), m.floats(c), c, act, r0, r1)
			})
			compared(t, 6, 0, "bias "+what, func(m *memory) { Bias(m.floats(n), m.floats(n), m.floats(c), c, act, r0, r1) })
			compared(t, 9, 0, "bias beside others "+what, func(m *memory) {
				BiasJoin(m.floats(rows*(c+5)), m.floats(n), m.floats(c), c, 3, c+5, act, r0, r1)
			})
			compared(t, 10, 0, "mask among others "+what, func(m *memory) {
				MaskCut(m.floats(n), m.floats(rows*(c+5)), m.floats(rows*(c+5)), c, 3, c+5, act, r0, r1)
			})
			compared(t, 7, 2e-6, "norm sums "+what, func(m *memory) {
				NormSums(m.floats(2*c), m.floats(n), m.floats(n), m.floats(c), m.floats(c), m.floats(c), c, act, r0, r1)
			})
			compared(t, 8, 0, "norm dx "+what, func(m *memory) {
				dx := m.floats(n)
				NormDX(dx, dx, m.floats(n), m.floats(c), m.floats(c), m.floats(c), m.floats(c), c, act, r0, r1)
			})
		}
	})
}

// windowsOf runs a test for images of all small sizes.
func windowsOf(each func(what string, h, w, c, n int)) {
	for _, c := range []int{1, 3, 4, 7, 8, 10, 15, 16, 17, 24, 32, 40, 48, 65} {
		for _, side := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}, {3, 3}, {4, 5}, {5, 4}, {8, 8}} {
			each(fmt.Sprintf("%d×%d×%d", side[0], side[1], c), side[0], side[1], c, 1+c%3)
		}
	}
	each("many calls", 24, 20, 96, 2)
}

func TestDepthwiseKernels(t *testing.T) {
	windowsOf(func(what string, h, w, c, n int) {
		for stride := 1; stride <= 2; stride++ {
			g := NewWindow(h, w, 3, stride, 1, false)
			in, out, what := n*h*w*c, n*g.OutH*g.OutW*c, fmt.Sprintf("%s by %d", what, stride)
			compared(t, 1, 0, "depthwise "+what, func(m *memory) {
				Depthwise(m.floats(out), m.floats(in), m.floats(9*c), g, c, n*g.OutH/4, n*g.OutH)
			})
			compared(t, 2, 0, "depthwise dx "+what, func(m *memory) {
				DepthwiseDX(m.floats(in), m.floats(out), m.floats(9*c), g, c, n*h/4, n*h)
			})
			compared(t, 3, 0, "depthwise dw "+what, func(m *memory) {
				DepthwiseDW(m.floats(9*c), m.floats(in), m.floats(out), g, c, n*g.OutH/3, n*g.OutH, c/5, c)
			})
		}
	})
}

func TestWindowKernels(t *testing.T) {
	windowsOf(func(what string, h, w, c, n int) {
		for _, g := range []Window{NewWindow(h, w, 3, 2, 0, true), NewWindow(h, w, 3, 2, 1, false), NewWindow(h, w, 2, 1, 1, true)} {
			if g.OutH < 1 || g.OutW < 1 || h+2*g.Pad < g.Size || w+2*g.Pad < g.Size {
				continue
			}
			in, out, what := n*h*w*c, n*g.OutH*g.OutW*c, fmt.Sprintf("%s by %d", what, g.Size)
			compared(t, 1, 0, "max pool "+what, func(m *memory) { MaxPool(m.floats(out), m.floats(in), g, c, n*g.OutH/3, n*g.OutH) })
			taps := g.Size * g.Size
			compared(t, 5, 0, "patches "+what, func(m *memory) {
				r0, r1, t0, t1 := n*g.OutH*g.OutW/3, n*g.OutH*g.OutW, c%taps, taps-(c/2)%(taps-c%taps)
				Patches(m.floats((r1-r0)*(t1-t0)*c), m.floats(in), g, c, r0, r1, t0, t1)
				Patches(m.floats(r1*taps*c), m.floats(in), g, c, 0, r1, 0, taps)
			})
			compared(t, 6, 0, "patches back "+what, func(m *memory) {
				PatchesBack(m.floats((n*h*w-n*h*w/3)*taps*c), m.floats(out), g, c, n*h*w/3, n*h*w)
			})
			compared(t, 2, 0, "max pool dx "+what, func(m *memory) {
				y, x := m.floats(out), m.floats(in)
				MaxPool(y, x, g, c, 0, n*g.OutH)
				MaxPoolDX(m.floats(in), m.floats(out), y, x, g, c, n/2, n)
			})
		}
		compared(t, 3, 1e-6, "average "+what, func(m *memory) { Average(m.floats(n*c), m.floats(n*h*w*c), h*w, c, n/2, n) })
		compared(t, 4, 0, "average dx "+what, func(m *memory) { AverageDX(m.floats(n*h*w*c), m.floats(n*c), h*w, c, n/2, n) })
	})
}

func TestTranspose(t *testing.T) {
	for rows := range 39 {
		for cols := 0; cols < 39; cols += 1 + rows%3 {
			compared(t, 1, 0, fmt.Sprintf("transpose %d×%d", rows, cols), func(m *memory) {
				Transpose(m.floats(rows*cols), m.floats(rows*cols), rows, cols)
			})
		}
	}
	compared(t, 1, 0, "transpose much", func(m *memory) { Transpose(m.floats(210*333), m.floats(210*333), 210, 333) })
}

// TestCutsDoNotShow holds the package's promise for kernels whose ranges a pool cuts: values with all their bits must come
// out the same.
func TestCutsDoNotShow(t *testing.T) {
	g, c, n := NewWindow(9, 7, 3, 2, 1, false), 50, 3
	r := rand.New(rand.NewPCG(3, 4))
	x, dy, w := newGuarded(n*9*7*c).fill(r).Data, newGuarded(n*g.OutH*g.OutW*c).fill(r).Data, newGuarded(9*c).fill(r).Data
	for _, s := range available {
		use(t, s)
		kernels := map[string]func(dst []float32, from, to int){
			"depthwise":    func(dst []float32, from, to int) { Depthwise(dst, x, w, g, c, from%(n*g.OutH), min(to, n*g.OutH)) },
			"depthwise dx": func(dst []float32, from, to int) { DepthwiseDX(dst, dy, w, g, c, from%(n*9), min(to, n*9)) },
			"depthwise dw": func(dst []float32, from, to int) { DepthwiseDW(dst, x, dy, g, c, 0, n*g.OutH, from, to) },
			"normalize": func(dst []float32, from, to int) {
				Normalize(dst, x, nil, w, w[c:], c, ReLU6, from, to)
			},
		}
		for name, run := range kernels {
			whole, cut := make([]float32, len(x)), make([]float32, len(x))
			last := 50
			switch name {
			case "depthwise":
				last = n * g.OutH
			case "depthwise dx":
				last = n * 9
			}
			run(whole, 0, last)
			for from := 0; from < last; from += 7 {
				run(cut, from, min(from+7, last))
			}
			if !slices.Equal(whole, cut) {
				t.Errorf("%v: %s differs when cut in sevens", s, name)
			}
		}
	}
}

// everything runs kernels on random values of a shape, with all their bits, and returns what they gave.
func everything(seed uint64, h, w, c, n, stride int) *memory {
	m := &memory{r: rand.New(rand.NewPCG(seed, 1))}
	draw := func(n int) []float32 {
		x := m.floats(n)
		for i := range x {
			x[i] = float32(m.r.NormFloat64())
		}
		return x
	}
	g := NewWindow(h, w, 3, stride, 1, false)
	rows, out := n*h*w, n*g.OutH*g.OutW*c
	x, dy, params := draw(rows*c), draw(out), draw(9*c)
	Depthwise(m.floats(out), x, params, g, c, 0, n*g.OutH)
	DepthwiseDX(m.floats(rows*c), dy, params, g, c, 0, n*h)
	DepthwiseDW(m.floats(9*c), x, dy, g, c, 0, n*g.OutH, 0, c)
	Moments(m.floats(2*c), x, c, 0, rows)
	Normalize(m.floats(rows*c), x, nil, params, params[c:], c, ReLU6, 0, rows)
	NormSums(m.floats(2*c), draw(rows*c), x, params, params[c:], params[2*c:], c, ReLU6, 0, rows)
	NormDX(m.floats(rows*c), draw(rows*c), x, params, params[c:], params[2*c:], params[3*c:], c, ReLU, 0, rows)
	Bias(m.floats(rows*c), x, params, c, ReLU, 0, rows)
	MaxPool(m.floats(out), x, g, c, 0, n*g.OutH)
	Descend(draw(out), draw(out), dy, 0.1, 0.9, 1e-4, stride == 2)
	Gemm(Rows(m.floats(c*c), c), Rows(x, c).Transposed(), Rows(draw(rows*c), c), c, c, rows, true)
	Gemm(Rows(m.floats(rows*9), 9), Rows(x, c), Rows(params, 9), rows, 9, c, false)
	return m
}

// setsAgree checks that the vector sets give the same bits.
func setsAgree(t *testing.T, seed uint64, h, w, c, n, stride int) {
	t.Helper()
	var first *memory
	for _, s := range vectors(t) {
		use(t, s)
		m := everything(seed, h, w, c, n, stride)
		if first == nil {
			first = m
		}
		m.same(t, first, 0, fmt.Sprintf("%v against %v, %d×%d×%d×%d by %d", s, vectors(t)[0], n, h, w, c, stride))
	}
}

func TestVectorSetsAgree(t *testing.T) {
	for c := 1; c < 100; c += 1 + c/8 {
		setsAgree(t, uint64(c), 1+c%6, 5, c, 2, 1+c%2)
	}
	setsAgree(t, 1, 16, 16, 96, 3, 1)
}

func FuzzSets(f *testing.F) {
	f.Add(uint64(1), uint8(3), uint8(4), uint16(5), uint8(2))
	f.Add(uint64(2), uint8(1), uint8(9), uint16(96), uint8(1))
	f.Fuzz(func(t *testing.T, seed uint64, h, w uint8, c uint16, stride uint8) {
		setsAgree(t, seed, 1+int(h%12), 1+int(w%12), 1+int(c%200), 1+int(seed%3), 1+int(stride%2))
	})
}

// TestNothingIsAllocated holds the other promise.
func TestNothingIsAllocated(t *testing.T) {
	g, c := NewWindow(8, 8, 3, 1, 1, false), 24
	x, y, z, w := make([]float32, 64*c), make([]float32, 64*c), make([]float32, 64*c), make([]float32, 9*c)
	for _, s := range available {
		use(t, s)
		allocs := testing.AllocsPerRun(5, func() {
			Gemm(Rows(z, c), Rows(x, c), Rows(y, c), 64, c, c, true)
			Depthwise(y, x, w, g, c, 0, 8)
			DepthwiseDX(y, x, w, g, c, 0, 8)
			DepthwiseDW(w, x, y, g, c, 0, g.OutH, 0, c)
			Moments(w, x, c, 0, 64)
			Normalize(y, x, nil, w, w, c, ReLU6, 0, 64)
			NormSums(w, y, x, w[2*c:], w[3*c:], w[4*c:], c, ReLU6, 0, 64)
			NormDX(y, y, x, w, w, w, w, c, ReLU6, 0, 64)
			Bias(y, x, w, c, ReLU, 0, 64)
			Mask(y, y, x, ReLU)
			MaxPool(y, x, NewWindow(8, 8, 3, 2, 0, true), c, 0, 4)
			MaxPoolDX(z, y, y, x, NewWindow(8, 8, 3, 2, 0, true), c, 0, 1)
			Descend(x, y, z, 0.1, 0.9, 0, true)
			Axpy(x, 2, y)
		})
		if allocs != 0 {
			t.Errorf("%v: %v allocations", s, allocs)
		}
	}
}

// BenchmarkPasses has the kernels that memory bounds, on a layer of MobileNetV2 0.5 at 128×128 with 4 images.
func BenchmarkPasses(b *testing.B) {
	g, c, n := NewWindow(32, 32, 3, 1, 1, false), 96, 4
	size := n * g.H * g.W * c
	r := rand.New(rand.NewPCG(1, 2))
	x, y, p := newGuarded(size).fill(r).Data, newGuarded(size).fill(r).Data, newGuarded(16*c).fill(r).Data
	const rows = 128
	blocks := func(run func(r0, r1 int)) {
		for r := 0; r < size/c; r += rows {
			run(r, r+rows)
		}
	}
	for _, k := range []struct {
		name   string
		passes int // over memory
		run    func()
	}{
		{"copy", 2, func() { copy(y, x) }},
		{"depthwise", 2, func() { Depthwise(y, x, p, g, c, 0, n*g.H) }},
		{"depthwise dx", 2, func() { DepthwiseDX(y, x, p, g, c, 0, n*g.H) }},
		{"depthwise dw", 2, func() { DepthwiseDW(p, x, y, g, c, 0, n*g.OutH, 0, c) }},
		{"moments", 1, func() { blocks(func(r0, r1 int) { Moments(p, x, c, r0, r1) }) }},
		{"normalize", 2, func() { blocks(func(r0, r1 int) { Normalize(y, x, nil, p, p[c:], c, ReLU6, r0, r1) }) }},
		{"norm sums", 2, func() { blocks(func(r0, r1 int) { NormSums(p, y, x, p[2*c:], p[3*c:], p[4*c:], c, ReLU6, r0, r1) }) }},
		{"norm dx", 3, func() { blocks(func(r0, r1 int) { NormDX(y, y, x, p, p[c:], p[2*c:], p[3*c:], c, ReLU6, r0, r1) }) }},
	} {
		for _, s := range available {
			b.Run(k.name+"/"+s.String(), func(b *testing.B) {
				use(b, s)
				b.SetBytes(int64(4 * k.passes * size))
				for b.Loop() {
					k.run()
				}
			})
		}
	}
}
