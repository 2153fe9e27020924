package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// core is a processor by what is published of it: how many instructions of each class it can begin in a cycle, of 128-bit
// operands.
type core struct {
	name    string
	clock   float64 // GHz
	width   float64 // instructions decoded
	fma     float64 // multiply-adds, which share the pipes with the next
	vector  float64 // all else that the vector units do
	loads   float64
	stores  float64
	shared  bool    // loads and stores use the same pipes
	storing float64 // other vector operations that a store is as well
	scalar  float64
	sources string
}

// board is a small machine.
type board struct {
	name             string
	cores            int
	core             core
	slowest, fastest float64 // memory bandwidth, GB/s
	where            string
}

// boards are the machines that the papers use or would use today.
func boards() []board {
	a72 := core{
		name: "Cortex-A72", clock: 1.5, width: 3, fma: 1, vector: 1, loads: 1, stores: 0.5, scalar: 2,
		sources: "LLVM's machine model of the Cortex-A57, made from Arm's Software Optimization Guide, which LLVM uses for the A72 too",
	}
	a76 := core{
		name: "Cortex-A76", clock: 2.4, width: 4, fma: 2, vector: 2, loads: 2, stores: 1, shared: true, storing: 1, scalar: 3,
		sources: "LLVM's machine model of the Neoverse N1, the A76's sister, made from Arm's Software Optimization Guide; four are decoded as published",
	}
	return []board{
		{"Raspberry Pi 4", 4, a72, 4, 5.5, "LPDDR4, as STREAM-like tests report"},
		{"Raspberry Pi 5", 4, a76, 9, 15, "LPDDR4X, as STREAM-like tests report"},
	}
}

// cycles is how long a core takes at least to begin so many instructions, and which of its parts is busy all the time.
func (c core) cycles(n count) (cycles float64, busy string) {
	loads, stores := float64(n.Loads)/c.loads, float64(n.Stores)/c.stores
	memory := max(loads, stores)
	if c.shared {
		memory = loads + stores
	}
	for _, part := range []struct {
		name string
		busy float64
	}{
		{"vector units", float64(n.FMA)/c.fma + (float64(n.Vector)+c.storing*float64(n.Stores))/c.vector},
		{"loads and stores", memory},
		{"scalar units", float64(n.Scalar) / c.scalar},
		{"decoder", float64(n.Instructions) / c.width},
	} {
		if part.busy > cycles {
			cycles, busy = part.busy, part.name
		}
	}
	return cycles, busy
}

// issue is how many milliseconds the board's cores together take at least to begin a step's instructions.
func (b board) issue(t tally) float64 {
	total := 0.0
	for _, name := range slices.Sorted(maps.Keys(t)) {
		cycles, _ := b.core.cycles(*t[name])
		total += cycles
	}
	return total / float64(b.cores) / b.core.clock / 1e6
}

// limits are milliseconds a training step: of instructions alone, of memory alone, and with each step of the plan at
// whichever takes longer.
func (c *counted) limits(b board, bandwidth float64) (issue, memory, both float64) {
	for _, l := range c.Lines {
		i, m := b.issue(l.Kernels), l.Bytes/bandwidth/1e6
		issue, memory, both = issue+i, memory+m, both+max(i, m)
	}
	return issue, memory, both
}

const estimatePreface = `## Raspberry Pi: an estimate, not a measurement

Nothing here was run on a Pi. The NEON instructions that one training step executes were counted, one by one, under QEMU,
and are divided by what is published of the boards' processors and memory:

`

const estimateAssumptions = `
For each step of the plan the slower of two counts: its instructions, at the rate of whichever part of the core is busiest,
spread evenly over all cores; or its operands, each moved once from or to memory. Assumed is what favours the board: that
latencies are hidden, that the clock is held, and that the Go code between kernels costs nothing; and what does not: that
nothing stays in a cache from one step of the plan to the next. Take the result as a limit, not as a forecast. What the
plan lacks, the update of the parameters, is counted too.

`

// writeEstimate is what counted instructions say of machines that nothing was measured on.
func writeEstimate(t *strings.Builder, steps ...counted) {
	t.WriteString(estimatePreface)
	for _, b := range boards() {
		c := b.core
		fmt.Fprintf(t, "- %s: %d × %s at %g GHz; a cycle begins at most %g instructions, among them, of 128 bits, multiply-adds %g, other vector "+
			"operations %g, loads %g and stores %g%s, and scalar ones %g (%s); %g to %g GB/s (%s).\n",
			b.name, b.cores, c.name, c.clock, c.width, c.fma, c.vector, c.loads, c.stores,
			map[bool]string{true: ", a store taking the pipes of two loads and a vector unit"}[c.shared], c.scalar, c.sources, b.slowest, b.fastest, b.where)
	}
	t.WriteString(estimateAssumptions)
	t.WriteString("| board | model | input | batch | M instructions an image | MB an image | by instructions, images/s | by memory, images/s | both, images/s | epoch of 50 000 images, s |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, b := range boards() {
		for _, s := range steps {
			writeEstimateRow(t, b, s)
		}
	}
	for _, s := range steps {
		if s.Result.Batch == 1 {
			writeKernels(t, s)
		}
	}
}

// writeEstimateRow is one board and one training step.
func writeEstimateRow(t *strings.Builder, b board, s counted) {
	n, bytes := float64(s.Result.Batch), 0.0
	if n == 0 {
		return
	}
	for _, l := range s.Lines {
		bytes += l.Bytes
	}
	all := s.byKernel().sum()
	issue, slow, slowest := s.limits(b, b.slowest)
	_, fast, fastest := s.limits(b, b.fastest)
	rate := func(ms float64) string { return short(n / ms * 1e3) }
	fmt.Fprintf(t, "| %s | %s | %d×%d | %d | %s | %s | %s | %s to %s | %s to %s | %s to %s |\n", b.name, s.Result.net(), s.Result.Input, s.Result.Input, s.Result.Batch,
		short(float64(all.Instructions)/1e6/n), short(bytes/1e6/n), rate(issue), rate(slow), rate(fast), rate(slowest), rate(fastest),
		short(50*fastest/n), short(50*slowest/n))
}

// writeKernels is what each kernel executes in a training step, and how many cycles of one core that takes at least.
func writeKernels(t *strings.Builder, s counted) {
	fmt.Fprintf(t, "\n%s at %d×%d, batch %d, one training step: millions of instructions by class, and of cycles of one core.\n\n| kernel | instructions | multiply-adds | other vector | loads | stores | scalar |",
		s.Result.net(), s.Result.Input, s.Result.Input, s.Result.Batch)
	rule := "| --- | --- | --- | --- | --- | --- | --- |"
	for _, b := range boards() {
		fmt.Fprintf(t, " %s, cycles | busy |", b.core.name)
		rule += " --- | --- |"
	}
	t.WriteString("\n" + rule + "\n")
	kernels := s.byKernel()
	names := slices.SortedFunc(maps.Keys(kernels), func(a, b string) int {
		return cmp.Or(cmp.Compare(kernels[b].Instructions, kernels[a].Instructions), cmp.Compare(a, b))
	})
	for _, name := range names {
		writeKernel(t, name, *kernels[name])
	}
}

// writeKernel is a row of it.
func writeKernel(t *strings.Builder, name string, k count) {
	fmt.Fprintf(t, "| %s |", name)
	for _, n := range []int64{k.Instructions, k.FMA, k.Vector, k.Loads, k.Stores, k.Scalar} {
		fmt.Fprintf(t, " %s |", millions(float64(n)))
	}
	for _, b := range boards() {
		cycles, busy := b.core.cycles(k)
		fmt.Fprintf(t, " %s | %s |", millions(cycles), busy)
	}
	t.WriteString("\n")
}

// millions is a number in millions, to the thousand.
func millions(v float64) string { return fmt.Sprintf("%.3f", v/1e6) }
