package graph

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// Pool is a fixed number of workers that share the items of one piece of work after another. One caller at a time may use
// it. What an item computes must not depend on the worker that takes it: then results do not depend on the number of
// workers either. Workers that have nothing to do look for work for a moment, and then sleep: pieces follow each other
// faster than a sleeper wakes.
type Pool struct {
	body    func(worker, item int)
	items   int
	left    atomic.Int64 // items that nobody took yet, and above them the number of the piece, so that pieces are told apart
	pending atomic.Int64 // items that are not done
	closed  atomic.Bool
	fault   atomic.Pointer[error]
	caller  sleeper
	others  []sleeper
	ended   chan struct{}
}

// taken is the part of Pool.left that counts items.
const taken = 1<<32 - 1

// awake is how long somebody looks before he sleeps.
const awake = 100 * time.Microsecond

// sleeper is somebody who waits for something, in the end asleep.
type sleeper struct {
	asleep atomic.Bool
	bell   chan struct{}
	_      [40]byte // a cache line of one's own
}

// wait returns when ready does.
func (s *sleeper) wait(ready func() bool) {
	for began := time.Now(); ; {
		for range 64 {
			if ready() {
				return
			}
		}
		runtime.Gosched()
		if time.Since(began) > awake {
			break
		}
	}
	for !ready() {
		s.asleep.Store(true)
		if ready() && s.asleep.CompareAndSwap(true, false) {
			return
		}
		<-s.bell
	}
}

// wake rings if s sleeps or is about to. What it waits for must be so already.
func (s *sleeper) wake() {
	if s.asleep.CompareAndSwap(true, false) {
		s.bell <- struct{}{}
	}
}

// NewPool starts the workers, at least one; close it to end them.
func NewPool(workers int) *Pool {
	p := &Pool{others: make([]sleeper, max(workers, 1)-1), ended: make(chan struct{})}
	p.caller.bell = make(chan struct{}, 1)
	for i := range p.others {
		p.others[i].bell = make(chan struct{}, 1)
		go p.work(i + 1)
	}
	return p
}

// Close ends the workers. The pool must be idle, and is of no use afterwards.
func (p *Pool) Close() {
	p.closed.Store(true)
	for i := range p.others {
		p.others[i].wake()
	}
	for range p.others {
		<-p.ended
	}
}

// Workers is the number of workers, the caller of Run among them.
func (p *Pool) Workers() int { return len(p.others) + 1 }

// Run calls body for each item in [0, items) and returns when all have returned. worker, in [0, Workers()), is one that
// nobody else has meanwhile, for the use of scratch memory. A panic in body comes out of Run after the other workers have
// stopped. Run allocates nothing.
func (p *Pool) Run(items int, body func(worker, item int)) {
	helpers := min(len(p.others), items-1)
	if helpers <= 0 {
		for i := range items {
			body(0, i)
		}
		return
	}
	p.body, p.items = body, items
	p.pending.Store(int64(items))
	p.left.Store((p.left.Load() | taken) + 1 + int64(items))
	for i := range helpers {
		p.others[i].wake()
	}
	p.drain(0)
	p.caller.wait(p.done)
	if fault := p.fault.Swap(nil); fault != nil {
		panic(*fault)
	}
}

func (p *Pool) done() bool { return p.pending.Load() == 0 }

func (p *Pool) wanted() bool { return p.left.Load()&taken > 0 || p.closed.Load() }

func (p *Pool) work(worker int) {
	for !p.closed.Load() {
		p.others[worker-1].wait(p.wanted)
		p.drain(worker)
	}
	p.ended <- struct{}{}
}

// take takes an item. Invariant: until it is done, the piece that it belongs to is not, and body and items are the piece's.
func (p *Pool) take(most int64) (first, n int64) {
	for {
		left := p.left.Load()
		if n = min(left&taken, most); n == 0 {
			return 0, 0
		}
		if p.left.CompareAndSwap(left, left-n) {
			return int64(p.items) - left&taken, n
		}
	}
}

// drain takes items until there are none. If body panics, nobody need begin another.
func (p *Pool) drain(worker int) {
	defer func() {
		if r := recover(); r != nil {
			err := fmt.Errorf("worker %d: %v", worker, r)
			p.fault.CompareAndSwap(nil, &err)
			_, n := p.take(taken)
			p.finish(n + 1)
		}
	}()
	for {
		item, n := p.take(1)
		if n == 0 {
			return
		}
		p.body(worker, int(item))
		p.finish(1)
	}
}

// finish says that n items are done.
func (p *Pool) finish(n int64) {
	if p.pending.Add(-n) == 0 {
		p.caller.wake()
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
