package graph

import (
	"fmt"
	"sync/atomic"
)

// Pool is a fixed number of workers that share the items of one piece of work after another. One caller at a time may use
// it. What an item computes must not depend on the worker that takes it: then results do not depend on the number of
// workers either.
type Pool struct {
	wake []chan struct{} // one per worker but the first, which is the caller
	done chan any        // a worker that ran out of items reports nil, or what it panicked with
	next atomic.Int64
	last int64
	body func(worker, item int)
}

// NewPool starts the workers, at least one; close it to end them.
func NewPool(workers int) *Pool {
	others := max(workers, 1) - 1
	p := &Pool{wake: make([]chan struct{}, others), done: make(chan any, others)}
	for i := range p.wake {
		p.wake[i] = make(chan struct{}, 1)
		go p.work(i + 1)
	}
	return p
}

// Close ends the workers. The pool must be idle, and is of no use afterwards.
func (p *Pool) Close() {
	for _, w := range p.wake {
		close(w)
	}
	for range p.wake {
		<-p.done
	}
}

// Workers is the number of workers, the caller of Run among them.
func (p *Pool) Workers() int { return len(p.wake) + 1 }

// Run calls body for each item in [0, items) and returns when all have returned. worker, in [0, Workers()), is one that
// nobody else has meanwhile, for the use of scratch memory. A panic in body comes out of Run after the other workers have
// stopped. Run allocates nothing.
func (p *Pool) Run(items int, body func(worker, item int)) {
	helpers := min(len(p.wake), items-1)
	if helpers <= 0 {
		for i := range items {
			body(0, i)
		}
		return
	}
	p.body, p.last = body, int64(items)
	p.next.Store(0)
	for _, w := range p.wake[:helpers] {
		w <- struct{}{}
	}
	fault := p.drain(0)
	for range helpers {
		if f := <-p.done; f != nil && fault == nil {
			fault = f
		}
	}
	p.body = nil
	if fault != nil {
		panic(fault)
	}
}

func (p *Pool) work(worker int) {
	for range p.wake[worker-1] {
		p.done <- p.drain(worker)
	}
	p.done <- nil
}

// drain takes items until there are none, and returns what body panicked with, if it did.
func (p *Pool) drain(worker int) (fault any) {
	defer func() {
		if r := recover(); r != nil {
			p.next.Store(p.last) // nobody else need begin
			fault = fmt.Errorf("worker %d: %v", worker, r)
		}
	}()
	for {
		item := p.next.Add(1) - 1
		if item >= p.last {
			return nil
		}
		p.body(worker, int(item))
	}
}

// grid cuts a rectangle of rows and columns into tiles, as work for a pool. It depends on the work alone.
type grid struct{ rows, cols, rowBlock, colBlock int }

// Work is cut so that an item is worth waking somebody for, and that eight cores find something to do.
const (
	itemWork   = 1 << 18 // multiply-adds in an item
	leastItems = 8
	leastWork  = 1 << 16
)

// tiles cuts a (rows, cols) result of which each element takes depth multiply-adds.
func tiles(rows, cols, depth int) grid {
	wide := up(ceil(cols, ceil(cols, 64)), 16)
	g := grid{rows, cols, min(max(up(itemWork/(depth*wide), 4), 16), 256), wide}
	for g.items() < leastItems && g.rowBlock*g.colBlock*depth >= 2*leastWork && g.rowBlock > 4 {
		g.rowBlock = up(g.rowBlock/2, 4)
	}
	for g.items() < leastItems && g.rowBlock*g.colBlock*depth >= 2*leastWork && g.colBlock > 16 {
		g.colBlock = up(g.colBlock/2, 16)
	}
	return g
}

// strips cuts rows of width elements, each of which takes depth operations, into runs of whole rows.
func strips(rows, width, depth int) grid {
	block := max(leastWork*2/max(width*depth, 1), 1)
	return grid{rows, 1, block, 1}
}

func (g grid) items() int { return ceil(g.rows, g.rowBlock) * ceil(g.cols, g.colBlock) }

// at is item's rectangle. Items that follow each other share rows.
func (g grid) at(item int) (r0, r1, c0, c1 int) {
	across := ceil(g.cols, g.colBlock)
	r0, c0 = item/across*g.rowBlock, item%across*g.colBlock
	return r0, min(r0+g.rowBlock, g.rows), c0, min(c0+g.colBlock, g.cols)
}

// ceil is a/b rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }

// up is a rounded up to a multiple of b.
func up(a, b int) int { return ceil(a, b) * b }
