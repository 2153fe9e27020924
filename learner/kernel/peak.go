package kernel

// PeakLen is how many floats MulAdds works on: the registers that the widest set keeps them in.
const PeakLen = 24 * 16

// MulAdds adds a·b to each of x, rounds times, and does not look at memory in between: as many multiply-adds as the
// arithmetic units can do, since they need not wait for each other. They are 2·len(x)·rounds operations, a multiplication
// and an addition being two. The result matters little; the function is there to be timed.
func MulAdds(x *[PeakLen]float32, a, b float32, rounds int) {
	s := active()
	for ; rounds > 0; rounds -= peakRounds {
		n := min(rounds, peakRounds)
		if s != generic {
			s.mulAdds(&mulAddsArgs{&x[0], len(x), n, a, b})
			continue
		}
		for i := 0; i < len(x); i += 6 {
			mulAdds6((*[6]float32)(x[i:]), &[3]float32{a, a, a}, &[2]float32{b, b}, n)
		}
	}
}

// peakRounds is how many rounds a call of vector code takes: it is not preempted.
const peakRounds = 1 << 12

// mulAdds6 has six sums in registers, and factors that the compiler cannot know to be equal: it would multiply once.
//
//go:noinline
func mulAdds6(x *[6]float32, a *[3]float32, b *[2]float32, rounds int) {
	x0, x1, x2, x3, x4, x5 := x[0], x[1], x[2], x[3], x[4], x[5]
	a0, a1, a2, b0, b1 := a[0], a[1], a[2], b[0], b[1]
	for range rounds {
		x0 += a0 * b0
		x1 += a1 * b0
		x2 += a2 * b0
		x3 += a0 * b1
		x4 += a1 * b1
		x5 += a2 * b1
	}
	x[0], x[1], x[2], x[3], x[4], x[5] = x0, x1, x2, x3, x4, x5
}

// mulAddsArgs is struct mulAdds of csrc/peak.c.
type mulAddsArgs struct {
	x         *float32
	n, rounds int
	a, b      float32
}
