package graph

import "shoal/learner/kernel"

// dense is a convolution of any window as a matrix product: a strip of output pixels at a time, patches of the input are
// laid out as rows, in memory of the worker, and multiplied by the filter.
type dense struct {
	g       kernel.Window
	in, out int
	grid    grid

	y, x, w []float32
	memory  []float32
	body    func(worker, item int)
}

// patchLen is about how many elements of patches a worker has at once: they stay in the second cache.
const patchLen = 1 << 15

// strip is how many rows of width elements a worker lays out at once.
func strip(width int) int { return up(min(max(patchLen/width, 8), 192), 48) }

func newDense(g kernel.Window, in, out int) *dense {
	k := &dense{g: g, in: in, out: out}
	k.body = k.rows
	return k
}

func (k *dense) depth() int { return k.g.Size * k.g.Size * k.in }

func (k *dense) scratch(workers int) int { return workers * strip(k.depth()) * k.depth() }

func (k *dense) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.y, k.x, k.w, k.memory = out, in[0], in[1], scratch
	rows := f.n * k.g.OutH * k.g.OutW
	k.grid = grid{rows, 1, strip(k.depth()), 1}
	f.pool.Run(k.grid.items(), k.body)
}

func (k *dense) rows(worker, item int) {
	r0, r1, _, _ := k.grid.at(item)
	deep := k.depth()
	patches := k.memory[worker*k.grid.rowBlock*deep:][:(r1-r0)*deep]
	kernel.Patches(patches, k.x, k.g, k.in, r0, r1, 0, k.g.Size*k.g.Size)
	kernel.Gemm(kernel.Rows(k.y, k.out).From(r0, 0), kernel.Rows(patches, deep), kernel.Rows(k.w, k.out), r1-r0, k.out, deep, false)
}

// denseDX is the same with gradients laid out, and each tap of the filter transposed.
type denseDX struct{ dense }

func newDenseDX(g kernel.Window, in, out int) *denseDX {
	k := &denseDX{dense{g: g, in: in, out: out}}
	k.body = k.rows
	return k
}

func (k *denseDX) depth() int { return k.g.Size * k.g.Size * k.out }

func (k *denseDX) scratch(workers int) int { return (k.in + workers*strip(k.depth())) * k.depth() }

func (k *denseDX) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	tap := k.in * k.out
	for t := range k.g.Size * k.g.Size {
		kernel.Transpose(scratch[t*tap:][:tap], in[1][t*tap:][:tap], k.in, k.out)
	}
	k.y, k.x, k.w, k.memory = out, in[0], scratch, scratch[k.in*k.depth():]
	k.grid = grid{f.n * k.g.H * k.g.W, 1, strip(k.depth()), 1}
	f.pool.Run(k.grid.items(), k.body)
}

func (k *denseDX) rows(worker, item int) {
	r0, r1, _, _ := k.grid.at(item)
	deep := k.depth()
	patches := k.memory[worker*k.grid.rowBlock*deep:][:(r1-r0)*deep]
	kernel.PatchesBack(patches, k.x, k.g, k.out, r0, r1)
	kernel.Gemm(kernel.Rows(k.y, k.in).From(r0, 0), kernel.Rows(patches, deep), kernel.Rows(k.w, k.in), r1-r0, k.in, deep, false)
}

// denseDW multiplies transposed patches by the gradient. Many pixels are taken in blocks of rows, each of which gives a part
// of a small result. Else an item is some taps and some columns of the filter, so that its sums over all images are one
// worker's.
type denseDW struct {
	dense
	taps, total int // taps of an item, rows of the gradient
	most, block int // rows of a whole batch, and of a block, or 0
	parts       []float32
	merger      merger
	blocks      func(worker, item int)
}

// densePartLen is how many elements a result has at most that is made in parts.
const densePartLen = 1 << 16

func newDenseDW(g kernel.Window, in, out, batch int) *denseDW {
	k := &denseDW{dense: dense{g: g, in: in, out: out}, taps: 1, most: batch * g.OutH * g.OutW}
	k.body, k.blocks, k.merger.body = k.part, k.rowsPart, k.merger.part
	switch small := k.dense.depth()*out <= densePartLen; {
	case small && g.OutH*g.OutW >= fusedPixels:
		k.taps = g.Size * g.Size
		k.block = 2 * strip(k.depth())
	case in < 8: // a tap alone would be a thin product
		k.taps = g.Size * g.Size
	}
	return k
}

func (k *denseDW) depth() int { return k.taps * k.in }

// filter is how many elements the result has.
func (k *denseDW) filter() int { return k.dense.depth() * k.out }

func (k *denseDW) scratch(workers int) int {
	n := workers * strip(k.depth()) * k.depth()
	if k.block > 0 {
		n += ceil(k.most, k.block) * k.filter()
	}
	return n
}

func (k *denseDW) run(f *frame, out []float32, in [][]float32, scratch []float32) {
	k.y, k.x, k.w, k.memory, k.total = out, in[0], in[1], scratch, f.n*k.g.OutH*k.g.OutW
	if k.block > 0 {
		blocks := ceil(k.total, k.block)
		own := memory(scratch)
		k.parts, k.memory = own.take(blocks*k.filter()), own
		f.pool.Run(blocks, k.blocks)
		k.merger.run(f.pool, out[:k.filter()], k.parts, blocks)
		return
	}
	wide := k.out
	if k.taps > 1 {
		wide = 16
	}
	k.grid = grid{k.g.Size * k.g.Size, k.out, k.taps, wide}
	f.pool.Run(k.grid.items(), k.body)
}

func (k *denseDW) part(worker, item int) {
	t0, t1, c0, c1 := k.grid.at(item)
	k.product(kernel.Rows(k.y, k.out).From(t0*k.in, c0), worker, t0, t1, c0, c1, 0, k.total)
}

func (k *denseDW) rowsPart(worker, item int) {
	dw := kernel.Rows(k.parts[item*k.filter():], k.out)
	k.product(dw, worker, 0, k.taps, 0, k.out, item*k.block, min((item+1)*k.block, k.total))
}

// product writes what the rows [from, to) give for the taps [t0, t1) and the columns [c0, c1).
func (k *denseDW) product(dw kernel.Matrix, worker, t0, t1, c0, c1, from, to int) {
	deep, step := (t1-t0)*k.in, strip(k.depth())
	own := k.memory[worker*step*k.depth():]
	for r0 := from; r0 < to; r0 += step {
		r1 := min(r0+step, to)
		patches := own[:(r1-r0)*deep]
		kernel.Patches(patches, k.x, k.g, k.in, r0, r1, t0, t1)
		kernel.Gemm(dw, kernel.Rows(patches, deep).Transposed(), kernel.Rows(k.w, k.out).From(r0, c0), deep, c1-c0, r1-r0, r0 > from)
	}
}
