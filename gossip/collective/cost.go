package collective

// Edge is the way from one rank to another as measured. The zero Edge is not known.
type Edge struct {
	Alpha float64 // seconds from sending a segment's last byte to its use at the receiver: latency, wake-ups
	Rate  float64 // bytes per second
}

// Matrix holds the edges between ranks: [from][to]. Its diagonal means nothing.
type Matrix [][]Edge

// Uniform is the matrix of n ranks whose edges are all alike.
func Uniform(n int, alpha, rate float64) Matrix {
	m := make(Matrix, n)
	for r := range m {
		m[r] = make([]Edge, n)
		for to := range m[r] {
			m[r][to] = Edge{alpha, rate}
		}
	}
	return m
}

const (
	// windowBytes is how far a sender may run ahead of its receiver: the stream window of gossip/p2p.
	windowBytes = 4 << 20
	// maxCostEvents bounds the work of Cost, which takes larger segments where there would be more.
	maxCostEvents = 1 << 18
	// An edge that nobody measured is taken for 1 Gb/s Ethernet between small machines, or one within a node for loopback.
	defaultAlpha, defaultRate = 200e-6, 118e6
	localAlpha, localRate     = 50e-6, 400e6
)

// Cost predicts the time in seconds that the plan takes for a vector of so many bytes on the wire, sent in segments of so
// many bytes. nodes is the node of each rank; nil: each has its own. It plays the exchange segment by segment on these
// assumptions:
//
//   - Links are full duplex. A node sends at the rate of its fastest edge and receives likewise; streams of its ranks to
//     and from other nodes share that, first come, first served in the order of steps. Within a node only the edge counts.
//   - A rank sends one segment after another in the order of its turns, as it does, and at most windowBytes ahead of what
//     the receiver has taken; a receiver takes segments in the order of its turns.
//   - A segment can be sent on α after its last byte came, and passes through a link without being stored. Within a step
//     and between steps everything overlaps that may.
//   - Adding and converting take no time: a link that is slower than memory hides them.
//
// For the ring over equal links, with C = bytes/n and s a segment, that is 2(n−1)·max(C/rate, s/rate + α) + α.
func (p Plan) Cost(bytes, segment int, links Matrix, nodes []int) float64 {
	if len(p.Steps) == 0 || bytes <= 0 {
		return 0
	}
	moves := 0
	for _, step := range p.Steps {
		moves += len(step)
	}
	chunk := float64(bytes) / float64(p.Chunks)
	parts := int(chunk)/max(segment, 1) + 1
	parts = max(1, min(parts, maxCostEvents/moves))
	g := newPlay(p, parts, chunk/float64(parts), links, nodes)
	for _, step := range p.Steps {
		for _, m := range step {
			g.move(m)
		}
	}
	return g.end
}

// play is a plan's run on a clock of its own: for every resource, when it is free again.
type play struct {
	plan     Plan
	nodes    []int
	links    Matrix
	parts    int         // segments of a chunk
	size     float64     // bytes of a segment
	window   int         // segments
	out, in  []float64   // by node: its interface to others
	outRate  []float64   // by node
	inRate   []float64   // by node
	edge     []float64   // [from·n + to]
	sender   []float64   // by rank
	receiver []float64   // by rank
	ready    [][]float64 // [rank·chunks + chunk][part]: when it may be sent on; nil: at once
	taken    [][]float64 // [from·n + to]: when each segment was taken
	end      float64
}

func newPlay(p Plan, parts int, size float64, links Matrix, nodes []int) *play {
	n := p.Size
	if nodes == nil {
		nodes = identity(n)
	}
	g := &play{
		plan: p, nodes: nodes, links: links, parts: parts, size: size, window: max(1, int(windowBytes/size)),
		out: make([]float64, n), in: make([]float64, n), outRate: make([]float64, n), inRate: make([]float64, n),
		edge: make([]float64, n*n), sender: make([]float64, n), receiver: make([]float64, n),
		ready: make([][]float64, n*p.Chunks), taken: make([][]float64, n*n),
	}
	for from := range n {
		for to := range n {
			if a, b := nodes[from], nodes[to]; a != b {
				rate := links.at(from, to, nodes).Rate
				g.outRate[a], g.inRate[b] = max(g.outRate[a], rate), max(g.inRate[b], rate)
			}
		}
	}
	return g
}

// at is the edge between two ranks, or what is assumed of it.
func (m Matrix) at(from, to int, nodes []int) Edge {
	e := Edge{}
	if from < len(m) && to < len(m[from]) {
		e = m[from][to]
	}
	assumed := Edge{defaultAlpha, defaultRate}
	if nodes != nil && nodes[from] == nodes[to] {
		assumed = Edge{localAlpha, localRate}
	}
	if !(e.Rate > 0) {
		return assumed
	}
	if !(e.Alpha > 0) {
		e.Alpha = 0
	}
	return e
}

// move plays one chunk's way, segment by segment.
func (g *play) move(m Move) {
	e := g.links.at(m.From, m.To, g.nodes)
	at := m.From*g.plan.Size + m.To
	a, b := g.nodes[m.From], g.nodes[m.To]
	ready := g.ready[m.From*g.plan.Chunks+m.Chunk]
	arrived := make([]float64, g.parts)
	for k := range g.parts {
		start := g.sender[m.From]
		if ready != nil {
			start = max(start, ready[k])
		}
		if sent := len(g.taken[at]); sent >= g.window {
			start = max(start, g.taken[at][sent-g.window])
		}
		begin := max(start, g.edge[at])
		done := begin + g.size/e.Rate
		if a == b {
			g.sender[m.From] = done // it copies the bytes itself
		} else {
			start = max(start, g.out[a])
			g.out[a] = start + g.size/g.outRate[a]
			begin = max(start, g.edge[at], g.in[b])
			done = begin + g.size/e.Rate
			g.in[b] = begin + g.size/g.inRate[b]
			g.sender[m.From] = start
		}
		g.edge[at] = begin + g.size/e.Rate
		g.receiver[m.To] = max(g.receiver[m.To], done+e.Alpha)
		arrived[k] = g.receiver[m.To]
		g.taken[at] = append(g.taken[at], arrived[k])
	}
	g.ready[m.To*g.plan.Chunks+m.Chunk] = arrived
	g.end = max(g.end, g.receiver[m.To])
}
