package graph

import (
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"shoal/learner/kernel"
)

// extent is the height, width and channels of a feature map (N, H, W, C).
func extent(x *G.Node) (h, w, c int) {
	s := x.Shape()
	return s[1], s[2], s[3]
}

// conv adds a convolution to c channels, without bias.
func (n *Net) conv(name string, x *G.Node, c, size, stride, pad int) *G.Node {
	if n.err != nil {
		return nil
	}
	h, w, in := extent(x)
	filter := n.param(tensor.Shape{size * size * in, c}, Tensor{Name: name + ".weight", Shape: []int{c, in, size, size}, Kind: Filter})
	g := kernel.NewWindow(h, w, size, stride, pad, false)
	shape := tensor.Shape{n.spec.Batch, g.OutH, g.OutW, c}
	if size == 1 && stride == 1 && pad == 0 {
		return n.filtered("conv", name, x, filter, shape, h*w*in*c,
			newPointwise(h*w, in, c), newPointwiseDX(h*w, in, c, n.spec.Batch), newPointwiseDW(h*w, in, c, n.spec.Batch))
	}
	if macs := g.OutH * g.OutW * size * size * in * c; in <= stemChannels {
		p := newPadded(g, in, c)
		return n.filtered("conv", name, x, filter, shape, macs, newStemY(p, nil), newDenseDX(g, in, c), newStemDW(p, nil, n.spec.Batch))
	}
	return n.filtered("conv", name, x, filter, shape, g.OutH*g.OutW*size*size*in*c,
		newDense(g, in, c), newDenseDX(g, in, c), newDenseDW(g, in, c, n.spec.Batch))
}

// depthwise adds a 3×3 convolution, padding 1, of each channel with a filter of its own, without bias.
func (n *Net) depthwise(name string, x *G.Node, stride int) *G.Node {
	if n.err != nil {
		return nil
	}
	h, w, c := extent(x)
	filter := n.param(tensor.Shape{9, c}, Tensor{Name: name + ".weight", Shape: []int{c, 1, 3, 3}, Kind: Filter})
	g := kernel.NewWindow(h, w, 3, stride, 1, false)
	return n.filtered("depthwise", name, x, filter, tensor.Shape{n.spec.Batch, g.OutH, g.OutW, c}, g.OutH*g.OutW*9*c,
		newDepthwise(g, c, depthwiseY), newDepthwise(g, c, depthwiseDX), newDepthwise(g, c, depthwiseDW))
}

// linear adds a matrix product of features (N, C) to c features, without bias.
func (n *Net) linear(name string, x *G.Node, c int) *G.Node {
	if n.err != nil {
		return nil
	}
	in := x.Shape()[1]
	weight := n.param(tensor.Shape{in, c}, Tensor{Name: name + ".weight", Shape: []int{c, in}, Kind: Filter})
	return n.filtered("linear", name, x, weight, tensor.Shape{n.spec.Batch, c}, in*c,
		newPointwise(1, in, c), newPointwiseDX(1, in, c, n.spec.Batch), newPointwiseDW(1, in, c, n.spec.Batch))
}

// filtered adds an operation that is linear in x and in w, and its gradients, each of which takes as many multiply-adds
// an image. The images themselves need no gradient.
func (n *Net) filtered(kind, name string, x, w *G.Node, shape tensor.Shape, macs int, y, dx, dw runner) *G.Node {
	inner := x != n.images
	total := int64(n.spec.Batch) * int64(macs)
	return n.apply(op{
		kind: kind, name: name, shape: shape, kernel: y, macs: total, wrt: []bool{inner, true},
		diff: func(in G.Nodes, _, grad *G.Node) (G.Nodes, error) {
			grads := make(G.Nodes, 2)
			if inner {
				grads[0] = n.apply(op{kind: kind + " dx", name: name, shape: x.Shape().Clone(), kernel: dx, macs: total}, grad, in[1])
			}
			grads[1] = n.apply(op{kind: kind + " dw", name: name, shape: w.Shape().Clone(), kernel: dw, macs: total}, in[0], grad)
			return grads, n.err
		},
	}, x, w)
}

// product is a matrix product shared by a pool.
type product struct {
	c, a, b kernel.Matrix
	depth   int
	grid    grid
	body    func(worker, item int)
}

func (p *product) bind() { p.body = p.tile }

// of computes c = a·b, where c is (rows, cols).
func (p *product) of(pool *Pool, c, a, b kernel.Matrix, rows, cols, depth int) {
	p.c, p.a, p.b, p.depth, p.grid = c, a, b, depth, tiles(rows, cols, depth)
	pool.Run(p.grid.items(), p.body)
}

func (p *product) tile(_, item int) {
	r0, r1, c0, c1 := p.grid.at(item)
	kernel.Gemm(p.c.From(r0, c0), p.a.From(r0, 0), p.b.From(0, c0), r1-r0, c1-c0, p.depth, false)
}

// pointwise is a 1×1 convolution: a product of pixels' channels with a matrix.
type pointwise struct {
	product
	pixels, in, out int
}

func newPointwise(pixels, in, out int) *pointwise {
	k := &pointwise{pixels: pixels, in: in, out: out}
	k.bind()
	return k
}

func (k *pointwise) scratch(int) int { return 0 }

func (k *pointwise) run(f *frame, out []float32, in [][]float32, _ []float32) {
	k.of(f.pool, kernel.Rows(out, k.out), kernel.Rows(in[0], k.in), kernel.Rows(in[1], k.out), f.n*k.pixels, k.out, k.in)
}

// pointwiseDX multiplies the gradient by the transposed matrix. Where rows are few, turning the matrix takes longer than the
// product: then the gradient and the result are turned, and the bits are the same.
type pointwiseDX struct {
	pointwise
	few int // rows of a whole batch, if they are; else 0
}

// fewRows is how many rows are few.
const fewRows = 32

func newPointwiseDX(pixels, in, out, batch int) *pointwiseDX {
	k := &pointwiseDX{pointwise: pointwise{pixels: pixels, in: in, out: out}}
	if rows := pixels * batch; rows <= fewRows {
		k.few = rows
	}
	k.bind()
	return k
}

func (k *pointwiseDX) scratch(int) int {
	if k.few > 0 {
		return k.few * (k.in + k.out)
	}
	return k.in * k.out
}

func (k *pointwiseDX) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	rows := f.n * k.pixels
	if k.few == 0 {
		kernel.Transpose(scratch, in[1], k.in, k.out)
		k.of(f.pool, kernel.Rows(out, k.in), kernel.Rows(in[0], k.out), kernel.Rows(scratch, k.in), rows, k.in, k.out)
		return
	}
	own := memory(scratch)
	dy, dx := own.take(rows*k.out), own.take(rows*k.in)
	kernel.Transpose(dy, in[0], rows, k.out)
	k.of(f.pool, kernel.Rows(dx, rows), kernel.Rows(in[1], k.out), kernel.Rows(dy, rows), k.in, rows, k.out)
	kernel.Transpose(out, dx, k.in, rows)
}

// pointwiseDW multiplies the transposed input by the gradient. Many pixels are taken in blocks of rows, each of which gives
// a part of a small result; a large one of few pixels is cut itself.
type pointwiseDW struct {
	pointwise
	most, block, rows int // rows of a whole batch, of a block (or 0), and of the run
	x, dy, parts      []float32
	thin              thin
	merger            merger
	blocks            func(worker, item int)
}

// partLen is how many elements a result has at most that is made in parts.
const partLen = 1 << 15

func newPointwiseDW(pixels, in, out, batch int) *pointwiseDW {
	k := &pointwiseDW{pointwise: pointwise{pixels: pixels, in: in, out: out}, most: pixels * batch}
	k.bind()
	k.blocks, k.merger.body = k.part, k.merger.part
	if k.thin = newThin(in, out); pixels >= fusedPixels && in*out <= partLen {
		k.block = streamRows(in + out)
	}
	return k
}

func (k *pointwiseDW) scratch(int) int {
	if k.block == 0 {
		return k.thin.scratch()
	}
	return ceil(k.most, k.block)*k.in*k.out + k.thin.scratch()
}

func (k *pointwiseDW) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.rows = f.n * k.pixels
	own := memory(scratch)
	dw := k.thin.begin(out, &own)
	if k.block == 0 {
		a, b, rows, cols := k.thin.operands(in[0], in[1])
		k.of(f.pool, kernel.Rows(dw, cols), a, b, rows, cols, k.rows)
	} else {
		k.x, k.dy, k.parts = in[0], in[1], own
		blocks := ceil(k.rows, k.block)
		f.pool.Run(blocks, k.blocks)
		k.merger.run(f.pool, dw, k.parts, blocks)
	}
	k.thin.end(out, dw)
}

func (k *pointwiseDW) part(_, item int) {
	r0 := item * k.block
	n := min(k.block, k.rows-r0)
	k.thin.part(k.parts[item*k.in*k.out:], k.x[r0*k.in:], k.dy[r0*k.out:], n)
}

// depthwiseKernel runs one of the three depthwise kernels.
type depthwiseKernel struct {
	g    kernel.Window
	c    int
	what depthwisePart
	grid grid
	n    int

	out, first, second []float32
	body               func(worker, item int)
}

type depthwisePart int

const (
	depthwiseY depthwisePart = iota
	depthwiseDX
	depthwiseDW
)

func newDepthwise(g kernel.Window, c int, what depthwisePart) *depthwiseKernel {
	k := &depthwiseKernel{g: g, c: c, what: what}
	k.body = k.part
	return k
}

func (k *depthwiseKernel) scratch(int) int { return 0 }

func (k *depthwiseKernel) run(f *frame, out []float32, in [][]float32, _ []float32) {
	k.n, k.out, k.first, k.second = f.n, out, in[0], in[1]
	switch k.what {
	case depthwiseY:
		k.grid = strips(f.n*k.g.OutH, k.g.OutW*k.c, 9)
	case depthwiseDX:
		k.grid = strips(f.n*k.g.H, k.g.W*k.c, 9)
	case depthwiseDW: // a run of channels each: a channel's sum is one worker's
		k.grid = strips(ceil(k.c, 16), 16*k.g.OutH*k.g.OutW, 9*f.n)
	}
	f.pool.Run(k.grid.items(), k.body)
}

func (k *depthwiseKernel) part(_, item int) {
	r0, r1, _, _ := k.grid.at(item)
	switch k.what {
	case depthwiseY:
		kernel.Depthwise(k.out, k.first, k.second, k.g, k.c, r0, r1)
	case depthwiseDX:
		kernel.DepthwiseDX(k.out, k.first, k.second, k.g, k.c, r0, r1)
	case depthwiseDW:
		kernel.DepthwiseDW(k.out, k.first, k.second, k.g, k.c, 0, k.n*k.g.OutH, 16*r0, min(16*r1, k.c))
	}
}
