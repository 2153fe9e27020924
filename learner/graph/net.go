// Package graph holds the models as expressions and runs them. A [Net] is a Gorgonia expression graph of our own
// operations, differentiated by Gorgonia; [Compile] plans where every value of it lives and gives a [Program], which runs
// steps without allocating. Activations are (N, H, W, C) in float32, filters (taps, in, out).
package graph

import (
	"fmt"
	"slices"
	"sync"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// building is held while expressions grow: Gorgonia caches a hash in a constant that all graphs share, so that even
// separate graphs may not be differentiated at once.
var building sync.Mutex

// Tensor is a named part of a net's parameters or running statistics. Its values are at [Offset, Offset+Len()) of that
// block. Names and Shape are torchvision's: filters (out, in, height, width), or (out, in) in a linear layer. In the
// block the values of a filter are in the order (height, width, in, out).
type Tensor struct {
	Name   string
	Shape  []int
	Offset int
	Kind   Kind
}

// Kind is what a tensor is for.
type Kind string

// The kinds of tensors.
const (
	Filter   Kind = "filter"
	Bias     Kind = "bias"
	Scale    Kind = "scale"  // of a batch norm
	Branch   Kind = "branch" // the scale of a batch norm to which a block's input is added
	Mean     Kind = "mean"   // running
	Variance Kind = "variance"
)

// Len is the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// taps is the number of places of a filter's window; in and out are its channels. Other tensors have one of each but out.
func (t Tensor) axes() (taps, in, out int) {
	if len(t.Shape) < 2 {
		return 1, 1, t.Len()
	}
	taps = 1
	for _, d := range t.Shape[2:] {
		taps *= d
	}
	return taps, t.Shape[1], t.Shape[0]
}

// Fans are the numbers of inputs that an output of a filter sees and of outputs that an input reaches, taken from the
// shape as torchvision and Keras do: that a depthwise filter's channels are apart is not looked at, so its out is a
// channel count too large.
func (t Tensor) Fans() (in, out int) {
	taps, in, out := t.axes()
	return taps * in, taps * out
}

// Export writes the values in torchvision's order to dst, from a block's part src; both have Len() elements.
func (t Tensor) Export(dst, src []float32) {
	t.each(func(ours, theirs int) { dst[theirs] = src[ours] })
}

// Import is the reverse of Export: it reads torchvision's order from src.
func (t Tensor) Import(dst, src []float32) {
	t.each(func(ours, theirs int) { dst[ours] = src[theirs] })
}

func (t Tensor) each(visit func(ours, theirs int)) {
	taps, in, out := t.axes()
	for k := range taps {
		for i := range in {
			for o := range out {
				visit((k*in+i)*out+o, (o*in+i)*taps+k)
			}
		}
	}
}

// Net is a model with its loss and gradients, as an expression. It has no memory of its own.
type Net struct {
	Params     []Tensor // in the order of the block
	Running    []Tensor // likewise: the running statistics, a block of its own
	ParamsLen  int
	RunningLen int

	spec    Spec
	graph   *G.ExprGraph
	frame   *frame
	images  *G.Node
	logits  *G.Node
	loss    *G.Node
	params  G.Nodes // each one or more tensors of the block, adjacent
	grads   G.Nodes // of params
	offsets []int   // of params in the block
	forward int     // nodes that are not gradients
	serial  int     // operations made so far
	err     error   // the first while building
}

// Spec says what a net is built for.
type Spec struct {
	Width   float64 // multiplier of the channels, where the model has one
	Input   int     // side of the images
	Batch   int     // images in a step, at most
	Classes int
	Epsilon float64 // of batch norms
}

// build makes a net whose expression from images to logits is written by model.
func build(spec Spec, model func(n *Net, images *G.Node) *G.Node) (*Net, error) {
	if spec.Batch < 1 || spec.Classes < 1 || spec.Input < 1 {
		return nil, fmt.Errorf("build net: batch %d, classes %d and input %d must be positive", spec.Batch, spec.Classes, spec.Input)
	}
	building.Lock()
	defer building.Unlock()
	n := &Net{spec: spec, graph: G.NewGraph(), frame: &frame{}}
	n.images = G.NewTensor(n.graph, tensor.Float32, 4, G.WithShape(spec.Batch, spec.Input, spec.Input, 3), G.WithName("images"))
	n.logits = model(n, n.images)
	n.loss = n.crossEntropy(n.logits)
	n.forward = len(n.graph.AllNodes())
	if n.err != nil {
		return nil, fmt.Errorf("build net: %w", n.err)
	}
	grads, err := G.Grad(n.loss, n.params...)
	if err == nil {
		err = n.err
	}
	if err != nil {
		return nil, fmt.Errorf("differentiate net: %w", err)
	}
	n.grads = grads
	return n, n.checkHashes()
}

// checkHashes makes sure that no two operations look the same to Gorgonia, which compares hashes of 32 bits only.
func (n *Net) checkHashes() error {
	seen := map[uint32]*G.Node{}
	for _, node := range n.graph.AllNodes() {
		if other, ok := seen[node.Hashcode()]; ok && other != node {
			return fmt.Errorf("build net: %v and %v have the same hash", other, node)
		}
		seen[node.Hashcode()] = node
	}
	return nil
}

// param adds a parameter of the given tensors, which become adjacent in the block.
func (n *Net) param(shape tensor.Shape, tensors ...Tensor) *G.Node {
	node := G.NewTensor(n.graph, tensor.Float32, len(shape), G.WithShape(shape...), G.WithName(tensors[0].Name))
	n.params = append(n.params, node)
	n.offsets = append(n.offsets, n.ParamsLen)
	for _, t := range tensors {
		t.Offset = n.ParamsLen
		n.ParamsLen += t.Len()
		n.Params = append(n.Params, t)
	}
	return node
}

// runs adds the running statistics of a batch norm of c channels, mean before variance, and returns their place.
func (n *Net) runs(name string, c int) int {
	at := n.RunningLen
	n.Running = append(n.Running,
		Tensor{Name: name + ".running_mean", Shape: []int{c}, Offset: at, Kind: Mean},
		Tensor{Name: name + ".running_var", Shape: []int{c}, Offset: at + c, Kind: Variance})
	n.RunningLen += 2 * c
	return at
}

// apply adds an operation to the expression. After an error it returns nil, and keeps the first in n.err.
func (n *Net) apply(o op, in ...*G.Node) *G.Node {
	if n.err != nil || slices.Contains(in, nil) {
		return nil
	}
	n.serial++
	o.id, o.frame = n.serial, n.frame
	for _, node := range in {
		o.dims = append(o.dims, node.Shape().Dims())
	}
	node, err := G.ApplyOp(&o, in...)
	if err != nil {
		n.err = fmt.Errorf("add %v: %w", &o, err)
		return nil
	}
	return node
}

// Memory is the blocks that a net works on; they belong to the caller, who may read and write them between steps.
type Memory struct {
	Params  []float32 // ParamsLen
	Grads   []float32 // ParamsLen, in the order of Params
	Running []float32 // RunningLen
}
