package kernel

// The arguments of csrc/window.c.
type (
	maxPoolArgs struct {
		x, y                  *float32
		c, row, height, width int
	}
	maxPoolDXArgs struct {
		x, y, dy, dx          *float32
		c, row, height, width int
	}
	patchesArgs struct {
		x, dst                                                     *float32
		c, h, width, outH, outW, size, stride, pad, r0, r1, t0, t1 int
	}
	patchesBackArgs = patchesArgs
)

func newPatchesArgs(x []float32, g Window, c int) patchesArgs {
	return patchesArgs{
		x: &x[0], c: c, h: g.H, width: g.W, outH: g.OutH, outW: g.OutW, size: g.Size, stride: g.Stride, pad: g.Pad,
	}
}

func patchesSIMD(s set, dst, x []float32, g Window, c, r0, r1, t0, t1 int) {
	wide := (t1 - t0) * c
	if r0 >= r1 || wide <= 0 {
		return
	}
	_, _ = dst[(r1-r0)*wide-1], x[((r1-1)/(g.OutH*g.OutW)+1)*g.H*g.W*c-1]
	args := newPatchesArgs(x, g, c)
	args.t0, args.t1 = t0, t1
	for step := max(callLen/wide, 1); r0 < r1; r0 += step {
		args.dst, args.r0, args.r1 = &dst[0], r0, min(r0+step, r1)
		s.patches(&args)
		dst = dst[(args.r1-r0)*wide:]
	}
}

func patchesBackSIMD(s set, dst, dy []float32, g Window, c, r0, r1 int) {
	wide := g.Size * g.Size * c
	if r0 >= r1 || wide <= 0 {
		return
	}
	_, _ = dst[(r1-r0)*wide-1], dy[((r1-1)/(g.H*g.W)+1)*g.OutH*g.OutW*c-1]
	args := newPatchesArgs(dy, g, c)
	for step := max(callLen/wide, 1); r0 < r1; r0 += step {
		args.dst, args.r0, args.r1 = &dst[0], r0, min(r0+step, r1)
		s.patchesBack(&args)
		dst = dst[(args.r1-r0)*wide:]
	}
}

// inside is the part of a window at (top, left) that is inside the image.
func (g Window) inside(top, left int) (y0, x0, height, width int) {
	y0, x0 = max(top, 0), max(left, 0)
	return y0, x0, min(top+g.Size, g.H) - y0, min(left+g.Size, g.W) - x0
}

func maxPoolSIMD(s set, y, x []float32, g Window, c, r0, r1 int) {
	if r0 >= r1 || c == 0 {
		return
	}
	_, _ = y[r1*g.OutW*c-1], x[((r1-1)/g.OutH+1)*g.H*g.W*c-1]
	args := maxPoolArgs{c: c, row: g.W * c}
	for r := r0; r < r1; r++ {
		for ox := range g.OutW {
			y0, x0, height, width := g.inside(r%g.OutH*g.Stride-g.Pad, ox*g.Stride-g.Pad)
			args.x, args.y = &x[((r/g.OutH*g.H+y0)*g.W+x0)*c], &y[(r*g.OutW+ox)*c]
			args.height, args.width = height, width
			s.maxPool(&args)
		}
	}
}

func maxPoolDXSIMD(s set, dx, dy, y, x []float32, g Window, c, n0, n1 int) {
	in, out := g.H*g.W*c, g.OutH*g.OutW*c
	clear(dx[n0*in : n1*in])
	if n0 >= n1 || in == 0 || out == 0 {
		return
	}
	_, _, _ = x[n1*in-1], y[n1*out-1], dy[n1*out-1]
	args := maxPoolDXArgs{c: c, row: g.W * c}
	for r := n0 * g.OutH; r < n1*g.OutH; r++ {
		for ox := range g.OutW {
			y0, x0, height, width := g.inside(r%g.OutH*g.Stride-g.Pad, ox*g.Stride-g.Pad)
			at, to := ((r/g.OutH*g.H+y0)*g.W+x0)*c, (r*g.OutW+ox)*c
			args.x, args.dx, args.y, args.dy = &x[at], &dx[at], &y[to], &dy[to]
			args.height, args.width = height, width
			s.maxPoolDX(&args)
		}
	}
}
