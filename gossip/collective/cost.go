package collective

import "math"

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
	maxCostEvents = 1 << 15
	// An edge that nobody measured is taken for 1 Gb/s Ethernet between small machines, or one within a node for loopback.
	defaultAlpha, defaultRate = 200e-6, 118e6
	localAlpha, localRate     = 50e-6, 400e6
)

// Cost predicts the time in seconds that the plan takes for a vector of so many bytes on the wire, sent in segments of so
// many bytes. nodes is the node of each rank; nil: each has its own. It plays the exchange segment by segment (play.go) on
// these assumptions:
//
//   - Links are full duplex. A node sends at the rate of its fastest edge and receives likewise; streams of its ranks to
//     and from other nodes share that, first come, first served. Within a node only the edge counts.
//   - A rank sends one segment after another in the order of its turns, as it does, if at times several at once, and at
//     most windowBytes ahead of what the receiver has taken; a receiver takes segments in the order of its turns.
//   - A segment can be sent on α after its last byte came, and passes through a link without being stored. Within a step
//     and between steps everything overlaps that may.
//   - Adding and converting take no time: a link that is slower than memory hides them.
//
// For the ring over equal links, with C = bytes/n and s a segment, that is 2(n−1)·max(C/rate, s/rate + α) + α. A star's
// ranks share the way into its middle, so that all of them have been heard before the first gets its answer: 2(n−1)·B/rate,
// if windowBytes is more than B.
func (p Plan) Cost(bytes, segment int, links Matrix, nodes []int) float64 {
	end := 0.0
	for _, at := range p.Play(bytes, segment, Network{Links: links, Nodes: nodes}, nil) {
		end = max(end, at)
	}
	return end
}

// Network is what Play plays an exchange over. Its zero value is full-duplex links of which nothing is known, and machines
// that take no time.
type Network struct {
	Links  Matrix         // what is not known of them is assumed, as by Cost
	Nodes  []int          // the node of each rank; nil: each has its own
	Half   bool           // a node sends or receives, never both at once
	Fabric float64        // bytes per second that all nodes together can exchange; 0: no bound
	Busy   float64        // seconds a byte that comes or goes occupies its rank: encryption, copies, sums
	Jitter func() float64 // seconds that a segment is late, drawn for each in the order in which they are sent; nil: none
}

// Play is when each rank has ended its part of the exchange, in seconds, if rank r begins at ready[r] (nil: all at 0). It
// assumes what Cost does, and what the network says.
func (p Plan) Play(bytes, segment int, over Network, ready []float64) []float64 {
	moves := 0
	for _, step := range p.Steps {
		moves += len(step)
	}
	if moves == 0 || bytes <= 0 {
		ends := make([]float64, p.Size)
		copy(ends, ready)
		return ends
	}
	chunk := float64(bytes) / float64(p.Chunks)
	parts := int(math.Ceil(chunk / float64(max(segment, 1))))
	parts = max(1, min(parts, maxCostEvents/moves))
	return newPlay(p, parts, chunk/float64(parts), over, ready).run()
}

// at is the edge between two ranks, or what is assumed of it.
func (m Matrix) at(from, to int, nodes []int) Edge {
	e := Edge{}
	if from < len(m) && to < len(m[from]) {
		e = m[from][to]
	}
	if !(e.Rate > 0) {
		if nodes != nil && nodes[from] == nodes[to] {
			return Edge{localAlpha, localRate}
		}
		return Edge{defaultAlpha, defaultRate}
	}
	e.Alpha = max(e.Alpha, 0)
	return e
}
