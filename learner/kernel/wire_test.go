package kernel

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// valueOf is binary16 by its definition in IEEE 754 §3.4.
func valueOf(h uint16) float64 {
	sign := 1 - 2*float64(h>>15)
	exponent, mantissa := int(h>>10&31), float64(h&0x3ff)
	switch {
	case exponent == 31 && mantissa != 0:
		return math.NaN()
	case exponent == 31:
		return sign * math.Inf(1)
	case exponent == 0:
		return sign * math.Ldexp(mantissa, -24)
	}
	return sign * math.Ldexp(1024+mantissa, exponent-25)
}

// nearestHalf searches the values of all halves, and 65536 where infinity stands, for the nearest to a finite x.
func nearestHalf(values []float64, x float64) uint16 {
	sign := uint16(0)
	if math.Signbit(x) {
		sign = 0x8000
	}
	size := math.Abs(x)
	above, exact := slices.BinarySearch(values, size)
	switch {
	case exact:
		return sign | uint16(above)
	case above == len(values):
		return sign | 0x7c00
	}
	hi, lo := uint16(above), uint16(above-1)
	if up, down := values[hi]-size, size-values[lo]; up < down || up == down && hi&1 == 0 {
		return sign | hi
	}
	return sign | lo
}

// halves are the first n.
func halves(n int) []uint16 {
	all := make([]uint16, n)
	for i := range all {
		all[i] = uint16(i)
	}
	return all
}

func sameFloat(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }

// TestEveryHalf: each decodes to what it means and encodes to itself, in every set.
func TestEveryHalf(t *testing.T) {
	all, back := halves(1<<16), make([]uint16, 1<<16)
	wide := make([]float32, 1<<16)
	for _, s := range available {
		use(t, s)
		DecodeHalf(wide, all)
		EncodeHalf(back, wide)
		for i, h := range all {
			want := valueOf(h)
			if math.IsNaN(want) {
				if wide[i] == wide[i] || back[i] != h|0x200 {
					t.Fatalf("%v: NaN %#x is %v and then %#x", s, h, wide[i], back[i])
				}
			} else if !sameFloat(wide[i], float32(want)) || back[i] != h {
				t.Fatalf("%v: %#x is %v and then %#x, want %v", s, h, wide[i], back[i], want)
			}
		}
	}
}

// TestHalfRounds: between each two halves, the middle goes to the even one and its neighbours to the nearer.
func TestHalfRounds(t *testing.T) {
	var x []float32
	values := []float64{0}
	for h := range uint16(0x7c00) {
		next := valueOf(h + 1)
		if h == 0x7bff {
			next = 65536
		}
		values = append(values, next)
		middle := float32((values[h] + next) / 2)
		for _, v := range []float32{math.Nextafter32(middle, 0), middle, math.Nextafter32(middle, 1e9)} {
			x = append(x, v, -v)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		if v := math.Float32frombits(r.Uint32()); v-v == 0 {
			x = append(x, v)
		}
	}
	x = append(x, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32)
	want, got := make([]uint16, len(x)), make([]uint16, len(x))
	for i, v := range x {
		want[i] = nearestHalf(values, float64(v))
	}
	for _, s := range available {
		use(t, s)
		EncodeHalf(got, x)
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%v: %v (%#x) is %#x, want %#x", s, x[i], math.Float32bits(x[i]), got[i], want[i])
			}
		}
	}
}

func TestInt8Rounds(t *testing.T) {
	inf := float32(math.Inf(1))
	x := []float32{0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.4, 126.5, 127.5, 128, 1e30, inf, -126.5, -127.6, -1e30, -inf, float32(math.NaN()), 1e-40, 0.49999997, -0.50000006}
	want := []int8{0, 0, 2, 2, 0, -2, -2, 126, 126, 127, 127, 127, 127, -126, -127, -127, -127, 0, 0, 0, -1}
	got, back := make([]int8, len(x)), make([]float32, len(x))
	for _, s := range available {
		use(t, s)
		EncodeInt8(got, x, 1)
		if !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", s, got, want)
		}
		EncodeInt8(got[:3], []float32{3, -3, 1}, 0.5)
		if !slices.Equal(got[:3], []int8{2, -2, 0}) {
			t.Errorf("%v: %v by ½", s, got[:3])
		}
		DecodeInt8(back, want, 0.25)
		for i, v := range back {
			if v != float32(want[i])/4 {
				t.Errorf("%v: %d is %v, by ¼", s, want[i], v)
			}
		}
	}
}

func TestMaxAbs(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, s := range available {
		use(t, s)
		for _, n := range lengths() {
			x := newGuarded(n).Data
			if got := MaxAbs(x); n == 0 && got != 0 {
				t.Errorf("%v: %v of nothing", s, got)
			}
			for at := 0; at < n; at += 1 + n/9 {
				for _, v := range []float32{-3, 3, inf, -inf, 1e-45} {
					clear(x)
					if x[at] = v; MaxAbs(x) != float32(math.Abs(float64(v))) {
						t.Fatalf("%v: %v with %v at %d of %d", s, MaxAbs(x), v, at, n)
					}
				}
				x[n/2], x[at] = inf, nan
				if got := MaxAbs(x); got == got {
					t.Fatalf("%v: %v with NaN at %d of %d", s, got, at, n)
				}
			}
		}
	}
}

// TestSumSquares compares with exact arithmetic: of 16 sums of n/16 terms, each may be off by half a bit a term.
func TestSumSquares(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for _, n := range []int{0, 1, 2, 15, 16, 17, 100, 1000} {
		x, want := make([]float32, n), new(big.Float).SetPrec(600)
		for i := range x {
			x[i] = math.Float32frombits(r.Uint32()&0x807f_ffff | (r.Uint32N(60)+100)<<23)
			v := new(big.Float).SetPrec(600).SetFloat64(float64(x[i]))
			want.Add(want, v.Mul(v, v))
		}
		exact, _ := want.Float64()
		for _, s := range available {
			use(t, s)
			if got := SumSquares(x); math.Abs(got-exact) > exact*float64(n/squareLanes+squareLanes)*0x1p-53 {
				t.Errorf("%v: Σ of %d squares is %v, want %v", s, n, got, exact)
			}
		}
	}
	for _, v := range []float64{math.Inf(-1), math.NaN()} {
		if got := SumSquares([]float32{1, float32(v), 2}); got-got == 0 {
			t.Errorf("Σ with %v is %v", v, got)
		}
	}
	if got := SumSquares([]float32{math.MaxFloat32, math.MaxFloat32}); got != 2*math.MaxFloat32*math.MaxFloat32 {
		t.Errorf("Σ of the largest is %v", got)
	}
}

// wired runs the kernels of this file on x, at odd places between guards, and returns all bits that they gave.
func wired(t *testing.T, s set, x []float32, by float32, share float64) []byte {
	t.Helper()
	use(t, s)
	n := len(x)
	src, single, weighed, reduced := newGuarded(n), newGuarded(n), newGuarded(n), newGuarded(n)
	copy(src.Data, x)
	for i := range x {
		reduced.Data[i] = x[n-1-i]
	}
	copy(weighed.Data, x)
	const mark = 0x55
	halves, small := make([]uint16, n+2*guard), make([]int8, n+2*guard)
	for i := range halves {
		halves[i], small[i] = mark, mark
	}
	EncodeHalf(halves[guard:][:n], src.Data)
	EncodeInt8(small[guard:][:n], src.Data, by)
	Weigh(weighed.Data, share)
	for i := range halves {
		if (i < guard || i >= guard+n) && (halves[i] != mark || small[i] != mark) {
			t.Fatalf("%v: wrote at %d of %d", s, i-guard, n)
		}
	}
	squares := SumSquares(src.Data)
	if got := Reduce(reduced.Data, src.Data, share); math.Float64bits(got) != math.Float64bits(squares) && got == got {
		t.Fatalf("%v: Reduce finds Σ of squares %v, SumSquares %v", s, got, squares)
	}
	for i, v := range reduced.Data {
		if v != v { // which of two it is depends on the order of operands
			reduced.Data[i] = float32(math.NaN())
		}
	}
	out := binary.LittleEndian.AppendUint64(nil, math.Float64bits(squares))
	out = binary.LittleEndian.AppendUint32(out, math.Float32bits(MaxAbs(src.Data)))
	add := func(v any) { out, _ = binary.Append(out, binary.LittleEndian, v) }
	DecodeHalf(single.Data, halves[guard:][:n])
	add(single.Data)
	DecodeInt8(single.Data, small[guard:][:n], by)
	for _, v := range []any{single.Data, weighed.Data, reduced.Data, halves, small} {
		add(v)
	}
	for _, g := range []guarded{src, single, weighed, reduced} {
		g.check(t)
	}
	return out
}

// sameWire fails where a set gives other bits than generic. Of a sum or product of NaNs only that it is one is compared.
func sameWire(t *testing.T, x []float32, by float32, share float64) {
	t.Helper()
	want := wired(t, generic, x, by, share)
	for _, s := range available {
		if got := wired(t, s, x, by, share); !slices.Equal(got, want) {
			at := 0
			for got[at] == want[at] {
				at++
			}
			t.Fatalf("%v: byte %d of what %d values give differs: %v by %v and %v", s, at, len(x), x, by, share)
		}
	}
}

// TestWireSetsAgree: to the bit, NaN, infinities and subnormals included.
func TestWireSetsAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	special := []uint32{0, 1 << 31, 1, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x3380_0000, 0x3300_0000, 0x477f_efff, 0x477f_f000}
	for _, n := range lengths() {
		for _, wild := range []bool{false, true} {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(r.NormFloat64())
				if wild && r.IntN(3) == 0 {
					x[i] = math.Float32frombits(special[r.IntN(len(special))])
				}
			}
			sameWire(t, x, 40, 1/float64(3+n))
		}
	}
}

func TestWireAllocatesNothing(t *testing.T) {
	x, h, b := make([]float32, 100), make([]uint16, 100), make([]int8, 100)
	for _, s := range available {
		use(t, s)
		if n := testing.AllocsPerRun(5, func() {
			EncodeHalf(h, x)
			DecodeHalf(x, h)
			EncodeInt8(b, x, MaxAbs(x))
			DecodeInt8(x, b, 2)
			Weigh(x, SumSquares(x))
		}); n != 0 {
			t.Errorf("%v: %v allocations", s, n)
		}
	}
}

func FuzzWire(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), float32(0.5), 0.25)
	f.Add(make([]byte, 68), float32(-1), 1e300)
	f.Add([]byte{0, 0, 0x80, 0x7f, 1, 0, 0x80, 0xff, 0, 0xf0, 0x7f, 0x47}, float32(math.Inf(1)), -1e-300)
	f.Fuzz(func(t *testing.T, bytes []byte, by float32, share float64) {
		x := make([]float32, min(len(bytes)/4, 1000))
		for i := range x {
			v := math.Float32frombits(binary.LittleEndian.Uint32(bytes[4*i:]))
			if v != v {
				v = float32(math.NaN()) // of two NaNs, which one a product is differs between architectures
			}
			x[i] = v
		}
		if by != by || share != share {
			t.Skip("a NaN times another")
		}
		sameWire(t, x, by, share)
	})
}
