package graph

import "shoal/learner/kernel"

// band is some output rows of one image in a depthwise convolution, with what they need of the input, as an image of its
// own: its first row is the one above the band, if there is one, so that the window's padding falls on it.
type band struct {
	g          kernel.Window // of the small image
	first, end int           // output rows of the whole batch
	above      int           // 1 if the small image has an output row above the band
	in         int           // the input row of the whole batch that is the small image's first
	inEnd      int           // and where its rows end
	below      int           // the input row of the whole batch that belongs to the next band
}

// bandHeight is how many output rows a band has: a divisor of the height, so that bands do not cross images, or 0 if none
// is between 2 and 8. What it sees of c channels of the input should stay in the second cache.
func bandHeight(g kernel.Window, c int) int {
	least := 0
	for h := 2; h <= 8; h++ {
		if g.OutH%h == 0 && (least == 0 || inputRows(g, h)*c <= bandLen) {
			least = h
		}
	}
	return least
}

// bandLen is how many elements of the input a band sees at most, if it can be helped.
const bandLen = 1 << 15

// newBand is band item of an input cut into bands of height output rows.
func newBand(g kernel.Window, height, item int) band {
	s := band{first: item * height, end: (item + 1) * height}
	image, o := s.first/g.OutH, s.first%g.OutH
	s.above = min(o, 1)
	top := (o - s.above) * g.Stride
	bottom := min((o+height-1)*g.Stride+2, g.H)
	s.in, s.inEnd, s.below = image*g.H+top, image*g.H+bottom, image*g.H+min((o+height)*g.Stride, g.H)
	s.g = g
	s.g.H, s.g.OutH = bottom-top, min(o+height+1, g.OutH)-o+s.above
	return s
}

// bandY is a depthwise convolution with the statistics of its result; its operands are those of streamY.
type bandY struct {
	g           kernel.Window
	c, height   int
	x           reader
	after       *statistics
	y, w, parts []float32
	own         memory
	body        func(worker, item int)
}

func newBandY(d *depthwiseKernel, x reader, after *statistics) *bandY {
	k := &bandY{g: d.g, c: d.c, height: bandHeight(d.g, d.c), after: after, x: x}
	k.body = k.part
	return k
}

// inputRows is how many rows of pixels the small image of a band has at most.
func inputRows(g kernel.Window, height int) int { return (height*g.Stride + 2) * g.W }

func (k *bandY) scratch(workers int) int {
	all, each := k.x.lengths(inputRows(k.g, k.height))
	return all + k.c + 2*k.c*(k.after.most/(k.g.OutW*k.height)) + workers*each
}

func (k *bandY) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.own = scratch
	k.x.bind(in[0], in[2:], &k.own)
	variance, stats := k.own.take(k.c), in[len(in)-1]
	k.y, k.w = out, in[1]
	bands := f.n * k.g.OutH / k.height
	if k.parts = k.own.take(2 * k.c * bands); f.mode == Evaluate {
		k.parts = nil
	}
	f.pool.Run(bands, k.body)
	if f.mode == Evaluate {
		k.after.recall(f, stats)
		return
	}
	k.after.settle(f, stats, k.parts, variance, k.height*k.g.OutW)
}

func (k *bandY) part(worker, item int) {
	s := newBand(k.g, k.height, item)
	_, each := k.x.lengths(inputRows(k.g, k.height))
	x := k.x.rows(k.own.of(worker, each), s.in*k.g.W, s.inEnd*k.g.W)
	wide := k.g.OutW * k.c
	kernel.Depthwise(k.y[(s.first-s.above)*wide:], x, k.w, s.g, k.c, s.above, s.above+k.height)
	if k.parts != nil {
		kernel.Moments(k.parts[2*item*k.c:], k.y, k.c, s.first*k.g.OutW, s.end*k.g.OutW)
	}
}

// bandBack is the gradient of a depthwise convolution and the batch norm behind it; its operands are those of streamBack.
type bandBack struct {
	g                      kernel.Window
	c, height              int
	x                      reader
	dz                     slopes
	dx, dy, y, w, dw, sums []float32
	own                    memory
	merger                 merger
	body                   func(worker, item int)
}

func newBandBack(d *depthwiseKernel, x reader, after *normLayer) *bandBack {
	k := &bandBack{g: d.g, c: d.c, height: bandHeight(d.g, d.c), x: x}
	k.dz.normLayer = *after
	k.body, k.merger.body = k.part, k.merger.part
	return k
}

// each is how many elements a worker has.
func (k *bandBack) each() int {
	_, x := k.x.lengths(inputRows(k.g, k.height))
	return x + (k.height+2)*k.g.OutW*k.c
}

func (k *bandBack) scratch(workers int) int {
	all, _ := k.x.lengths(0)
	return all + 4*k.c + 11*k.c*(k.dz.most/(k.g.OutW*k.height)) + workers*k.each()
}

func (k *bandBack) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.own = scratch
	bands := f.n * k.g.OutH / k.height
	k.dy, k.y, k.w, k.dx = in[0], in[1], in[5], out
	k.dz.bind(in[2], in[3], in[4], k.own.take(4*k.c), f.n*k.g.OutH*k.g.OutW)
	k.x.bind(in[6], in[7:], &k.own)
	k.dw, k.sums = k.own.take(9*k.c*bands), k.own.take(2*k.c*bands)
	f.pool.Run(bands, k.body)
	dw := in[len(in)-1]
	if k.x.norm != nil {
		dw = in[len(in)-2]
		k.x.norm.mergeSums(in[len(in)-1], in[7][k.c:], k.sums, bands)
	}
	k.merger.run(f.pool, dw[:9*k.c], k.dw, bands)
}

func (k *bandBack) part(worker, item int) {
	s := newBand(k.g, k.height, item)
	own := k.own.of(worker, k.each())
	pixels := k.g.OutW // of a row
	dz := own.take(s.g.OutH * pixels * k.c)
	from := 0
	if k.g.Stride == 2 { // nothing meets the row above, but it stands in for rows outside
		from = s.above * pixels
		clear(dz[:from*k.c])
	}
	at := (s.first - s.above) * pixels * k.c
	k.dz.dx(dz, k.dy[at:], k.y[at:], from, s.g.OutH*pixels)
	shift := s.in * k.g.W * k.c
	r0, r1 := s.above*k.g.Stride, s.below-s.in
	kernel.DepthwiseDX(k.dx[shift:], dz, k.w, s.g, k.c, r0, r1)
	x := k.x.raw(own, s.in*k.g.W, s.inEnd*k.g.W)
	if k.x.norm != nil {
		at := r0 * k.g.W * k.c
		k.x.sums(k.sums[2*item*k.c:], k.dx[shift+at:], x[at:], (r1-r0)*k.g.W)
		x = k.x.normal(own, x)
	}
	kernel.DepthwiseDW(k.dw[9*item*k.c:], x, dz, s.g, k.c, s.above, s.above+k.height, 0, k.c)
}
