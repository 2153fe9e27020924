package kernel

import "math"

// The parameters of few channels are repeated, so that vector code has runs of some length: the memory is the same for c
// channels and for two times half as many rows. Sums come out repeated too and are then folded.

type (
	normalizeArgs struct {
		x, skip, scale, shift, y *float32
		n, c, limited            int
		lo, hi                   float32
	}
	// biasJoinArgs is struct biasJoin of csrc/norm.c.
	biasJoinArgs struct {
		x, b, y         *float32
		rows, c, stride int
		lo, hi          float32
	}
	// maskCutArgs is struct maskCut of csrc/norm.c.
	maskCutArgs struct {
		dy, y, dz       *float32
		rows, c, stride int
		top             float32
	}
	biasArgs struct {
		x, b, y *float32
		n, c    int
		lo, hi  float32
	}
	normSumsArgs struct {
		dy, x, mean, scale, shift, product, sum *float32
		n, c, gated                             int
		top                                     float32
	}
	normDXArgs struct {
		dy, x, scale, shift, slope, offset, dx *float32
		n, c, gated                            int
		top                                    float32
	}
	columnsArgs struct {
		x, sums, sum *float32
		n, c         int
		over         float32
	}
)

const (
	periodLeast = 64  // channels that need no repetition
	periodMost  = 128 // and what they may be repeated to
	callLen     = 1 << 15
)

// period is how many floats c channels are repeated to: a multiple of c and, if there is one, of the widest vector.
func period(c, rows int) int {
	if c >= periodLeast || rows == 1 {
		return c
	}
	least := (periodLeast + c - 1) / c * c
	for p := least; p <= periodMost; p += c {
		if p%16 == 0 {
			return p
		}
	}
	return least
}

// stretch is memory for repeated parameters.
type stretch [periodMost]float32

// of is src, or src repeated to p floats.
func (s *stretch) of(src []float32, p int) *float32 {
	if len(src) == p {
		return &src[0]
	}
	for i := 0; i < p; i += len(src) {
		copy(s[i:p], src)
	}
	return &s[0]
}

// sum is memory for p sums, zero: dst itself if it has as many.
func (s *stretch) sum(dst []float32, p int) *float32 {
	if len(dst) == p {
		clear(dst)
		return &dst[0]
	}
	clear(s[:p])
	return &s[0]
}

// fold adds the repeated sums up.
func (s *stretch) fold(dst []float32, p int) {
	if len(dst) == p {
		return
	}
	copy(dst, s[:])
	for i := len(dst); i < p; i += len(dst) {
		Add(dst, s[i:i+len(dst)])
	}
}

// callPeriod is how much of rows of period p a call takes: whole runs of four, which are summed together.
func callPeriod(p int) int { return max(callLen/(4*p), 1) * 4 * p }

// top is the largest float that passes the gate of an activation, and whether there is a gate.
func (k Clamp) top() (top float32, gated int) {
	switch k {
	case None:
		return 0, 0
	case ReLU:
		return float32(math.Inf(1)), 1
	}
	return math.Nextafter32(float32(k), 0), 1
}

func momentsSIMD(s set, part, x []float32, c, r0, r1 int) {
	columnsSIMD(s, part[:c], x, nil, 0, c, r0, r1)
	columnsSIMD(s, part[c:2*c], x, part[:c], 1/float32(r1-r0), c, r0, r1)
}

// columnsSIMD writes the sums of columns, or those of squares about sums·over, to dst.
func columnsSIMD(s set, dst, x, sums []float32, over float32, c, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		clear(dst)
		return
	}
	var wide, about stretch
	p := period(c, r1-r0)
	args := columnsArgs{sum: wide.sum(dst, p), c: p, over: over}
	if sums != nil {
		args.sums = about.of(sums, p)
	}
	x = x[r0*c : r1*c]
	for at := 0; at < len(x); at += args.n {
		args.x, args.n = &x[at], min(len(x)-at, callPeriod(p))
		s.columns(&args)
	}
	wide.fold(dst, p)
}

func normalizeSIMD(s set, y, x, skip, scale, shift []float32, c int, act Clamp, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	var wide [2]stretch
	p := period(c, r1-r0)
	args := normalizeArgs{scale: wide[0].of(scale[:c], p), shift: wide[1].of(shift[:c], p), c: p}
	if act != None {
		args.limited = 1
	}
	args.lo, args.hi = act.limits()
	x, y = x[r0*c:r1*c], y[r0*c:r1*c]
	if skip != nil {
		skip = skip[r0*c : r1*c]
	}
	for at := 0; at < len(x); at += args.n {
		args.x, args.y, args.n = &x[at], &y[at], min(len(x)-at, callPeriod(p))
		if skip != nil {
			args.skip = &skip[at]
		}
		s.normalize(&args)
	}
}

func normSumsSIMD(s set, part, dy, x, mean, scale, shift []float32, c int, act Clamp, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		clear(part[:2*c])
		return
	}
	var wide [5]stretch
	p := period(c, r1-r0)
	args := normSumsArgs{
		mean: wide[0].of(mean[:c], p), scale: wide[1].of(scale[:c], p), shift: wide[2].of(shift[:c], p),
		product: wide[3].sum(part[:c], p), sum: wide[4].sum(part[c:2*c], p), c: p,
	}
	args.top, args.gated = act.top()
	x, dy = x[r0*c:r1*c], dy[r0*c:r1*c]
	for at := 0; at < len(x); at += args.n {
		args.x, args.dy, args.n = &x[at], &dy[at], min(len(x)-at, callPeriod(p))
		s.normSums(&args)
	}
	wide[3].fold(part[:c], p)
	wide[4].fold(part[c:2*c], p)
}

func normDXSIMD(s set, dx, dy, x, scale, shift, slope, offset []float32, c int, act Clamp, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	var wide [4]stretch
	p := period(c, r1-r0)
	args := normDXArgs{
		scale: wide[0].of(scale[:c], p), shift: wide[1].of(shift[:c], p),
		slope: wide[2].of(slope[:c], p), offset: wide[3].of(offset[:c], p), c: p,
	}
	args.top, args.gated = act.top()
	x, dy, dx = x[r0*c:r1*c], dy[r0*c:r1*c], dx[r0*c:r1*c]
	for at := 0; at < len(x); at += args.n {
		args.x, args.dy, args.dx, args.n = &x[at], &dy[at], &dx[at], min(len(x)-at, callPeriod(p))
		s.normDX(&args)
	}
}

func biasSIMD(s set, y, x, b []float32, c int, act Clamp, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	var wide stretch
	p := period(c, r1-r0)
	args := biasArgs{b: wide.of(b[:c], p), c: p}
	args.lo, args.hi = act.limits()
	x, y = x[r0*c:r1*c], y[r0*c:r1*c]
	for at := 0; at < len(x); at += args.n {
		args.x, args.y, args.n = &x[at], &y[at], min(len(x)-at, callPeriod(p))
		s.bias(&args)
	}
}

func biasJoinSIMD(s set, y, x, b []float32, c, from, stride int, act Clamp, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	args := biasJoinArgs{b: &b[:c][0], c: c, stride: stride}
	args.lo, args.hi = act.limits()
	_, _ = x[r1*c-1], y[(r1-1)*stride+from+c-1] // vector code checks nothing
	step := max(callLen/c, 1)
	for r := r0; r < r1; r += step {
		args.x, args.y, args.rows = &x[r*c], &y[r*stride+from], min(r1-r, step)
		s.biasJoin(&args)
	}
}

func maskCutSIMD(s set, dz, dy, y []float32, c, from, stride int, act Clamp, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	top, gated := act.top()
	if gated == 0 {
		for r := r0; r < r1; r++ {
			copy(dz[r*c:][:c], dy[r*stride+from:])
		}
		return
	}
	args := maskCutArgs{c: c, stride: stride, top: top}
	last := (r1-1)*stride + from + c - 1
	_, _, _ = dz[r1*c-1], dy[last], y[last]
	step := max(callLen/c, 1)
	for r := r0; r < r1; r += step {
		args.dy, args.y, args.dz, args.rows = &dy[r*stride+from], &y[r*stride+from], &dz[r*c], min(r1-r, step)
		s.maskCut(&args)
	}
}
