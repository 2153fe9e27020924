package kernel

// The arguments of csrc/vector.c.
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
