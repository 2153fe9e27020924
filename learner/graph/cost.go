package graph

import "time"

// Plan is what a program does in a training step of a whole batch, and in how much memory.
type Plan struct {
	ArenaBytes      int64 // activations and scratch, without parameters and gradients
	PeakTensorBytes int64 // the largest of them
	PeakTensor      string
	Steps           []PlannedStep // in the order in which they run; those that score come first
}

// PlannedStep is one step: floating-point operations of convolutions and products (a multiply-add is two) and the bytes
// of its operands, each counted once.
type PlannedStep struct {
	Layer, Op    string
	Backward     bool // runs in training only
	FLOPs, Bytes int64
	Seconds      float64 // the mean of those that were measured, 0 if none were
}

// clocks are what was measured of each step while it was asked for.
type clocks struct {
	on    bool
	spent []time.Duration
	runs  []int
}

// Profile begins to measure the time of each step, from zero, or ends it. Measuring takes some 0.1 µs a step.
func (p *Program) Profile(on bool) {
	p.clocks.on = on
	if on {
		p.clocks.spent, p.clocks.runs = make([]time.Duration, len(p.steps)), make([]int, len(p.steps))
	}
}

// Plan tells what the program does, with the times that were measured.
func (p *Program) Plan() Plan {
	plan := Plan{ArenaBytes: p.ArenaBytes(), PeakTensorBytes: p.peak.bytes, PeakTensor: p.peak.name}
	for i, s := range p.steps {
		n := len(s.out)
		for _, in := range s.in {
			n += len(in)
		}
		step := PlannedStep{Layer: s.layer, Op: s.kind, Backward: i >= p.forward, FLOPs: 2 * s.macs, Bytes: 4 * int64(n)}
		if p.clocks.runs != nil && p.clocks.runs[i] > 0 {
			step.Seconds = p.clocks.spent[i].Seconds() / float64(p.clocks.runs[i])
		}
		plan.Steps = append(plan.Steps, step)
	}
	return plan
}

// timed runs a step and keeps how long it took.
func (p *Program) timed(i int) {
	began := time.Now()
	p.steps[i].run(p.net.frame)
	p.clocks.spent[i] += time.Since(began)
	p.clocks.runs[i]++
}
