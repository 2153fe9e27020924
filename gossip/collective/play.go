package collective

import "math"

// play is a plan's run on a clock of its own. What can begin first does.
type play struct {
	parts  int     // segments of a chunk
	size   float64 // bytes of a segment
	window int     // segments
	nodes  []int
	links  Matrix
	moves  []played
	ranks  []player
	edges  []edge    // [from·n + to]
	out    []float64 // by node: when its interface to others is free again
	in     []float64
	outMax []float64 // by node: bytes per second
	inMax  []float64
}

// played is a move, segment by segment.
type played struct {
	from, to int
	after    int       // the move that brought what this one sends; -1: none
	arrived  []float64 // by segment, as far as it is known
	taken    []float64 // by segment, as far as it is known
}

// player is a rank: where it is among its sends and receives.
type player struct {
	sends, receives []int // moves
	sent, got       int   // segments of all of them
	free            float64
	took            float64
}

// edge is the way between two ranks.
type edge struct {
	Edge
	free  float64
	sent  int       // segments
	taken []float64 // by segment
}

func newPlay(p Plan, parts int, size float64, links Matrix, nodes []int) *play {
	n := p.Size
	if nodes == nil {
		nodes = identity(n)
	}
	g := &play{
		parts: parts, size: size, window: max(1, int(windowBytes/size)), nodes: nodes, links: links, ranks: make([]player, n),
		edges: make([]edge, n*n), out: make([]float64, n), in: make([]float64, n), outMax: make([]float64, n), inMax: make([]float64, n),
	}
	for from := range n {
		for to := range n {
			e := links.at(from, to, nodes)
			g.edges[from*n+to].Edge = e
			if a, b := nodes[from], nodes[to]; a != b {
				g.outMax[a], g.inMax[b] = max(g.outMax[a], e.Rate), max(g.inMax[b], e.Rate)
			}
		}
	}
	came := make([]int, n*p.Chunks) // [rank·chunks + chunk]: 1 + the last move that brought it
	for _, step := range p.Steps {
		for _, m := range step {
			g.ranks[m.From].sends = append(g.ranks[m.From].sends, len(g.moves))
			g.ranks[m.To].receives = append(g.ranks[m.To].receives, len(g.moves))
			g.moves = append(g.moves, played{from: m.From, to: m.To, after: came[m.From*p.Chunks+m.Chunk] - 1})
			came[m.To*p.Chunks+m.Chunk] = len(g.moves)
		}
	}
	return g
}

// run is when the last segment is taken.
func (g *play) run() float64 {
	for {
		next, begin := -1, math.Inf(1)
		for r := range g.ranks {
			if at := g.begins(r); at < begin {
				next, begin = r, at
			}
		}
		if next < 0 {
			break
		}
		g.send(next, begin)
	}
	end := 0.0
	for _, r := range g.ranks {
		end = max(end, r.took)
	}
	return end
}

// begins is when a rank can send its next segment; infinite, if it has none, or that rests on what has not happened yet.
func (g *play) begins(rank int) float64 {
	r := &g.ranks[rank]
	if r.sent == len(r.sends)*g.parts {
		return math.Inf(1)
	}
	m, k := &g.moves[r.sends[r.sent/g.parts]], r.sent%g.parts
	at := r.free
	if m.after >= 0 {
		before := g.moves[m.after].taken
		if k >= len(before) {
			return math.Inf(1)
		}
		at = max(at, before[k])
	}
	e := &g.edges[m.from*len(g.ranks)+m.to]
	if e.sent >= g.window {
		if e.sent-g.window >= len(e.taken) {
			return math.Inf(1)
		}
		at = max(at, e.taken[e.sent-g.window])
	}
	if a := g.nodes[m.from]; a != g.nodes[m.to] {
		at = max(at, g.out[a])
	}
	return at
}

// send lets a rank's next segment begin, and the receiver take what it can.
func (g *play) send(rank int, at float64) {
	r := &g.ranks[rank]
	m := &g.moves[r.sends[r.sent/g.parts]]
	e := &g.edges[m.from*len(g.ranks)+m.to]
	a, b := g.nodes[m.from], g.nodes[m.to]
	begin := max(at, e.free)
	if a == b {
		r.free = begin + g.size/e.Rate // it copies the bytes itself
	} else {
		r.free = at
		g.out[a] = at + g.size/g.outMax[a]
		begin = max(begin, g.in[b])
		g.in[b] = begin + g.size/g.inMax[b]
	}
	e.free = begin + g.size/e.Rate
	m.arrived = append(m.arrived, e.free+e.Alpha)
	e.sent++
	r.sent++
	g.take(m.to)
}

// take lets a rank take what has come, in its order.
func (g *play) take(rank int) {
	r := &g.ranks[rank]
	for r.got < len(r.receives)*g.parts {
		m, k := &g.moves[r.receives[r.got/g.parts]], r.got%g.parts
		if k >= len(m.arrived) {
			return
		}
		r.took = max(r.took, m.arrived[k])
		m.taken = append(m.taken, r.took)
		e := &g.edges[m.from*len(g.ranks)+m.to]
		e.taken = append(e.taken, r.took)
		r.got++
	}
}
