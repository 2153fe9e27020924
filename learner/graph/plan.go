package graph

import (
	"cmp"
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"

	"shoal/learner/kernel"
)

// step is one kernel of the plan with its operands.
type step struct {
	node    *G.Node
	layer   string
	kind    string
	kernel  runner
	out     *buffer
	in      []*buffer
	more    []*buffer // further results
	scratch *buffer   // nil where none is needed
	inPlace bool
	macs    int64
}

// buffer is memory for one or more values, each of which takes the place of the one before. It is needed from step first
// to step last. What has memory already is not planned.
type buffer struct {
	len         int
	first, last int
	fixed       []float32 // memory from elsewhere: parameters, gradients, what a caller reads
	offset      int       // in the arena, of what is not fixed
	name        string
}

// memory is the buffer's in the arena.
func (b *buffer) memory(arena []float32) []float32 {
	if b.fixed != nil {
		return b.fixed
	}
	return arena[b.offset : b.offset+b.len : b.offset+b.len]
}

// planner turns a net into steps.
type planner struct {
	net     *Net
	workers int
	buffers map[*G.Node]*buffer
	steps   []step
	all     []*buffer // those that are not fixed
}

// schedule lists the steps in the order in which the expression was written, which is one that works: forward before
// backward, and inputs before what is made of them.
func (p *planner) schedule() error {
	wanted := p.wanted()
	for _, node := range p.net.graph.AllNodes() {
		if p.buffers[node] != nil && node.Op() == nil || !wanted[node] {
			continue
		}
		if value := node.Value(); node.Op() == nil || value != nil && len(p.inputs(node)) == 0 {
			constant, err := floats(value)
			if err != nil {
				return fmt.Errorf("plan %v: it has neither operation nor memory: %w", node, err)
			}
			p.buffers[node] = &buffer{fixed: constant, len: len(constant), name: "constant"}
			continue
		}
		if err := p.add(node); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the nodes that the loss, the logits and the gradients are made of.
func (p *planner) wanted() map[*G.Node]bool {
	seen := map[*G.Node]bool{}
	todo := append(G.Nodes{p.net.loss, p.net.logits}, p.net.grads...)
	for len(todo) > 0 {
		node := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !seen[node] {
			seen[node] = true
			todo = append(todo, p.inputs(node)...)
		}
	}
	return seen
}

// inputs are the operands of a node, in order and with duplicates.
func (p *planner) inputs(node *G.Node) G.Nodes {
	var in G.Nodes
	for it := p.net.graph.From(node.ID()); it.Next(); {
		in = append(in, it.Node().(*G.Node))
	}
	return in
}

// add plans the step of one node.
func (p *planner) add(node *G.Node) error {
	s := step{node: node}
	for _, in := range p.inputs(node) {
		b := p.buffers[in]
		if b == nil {
			return fmt.Errorf("plan %v: its input %v comes later", node, in)
		}
		s.in = append(s.in, b)
	}
	switch o := node.Op().(type) {
	case *op:
		s.layer, s.kind, s.kernel, s.inPlace, s.macs = o.name, o.kind, o.kernel, o.inPlace, o.macs
	default: // Gorgonia adds the gradients of a value that is used twice
		if o.String() != "+ false" || len(s.in) != 2 {
			return fmt.Errorf("plan %v: operation %v is none of ours", node, o)
		}
		s.layer, s.kind, s.inPlace = "gradient", "sum", true
		s.kernel = newAdder(node.Shape().TotalSize() / p.net.spec.Batch)
	}
	if p.buffers[node] == nil { // gradients of parameters have memory
		s.out = &buffer{len: max(node.Shape().TotalSize(), 1), first: len(p.steps), name: node.Op().String()}
		p.buffers[node] = s.out
	}
	s.out = p.buffers[node]
	if n := s.kernel.scratch(p.workers); n > 0 {
		s.scratch = &buffer{len: n, first: len(p.steps), last: len(p.steps), name: "scratch"}
		p.all = append(p.all, s.scratch)
	}
	p.steps = append(p.steps, s)
	return nil
}

// live finds when each buffer is needed, and lets a step write over its first input where nobody needs that afterwards.
func (p *planner) live() {
	p.last()
	merged := map[*buffer]*buffer{}
	find := func(b *buffer) *buffer {
		for merged[b] != nil {
			b = merged[b]
		}
		return b
	}
	for i := range p.steps {
		s := &p.steps[i]
		for j := range s.in {
			s.in[j] = find(s.in[j])
		}
		for _, b := range s.more {
			if b.fixed == nil {
				p.all = append(p.all, b)
			}
		}
		out := s.out
		if out.fixed != nil {
			continue
		}
		if in := s.over(i); in != nil {
			in.last = max(in.last, out.last)
			in.name = out.name
			merged[out], s.out = in, in
			continue
		}
		p.all = append(p.all, out)
	}
	for i := range p.steps {
		p.steps[i].out = find(p.steps[i].out)
	}
}

// last says until when each buffer is needed.
func (p *planner) last() {
	for i, s := range p.steps {
		for _, in := range s.in {
			in.last = i
		}
		s.out.last = max(s.out.last, i)
		for _, b := range s.more {
			b.last = max(b.last, i)
		}
	}
}

// over is the input that the output of step i may be written over.
func (s *step) over(i int) *buffer {
	if !s.inPlace {
		return nil
	}
	in := s.in[0]
	if in.fixed != nil || in.last != i || in.len != s.out.len || slices.Contains(s.in[1:], in) {
		return nil
	}
	return in
}

// line is how buffers are aligned, in elements: a cache line.
const line = 16

// place gives each buffer an offset such that none that are needed at once overlap, the largest first, each at the lowest
// place that is free. It returns the length of the arena.
func (p *planner) place() int {
	slices.SortStableFunc(p.all, func(a, b *buffer) int { return cmp.Or(b.len-a.len, a.first-b.first) })
	var placed []*buffer // by offset
	total := 0
	for _, b := range p.all {
		at := 0
		for _, other := range placed {
			if other.first > b.last || b.first > other.last {
				continue
			}
			if at+b.len <= other.offset {
				break
			}
			at = max(at, up(other.offset+other.len, line))
		}
		b.offset = at
		total = max(total, at+b.len)
		i, _ := slices.BinarySearchFunc(placed, b, func(x, y *buffer) int { return x.offset - y.offset })
		placed = slices.Insert(placed, i, b)
	}
	return total
}

// newAdder is the kernel of a sum of two gradients of width elements an image.
func newAdder(width int) *each {
	return newEach(1, width, func(k *each, r0, r1 int) {
		kernel.Sum(k.out[r0*width:r1*width], k.in[0][r0*width:r1*width], k.in[1][r0*width:r1*width])
	})
}
