package graph

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"shoal/learner/kernel"
)

// Pool is a fixed number of workers that share the items of one piece of work after another. One caller at a time may use
// it. What an item computes must not depend on the worker that takes it: then results do not depend on the number of
// workers either. Each worker begins with its own run of the items, the same part of every piece, so that what it wrote in
// the last piece is still in its cache; who has done his own takes from the ends of the others'. Workers that have nothing
// to do look for work for a moment, and then sleep: pieces follow each other faster than a sleeper wakes.
type Pool struct {
	body    func(worker, item int)
	first   int           // of the piece's items
	piece   atomic.Uint64 // number of the piece at work
	_       [56]byte      // everybody looks at the number, nobody else's writing is to disturb
	pending atomic.Int64  // items that are not done
	closed  atomic.Bool
	fault   atomic.Pointer[error]
	caller  sleeper
	others  []sleeper
	runs    []run // by worker
	ended   chan struct{}
}

// run is the items of one worker that nobody took yet: from and to, and above them the number of the piece, so that a run
// of another piece is never taken from by mistake.
type run struct {
	atomic.Uint64
	_ [56]byte // a cache line of one's own
}

// Bits of a run: items in [from, to), and the rest for the number of the piece.
const (
	itemBits = 20
	mostRun  = 1<<itemBits - 1
)

func packed(piece uint64, from, to int) uint64 {
	return piece<<(2*itemBits) | uint64(from)<<itemBits | uint64(to)
}

func unpacked(run uint64) (from, to int) {
	return int(run >> itemBits & mostRun), int(run & mostRun)
}

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
		for range 256 {
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
	workers = max(workers, 1)
	p := &Pool{others: make([]sleeper, workers-1), runs: make([]run, workers), ended: make(chan struct{})}
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
	if items <= 1 || len(p.others) == 0 {
		for i := range items {
			body(0, i)
		}
		return
	}
	p.body = body
	for first := 0; first < items; first += mostRun { // one piece, as good as always
		p.share(first, min(items-first, mostRun))
	}
}

// share runs body for items from first on, at most mostRun of them.
func (p *Pool) share(first, items int) {
	p.first = first
	p.pending.Store(int64(items))
	sharers := min(len(p.runs), items)
	piece := p.piece.Load() + 1
	for w := range p.runs {
		from, to := items*min(w, sharers)/sharers, items*min(w+1, sharers)/sharers
		p.runs[w].Store(packed(piece, from, to))
	}
	p.piece.Store(piece)
	for w := range sharers - 1 {
		p.others[w].wake()
	}
	p.drain(0)
	p.caller.wait(p.done)
	if fault := p.fault.Swap(nil); fault != nil {
		panic(*fault)
	}
}

func (p *Pool) done() bool { return p.pending.Load() == 0 }

func (p *Pool) work(worker int) {
	seen := uint64(0)
	wanted := func() bool { return p.piece.Load() != seen || p.closed.Load() }
	for !p.closed.Load() {
		p.others[worker-1].wait(wanted)
		seen = p.piece.Load()
		p.drain(worker)
	}
	p.ended <- struct{}{}
}

// take takes an item: the first of a worker's own run, or the last of another's. Invariant: until it is done, the piece
// that it belongs to is not, and body and first are the piece's.
func (p *Pool) take(worker int) (item int, ok bool) {
	for i := range p.runs {
		r := &p.runs[(worker+i)%len(p.runs)]
		for {
			was := r.Load()
			from, to := unpacked(was)
			if from >= to {
				break
			}
			item, now := from, was+1<<itemBits
			if i > 0 {
				item, now = to-1, was-1
			}
			if r.CompareAndSwap(was, now) {
				return item, true
			}
		}
	}
	return 0, false
}

// drain takes items until there are none. If body panics, nobody need begin another.
func (p *Pool) drain(worker int) {
	taken := int64(0)
	defer func() {
		if r := recover(); r != nil {
			err := fmt.Errorf("worker %d: %v", worker, r)
			p.fault.CompareAndSwap(nil, &err)
			for ok := true; ok; {
				if _, ok = p.take(worker); ok {
					taken++
				}
			}
		}
		p.finish(taken)
	}()
	for {
		item, ok := p.take(worker)
		if !ok {
			return
		}
		taken++
		p.body(worker, p.first+item)
	}
}

// finish says that n items are done.
func (p *Pool) finish(n int64) {
	if n > 0 && p.pending.Add(-n) == 0 {
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
	stripWork  = 1 << 13 // operations in a strip, whose elements are moved for a few of them
)

// moveWork is how many multiply-adds take as long as moving an element between layers.
const moveWork = 8

// handover is the work that must be saved by sharing a step for it to pay: the workers are to be told, and then read from
// each other's caches what they wrote before. Cores that share a cache, as small ones do, read that sooner. A step's result
// does not depend on it.
func handover() int64 {
	if kernel.Chosen() == "neon" {
		return int64(kernel.Lanes()) << 13
	}
	return int64(kernel.Lanes()) << 15
}

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

// strips cuts rows of width elements, each of which takes depth operations, into runs of whole rows, about equally long.
func strips(rows, width, depth int) grid {
	work := rows * width * depth
	items := max(ceil(work, 2*leastWork), min(leastItems, work/stripWork))
	return grid{rows, 1, ceil(rows, max(items, 1)), 1}
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
