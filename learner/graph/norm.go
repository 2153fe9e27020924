package graph

import (
	"math"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"shoal/learner/kernel"
)

// A batch norm is four operations, so that nothing between them is hidden: statistics of x, (2, C), mean and inverse
// deviation; the normalised x; and backward the sums, (2, C), which are the gradient of scale and shift, and from them
// the gradient of x. Scale and shift are one parameter, (2, C).

// norm adds a batch norm of x with an activation, or with skip added.
func (n *Net) norm(name string, x *G.Node, act kernel.Clamp, skip *G.Node) *G.Node {
	if n.err != nil {
		return nil
	}
	h, w, c := extent(x)
	scale := Scale
	if skip != nil {
		scale = Branch
	}
	affine := n.param(tensor.Shape{2, c},
		Tensor{Name: name + ".weight", Shape: []int{c}, Kind: scale}, Tensor{Name: name + ".bias", Shape: []int{c}, Kind: Bias})
	pair := tensor.Shape{2, c}
	l := normLayer{pixels: h * w, c: c, act: act, epsilon: n.spec.Epsilon, most: n.spec.Batch * h * w}
	stats := n.apply(op{kind: "stats", name: name, shape: pair, kernel: newStats(l, n.runs(name, c))}, x)
	in := []*G.Node{x, stats, affine}
	wrt := []bool{true, false, true}
	if skip != nil {
		in, wrt = append(in, skip), append(wrt, true)
	}
	diff := func(in G.Nodes, _, grad *G.Node) (G.Nodes, error) {
		sums := n.apply(op{kind: "norm sums", name: name, shape: pair, kernel: newNormSums(l)}, grad, in[0], in[1], in[2])
		dx := n.apply(op{kind: "norm dx", name: name, shape: x.Shape().Clone(), kernel: newNormDX(l), inPlace: true},
			grad, in[0], in[1], in[2], sums)
		return G.Nodes{dx, nil, sums, grad}[:len(in)], n.err
	}
	return n.apply(op{kind: "norm", name: name, shape: x.Shape().Clone(), kernel: newNormalize(l), wrt: wrt, diff: diff, inPlace: true}, in...)
}

// normLayer is what the kernels of a batch norm share. All work on rows, one for each pixel of each image.
type normLayer struct {
	pixels, c int
	act       kernel.Clamp
	epsilon   float64
	most      int // rows of a whole batch
}

// momentRows is how many rows are summed on their own before sums are merged, in float64. It bounds rounding, and is part
// of what the result is.
const momentRows = 128

func (l *normLayer) blocks(rows int) int { return ceil(rows, momentRows) }

// fold computes scale and shift such that a normalised x is x·scale + shift.
func (l *normLayer) fold(scale, shift, stats, affine []float32) {
	mean, inverse := stats[:l.c], stats[l.c:]
	for i, g := range affine[:l.c] {
		scale[i] = g * inverse[i]
		shift[i] = affine[l.c+i] - mean[i]*scale[i]
	}
}

// statistics computes mean and inverse deviation, of the batch in training and of the running statistics otherwise.
type statistics struct {
	normLayer
	at   int // of the running mean in its block; the variance follows
	rows int

	x, parts []float32
	body     func(worker, item int)
}

func newStats(l normLayer, at int) *statistics {
	k := &statistics{normLayer: l, at: at}
	k.body = k.block
	return k
}

func (k *statistics) scratch(int) int { return (2*k.blocks(k.most) + 1) * k.c }

func (k *statistics) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	if f.mode == Evaluate {
		k.recall(f, out)
		return
	}
	k.rows, k.x, k.parts = f.n*k.pixels, in[0], scratch[k.c:]
	f.pool.Run(k.blocks(k.rows), k.body)
	k.settle(f, out, k.parts, scratch[:k.c], momentRows)
}

// recall takes the running statistics for those of the batch.
func (k *statistics) recall(f *frame, out []float32) {
	running := f.running[k.at:][:2*k.c]
	copy(out, running[:k.c])
	k.invert(out[k.c:2*k.c], running[k.c:])
}

// settle merges the moments of blocks of rows, and moves the running statistics.
func (k *statistics) settle(f *frame, out, parts, variance []float32, block int) {
	mean, inverse := out[:k.c], out[k.c:2*k.c]
	rows := f.n * k.pixels
	kernel.MergeMoments(mean, variance, parts, k.c, rows, block, 0, k.c)
	k.invert(inverse, variance)
	follow(f.running[k.at:][:2*k.c], mean, variance, rows, f.decay)
}

func (k *statistics) block(_, item int) {
	r0 := item * momentRows
	kernel.Moments(k.parts[2*item*k.c:], k.x, k.c, r0, min(r0+momentRows, k.rows))
}

func (k *statistics) invert(inverse, variance []float32) {
	for i := range inverse {
		inverse[i] = float32(1 / math.Sqrt(float64(variance[i])+k.epsilon))
	}
}

// follow moves the running statistics towards the batch's, with PyTorch's unbiased variance. Without memory (decay 0)
// they become the batch's, whatever they were.
func follow(running, mean, variance []float32, rows int, decay float64) {
	unbiased := 1.0
	if rows > 1 {
		unbiased = float64(rows) / float64(rows-1)
	}
	for i := range mean {
		m, v := float64(mean[i]), float64(variance[i])*unbiased
		if decay != 0 {
			m = decay*float64(running[i]) + (1-decay)*m
			v = decay*float64(running[len(mean)+i]) + (1-decay)*v
		}
		running[i], running[len(mean)+i] = float32(m), float32(v)
	}
}

// normalize applies statistics, scale and shift, and the activation or a skip connection.
type normalize struct {
	normLayer
	grid grid

	y, x, skip, scale, shift []float32
	body                     func(worker, item int)
}

func newNormalize(l normLayer) *normalize {
	k := &normalize{normLayer: l}
	k.body = k.part
	return k
}

func (k *normalize) scratch(int) int { return 2 * k.c }

func (k *normalize) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.y, k.x, k.skip, k.scale, k.shift = out, in[0], nil, scratch[:k.c], scratch[k.c:]
	if len(in) == 4 {
		k.skip = in[3]
	}
	k.fold(k.scale, k.shift, in[1], in[2])
	k.grid = strips(f.n*k.pixels, k.c, 2)
	f.pool.Run(k.grid.items(), k.body)
}

func (k *normalize) part(_, item int) {
	r0, r1, _, _ := k.grid.at(item)
	kernel.Normalize(k.y, k.x, k.skip, k.scale, k.shift, k.c, k.act, r0, r1)
}

// normSums computes the gradient of scale and shift, from the gradient of the result.
type normSums struct {
	normLayer
	rows int

	dy, x, mean, scale, shift, parts []float32
	body                             func(worker, item int)
}

func newNormSums(l normLayer) *normSums {
	k := &normSums{normLayer: l}
	k.body = k.block
	return k
}

func (k *normSums) scratch(int) int { return (2*k.blocks(k.most) + 2) * k.c }

func (k *normSums) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.dy, k.x, k.mean, k.rows = in[0], in[1], in[2][:k.c], f.n*k.pixels
	k.scale, k.shift, k.parts = scratch[:k.c], scratch[k.c:2*k.c], scratch[2*k.c:]
	k.fold(k.scale, k.shift, in[2], in[3])
	blocks := k.blocks(k.rows)
	f.pool.Run(blocks, k.body)
	k.mergeSums(out, in[2][k.c:2*k.c], k.parts, blocks)
}

// mergeSums makes the gradient of scale and shift of what NormSums wrote for blocks of rows.
func (l *normLayer) mergeSums(out, inverse, parts []float32, blocks int) {
	c := l.c
	for i := range c {
		var product, sum float64
		for b := range blocks {
			product += float64(parts[2*b*c+i])
			sum += float64(parts[(2*b+1)*c+i])
		}
		out[i], out[c+i] = float32(product*float64(inverse[i])), float32(sum)
	}
}

func (k *normSums) block(_, item int) {
	r0 := item * momentRows
	kernel.NormSums(k.parts[2*item*k.c:], k.dy, k.x, k.mean, k.scale, k.shift, k.c, k.act, r0, min(r0+momentRows, k.rows))
}

// normDX computes the gradient of x, through the statistics too [Ioffe & Szegedy 2015].
type normDX struct {
	slopes
	grid      grid
	dx, dy, x []float32
	body      func(worker, item int)
}

// slopes are what makes the gradient of x of the gradient of the result, row by row.
type slopes struct {
	normLayer
	scale, shift, slope, offset []float32
}

// bind computes them in 4·c elements of memory.
func (s *slopes) bind(stats, affine, sums, memory []float32, rows int) {
	c := s.c
	s.scale, s.shift, s.slope, s.offset = memory[:c], memory[c:2*c], memory[2*c:3*c], memory[3*c:4*c]
	s.fold(s.scale, s.shift, stats, affine)
	over := 1 / float64(rows)
	for i := range c {
		scale, mean, inverse := float64(s.scale[i]), float64(stats[i]), float64(stats[c+i])
		slope := -scale * inverse * float64(sums[i]) * over
		s.slope[i] = float32(slope)
		s.offset[i] = float32(-scale*float64(sums[c+i])*over - mean*slope)
	}
}

// dx computes the rows [r0, r1).
func (s *slopes) dx(dx, dy, x []float32, r0, r1 int) {
	kernel.NormDX(dx, dy, x, s.scale, s.shift, s.slope, s.offset, s.c, s.act, r0, r1)
}

func newNormDX(l normLayer) *normDX {
	k := &normDX{slopes: slopes{normLayer: l}}
	k.body = k.part
	return k
}

func (k *normDX) scratch(int) int { return 4 * k.c }

func (k *normDX) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.dx, k.dy, k.x = out, in[0], in[1]
	k.bind(in[2], in[3], in[4], scratch, f.n*k.pixels)
	k.grid = strips(f.n*k.pixels, k.c, 2)
	f.pool.Run(k.grid.items(), k.body)
}

func (k *normDX) part(_, item int) {
	r0, r1, _, _ := k.grid.at(item)
	k.slopes.dx(k.dx, k.dy, k.x, r0, r1)
}
