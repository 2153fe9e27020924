// Package collective averages the vectors of all ranks. A Plan says who sends what to whom, as data; Mean carries one
// out over a Link and leaves the same bits at every rank.
package collective

import (
	"fmt"
	"strings"
)

// Op is what a receiver does with the chunk it is sent.
type Op uint8

const (
	Reduce Op = iota // add it to its own
	Copy             // take it in place of its own
)

// Move is one chunk's way from one rank to another.
type Move struct {
	From, To int
	Chunk    int // in [0, Plan.Chunks)
	Op       Op
}

// Plan is an all-reduce as data: steps of moves. A move sends the chunk as it is at From after the steps before. In one
// step a rank sends at most once and receives at most once, and never the same chunk. Each chunk is reduced in one order
// and its result copied, so that all ranks end with the same bits.
type Plan struct {
	Name   string
	Size   int // ranks
	Chunks int // parts that the vector is cut into, as equal as can be
	Steps  [][]Move
}

// Names are the plans that New knows.
func Names() []string { return []string{"ring", "tree", "star"} }

// New makes the plan called name for size ranks.
func New(name string, size int) (Plan, error) {
	if size < 1 {
		return Plan{}, fmt.Errorf("make plan %s: %d ranks, give at least 1", name, size)
	}
	switch name {
	case "ring":
		return Ring(size), nil
	case "tree":
		return Tree(size), nil
	case "star":
		return Star(size), nil
	}
	return Plan{}, fmt.Errorf("make plan %q: unknown, give one of %s", name, strings.Join(Names(), ", "))
}

// Ring passes chunks around: n−1 steps of reduce-scatter, n−1 of all-gather ([Patarasuk2009]). Every rank sends and
// receives 2(n−1)/n of the vector, the least there is: 2(n−1)·(α + B/n·β).
func Ring(n int) Plan {
	p := Plan{Name: "ring", Size: n, Chunks: n}
	for s := range 2 * (n - 1) {
		op := Reduce
		if s >= n-1 {
			op = Copy
		}
		step := make([]Move, n)
		for r := range n {
			step[r] = Move{From: r, To: (r + 1) % n, Chunk: (r + 2*n - s) % n, Op: op}
		}
		p.Steps = append(p.Steps, step)
	}
	return p
}

// Star gathers everything at rank 0, in rank order, and sends the mean back one by one, as the papers do:
// 2(n−1)·(α + B·β), all of it through one link.
func Star(n int) Plan {
	p := Plan{Name: "star", Size: n, Chunks: 1}
	for r := 1; r < n; r++ {
		p.Steps = append(p.Steps, []Move{{From: r, To: 0, Op: Reduce}})
	}
	for r := 1; r < n; r++ {
		p.Steps = append(p.Steps, []Move{{From: 0, To: r, Op: Copy}})
	}
	return p
}

// Cost is the time in seconds that the plan takes for a vector of B bytes when a message costs α seconds and a byte β,
// links are full duplex and steps do not overlap: Σ over steps of α + β·B/Chunks. Segments do overlap steps, so that it
// is an upper bound where α is small.
func (p Plan) Cost(bytes int, alpha, beta float64) float64 {
	chunk := float64(bytes) / float64(max(p.Chunks, 1))
	return float64(len(p.Steps)) * (alpha + beta*chunk)
}

// bounds is where chunk c of a vector of length n lies: [lo, hi).
func (p Plan) bounds(c, n int) (lo, hi int) {
	share, rest := n/p.Chunks, n%p.Chunks
	lo = c*share + min(c, rest)
	hi = lo + share
	if c < rest {
		hi++
	}
	return lo, hi
}
