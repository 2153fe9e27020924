package collective

import "math"

// recordBytes is what encryption hands on at once: a record of TLS.
const recordBytes = 16 << 10

// play is a plan's run on a clock of its own. What can begin first does.
type play struct {
	parts  int     // segments of a chunk
	size   float64 // bytes of a segment
	window int     // segments
	over   Network
	nodes  []int
	moves  []played
	ranks  []player
	edges  []edge    // [from·n + to]
	out    []float64 // by node: when its interface to others is free again
	in     []float64 // the same as out, if links are half duplex
	fabric float64   // when what all nodes share is free again
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

func newPlay(p Plan, parts int, size float64, over Network, ready []float64) *play {
	n, nodes := p.Size, over.Nodes
	if nodes == nil {
		nodes = identity(n)
	}
	g := &play{
		parts: parts, size: size, window: max(1, int(windowBytes/size)), over: over, nodes: nodes, ranks: make([]player, n),
		edges: make([]edge, n*n), out: make([]float64, n), in: make([]float64, n), outMax: make([]float64, n), inMax: make([]float64, n),
	}
	if over.Half {
		g.in = g.out
	}
	for r := range ready {
		g.ranks[r].free, g.ranks[r].took = ready[r], ready[r]
	}
	for from := range n {
		for to := range n {
			e := over.Links.at(from, to, nodes)
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

// run is when each rank has sent and taken its last segment.
func (g *play) run() []float64 {
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
	ends := make([]float64, len(g.ranks))
	for i, r := range g.ranks {
		ends[i] = max(r.took, r.free)
	}
	return ends
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
		r.free = at + g.size*g.over.Busy
		g.out[a] = at + g.size/g.outMax[a]
		if g.over.Fabric > 0 {
			begin = max(begin, g.fabric)
			g.fabric = begin + g.size/g.over.Fabric
		}
		begin = max(begin, g.in[b])
		g.in[b] = begin + g.size/g.inMax[b]
	}
	e.free = begin + g.size/e.Rate
	late := 0.0
	if g.over.Jitter != nil && a != b {
		late = g.over.Jitter()
	}
	m.arrived = append(m.arrived, max(e.free, r.free)+e.Alpha+late)
	e.sent++
	r.sent++
	g.take(m.to)
}

// handled is when a rank that was busy until then has taken a segment. It works on what came while the rest comes.
func (g *play) handled(until float64, m *played, arrived float64) float64 {
	if g.nodes[m.from] == g.nodes[m.to] {
		return max(until, arrived)
	}
	return max(until+g.size*g.over.Busy, arrived+min(g.size, recordBytes)*g.over.Busy)
}

// take lets a rank take what has come, in its order.
func (g *play) take(rank int) {
	r := &g.ranks[rank]
	for r.got < len(r.receives)*g.parts {
		m, k := &g.moves[r.receives[r.got/g.parts]], r.got%g.parts
		if k >= len(m.arrived) {
			return
		}
		r.took = g.handled(r.took, m, m.arrived[k])
		m.taken = append(m.taken, r.took)
		e := &g.edges[m.from*len(g.ranks)+m.to]
		e.taken = append(e.taken, r.took)
		r.got++
	}
}
