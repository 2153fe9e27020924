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
// input, and rows are normalised into memory of the worker when they are read. Where that input is not in memory either,
// because to read it takes longer than to compute it, what is there is the input of the pointwise convolution before.
type reader struct {
	norm                          *normLayer // nil: rows are as they are in memory
	c                             int
	from                          int // channels that rows are computed from, or 0
	x, mean, scale, shift, filter []float32
}

// lengths are the elements of scratch that a reader needs, and those that each worker needs for some rows.
func (r *reader) lengths(rows int) (all, each int) {
	if r.norm == nil {
		return 0, 0
	}
	return 2 * r.c, rows * r.c
}

// bind takes x and, with a batch norm, its statistics and its scale and shift, from the operands; then the filter, if rows
// are computed.
func (r *reader) bind(x []float32, in [][]float32, scratch *memory) {
	if r.x = x; r.norm != nil {
		r.mean, r.scale, r.shift = in[0][:r.c], scratch.take(r.c), scratch.take(r.c)
		r.norm.fold(r.scale, r.shift, in[0], in[1])
	}
	if r.from > 0 {
		r.filter = in[2]
	}
}

// raw are the rows [r0, r1) before the batch norm; own is memory of the worker for rows that must be made.
func (r *reader) raw(own []float32, r0, r1 int) []float32 {
	if r.from == 0 {
		return r.x[r0*r.c : r1*r.c]
	}
	kernel.Gemm(kernel.Rows(own, r.c), kernel.Rows(r.x, r.from).From(r0, 0), kernel.Rows(r.filter, r.c), r1-r0, r.c, r.from, false)
	return own[:(r1-r0)*r.c]
}

// normal are the rows behind the batch norm, of raw ones, which may be lost.
func (r *reader) normal(own, raw []float32) []float32 {
	if r.norm == nil {
		return raw
	}
	kernel.Normalize(own, raw, nil, r.scale, r.shift, r.c, r.norm.act, 0, len(raw)/r.c)
	return own[:len(raw)]
}

// rows are the rows [r0, r1) behind the batch norm.
func (r *reader) rows(own []float32, r0, r1 int) []float32 { return r.normal(own, r.raw(own, r0, r1)) }

// sums writes what the gradient of scale and shift is merged from, given n raw rows and the gradient of the normalised.
func (r *reader) sums(part, dx, raw []float32, n int) {
	kernel.NormSums(part, dx, raw, r.mean, r.scale, r.shift, r.c, r.norm.act, 0, n)
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
	lost                         bool // nobody reads the result: it is computed for its statistics, which are the result
	y, w, parts                  []float32
	own                          memory
	body                         func(worker, item int)
}

func newStreamY(p *pointwise, x reader, after *statistics, lost bool) *streamY {
	k := &streamY{pixels: p.pixels, in: p.in, out: p.out, block: streamRows(p.in + p.out), after: after, x: x, lost: lost}
	k.body = k.part
	return k
}

func (k *streamY) scratch(workers int) int {
	all, _ := k.x.lengths(0)
	return all + k.out + 2*k.out*ceil(k.after.most, k.block) + workers*k.each()
}

// each is how many elements a worker has.
func (k *streamY) each() int {
	_, n := k.x.lengths(k.block)
	if k.lost {
		n += k.block * k.out
	}
	return n
}

func (k *streamY) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.own = scratch
	k.x.bind(in[0], in[2:], &k.own)
	variance, stats := k.own.take(k.out), in[len(in)-1]
	if k.lost {
		stats = out
		if f.mode == Evaluate {
			k.after.recall(f, stats)
			return
		}
	}
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
	own := k.own.of(worker, k.each())
	var y []float32
	if k.lost {
		y = own.take(k.block * k.out)[:(r1-r0)*k.out]
	} else {
		y = k.y[r0*k.out : r1*k.out]
	}
	x := k.x.rows(own, r0, r1)
	kernel.Gemm(kernel.Rows(y, k.out), kernel.Rows(x, k.in), kernel.Rows(k.w, k.out), r1-r0, k.out, k.in, false)
	if k.parts != nil {
		kernel.Moments(k.parts[2*item*k.out:], y, k.out, 0, r1-r0)
	}
}

// streamBack is the gradient of a pointwise convolution and the batch norm behind it. Operands are the gradient of the
// normalised result; raw result (or x, if it is lost), statistics, scale and shift, and their gradient; the filter, x, and what the reader
// takes; results besides the gradient of x are that of the filter and, with a reader that normalises, of its scale and
// shift.
type streamBack struct {
	pixels, in, out, block, rows int
	x                            reader
	dz                           slopes
	lost                         bool // the raw result is not in memory: it is computed again
	dx, dy, y, w, wt, dw, sums   []float32
	own                          memory
	blocks                       int
	thin                         thin
	merger                       merger
	body                         func(worker, item int)
}

func newStreamBack(p *pointwise, x reader, after *normLayer, lost bool) *streamBack {
	k := &streamBack{pixels: p.pixels, in: p.in, out: p.out, block: streamRows(p.in + p.out), x: x, lost: lost}
	k.dz.normLayer, k.thin = *after, newThin(p.in, p.out)
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
	return all + 4*k.out + k.in*k.out + k.thin.scratch() + (k.in*k.out+2*k.in)*ceil(k.dz.most, k.block) + workers*k.each()
}

func (k *streamBack) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.own = scratch
	k.rows = f.n * k.pixels
	k.blocks = ceil(k.rows, k.block)
	k.dy, k.y, k.w, k.dx = in[0], in[1], in[5], out
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
	sum := k.thin.begin(dw, &k.own)
	k.merger.run(f.pool, sum, k.dw, k.blocks)
	k.thin.end(dw, sum)
}

func (k *streamBack) part(worker, item int) {
	r0 := item * k.block
	r1 := min(r0+k.block, k.rows)
	own := k.own.of(worker, k.each())
	dz, n := own.take(k.block*k.out), r1-r0
	y := k.y
	if k.lost {
		y = dz
		kernel.Gemm(kernel.Rows(y, k.out), kernel.Rows(k.x.x, k.in).From(r0, 0), kernel.Rows(k.w, k.out), n, k.out, k.in, false)
	} else {
		y = y[r0*k.out:]
	}
	k.dz.dx(dz, k.dy[r0*k.out:], y, 0, n)
	kernel.Gemm(kernel.Rows(k.dx, k.in).From(r0, 0), kernel.Rows(dz, k.out), kernel.Rows(k.wt, k.in), n, k.in, k.out, false)
	x := k.x.raw(own, r0, r1)
	if k.x.norm != nil {
		k.x.sums(k.sums[2*item*k.in:], k.dx[r0*k.in:], x, n)
		x = k.x.normal(own, x)
	}
	k.thin.part(k.dw[item*k.in*k.out:], x, dz, n)
}
