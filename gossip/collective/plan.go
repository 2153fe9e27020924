// Package collective averages the vectors of all ranks. A Plan says who sends what to whom, as data; Mean carries one
// out over a Link and leaves the same bits at every rank.
package collective

import (
	"fmt"
	"slices"
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
	Size   int   // ranks
	Chunks int   // parts that the vector is cut into, as equal as can be
	Order  []int // the rank at each place of the ring, tree or star; nil: each rank at its own place
	Nodes  []int // the node of each rank, if those of one node are to be one place; nil: each rank is a place
	Steps  [][]Move
}

// maxSize bounds the ranks of a plan, since a ring has twice their square of moves.
const maxSize = 512

// Names are the plans that New knows.
func Names() []string { return []string{"ring", "tree", "star", "mesh"} }

// New makes the plan called name for size ranks, each at its own place.
func New(name string, size int) (Plan, error) { return Arrange(name, size, nil, nil) }

// Arrange makes the plan called name with rank order[i] at place i (nil: rank i). With nodes, by rank, it has two levels:
// ranks of one node reduce to the first of them in order, those go by the plan, and copy the result to the others
// ([Jia2018], "Highly scalable deep learning training system", §3.3, calls it hierarchical).
func Arrange(name string, size int, order, nodes []int) (Plan, error) {
	if size < 1 || size > maxSize {
		return Plan{}, fmt.Errorf("make plan %s: %d ranks, give 1 to %d", name, size, maxSize)
	}
	build := map[string]func(int) Plan{"ring": Ring, "tree": Tree, "star": Star, "mesh": Mesh}[name]
	if build == nil {
		return Plan{}, fmt.Errorf("make plan %q: unknown, give one of %s", name, strings.Join(Names(), ", "))
	}
	places := order
	if order == nil {
		places = identity(size)
	} else if err := checkOrder(order, size); err != nil {
		return Plan{}, fmt.Errorf("make plan %s: %w", name, err)
	}
	if nodes != nil {
		if err := checkNodes(nodes, size); err != nil {
			return Plan{}, fmt.Errorf("make plan %s: %w", name, err)
		}
		return levels(build, places, nodes).described(name, order, nodes), nil
	}
	p := build(size)
	if order != nil {
		p.Steps = placed(p.Steps, places)
	}
	return p.described(name, order, nil), nil
}

// described is p with what Arrange was given.
func (p Plan) described(name string, order, nodes []int) Plan {
	p.Name, p.Order, p.Nodes = name, slices.Clone(order), slices.Clone(nodes)
	return p
}

func checkOrder(order []int, size int) error {
	if !slices.Equal(slices.Sorted(slices.Values(order)), identity(size)) {
		return fmt.Errorf("order %.80v is not of the ranks 0 to %d", fmt.Sprint(order), size-1)
	}
	return nil
}

func checkNodes(nodes []int, size int) error {
	if len(nodes) != size {
		return fmt.Errorf("nodes of %d ranks, give those of %d", len(nodes), size)
	}
	for r, node := range nodes {
		if node < 0 || node >= size {
			return fmt.Errorf("rank %d is on node %d, number them from 0 to at most %d", r, node, size-1)
		}
	}
	return nil
}

func identity(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// placed are steps with place i taken by rank places[i].
func placed(steps [][]Move, places []int) [][]Move {
	out := make([][]Move, len(steps))
	for s, moves := range steps {
		out[s] = make([]Move, len(moves))
		for i, m := range moves {
			m.From, m.To = places[m.From], places[m.To]
			out[s][i] = m
		}
	}
	return out
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

// Mesh gives every rank a chunk of its own, which all others send to it and get back reduced ("butterfly", direct
// reduce-scatter and all-gather): 2(n−1)/n of the vector sent and received by each rank, as in a ring, in 2 hops instead
// of 2(n−1), but into each rank from all others at once. Every value of a coordinate meets in one place, which trimmed
// means and medians need.
func Mesh(n int) Plan {
	p := Plan{Name: "mesh", Size: n, Chunks: n}
	for s := 1; s < n; s++ {
		step := make([]Move, n)
		for r := range n {
			step[r] = Move{From: r, To: (r + s) % n, Chunk: (r + s) % n, Op: Reduce}
		}
		p.Steps = append(p.Steps, step)
	}
	for s := 1; s < n; s++ {
		step := make([]Move, n)
		for r := range n {
			step[r] = Move{From: r, To: (r + s) % n, Chunk: r, Op: Copy}
		}
		p.Steps = append(p.Steps, step)
	}
	return p
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
