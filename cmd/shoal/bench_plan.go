package main

import (
	"context"
	"fmt"
	"strings"
)

// planLine is one step of the plan: its work, what the machine's limits allow, and what it took.
type planLine struct {
	Layer    string  `json:"layer"`
	Op       string  `json:"op"`
	Backward bool    `json:"backward"`
	FLOPs    int64   `json:"flops"`
	Bytes    int64   `json:"bytes"`
	Expected float64 `json:"expected_ms"` // 0 without limits; the longer of its arithmetic and its traffic at the machine's limits
	Measured float64 `json:"measured_ms"` // mean
}

// planSum adds lines up.
type planSum struct {
	Name     string  `json:"name"`
	FLOPs    int64   `json:"flops"`
	Bytes    int64   `json:"bytes"`
	Expected float64 `json:"expected_ms"`
	Measured float64 `json:"measured_ms"`
}

// planResult is a step layer by layer, in the order in which it runs. What Lines do not have of the measured step is the
// optimiser and the copy of the batch.
type planResult struct {
	Result          *benchResult `json:"result"`
	PeakTensor      string       `json:"peak_tensor"`
	PeakTensorBytes int64        `json:"peak_tensor_bytes"`
	Lines           []planLine   `json:"lines"`
	Sums            []planSum    `json:"sums"` // forward, backward, all
}

// planned measures the configuration with every step of its plan.
func (b *bench) planned(ctx context.Context) (*planResult, error) {
	r, err := b.train(ctx)
	if err != nil {
		return nil, err
	}
	p := &planResult{Result: r, PeakTensor: r.plan.PeakTensor, PeakTensorBytes: r.plan.PeakTensorBytes}
	for _, s := range r.plan.Steps {
		line := planLine{Layer: s.Layer, Op: s.Op, Backward: s.Backward, FLOPs: s.FLOPs, Bytes: s.Bytes, Measured: s.Seconds * 1e3}
		if r.Peaks != nil {
			line.Expected = r.Peaks.roofline(s.FLOPs, s.Bytes)
		}
		p.Lines = append(p.Lines, line)
	}
	p.Sums = planSums(p.Lines)
	return p, nil
}

// roofline is the time in milliseconds that work takes when either the arithmetic or the memory is at its limit
// [Williams2009].
func (p peaks) roofline(flops, bytes int64) float64 {
	return max(float64(flops)/p.GFLOPS, float64(bytes)/p.Bandwidth) / 1e6
}

// planSums adds up forward, backward, and both.
func planSums(lines []planLine) []planSum {
	sums := []planSum{{Name: "forward"}, {Name: "backward"}, {Name: "all"}}
	for _, l := range lines {
		part := &sums[0]
		if l.Backward {
			part = &sums[1]
		}
		for _, s := range []*planSum{part, &sums[2]} {
			s.FLOPs += l.FLOPs
			s.Bytes += l.Bytes
			s.Expected += l.Expected
			s.Measured += l.Measured
		}
	}
	return sums
}

// text is the plan for people.
func (p *planResult) text() string {
	var t strings.Builder
	t.WriteString(p.Result.text())
	fmt.Fprintf(&t, "largest      %s of %s\n\n", humanBytes(p.PeakTensorBytes), p.PeakTensor)
	wide := len("forward")
	for _, l := range p.Lines {
		wide = max(wide, len(l.Layer)+1+len(l.Op))
	}
	fmt.Fprintf(&t, "%-*s  %9s  %10s  %11s  %11s  %8s\n", wide, "step", "MFLOP", "moves", "expected", "measured", "of limit")
	line := func(name string, flops, bytes int64, expected, measured float64) {
		share := "-"
		if measured > 0 && p.Result.Peaks != nil {
			share = fmt.Sprintf("%.0f %%", 100*expected/measured)
		}
		fmt.Fprintf(&t, "%-*s  %9.2f  %10s  %8.3f ms  %8.3f ms  %8s\n", wide, name, float64(flops)/1e6, humanBytes(bytes), expected, measured, share)
	}
	for i, l := range p.Lines {
		if l.Backward && (i == 0 || !p.Lines[i-1].Backward) {
			t.WriteString("\n")
		}
		line(l.Layer+" "+l.Op, l.FLOPs, l.Bytes, l.Expected, l.Measured)
	}
	t.WriteString("\n")
	for _, s := range p.Sums {
		line(s.Name, s.FLOPs, s.Bytes, s.Expected, s.Measured)
	}
	t.WriteString("\nExpected is the longer of arithmetic and memory traffic at the limits above; data that stays in a cache beats it.\n")
	return t.String()
}
