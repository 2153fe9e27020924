package kernel

// The arguments of csrc/vector.c and csrc/pool.c.
type (
	sumArgs struct {
		x, y, dst *float32
		n         int
	}
	axpyArgs struct {
		x, dst *float32
		n      int
		a      float32
	}
	scaleArgs struct {
		dst *float32
		n   int
		a   float32
	}
	descendArgs struct {
		w, v, g               *float32
		n, nesterov           int
		rate, momentum, decay float32
	}
	maskArgs struct {
		dy, y, dz *float32
		n         int
		top       float32
	}
	maxPoolArgs struct {
		x, y                  *float32
		c, row, height, width int
	}
	maxPoolDXArgs struct {
		x, y, dy, dx          *float32
		c, row, height, width int
	}
)

func sumSIMD(s set, dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := 0; i < len(dst); i += callLen {
		s.sum(&sumArgs{&x[i], &y[i], &dst[i], min(len(dst)-i, callLen)})
	}
}

func axpySIMD(s set, dst []float32, a float32, x []float32) {
	x = x[:len(dst)]
	for i := 0; i < len(dst); i += callLen {
		s.axpy(&axpyArgs{&x[i], &dst[i], min(len(dst)-i, callLen), a})
	}
}

func scaleSIMD(s set, dst []float32, a float32) {
	for i := 0; i < len(dst); i += callLen {
		s.scale(&scaleArgs{&dst[i], min(len(dst)-i, callLen), a})
	}
}

func descendSIMD(s set, w, v, g []float32, rate, momentum, decay float32, nesterov bool) {
	v, g = v[:len(w)], g[:len(w)]
	args := descendArgs{rate: rate, momentum: momentum, decay: decay}
	if nesterov {
		args.nesterov = 1
	}
	for i := 0; i < len(w); i += callLen {
		args.w, args.v, args.g, args.n = &w[i], &v[i], &g[i], min(len(w)-i, callLen)
		s.descend(&args)
	}
}

func maskSIMD(s set, dz, dy, y []float32, act Clamp) {
	dy, y = dy[:len(dz)], y[:len(dz)]
	top, gated := act.top()
	if gated == 0 {
		copy(dz, dy)
		return
	}
	for i := 0; i < len(dz); i += callLen {
		s.mask(&maskArgs{&dy[i], &y[i], &dz[i], min(len(dz)-i, callLen), top})
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
