package graph

import (
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"shoal/learner/kernel"
)

// each is a kernel that is one function over ranges of rows: those of the batch's images, each of width elements.
type each struct {
	rows, width int // of an image
	function    func(k *each, r0, r1 int)

	grid grid
	out  []float32
	in   [][]float32
	body func(worker, item int)
}

func newEach(rows, width int, function func(k *each, r0, r1 int)) *each {
	k := &each{rows: rows, width: width, function: function}
	k.body = k.part
	return k
}

func (k *each) scratch(int) int { return 0 }

func (k *each) run(f *frame, out []float32, in [][]float32, _ []float32) {
	k.out, k.in = out, in
	k.grid = strips(f.n*k.rows, k.width, 2)
	f.pool.Run(k.grid.items(), k.body)
}

func (k *each) part(_, item int) {
	r0, r1, _, _ := k.grid.at(item)
	k.function(k, r0, r1)
}

// bias adds a bias per channel, the last axis, and an activation. Its gradient comes from the result, so that x need not
// be kept.
func (n *Net) bias(name string, x *G.Node, act kernel.Clamp) *G.Node {
	if n.err != nil {
		return nil
	}
	shape := x.Shape().Clone()
	c := shape[len(shape)-1]
	pixels := shape.TotalSize() / c / n.spec.Batch
	b := n.param(tensor.Shape{c}, Tensor{Name: name + ".bias", Shape: []int{c}, Kind: Bias})
	forward := newEach(pixels, c, func(k *each, r0, r1 int) { kernel.Bias(k.out, k.in[0], k.in[1], c, act, r0, r1) })
	diff := func(_ G.Nodes, out, grad *G.Node) (G.Nodes, error) {
		if act != kernel.None {
			mask := newEach(pixels, c, func(k *each, r0, r1 int) {
				kernel.Mask(k.out[r0*c:r1*c], k.in[0][r0*c:r1*c], k.in[1][r0*c:r1*c], act)
			})
			grad = n.apply(op{kind: "mask", name: name, shape: shape, kernel: mask, inPlace: true}, grad, out)
		}
		sum := n.apply(op{kind: "bias sum", name: name, shape: tensor.Shape{c}, kernel: newColumns(pixels, c, n.spec.Batch)}, grad)
		return G.Nodes{grad, sum}, n.err
	}
	return n.apply(op{kind: "bias", name: name, shape: shape, kernel: forward, wrt: []bool{true, true}, diff: diff, inPlace: true}, x, b)
}

// columns sums each channel over all rows, in blocks that are merged in float64.
type columns struct {
	pixels, c, most, rows int
	x, parts              []float32
	body                  func(worker, item int)
}

func newColumns(pixels, c, batch int) *columns {
	k := &columns{pixels: pixels, c: c, most: pixels * batch}
	k.body = k.block
	return k
}

func (k *columns) scratch(int) int { return ceil(k.most, momentRows) * k.c }

func (k *columns) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.x, k.parts, k.rows = in[0], scratch, f.n*k.pixels
	blocks := ceil(k.rows, momentRows)
	f.pool.Run(blocks, k.body)
	for i := range out[:k.c] {
		var sum float64
		for b := range blocks {
			sum += float64(scratch[b*k.c+i])
		}
		out[i] = float32(sum)
	}
}

func (k *columns) block(_, item int) {
	r0 := item * momentRows
	kernel.Columns(k.parts[item*k.c:], k.x, k.c, r0, min(r0+momentRows, k.rows))
}

// maxPool adds a 3×3 maximum, stride 2, whose last window may stick out.
func (n *Net) maxPool(name string, x *G.Node) *G.Node {
	if n.err != nil {
		return nil
	}
	h, w, c := extent(x)
	g := kernel.NewWindow(h, w, 3, 2, 0, true)
	forward := newEach(g.OutH, g.OutW*c*9, func(k *each, r0, r1 int) { kernel.MaxPool(k.out, k.in[0], g, c, r0, r1) })
	diff := func(in G.Nodes, out, grad *G.Node) (G.Nodes, error) {
		back := newEach(1, h*w*c, func(k *each, r0, r1 int) {
			kernel.MaxPoolDX(k.out, k.in[0], k.in[1], k.in[2], g, c, r0, r1)
		})
		return G.Nodes{n.apply(op{kind: "pool dx", name: name, shape: x.Shape().Clone(), kernel: back}, grad, out, in[0])}, n.err
	}
	shape := tensor.Shape{n.spec.Batch, g.OutH, g.OutW, c}
	return n.apply(op{kind: "pool", name: name, shape: shape, kernel: forward, wrt: []bool{true}, diff: diff}, x)
}

// average adds the mean over the pixels: features (N, C).
func (n *Net) average(name string, x *G.Node) *G.Node {
	if n.err != nil {
		return nil
	}
	h, w, c := extent(x)
	forward := newEach(1, h*w*c, func(k *each, r0, r1 int) { kernel.Average(k.out, k.in[0], h*w, c, r0, r1) })
	diff := func(_ G.Nodes, _, grad *G.Node) (G.Nodes, error) {
		back := newEach(1, h*w*c, func(k *each, r0, r1 int) { kernel.AverageDX(k.out, k.in[0], h*w, c, r0, r1) })
		return G.Nodes{n.apply(op{kind: "average dx", name: name, shape: x.Shape().Clone(), kernel: back}, grad)}, n.err
	}
	shape := tensor.Shape{n.spec.Batch, c}
	return n.apply(op{kind: "average", name: name, shape: shape, kernel: forward, wrt: []bool{true}, diff: diff}, x)
}

// crossEntropy adds the mean softmax cross-entropy of logits (N, C), a scalar. It is skipped where there are no labels.
func (n *Net) crossEntropy(logits *G.Node) *G.Node {
	if n.err != nil {
		return nil
	}
	c := logits.Shape()[1]
	diff := func(in G.Nodes, _, grad *G.Node) (G.Nodes, error) {
		return G.Nodes{n.apply(op{kind: "dx", name: "loss", shape: in[0].Shape().Clone(), kernel: lossDX{c}}, grad, in[0])}, n.err
	}
	return n.apply(op{kind: "cross-entropy", name: "loss", shape: tensor.ScalarShape(), kernel: loss{c}, wrt: []bool{true}, diff: diff}, logits)
}

// loss leaves the mean loss and the number of correct images in the frame too, where they are exact.
type loss struct{ c int }

func (loss) scratch(int) int { return 0 }

func (k loss) run(f *frame, out []float32, in [][]float32, _ []float32) {
	f.loss, f.correct = 0, 0
	if len(f.labels) > 0 {
		sum, correct := kernel.CrossEntropy(in[0], f.labels, k.c)
		f.loss, f.correct = sum/float64(len(f.labels)), correct
	}
	out[0] = float32(f.loss)
}

// lossDX takes the gradient of the mean, a scalar, before the logits.
type lossDX struct{ c int }

func (lossDX) scratch(int) int { return 0 }

func (k lossDX) run(f *frame, out []float32, in [][]float32, _ []float32) {
	kernel.CrossEntropyDX(out, in[1], f.labels, k.c, float64(in[0][0])/float64(len(f.labels)))
}
