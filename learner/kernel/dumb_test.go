package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// The generic loops are compared here with dumb alternatives in float64; vector code is compared with the generic loops
// elsewhere.

// generically runs a test with the loops in Go.
func generically(t *testing.T) *rand.Rand {
	t.Helper()
	if err := Choose("generic"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Choose(""); err != nil {
			t.Error(err)
		}
	})
	return rand.New(rand.NewPCG(1, 2))
}

// agree fails unless got is want within rounding of sums of some terms of about one, and its guards are whole.
func agree(t *testing.T, what string, got guarded, want []float64) {
	t.Helper()
	got.check(t)
	for i, v := range got.Data {
		if math.Abs(float64(v)-want[i]) > 2e-6*(4+math.Abs(want[i])) {
			t.Fatalf("%s: element %d of %d is %v, want %v", what, i, len(want), v, want[i])
		}
	}
}

func TestGemmAgainstDumb(t *testing.T) {
	rng := generically(t)
	for _, m := range []int{1, 2, 3, 4, 5, 8, 13} {
		for _, n := range []int{1, 3, 4, 5, 10, 17} {
			for _, k := range []int{1, 2, 7, 300} {
				for _, add := range []bool{false, true} {
					wide := n + 3
					a, b, c := newGuarded(m*k).fill(rng), newGuarded((k-1)*wide+n).fill(rng), newGuarded((m-1)*wide+n).fill(rng)
					for _, at := range []Matrix{Rows(a.Data, k), Rows(a.Data, m).Transposed()} {
						want := make([]float64, len(c.Data))
						for i := range want {
							want[i] = float64(c.Data[i])
							if row, col := i/wide, i%wide; col < n {
								if !add {
									want[i] = 0
								}
								for p := range k {
									want[i] += float64(at.Data[row*at.Row+p*at.Col]) * float64(b.Data[p*wide+col])
								}
							}
						}
						Gemm(Rows(c.Data, wide), at, Rows(b.Data, wide), m, n, k, add)
						agree(t, fmt.Sprintf("(%d, %d)·(%d, %d), add %v", m, k, k, n, add), c, want)
					}
				}
			}
		}
	}
	c := newGuarded(6).fill(rng)
	Gemm(Rows(c.Data, 3), Matrix{}, Matrix{Col: 1}, 2, 3, 0, true)
	if c.Data[0] == 0 {
		t.Error("adding no products changed the result")
	}
	Gemm(Rows(c.Data, 3), Matrix{}, Matrix{Col: 1}, 2, 3, 0, false)
	agree(t, "no products", c, make([]float64, 6))
}

func TestTransposeAgainstDumb(t *testing.T) {
	rng := generically(t)
	for _, rows := range []int{1, 2, 15, 16, 17, 40} {
		for _, cols := range []int{1, 3, 16, 33} {
			src, dst := newGuarded(rows*cols).fill(rng), newGuarded(rows*cols)
			want := make([]float64, rows*cols)
			for i := range want {
				want[i] = float64(src.Data[i%rows*cols+i/rows])
			}
			Transpose(dst.Data, src.Data, rows, cols)
			agree(t, fmt.Sprintf("%d×%d", rows, cols), dst, want)
		}
	}
}

// frames are images and windows with every kind of edge.
func frames(each func(what string, g Window, c, n int)) {
	for _, side := range [][2]int{{1, 1}, {2, 3}, {5, 4}, {7, 8}} {
		for _, shape := range []struct {
			size, stride, pad int
			ceil              bool
		}{{1, 1, 0, false}, {3, 1, 1, false}, {3, 2, 1, false}, {3, 2, 0, true}, {3, 2, 0, false}, {2, 3, 1, true}} {
			if side[0]+2*shape.pad < shape.size || side[1]+2*shape.pad < shape.size {
				continue
			}
			g := NewWindow(side[0], side[1], shape.size, shape.stride, shape.pad, shape.ceil)
			for _, c := range []int{1, 3, 8} {
				each(fmt.Sprintf("%+v of %d channels", g, c), g, c, 2)
			}
		}
	}
}

// meetings visits each output, tap and input of a window that meet, as indices of pixels.
func meetings(g Window, n int, visit func(out, tap, in int)) {
	for out := range n * g.OutH * g.OutW {
		for tap := range g.Size * g.Size {
			y := out/g.OutW%g.OutH*g.Stride - g.Pad + tap/g.Size
			x := out%g.OutW*g.Stride - g.Pad + tap%g.Size
			if y >= 0 && y < g.H && x >= 0 && x < g.W {
				visit(out, tap, (out/(g.OutW*g.OutH)*g.H+y)*g.W+x)
			}
		}
	}
}

func TestPatchesAgainstDumb(t *testing.T) {
	rng := generically(t)
	frames(func(what string, g Window, c, n int) {
		taps, outs, ins := g.Size*g.Size, n*g.OutH*g.OutW, n*g.H*g.W
		x, dy := newGuarded(ins*c).fill(rng), newGuarded(outs*c).fill(rng)
		forward, back := make([]float64, outs*taps*c), make([]float64, ins*taps*c)
		meetings(g, n, func(out, tap, in int) {
			for i := range c {
				forward[(out*taps+tap)*c+i] = float64(x.Data[in*c+i])
				back[(in*taps+tap)*c+i] = float64(dy.Data[out*c+i])
			}
		})
		r0, r1 := outs/3, outs
		got := newGuarded((r1 - r0) * taps * c)
		Patches(got.Data, x.Data, g, c, r0, r1, 0, taps)
		agree(t, "patches "+what, got, forward[r0*taps*c:r1*taps*c])
		r0, r1 = 0, ins-ins/3
		got = newGuarded((r1 - r0) * taps * c)
		PatchesBack(got.Data, dy.Data, g, c, r0, r1)
		agree(t, "patches back "+what, got, back[r0*taps*c:r1*taps*c])
		one := newGuarded(outs * c)
		for tap := range taps {
			Patches(one.Data, x.Data, g, c, 0, outs, tap, tap+1)
			want := make([]float64, outs*c)
			for i := range want {
				want[i] = forward[(i/c*taps+tap)*c+i%c]
			}
			agree(t, fmt.Sprintf("tap %d %s", tap, what), one, want)
		}
	})
}

func TestDepthwiseAgainstDumb(t *testing.T) {
	rng := generically(t)
	frames(func(what string, g Window, c, n int) {
		if g.Size != 3 || g.Pad != 1 {
			return
		}
		outs, ins := n*g.OutH*g.OutW, n*g.H*g.W
		x, dy, w := newGuarded(ins*c).fill(rng), newGuarded(outs*c).fill(rng), newGuarded(9*c).fill(rng)
		y, dx, dw := make([]float64, outs*c), make([]float64, ins*c), make([]float64, 9*c)
		meetings(g, n, func(out, tap, in int) {
			for i := range c {
				y[out*c+i] += float64(x.Data[in*c+i]) * float64(w.Data[tap*c+i])
				dx[in*c+i] += float64(dy.Data[out*c+i]) * float64(w.Data[tap*c+i])
				dw[tap*c+i] += float64(dy.Data[out*c+i]) * float64(x.Data[in*c+i])
			}
		})
		gotY, gotDX, gotDW := newGuarded(outs*c), newGuarded(ins*c), newGuarded(9*c)
		for r := range n * g.OutH {
			Depthwise(gotY.Data, x.Data, w.Data, g, c, r, r+1)
		}
		DepthwiseDX(gotDX.Data, dy.Data, w.Data, g, c, 0, n*g.H)
		for i := range c {
			DepthwiseDW(gotDW.Data, x.Data, dy.Data, g, c, 0, n*g.OutH, i, i+1)
		}
		agree(t, "y "+what, gotY, y)
		agree(t, "dx "+what, gotDX, dx)
		agree(t, "dw "+what, gotDW, dw)
	})
}

func TestPoolsAgainstDumb(t *testing.T) {
	rng := generically(t)
	frames(func(what string, g Window, c, n int) {
		outs, ins := n*g.OutH*g.OutW, n*g.H*g.W
		x, dy := newGuarded(ins*c).fill(rng), newGuarded(outs*c).fill(rng)
		for i := range x.Data {
			x.Data[i] = float32(math.Round(float64(x.Data[i]*2))) - 5 // with equals, and all negative
		}
		y, place := make([]float64, outs*c), make([]int, outs*c)
		for i := range y {
			y[i] = math.Inf(-1)
		}
		meetings(g, n, func(out, _, in int) {
			for i := range c {
				if v := float64(x.Data[in*c+i]); v > y[out*c+i] {
					y[out*c+i], place[out*c+i] = v, in*c+i
				}
			}
		})
		dx := make([]float64, ins*c)
		for i, at := range place {
			dx[at] += float64(dy.Data[i])
		}
		gotY, gotDX := newGuarded(outs*c), newGuarded(ins*c)
		MaxPool(gotY.Data, x.Data, g, c, 0, n*g.OutH)
		agree(t, "max "+what, gotY, y)
		for i := range n {
			MaxPoolDX(gotDX.Data, dy.Data, gotY.Data, x.Data, g, c, i, i+1)
		}
		agree(t, "max dx "+what, gotDX, dx)
		mean, spread := make([]float64, n*c), make([]float64, ins*c)
		area := g.H * g.W
		for i := range ins * c {
			mean[i/c/area*c+i%c] += float64(x.Data[i]) / float64(area)
			spread[i] = float64(dy.Data[i/c/area*c+i%c]) / float64(area)
		}
		gotMean := newGuarded(n * c)
		Average(gotMean.Data, x.Data, area, c, 0, n)
		agree(t, "mean "+what, gotMean, mean)
		AverageDX(gotDX.Data, dy.Data, area, c, 0, n)
		agree(t, "mean dx "+what, gotDX, spread)
	})
}

func TestWindowSizes(t *testing.T) {
	for _, c := range []struct {
		side, size, stride, pad int
		ceil                    bool
		want                    int
	}{
		{32, 3, 2, 1, false, 16}, {33, 3, 2, 1, false, 17}, {1, 3, 2, 1, false, 1}, {32, 3, 2, 0, false, 15},
		{15, 3, 2, 0, true, 7}, {16, 3, 2, 0, true, 8}, {7, 3, 2, 0, true, 3}, {3, 3, 2, 0, true, 1}, {5, 3, 3, 1, true, 2},
	} {
		if g := NewWindow(c.side, c.side, c.size, c.stride, c.pad, c.ceil); g.OutH != c.want || g.OutW != c.want {
			t.Errorf("%+v: %d×%d windows", c, g.OutH, g.OutW)
		}
	}
}

func TestMomentsAgainstDumb(t *testing.T) {
	rng := generically(t)
	for _, rows := range []int{1, 2, 5, 16, 17, 1000} {
		for _, c := range []int{1, 3, 8} {
			const block = 16
			x := newGuarded(rows * c).fill(rng)
			for i := range x.Data {
				x.Data[i] += float32(100 * (i % c)) // far from zero, where sums of squares would lose everything
			}
			blocks := (rows + block - 1) / block
			parts, mean, variance := newGuarded(blocks*2*c), newGuarded(c), newGuarded(c)
			for b := range blocks {
				Moments(parts.Data[2*b*c:], x.Data, c, b*block, min((b+1)*block, rows))
			}
			for i := range c {
				MergeMoments(mean.Data, variance.Data, parts.Data, c, rows, block, i, i+1)
			}
			m, v := make([]float64, c), make([]float64, c)
			for i := range rows * c {
				m[i%c] += float64(x.Data[i]) / float64(rows)
			}
			for i := range rows * c {
				v[i%c] += (float64(x.Data[i]) - m[i%c]) * (float64(x.Data[i]) - m[i%c]) / float64(rows)
			}
			parts.check(t)
			agree(t, fmt.Sprintf("mean of %d×%d", rows, c), mean, m)
			agree(t, fmt.Sprintf("variance of %d×%d", rows, c), variance, v)
		}
	}
}

// bend is an activation, and whether its gradient passes.
func bend(z float64, act Clamp) (float64, bool) {
	if act == None {
		return z, true
	}
	return math.Min(math.Max(z, 0), float64(act)), z > 0 && z < float64(act)
}

func TestNormsAgainstDumb(t *testing.T) {
	rng := generically(t)
	const rows, c, r0, r1 = 13, 5, 2, 11
	for _, act := range []Clamp{None, ReLU, ReLU6} {
		x, dy, skip, b := newGuarded(rows*c).fill(rng), newGuarded(rows*c).fill(rng), newGuarded(rows*c).fill(rng), newGuarded(c).fill(rng)
		scale, shift, mean, slope := newGuarded(c).fill(rng), newGuarded(c).fill(rng), newGuarded(c).fill(rng), newGuarded(c).fill(rng)
		for i := range c {
			scale.Data[i] *= 8 // to both kinks
		}
		blank := func() (guarded, []float64) {
			g, want := newGuarded(rows*c).fill(rng), make([]float64, rows*c)
			for i, v := range g.Data {
				want[i] = float64(v)
			}
			return g, want
		}
		y, wantY := blank()
		dx, wantDX := blank()
		biased, wantBiased := blank()
		masked, wantMasked := blank()
		part, wantPart := newGuarded(2*c), make([]float64, 2*c)
		for i := r0 * c; i < r1*c; i++ {
			v, d, ch := float64(x.Data[i]), float64(dy.Data[i]), i%c
			z := v*float64(scale.Data[ch]) + float64(shift.Data[ch])
			out, passes := bend(z, act)
			if !passes {
				d = 0
			}
			wantY[i] = out
			wantPart[ch] += d * (v - float64(mean.Data[ch]))
			wantPart[c+ch] += d
			wantDX[i] = d*float64(scale.Data[ch]) + v*float64(slope.Data[ch]) + float64(b.Data[ch])
			wantBiased[i], _ = bend(v+float64(b.Data[ch]), act)
		}
		Normalize(y.Data, x.Data, nil, scale.Data, shift.Data, c, act, r0, r1)
		agree(t, "normalize", y, wantY)
		NormSums(part.Data, dy.Data, x.Data, mean.Data, scale.Data, shift.Data, c, act, r0, r1)
		agree(t, "norm sums", part, wantPart)
		NormDX(dx.Data, dy.Data, x.Data, scale.Data, shift.Data, slope.Data, b.Data, c, act, r0, r1)
		agree(t, "norm dx", dx, wantDX)
		Bias(biased.Data, x.Data, b.Data, c, act, r0, r1)
		agree(t, "bias", biased, wantBiased)
		for i, v := range wantY {
			wantMasked[i] = float64(dy.Data[i])
			if _, passes := bend(v, act); !passes {
				wantMasked[i] = 0
			}
		}
		Mask(masked.Data, dy.Data, y.Data, act)
		agree(t, "mask", masked, wantMasked)
		if act == None {
			Normalize(y.Data, x.Data, skip.Data, scale.Data, shift.Data, c, act, r0, r1)
			for i := r0 * c; i < r1*c; i++ {
				wantY[i] += float64(skip.Data[i])
			}
			agree(t, "normalize and skip", y, wantY)
		}
	}
}

// TestKinks holds what passes where an activation bends, and that NaN does not vanish.
func TestKinks(t *testing.T) {
	generically(t)
	inf, nan, tiny := float32(math.Inf(1)), float32(math.NaN()), float32(math.SmallestNonzeroFloat32)
	y := []float32{0, float32(math.Copysign(0, -1)), tiny, -tiny, 1, 6, math.Nextafter32(6, 0), math.Nextafter32(6, 7), inf, -inf, nan}
	for act, want := range map[Clamp][]float32{
		None:  {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
		ReLU:  {0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0},
		ReLU6: {0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0},
	} {
		for i := range y {
			dz := []float32{1}
			if Mask(dz, dz, y[i:i+1], act); dz[0] != want[i] {
				t.Errorf("clamp %v at %v lets %v pass, want %v", act, y[i], dz[0], want[i])
			}
		}
		out := []float32{nan}
		Bias(out, out, []float32{0}, 1, act, 0, 1)
		one := []float32{1}
		norm := []float32{nan}
		Normalize(norm, norm, nil, one, one, 1, act, 0, 1)
		if out[0] == out[0] || norm[0] == norm[0] {
			t.Errorf("clamp %v makes a number of NaN", act)
		}
	}
}

func TestCrossEntropyAgainstDumb(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range []int{1, 2, 10} {
		const n = 7
		logits, dx := newGuarded(n*c).fill(rng), newGuarded(n*c)
		labels := make([]int32, n)
		var loss float64
		correct, grad := 0, make([]float64, n*c)
		for r := range n {
			labels[r] = rng.Int32N(int32(c))
			row := logits.Data[r*c:][:c]
			row[0] += 1000 * float32(r-3) // exp of it overflows, or vanishes
			top, sum := 0, 0.0
			for i, v := range row {
				if v > row[top] {
					top = i
				}
			}
			for _, v := range row {
				sum += math.Exp(float64(v) - float64(row[top]))
			}
			for i, v := range row {
				grad[r*c+i] = 0.5 * math.Exp(float64(v)-float64(row[top])) / sum
			}
			grad[r*c+int(labels[r])] -= 0.5
			loss += math.Log(sum) + float64(row[top]) - float64(row[labels[r]])
			if top == int(labels[r]) {
				correct++
			}
		}
		got, right := CrossEntropy(logits.Data, labels, c)
		if math.Abs(got-loss) > 1e-9*(1+loss) || right != correct {
			t.Errorf("%d classes: loss %v, %d correct; want %v, %d", c, got, right, loss, correct)
		}
		CrossEntropyDX(dx.Data, logits.Data, labels, c, 0.5)
		agree(t, fmt.Sprintf("gradient of %d classes", c), dx, grad)
	}
	if _, correct := CrossEntropy([]float32{float32(math.NaN()), 0}, []int32{0}, 2); correct != 0 {
		t.Error("NaN is correct")
	}
}

func TestVectorsAgainstDumb(t *testing.T) {
	rng := generically(t)
	for _, n := range []int{0, 1, 7, 33} {
		x, y, v := newGuarded(n).fill(rng), newGuarded(n).fill(rng), newGuarded(n).fill(rng)
		want := make([]float64, n)
		run := func(what string, kernel func(), of func(x, y float64) float64) {
			for i := range want {
				want[i] = of(float64(x.Data[i]), float64(y.Data[i]))
			}
			kernel()
			agree(t, what, x, want)
		}
		run("add", func() { Add(x.Data, y.Data) }, func(x, y float64) float64 { return x + y })
		run("sum", func() { Sum(x.Data, x.Data, y.Data) }, func(x, y float64) float64 { return x + y })
		run("axpy", func() { Axpy(x.Data, 0.3, y.Data) }, func(x, y float64) float64 { return x + float64(float32(0.3))*y })
		run("scale", func() { Scale(x.Data, 0.5) }, func(x, y float64) float64 { return x / 2 })
		for _, nesterov := range []bool{false, true} {
			w, slow := make([]float64, n), make([]float64, n)
			for i := range w {
				d := float64(y.Data[i]) + 0.125*float64(x.Data[i])
				slow[i] = 0.75*float64(v.Data[i]) + d
				w[i] = float64(x.Data[i]) - 0.25*slow[i]
				if nesterov {
					w[i] = float64(x.Data[i]) - 0.25*(d+0.75*slow[i])
				}
			}
			Descend(x.Data, v.Data, y.Data, 0.25, 0.75, 0.125, nesterov)
			agree(t, "parameters", x, w)
			agree(t, "velocity", v, slow)
		}
	}
}
