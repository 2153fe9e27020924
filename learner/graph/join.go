package graph

import (
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"shoal/learner/kernel"
)

// A half is what goes into a join: a convolution's raw result and its bias.
type half struct {
	name string
	x, b *G.Node
}

// beside adds a convolution without its bias and activation, which join adds.
func (n *Net) beside(name string, x *G.Node, c, size, pad int) half {
	y := n.conv(name, x, c, size, 1, pad)
	if n.err != nil {
		return half{}
	}
	return half{name, y, n.param(tensor.Shape{c}, Tensor{Name: name + ".bias", Shape: []int{c}, Kind: Bias})}
}

// join adds the channels of a followed by those of b, each with its bias, behind a ReLU. One pass writes them where they
// belong, and one takes each half of the gradient out through the ReLU; the gradient comes from the result, so that the
// raw halves need not be kept.
func (n *Net) join(name string, a, b half) *G.Node {
	if n.err != nil {
		return nil
	}
	h, w, ca := extent(a.x)
	_, _, cb := extent(b.x)
	c := ca + cb
	forward := newEach(h*w, c, func(k *each, r0, r1 int) {
		kernel.BiasJoin(k.out, k.in[0], k.in[1], ca, 0, c, kernel.ReLU, r0, r1)
		kernel.BiasJoin(k.out, k.in[2], k.in[3], cb, ca, c, kernel.ReLU, r0, r1)
	})
	diff := func(_ G.Nodes, out, grad *G.Node) (G.Nodes, error) {
		da, sumA := n.apart(a, grad, out, 0, c)
		db, sumB := n.apart(b, grad, out, ca, c)
		return G.Nodes{da, sumA, db, sumB}, n.err
	}
	shape := tensor.Shape{n.spec.Batch, h, w, c}
	every := []bool{true, true, true, true}
	return n.apply(op{kind: "join", name: name, shape: shape, kernel: forward, wrt: every, diff: diff}, a.x, a.b, b.x, b.b)
}

// apart is the gradient of a half, whose channels begin at from among c, and that of its bias.
func (n *Net) apart(half half, grad, out *G.Node, from, c int) (dx, sum *G.Node) {
	h, w, wide := extent(half.x)
	mask := newEach(h*w, wide, func(k *each, r0, r1 int) {
		kernel.MaskCut(k.out, k.in[0], k.in[1], wide, from, c, kernel.ReLU, r0, r1)
	})
	dx = n.apply(op{kind: "mask", name: half.name, shape: half.x.Shape().Clone(), kernel: mask}, grad, out)
	if n.err != nil {
		return nil, nil
	}
	sum = n.apply(op{kind: "bias sum", name: half.name, shape: tensor.Shape{wide}, kernel: newColumns(h*w, wide, n.spec.Batch)}, dx)
	return dx, sum
}
