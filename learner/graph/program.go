package graph

import (
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Mode is what a run is for.
type Mode int

// The modes of a run.
const (
	Evaluate Mode = iota // forward, batch norms by their running statistics, which stay
	Estimate             // forward, batch norms by the batch's statistics, which the running ones follow
	Train                // Estimate, and backward
)

// Batch is what one run is given: N images (N, H, W, 3), at most as many as the net is built for, and their labels, which
// may be missing unless the run is for training. Decay says how the running statistics follow: decay·old + (1-decay)·new.
type Batch struct {
	X      []float32
	Labels []int32
	N      int
	Decay  float64
}

// Result is what a run found: the mean loss and how many images of N were correct, both 0 without labels.
type Result struct {
	Loss       float64
	Correct, N int
}

// Program runs a net's steps in memory planned once. It is for one caller at a time, and there is one for a net.
type Program struct {
	net     *Net
	steps   []bound
	forward int // steps that are not gradients
	images  []float32
	logits  []float32
	arena   []float32
	clocks  clocks
	peak    struct {
		name  string
		bytes int64
	}
}

// bound is a step with its operands' memory.
type bound struct {
	layer   string
	kind    string
	kernel  runner
	out     []float32
	in      [][]float32
	scratch []float32
	macs    int64
	pool    *Pool // of one worker for what is too little to share
}

func (s *bound) run(f *frame) {
	f.pool = s.pool
	s.kernel.run(f, s.out, s.in, s.scratch)
}

// work is about what the step takes, in multiply-adds: moving an element takes as long as moveWork of them.
func (s *bound) work() int64 {
	elements := len(s.out)
	for _, in := range s.in {
		elements += len(in)
	}
	return s.macs + moveWork*int64(elements)
}

func (s *bound) String() string { return s.layer + " " + s.kind }

// fusedPixels is how many pixels an image a convolution must have for it to pay to be fused. It does not depend on the
// batch, so that a smaller batch has the same bits in a net for a larger one.
const fusedPixels = 1 << 7

// Compile plans a net for a pool, in memory of the caller's and an arena of its own. Convolutions of large images are
// fused with their batch norms.
func Compile(n *Net, memory Memory, pool *Pool) (*Program, error) {
	return compile(n, memory, pool, fusion{on: true, pixels: fusedPixels}, handover())
}

// CompilePlain is Compile without fusion: one step for each operation of the expression.
func CompilePlain(n *Net, memory Memory, pool *Pool) (*Program, error) {
	return compile(n, memory, pool, fusion{}, handover())
}

// compile shares a step among the workers if that saves more work than cost.
func compile(n *Net, memory Memory, pool *Pool, how fusion, cost int64) (*Program, error) {
	if len(memory.Params) != n.ParamsLen || len(memory.Grads) != n.ParamsLen || len(memory.Running) != n.RunningLen {
		return nil, fmt.Errorf("compile net: blocks of %d, %d and %d elements; parameters, gradients and statistics take %d, %d and %d",
			len(memory.Params), len(memory.Grads), len(memory.Running), n.ParamsLen, n.ParamsLen, n.RunningLen)
	}
	p := &Program{net: n, images: make([]float32, n.images.Shape().TotalSize()), logits: make([]float32, n.logits.Shape().TotalSize())}
	plan := &planner{net: n, workers: pool.Workers(), buffers: map[*G.Node]*buffer{
		n.images: {fixed: p.images, name: "images"}, n.logits: {fixed: p.logits, name: "logits"},
	}}
	if err := p.bindParams(plan, memory); err != nil {
		return nil, err
	}
	if err := plan.schedule(); err != nil {
		return nil, err
	}
	plan.fuse(how)
	plan.live()
	p.arena = make([]float32, plan.place())
	huge(p.arena)
	if len(plan.all) > 0 {
		p.peak.name, p.peak.bytes = plan.all[0].name, 4*int64(plan.all[0].len)
	}
	p.bind(plan, pool, cost)
	*n.frame = frame{pool: pool, running: memory.Running}
	return p, nil
}

// bindParams makes parameters and their gradients views of the caller's blocks, for Gorgonia as well.
func (p *Program) bindParams(plan *planner, memory Memory) error {
	n := p.net
	if err := let(n.images, p.images); err != nil {
		return err
	}
	for i, node := range n.params {
		lo := n.offsets[i]
		hi := lo + node.Shape().TotalSize()
		plan.buffers[node] = &buffer{fixed: memory.Params[lo:hi:hi], name: node.Name()}
		plan.buffers[n.grads[i]] = &buffer{fixed: memory.Grads[lo:hi:hi], name: "gradient of " + node.Name()}
		if err := let(node, memory.Params[lo:hi:hi]); err != nil {
			return err
		}
	}
	return nil
}

// let makes memory the value of an input.
func let(node *G.Node, memory []float32) error {
	if err := G.Let(node, tensor.New(tensor.WithShape(node.Shape()...), tensor.WithBacking(memory))); err != nil {
		return fmt.Errorf("bind %v: %w", node, err)
	}
	return nil
}

// bind turns planned steps into steps with memory and workers.
func (p *Program) bind(plan *planner, pool *Pool, cost int64) {
	alone := NewPool(1)
	gradients := map[*G.Node]bool{}
	for _, node := range p.net.graph.AllNodes()[p.net.forward:] {
		gradients[node] = true
	}
	for _, s := range plan.steps {
		b := bound{layer: s.layer, kind: s.kind, kernel: s.kernel, out: s.out.memory(p.arena), macs: s.macs, pool: pool}
		for _, in := range slices.Concat(s.in, s.more) {
			b.in = append(b.in, in.memory(p.arena))
		}
		if s.scratch != nil {
			b.scratch = s.scratch.memory(p.arena)
		}
		if workers := int64(pool.Workers()); b.work()/workers*(workers-1) < cost {
			b.pool = alone
		}
		if !gradients[s.node] {
			p.forward++
		}
		p.steps = append(p.steps, b)
	}
}

// ArenaBytes is the memory that the program has for activations and scratch.
func (p *Program) ArenaBytes() int64 { return 4 * int64(len(p.arena)) }

// Logits are those of the last run, (N, classes); they are overwritten by the next one.
func (p *Program) Logits() []float32 { return p.logits[:p.net.frame.n*p.net.spec.Classes] }

// Run runs one batch. In training, gradients of the mean loss replace what is in their block. A panic of a kernel comes
// back as an error; what the run wrote until then is undefined.
func (p *Program) Run(b Batch, mode Mode) (result Result, err error) {
	if err := p.check(b, mode); err != nil {
		return Result{}, err
	}
	f := p.net.frame
	f.n, f.labels, f.mode, f.decay = b.N, b.Labels, mode, b.Decay
	copy(p.images, b.X)
	steps := p.steps
	if mode != Train {
		steps = steps[:p.forward]
	}
	at := 0
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("run step %d, %v: %v", at, &p.steps[at], r)
		}
		f.labels = nil
	}()
	for at = range steps {
		if p.clocks.on {
			p.timed(at)
			continue
		}
		steps[at].run(f)
	}
	return Result{Loss: f.loss, Correct: f.correct, N: b.N}, nil
}

// check says what of a batch the net is not built for.
func (p *Program) check(b Batch, mode Mode) error {
	spec := p.net.spec
	if b.N < 1 || b.N > spec.Batch {
		return fmt.Errorf("run batch of %d images: the net is built for 1..%d", b.N, spec.Batch)
	}
	if want := b.N * spec.Input * spec.Input * 3; len(b.X) != want {
		return fmt.Errorf("run batch of %d images: %d values, want %d for %d×%d pixels of 3 channels",
			b.N, len(b.X), want, spec.Input, spec.Input)
	}
	if len(b.Labels) != b.N && (mode == Train || len(b.Labels) > 0) {
		return fmt.Errorf("run batch of %d images: %d labels", b.N, len(b.Labels))
	}
	for i, label := range b.Labels {
		if label < 0 || int(label) >= spec.Classes {
			return fmt.Errorf("run batch: label %d of image %d is outside 0..%d", label, i, spec.Classes-1)
		}
	}
	return nil
}
