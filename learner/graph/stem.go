package graph

import "shoal/learner/kernel"

// A convolution of few channels would be a matrix product of few columns of patches, and laying those out would be most of
// the work. Instead a band of the input is copied once with its padding; then the taps of one row of the window are
// adjacent, for neighbouring outputs a stride apart: a matrix without being laid out.

// padded makes such bands.
type padded struct {
	g             kernel.Window
	in, out       int
	height, bands int // output rows of a band, bands of an image
}

// stemChannels is how many channels are few.
const stemChannels = 4

func newPadded(g kernel.Window, in, out int) padded {
	height := bandHeight(g, in)
	if height == 0 {
		height = min(8, g.OutH)
	}
	return padded{g, in, out, height, ceil(g.OutH, height)}
}

// width is how many elements a row of a band has.
func (p *padded) width() int { return ((p.g.OutW-1)*p.g.Stride + p.g.Size) * p.in }

// len is how many elements a band has.
func (p *padded) len() int { return ((p.height-1)*p.g.Stride + p.g.Size) * p.width() }

// rows are the output rows of a band, counted over the batch.
func (p *padded) rows(item int) (r0, r1 int) {
	image, band := item/p.bands, item%p.bands
	return image*p.g.OutH + band*p.height, image*p.g.OutH + min((band+1)*p.height, p.g.OutH)
}

// fill copies what the output rows [r0, r1) of one image see of x.
func (p *padded) fill(to, x []float32, r0, r1 int) {
	g, wide := p.g, p.width()
	image, top := r0/g.OutH, r0%g.OutH*g.Stride-g.Pad
	left := g.Pad * p.in
	inside := min(g.W*p.in, wide-left)
	for i := range (r1-r0-1)*g.Stride + g.Size {
		row := to[i*wide:][:wide]
		if y := top + i; y < 0 || y >= g.H {
			clear(row)
		} else {
			clear(row[:left])
			copy(row[left:left+inside], x[(image*g.H+y)*g.W*p.in:])
			clear(row[left+inside:])
		}
	}
}

// taps are row ky of the windows of output row r of a band, (OutW, Size·in), and where the filter's rows for it begin.
func (p *padded) taps(band []float32, r, ky int) (kernel.Matrix, int) {
	at := (r*p.g.Stride + ky) * p.width()
	return kernel.Matrix{Data: band[at:], Row: p.g.Stride * p.in, Col: 1}, ky * p.g.Size * p.in
}

// stemY is a convolution of few channels; operands are x, the filter, and with statistics behind it, these, a result.
type stemY struct {
	padded
	after          *statistics // or nil
	y, x, w, parts []float32
	own            memory
	body           func(worker, item int)
}

func newStemY(p padded, after *statistics) *stemY {
	k := &stemY{padded: p, after: after}
	k.body = k.part
	return k
}

func (k *stemY) scratch(workers int) int {
	n := workers * k.len()
	if k.after != nil {
		n += k.out + 2*k.out*(k.after.most/(k.height*k.g.OutW))
	}
	return n
}

func (k *stemY) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.y, k.x, k.w, k.own, k.parts = out, in[0], in[1], scratch, nil
	if k.after == nil {
		f.pool.Run(f.n*k.bands, k.body)
		return
	}
	variance, parts := k.own.take(k.out), k.own.take(2*k.out*(k.after.most/(k.height*k.g.OutW)))
	if f.mode == Evaluate {
		f.pool.Run(f.n*k.bands, k.body)
		k.after.recall(f, in[2])
		return
	}
	k.parts = parts
	f.pool.Run(f.n*k.bands, k.body)
	k.after.settle(f, in[2], parts, variance, k.height*k.g.OutW)
}

func (k *stemY) part(worker, item int) {
	r0, r1 := k.rows(item)
	band, deep := k.own.of(worker, k.len()), k.g.Size*k.in
	k.fill(band, k.x, r0, r1)
	y := k.y[r0*k.g.OutW*k.out : r1*k.g.OutW*k.out]
	for r := range r1 - r0 {
		for ky := range k.g.Size {
			a, at := k.taps(band, r, ky)
			kernel.Gemm(kernel.Rows(y, k.out).From(r*k.g.OutW, 0), a, kernel.Rows(k.w, k.out).From(at, 0), k.g.OutW, k.out, deep, ky > 0)
		}
	}
	if k.parts != nil {
		kernel.Moments(k.parts[2*item*k.out:], y, k.out, 0, (r1-r0)*k.g.OutW)
	}
}

// stemDW is its gradient by the filter; operands are x and the gradient, or x behind those of slopes.
type stemDW struct {
	padded
	dz       *slopes // or nil
	dy, x, y []float32
	dw       []float32
	own      memory
	merger   merger
	body     func(worker, item int)
	most     int // bands of a whole batch
}

func newStemDW(p padded, after *normLayer, batch int) *stemDW {
	k := &stemDW{padded: p, most: batch * p.bands}
	if after != nil {
		k.dz = &slopes{normLayer: *after}
	}
	k.body, k.merger.body = k.part, k.merger.part
	return k
}

// filter is how many elements the gradient has.
func (k *stemDW) filter() int { return k.g.Size * k.g.Size * k.in * k.out }

// each is how many elements a worker has.
func (k *stemDW) each() int {
	n := k.len()
	if k.dz != nil {
		n += k.height * k.g.OutW * k.out
	}
	return n
}

func (k *stemDW) scratch(workers int) int {
	return 4*k.out + k.most*k.filter() + workers*k.each()
}

func (k *stemDW) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.own, k.x = scratch, in[0]
	bands := f.n * k.bands
	if k.dz == nil {
		k.dy = in[1]
	} else {
		k.dy, k.y, k.x = in[0], in[1], in[5]
		k.dz.bind(in[2], in[3], in[4], k.own.take(4*k.out), f.n*k.g.OutH*k.g.OutW)
	}
	k.dw = k.own.take(bands * k.filter())
	f.pool.Run(bands, k.body)
	k.merger.run(f.pool, out[:k.filter()], k.dw, bands)
}

func (k *stemDW) part(worker, item int) {
	r0, r1 := k.rows(item)
	own, row, deep := k.own.of(worker, k.each()), k.g.OutW*k.out, k.g.Size*k.in
	band, dz := own.take(k.len()), k.dy[r0*row:r1*row]
	k.fill(band, k.x, r0, r1)
	if k.dz != nil {
		k.dz.dx(own, dz, k.y[r0*row:], 0, (r1-r0)*k.g.OutW)
		dz = own
	}
	dw := kernel.Rows(k.dw[item*k.filter():], k.out)
	for r := range r1 - r0 {
		for ky := range k.g.Size {
			a, at := k.taps(band, r, ky)
			kernel.Gemm(dw.From(at, 0), a.Transposed(), kernel.Rows(dz[r*row:], k.out), deep, k.out, k.g.OutW, r > 0)
		}
	}
}
