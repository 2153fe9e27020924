package kernel

// depthwiseArgs is struct depthwise of csrc/depthwise.c.
type depthwiseArgs struct {
	x, w, y                                           *float32
	c, h, width, outH, outW, stride, r0, r1, from, to int
}

type (
	depthwiseDXArgs = depthwiseArgs
	depthwiseDWArgs = depthwiseArgs
)

// callWork is about how many multiply-adds a call of vector code has at most: less than 0.1 ms on a small CPU, because
// assembly is not preempted.
const callWork = 1 << 19

func newDepthwiseArgs(x, w, y []float32, g Window, c int) depthwiseArgs {
	return depthwiseArgs{
		x: &x[0], w: &w[0], y: &y[0], c: c, h: g.H, width: g.W, outH: g.OutH, outW: g.OutW, stride: g.Stride, to: c,
	}
}

// rows are as many as a call may have.
func (a *depthwiseArgs) rows() int { return max(callWork/(9*a.outW*(a.to-a.from)), 1) }

func depthwiseSIMD(s set, y, x, w []float32, g Window, c, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	_, _, _ = y[r1*g.OutW*c-1], x[((r1-1)/g.OutH+1)*g.H*g.W*c-1], w[9*c-1]
	args := newDepthwiseArgs(x, w, y, g, c)
	rows := args.rows()
	for ; r0 < r1; r0 += rows {
		args.r0, args.r1 = r0, min(r0+rows, r1)
		s.depthwise(&args)
	}
}

func depthwiseDXSIMD(s set, dx, dy, w []float32, g Window, c, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	_, _, _ = dx[r1*g.W*c-1], dy[((r1-1)/g.H+1)*g.OutH*g.OutW*c-1], w[9*c-1]
	args := newDepthwiseArgs(dy, w, dx, g, c)
	rows := args.rows()
	for ; r0 < r1; r0 += rows {
		args.r0, args.r1 = r0, min(r0+rows, r1)
		s.depthwiseDX(&args)
	}
}

func depthwiseDWSIMD(s set, dw, x, dy []float32, g Window, c, r0, r1, c0, c1 int) {
	for t := range 9 {
		clear(dw[t*c+c0 : t*c+c1])
	}
	if r0 >= r1 || c0 >= c1 {
		return
	}
	_, _, _ = dw[9*c-1], x[((r1-1)/g.OutH+1)*g.H*g.W*c-1], dy[r1*g.OutW*c-1]
	args := newDepthwiseArgs(x, dy, dw, g, c)
	args.from, args.to = c0, c1
	rows := args.rows()
	for ; r0 < r1; r0 += rows {
		args.r0, args.r1 = r0, min(r0+rows, r1)
		s.depthwiseDW(&args)
	}
}
