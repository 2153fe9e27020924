package graph

import (
	"fmt"
	"hash"
	"hash/fnv"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A runner computes one node of the expression. It belongs to that node alone and runs once at a time; fields may keep
// the operands of the run for the workers' bodies, which are bound when it is made, so that a run allocates nothing.
type runner interface {
	// run writes out, for the first frame.n images of the batch. Buffers are as long as the planned batch needs.
	run(f *frame, out []float32, in [][]float32, scratch []float32)
	// scratch is how many elements of memory a run needs besides; they hold anything when it begins.
	scratch(workers int) int
}

// frame is what all the kernels of a net see of the step that is running.
type frame struct {
	pool    *Pool
	n       int // images, at most the planned batch
	labels  []int32
	mode    Mode
	decay   float64 // of running statistics: new = decay·old + (1-decay)·batch
	running []float32
	loss    float64 // mean over the batch, left by the loss
	correct int
}

// op is an operation of ours as Gorgonia wants it: it implements G.Op and G.SDOp.
type op struct {
	kind    string // conv, norm, …
	name    string // of the layer, with dots as in the parameters' names
	id      int    // of this instance: Gorgonia merges operations of equal hashes, and ours have effects
	dims    []int  // of each input, 0 for a scalar
	shape   tensor.Shape
	kernel  runner
	frame   *frame
	inPlace bool                                                 // the output may take the memory of the first input
	wrt     []bool                                               // inputs that diff gives a gradient for
	diff    func(in G.Nodes, out, grad *G.Node) (G.Nodes, error) // nil in operations that are gradients themselves
	macs    int64                                                // multiply-adds of a whole batch, 0 where memory is what it costs
}

var (
	_ G.Op   = (*op)(nil)
	_ G.SDOp = (*op)(nil)
)

// Arity is the number of inputs.
func (o *op) Arity() int { return len(o.dims) }

// Type is a function of the inputs' types.
func (o *op) Type() hm.Type {
	types := make([]hm.Type, 0, len(o.dims)+1)
	for _, d := range append(append([]int{}, o.dims...), len(o.shape)) {
		if d == 0 {
			types = append(types, tensor.Float32)
		} else {
			types = append(types, G.TensorType{Dims: d, Of: tensor.Float32})
		}
	}
	return hm.NewFnType(types...)
}

// InferShape is known since the node was made.
func (o *op) InferShape(...G.DimSizer) (tensor.Shape, error) { return o.shape.Clone(), nil }

// Do runs the kernel for Gorgonia's own machines, with memory of its own. A panic of the kernel becomes an error, since
// those machines call Do where nobody could recover.
func (o *op) Do(values ...G.Value) (result G.Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("run %v: %v", o, r)
		}
	}()
	in := make([][]float32, len(values))
	for i, v := range values {
		if in[i], err = floats(v); err != nil {
			return nil, fmt.Errorf("run %v: input %d: %w", o, i, err)
		}
	}
	out := make([]float32, max(o.shape.TotalSize(), 1))
	o.kernel.run(o.frame, out, in, make([]float32, o.kernel.scratch(o.frame.pool.Workers())))
	if o.shape.IsScalar() {
		return G.NewF32(out[0]), nil
	}
	return tensor.New(tensor.WithShape(o.shape...), tensor.WithBacking(out)), nil
}

// floats is the memory of a value.
func floats(v G.Value) ([]float32, error) {
	switch v := v.(type) {
	case *tensor.Dense:
		return v.Float32s(), nil
	case *G.F32:
		return []float32{float32(*v)}, nil
	}
	return nil, fmt.Errorf("%T is no float32", v)
}

// ReturnsPtr says that results are not copied.
func (o *op) ReturnsPtr() bool { return true }

// CallsExtern says that there is no cgo in it.
func (o *op) CallsExtern() bool { return false }

// OverwritesInput is -1: whether memory is shared is for our plan to say, not for Gorgonia's.
func (o *op) OverwritesInput() int { return -1 }

// WriteHash tells this operation from every other one.
func (o *op) WriteHash(h hash.Hash) { fmt.Fprintf(h, "shoal %s %s %d", o.kind, o.name, o.id) }

// Hashcode is the hash of WriteHash.
func (o *op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

func (o *op) String() string { return o.name + " " + o.kind }

// DiffWRT says which inputs SymDiff gives a gradient for.
func (o *op) DiffWRT(inputs int) []bool {
	if o.wrt == nil {
		return make([]bool, inputs)
	}
	return o.wrt
}

// SymDiff extends the expression by the gradients of the inputs.
func (o *op) SymDiff(in G.Nodes, out, grad *G.Node) (G.Nodes, error) {
	if o.diff == nil {
		return nil, fmt.Errorf("differentiate %v: it is a gradient already", o)
	}
	return o.diff(in, out, grad)
}
