package timing

import (
	"fmt"
	"math"
	"time"

	"shoal/gossip/collective"
)

const (
	// localLatency and localRate are between agents of one node: loopback.
	localLatency = 50 * time.Microsecond
	localRate    = 400e6 // bytes per second
	// messageBits is a short message: one frame.
	messageBits = 8 * 1538
	// segmentBytes is the payload of a TCP segment over Ethernet with time stamps.
	segmentBytes = 1448
)

// connect gives every pair of ranks its edge.
func (m *Model) connect() {
	n, net := m.work.Agents, m.cfg.Network
	rate := min(float64(net.Rate)*net.Payload/8, net.lossBound())
	m.links, m.nodes = make(collective.Matrix, n), make([]int, n)
	for r := range n {
		m.nodes[r] = r / m.work.AgentsPerNode
	}
	for from := range n {
		m.links[from] = make([]collective.Edge, n)
		for to := range n {
			m.links[from][to] = collective.Edge{Alpha: net.Latency.Seconds(), Rate: rate}
			if m.nodes[from] == m.nodes[to] {
				m.links[from][to] = collective.Edge{Alpha: localLatency.Seconds(), Rate: localRate}
			}
		}
	}
}

// lossBound is the most bytes per second that one TCP stream carries at the loss: MSS/RTT · √(3/2)/√p ([Mathis1997], The
// macroscopic behavior of the TCP congestion avoidance algorithm, equation 3).
func (n Network) lossBound() float64 {
	rtt := 2 * n.Latency.Seconds()
	if n.Loss == 0 || rtt == 0 {
		return math.Inf(1)
	}
	return segmentBytes / rtt * math.Sqrt(1.5/n.Loss)
}

// Exchange is when each rank of the plan is done, if rank r is ready at ready[r], with a vector of so many elements as the
// wire type. It plays the plan segment by segment as agents do (collective.Play), ranks of a plan being agents in order.
func (m *Model) Exchange(plan collective.Plan, elements int, wire string, ready []time.Duration) ([]time.Duration, error) {
	if plan.Size != len(ready) || plan.Size > m.work.Agents {
		return nil, fmt.Errorf("exchange among %d ranks: %d are ready, and the model is of %d agents", plan.Size, len(ready), m.work.Agents)
	}
	bytes := collective.Bytes(wire, elements, m.work.Segment)
	if bytes == 0 && elements > 0 {
		return nil, fmt.Errorf("exchange %d elements: wire type %q is unknown; give fp32, fp16 or int8", elements, wire)
	}
	begin := make([]float64, len(ready))
	for r, at := range ready {
		begin[r] = at.Seconds()
	}
	done := make([]time.Duration, len(ready))
	for r, at := range plan.Play(bytes, collective.Bytes(wire, m.work.Segment, m.work.Segment), m.over(plan.Size, wire), begin) {
		done[r] = max(seconds(at), ready[r])
	}
	return done, nil
}

// busy is how long one core sends, or takes, a byte of the wire type: it encrypts or decrypts and adds it, and encodes or
// decodes the value.
func (m *Model) busy(wire string) float64 {
	d, segment := m.cfg.Device, float64(m.work.Segment)
	if d.Exchange == 0 {
		return 0
	}
	busy := 1 / d.Exchange
	if bytes := float64(collective.Bytes(wire, m.work.Segment, m.work.Segment)); d.Encode > 0 && bytes < 4*segment {
		busy += segment / bytes / d.Encode
	}
	return busy
}

// over is the network between the first ranks.
func (m *Model) over(ranks int, wire string) collective.Network {
	net := m.cfg.Network
	over := collective.Network{
		Links: m.links[:ranks], Nodes: m.nodes[:ranks], Half: net.Duplex == "half", Fabric: float64(net.Switch) * net.Payload / 8,
	}
	over.Busy = m.crowd(2) * m.busy(wire) // a sender and a receiver
	if net.Jitter > 0 {
		over.Jitter = func() float64 { return m.jitter.Float64() * net.Jitter.Seconds() }
	}
	return over
}
