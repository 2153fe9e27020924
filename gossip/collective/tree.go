package collective

// treeChunks is how many chunks go up and down the two trees behind each other: enough to keep every level busy, few
// enough that a step is worth its latency.
const treeChunks = 8

// Tree reduces up and copies down two binary trees at once, even chunks on the one and odd chunks on the other
// ([Sanders2009], two-tree algorithms). A rank that has children in one tree is a leaf of the other, so that every link
// carries about 2·B in each direction, in O(log n + Chunks) steps.
func Tree(n int) Plan {
	p := Plan{Name: "tree", Size: n, Chunks: treeChunks}
	f := newForest(n, treeChunks)
	pending := f.moves()
	for len(pending) > 0 {
		var step, later []Move
		sends, receives := make([]bool, n), make([]bool, n)
		for _, m := range pending {
			if sends[m.From] || receives[m.To] || !f.ready(m) {
				later = append(later, m)
				continue
			}
			sends[m.From], receives[m.To] = true, true
			step = append(step, m)
		}
		for _, m := range step {
			f.done(m)
		}
		// Invariant: a tree has no cycle, so that some move is always ready and pending shrinks.
		p.Steps = append(p.Steps, step)
		pending = later
	}
	return p
}

// forest is how far each chunk has come up and down its tree.
type forest struct {
	parent [2][]int // of each rank in each tree; -1 for the root
	owed   [][]int  // [chunk][rank]: children whose part is still to come
	final  [][]bool // [chunk][rank]: holds the chunk's result
}

func newForest(n, chunks int) *forest {
	f := &forest{}
	for tree := range f.parent {
		f.parent[tree] = make([]int, n)
		for r := range n {
			f.parent[tree][r] = parent(tree, r, n)
		}
	}
	for c := range chunks {
		owed, final := make([]int, n), make([]bool, n)
		for _, up := range f.parent[c%2] {
			if up >= 0 {
				owed[up]++
			}
		}
		for r, up := range f.parent[c%2] {
			final[r] = up < 0 && owed[r] == 0
		}
		f.owed, f.final = append(f.owed, owed), append(f.final, final)
	}
	return f
}

// moves lists every move of every chunk, the first chunk's first: up, then down.
func (f *forest) moves() []Move {
	var moves []Move
	for c := range f.owed {
		for r, up := range f.parent[c%2] {
			if up >= 0 {
				moves = append(moves, Move{From: r, To: up, Chunk: c, Op: Reduce})
			}
		}
		for r, up := range f.parent[c%2] {
			if up >= 0 {
				moves = append(moves, Move{From: up, To: r, Chunk: c, Op: Copy})
			}
		}
	}
	return moves
}

// ready says whether what m sends is there.
func (f *forest) ready(m Move) bool {
	if m.Op == Copy {
		return f.final[m.Chunk][m.From]
	}
	return f.owed[m.Chunk][m.From] == 0
}

// done notes that m's receiver has it.
func (f *forest) done(m Move) {
	if m.Op == Copy {
		f.final[m.Chunk][m.To] = true
		return
	}
	f.owed[m.Chunk][m.To]--
	root := f.parent[m.Chunk%2][m.To] < 0
	f.final[m.Chunk][m.To] = root && f.owed[m.Chunk][m.To] == 0
}

// parent is the rank above r in one of two trees over n ranks, -1 for its root. In tree 0 the odd ranks are leaves:
// clearing r's lowest set bit and setting the next one goes up, unless that is outside. Tree 1 is tree 0 mirrored, or,
// where the mirror of an odd rank is odd, shifted by one.
func parent(tree, r, n int) int {
	if tree == 0 {
		if r == 0 {
			return -1
		}
		bit := r & -r
		if up := (r &^ bit) | bit<<1; up < n {
			return up
		}
		return r &^ bit
	}
	if n%2 == 0 {
		if up := parent(0, n-1-r, n); up >= 0 {
			return n - 1 - up
		}
		return -1
	}
	if up := parent(0, (r+n-1)%n, n); up >= 0 {
		return (up + 1) % n
	}
	return -1
}
