package collective

// levels makes a plan of two levels: within nodes, then by build between the first ranks of the nodes, then back. Ranks
// come in the order of places, and so do the nodes.
func levels(build func(int) Plan, places, nodes []int) Plan {
	first := map[int]int{} // rank that stands for a node
	var heads []int
	for _, r := range places {
		if _, known := first[nodes[r]]; !known {
			first[nodes[r]] = r
			heads = append(heads, r)
		}
	}
	between := build(len(heads))
	p := Plan{Size: len(places), Chunks: between.Chunks}
	var moves []Move
	for c := range p.Chunks {
		for _, r := range places {
			if head := first[nodes[r]]; head != r {
				moves = append(moves, Move{From: r, To: head, Chunk: c, Op: Reduce})
			}
		}
	}
	for _, step := range placed(between.Steps, heads) {
		moves = append(moves, step...)
	}
	for c := range p.Chunks {
		for _, r := range places {
			if head := first[nodes[r]]; head != r {
				moves = append(moves, Move{From: head, To: r, Chunk: c, Op: Copy})
			}
		}
	}
	p.Steps = pack(p.Size, p.Chunks, moves)
	return p
}

// pack puts moves, which are in an order that they may be made in one by one, into as early a step each as the moves
// before it of the same chunk allow, and the one send and one receive that a rank has in a step.
func pack(size, chunks int, moves []Move) [][]Move {
	type slot struct{ step, rank int }
	sends, receives := map[slot]bool{}, map[slot]bool{}
	next := make([]int, size*chunks) // [rank·chunks + chunk]: the step after its last
	var steps [][]Move
	for _, m := range moves {
		from, to := m.From*chunks+m.Chunk, m.To*chunks+m.Chunk
		s := max(next[from], next[to])
		for sends[slot{s, m.From}] || receives[slot{s, m.To}] {
			s++
		}
		sends[slot{s, m.From}], receives[slot{s, m.To}] = true, true
		next[from], next[to] = s+1, s+1
		for len(steps) <= s {
			steps = append(steps, nil)
		}
		steps[s] = append(steps[s], m)
	}
	return steps
}
