package graph

import "shoal/learner/kernel"

// Fused steps read a feature map from far memory once. They take a block of rows at a time, small enough for the second
// cache, and do with it all that there is to do: a convolution normalises what it reads, and sums the moments of what it
// writes; backward it makes the gradient of its raw result from that of the normalised one, uses it twice, and sums what
// the batch norm before it needs. Blocks depend on the layer alone, and so does what they add up to.

// memory is scratch that is handed out piece by piece.
type memory []float32

func (m *memory) take(n int) []float32 {
	part := (*m)[:n:n]
	*m = (*m)[n:]
	return part
}

// of is the part of a worker, of n elements.
func (m memory) of(worker, n int) memory { return m[worker*n:][:n:n] }

// reader gives rows of a convolution's input. If a batch norm and its activation are between, what is in memory is their
// input, and rows are normalised into memory of the worker when they are read.
type reader struct {
	norm                  *normLayer // nil: rows are as they are in memory
	c                     int
	x, mean, scale, shift []float32
}

// lengths are the elements of scratch that a reader needs, and those that each worker needs for some rows.
func (r *reader) lengths(rows int) (all, each int) {
	if r.norm == nil {
		return 0, 0
	}
	return 2 * r.c, rows * r.c
}

// bind takes x and, with a batch norm, its statistics and its scale and shift, from the operands.
func (r *reader) bind(x []float32, in [][]float32, scratch *memory) {
	if r.x = x; r.norm != nil {
		r.mean, r.scale, r.shift = in[0][:r.c], scratch.take(r.c), scratch.take(r.c)
		r.norm.fold(r.scale, r.shift, in[0], in[1])
	}
}

// rows are the rows [r0, r1); they are in memory of the worker if they had to be made.
func (r *reader) rows(own []float32, r0, r1 int) []float32 {
	x := r.x[r0*r.c : r1*r.c]
	if r.norm == nil {
		return x
	}
	kernel.Normalize(own, x, nil, r.scale, r.shift, r.c, r.norm.act, 0, r1-r0)
	return own[:len(x)]
}

// sums writes what the gradient of scale and shift is merged from, given the gradient dx of the normalised rows.
func (r *reader) sums(part, dx []float32, r0, r1 int) {
	kernel.NormSums(part, dx, r.x, r.mean, r.scale, r.shift, r.c, r.norm.act, r0, r1)
}

// streamRows is how many rows of so many elements in all are a block: a multiple of the heights of tiles.
func streamRows(width int) int { return min(max(streamLen/width/48, 1), 8) * 48 }

// streamLen is about how many elements a block of rows has, read and written.
const streamLen = 1 << 15

// merger adds up what blocks of rows gave of a gradient, in their order.
type merger struct {
	out, parts []float32
	blocks     int
	body       func(worker, item int)
}

// mergeLen is how many elements a worker merges at once.
const mergeLen = 1 << 12

func (m *merger) run(pool *Pool, out, parts []float32, blocks int) {
	m.out, m.parts, m.blocks = out, parts, blocks
	pool.Run(ceil(len(out), mergeLen), m.body)
}

func (m *merger) part(_, item int) {
	lo := item * mergeLen
	hi := min(lo+mergeLen, len(m.out))
	copy(m.out[lo:hi], m.parts[lo:hi])
	for b := 1; b < m.blocks; b++ {
		kernel.Add(m.out[lo:hi], m.parts[b*len(m.out)+lo:b*len(m.out)+hi])
	}
}

// streamY is a pointwise convolution with the statistics of its result. Operands are x, the filter, what the reader
// takes, and the statistics, which are a result too.
type streamY struct {
	pixels, in, out, block, rows int
	x                            reader
	after                        *statistics
	y, w, parts                  []float32
	own                          memory
	body                         func(worker, item int)
}

func newStreamY(p *pointwise, before *normLayer, after *statistics) *streamY {
	k := &streamY{pixels: p.pixels, in: p.in, out: p.out, block: streamRows(p.in + p.out), after: after, x: reader{norm: before, c: p.in}}
	k.body = k.part
	return k
}

func (k *streamY) scratch(workers int) int {
	all, each := k.x.lengths(k.block)
	return all + k.out + 2*k.out*ceil(k.after.most, k.block) + workers*each
}

func (k *streamY) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.own = scratch
	k.x.bind(in[0], in[2:], &k.own)
	variance, stats := k.own.take(k.out), in[len(in)-1]
	k.rows, k.y, k.w = f.n*k.pixels, out, in[1]
	blocks := ceil(k.rows, k.block)
	if k.parts = k.own.take(2 * k.out * blocks); f.mode == Evaluate {
		k.parts = nil
	}
	f.pool.Run(blocks, k.body)
	if f.mode == Evaluate {
		k.after.recall(f, stats)
		return
	}
	k.after.settle(f, stats, k.parts, variance, k.block)
}

func (k *streamY) part(worker, item int) {
	r0 := item * k.block
	r1 := min(r0+k.block, k.rows)
	_, each := k.x.lengths(k.block)
	x := k.x.rows(k.own.of(worker, each), r0, r1)
	y := k.y[r0*k.out : r1*k.out]
	kernel.Gemm(kernel.Rows(y, k.out), kernel.Rows(x, k.in), kernel.Rows(k.w, k.out), r1-r0, k.out, k.in, false)
	if k.parts != nil {
		kernel.Moments(k.parts[2*item*k.out:], y, k.out, 0, r1-r0)
	}
}

// streamBack is the gradient of a pointwise convolution and the batch norm behind it. Operands are the gradient of the
// normalised result; raw result, statistics, scale and shift, and their gradient; the filter, x, and what the reader
// takes; results besides the gradient of x are that of the filter and, with a reader that normalises, of its scale and
// shift.
type streamBack struct {
	pixels, in, out, block, rows int
	x                            reader
	dz                           slopes
	dx, dy, y, wt, dw, sums      []float32
	own                          memory
	blocks                       int
	merger                       merger
	body                         func(worker, item int)
}

func newStreamBack(p *pointwise, before, after *normLayer) *streamBack {
	k := &streamBack{pixels: p.pixels, in: p.in, out: p.out, block: streamRows(p.in + p.out), x: reader{norm: before, c: p.in}}
	k.dz.normLayer = *after
	k.body, k.merger.body = k.part, k.merger.part
	return k
}

// each is how many elements a worker has.
func (k *streamBack) each() int {
	_, x := k.x.lengths(k.block)
	return x + k.block*k.out
}

func (k *streamBack) scratch(workers int) int {
	all, _ := k.x.lengths(0)
	return all + 4*k.out + k.in*k.out + (k.in*k.out+2*k.in)*ceil(k.dz.most, k.block) + workers*k.each()
}

func (k *streamBack) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.own = scratch
	k.rows = f.n * k.pixels
	k.blocks = ceil(k.rows, k.block)
	k.dy, k.y, k.dx = in[0], in[1], out
	k.dz.bind(in[2], in[3], in[4], k.own.take(4*k.out), k.rows)
	k.x.bind(in[6], in[7:], &k.own)
	k.wt = k.own.take(k.in * k.out)
	kernel.Transpose(k.wt, in[5], k.in, k.out)
	k.dw, k.sums = k.own.take(k.in*k.out*k.blocks), k.own.take(2*k.in*k.blocks)
	f.pool.Run(k.blocks, k.body)
	dw := in[len(in)-1]
	if k.x.norm != nil {
		dw = in[len(in)-2]
		k.x.norm.mergeSums(in[len(in)-1], in[7][k.in:], k.sums, k.blocks)
	}
	k.merger.run(f.pool, dw[:k.in*k.out], k.dw, k.blocks)
}

func (k *streamBack) part(worker, item int) {
	r0 := item * k.block
	r1 := min(r0+k.block, k.rows)
	own := k.own.of(worker, k.each())
	dz, n := own.take(k.block*k.out), r1-r0
	k.dz.dx(dz, k.dy[r0*k.out:], k.y[r0*k.out:], 0, n)
	kernel.Gemm(kernel.Rows(k.dx, k.in).From(r0, 0), kernel.Rows(dz, k.out), kernel.Rows(k.wt, k.in), n, k.in, k.out, false)
	x := k.x.rows(own, r0, r1)
	if k.x.norm != nil {
		k.x.sums(k.sums[2*item*k.in:], k.dx, r0, r1)
	}
	dw := k.dw[item*k.in*k.out:]
	kernel.Gemm(kernel.Rows(dw, k.out), kernel.Rows(x, k.in).Transposed(), kernel.Rows(dz, k.out), k.in, k.out, n, false)
}
