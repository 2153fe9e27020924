package p2p

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"

	"shoal/gossip/roster"
)

// good is what a peer's use of this agent is counted in.
type good int

const (
	goodMessages good = iota
	goodCalls
	goodStreams
	goodBytes
	goods
)

// quota is how much of a good a peer may use: so much a second for ever, and burst at once.
type quota struct {
	name        string
	rate, burst float64
}

// quotas are far above what an honest agent uses, and far below what hurts. A ballot costs a member some ten messages to
// each other member, and the shortest rounds take a twentieth of a second: 200 messages a second. A member that catches up
// makes a call for each 768 KiB of the journal and one for the state. Streams are kept, so new ones come with calls, with
// aborted ballots and with announcements. The bytes are those of messages and requests, which are read whether they are
// wanted or not; those of an exchange are read only as it asks for them, and wait in the window of their stream.
func quotas() [goods]quota {
	return [goods]quota{
		goodMessages: {name: "messages", rate: 500, burst: 5000},
		goodCalls:    {name: "calls", rate: 50, burst: 500},
		goodStreams:  {name: "new streams", rate: 100, burst: 1000},
		goodBytes:    {name: "bytes of messages and requests", rate: 16 << 20, burst: 64 << 20},
	}
}

const (
	// cutOffTime is how long a peer over a limit is refused: long enough that a flood costs nothing, short enough that a
	// member with a fault that passed is back within a few rounds.
	cutOffTime = 30 * time.Second
	// maxConnsPerAddress bounds the connections from one IP address, and connRate how many new ones it may open in a
	// second, with a burst of maxConnsPerAddress: many agents may share a machine or a router. libp2p's own limits of 8
	// and one in five seconds would keep a ninth agent of a machine out.
	maxConnsPerAddress = 256
	connRate           = 20
	// maxPeerStreams bounds the streams of one peer, of every protocol, those of the announcements included.
	maxPeerStreams = maxStreamsPerPeer + 32
	// maxPeerBytes bounds the memory that one peer's streams may reserve.
	maxPeerBytes = 128 << 20
)

// bucket holds the tokens of one peer for one good.
type bucket struct {
	tokens float64
	at     time.Time // when tokens was right
}

// take takes n tokens, and reports whether there were as many. A bucket begins full.
func (b *bucket) take(q quota, n float64, now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = q.burst
	} else if d := now.Sub(b.at).Seconds(); d > 0 {
		b.tokens = min(q.burst, b.tokens+d*q.rate)
	}
	b.at = now
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// meter counts what peers use.
type meter struct {
	quotas [goods]quota
	over   func(p peer.ID, what string) // told who went over

	mu    sync.Mutex
	peers map[peer.ID]*[goods]bucket
}

func newMeter() *meter { return &meter{quotas: quotas(), peers: map[peer.ID]*[goods]bucket{}} }

// begin sets who is told of peers that went over.
func (m *meter) begin(over func(p peer.ID, what string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = over
}

// spend counts n of a good against a peer, and reports whether that is within its quota. Whoever is over is cut off.
func (m *meter) spend(p peer.ID, g good, n int) bool {
	m.mu.Lock()
	buckets := m.peers[p]
	if buckets == nil {
		if len(m.peers) >= 2*maxAdmitted { // only admitted peers get here; those that left are forgotten at once
			clear(m.peers)
		}
		buckets = &[goods]bucket{}
		m.peers[p] = buckets
	}
	q := m.quotas[g]
	ok := buckets[g].take(q, float64(n), time.Now())
	over := m.over
	if !ok {
		delete(m.peers, p) // it begins anew when it is let in again
	}
	m.mu.Unlock()
	if !ok && over != nil {
		over(p, fmt.Sprintf("more than %.0f %s a second, after %.0f at once", q.rate, q.name, q.burst))
	}
	return ok
}

// OnCutOff sets who is told that a peer went over a limit, which one, and until when it is refused. f must not block.
func (h *Host) OnCutOff(f func(id roster.ID, what string, until time.Time)) { h.onCutOff.Store(&f) }

// cutOff closes a peer's connections, refuses it for a while, and tells the caller.
func (h *Host) cutOff(p peer.ID, what string) {
	until := time.Now().Add(cutOffTime)
	if !h.gate.cutOff(p, until) {
		return
	}
	h.start(func() { _ = h.host.Network().ClosePeer(p) }) // a connection that fails to close is closed
	if f := h.onCutOff.Load(); f != nil {
		(*f)(roster.ID(p.String()), what, until)
	}
}

// resources is libp2p's resource manager with our limits, which counts every new stream of a peer, whatever its protocol.
type resources struct {
	network.ResourceManager
	meter *meter
}

// newResources makes a resource manager that lets maxAdmitted peers in and bounds each.
func newResources(m *meter) (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: 4 * maxAdmitted, ConnsInbound: 2 * maxAdmitted, ConnsOutbound: 2 * maxAdmitted,
			Streams: rcmgr.Unlimited, StreamsInbound: rcmgr.Unlimited, StreamsOutbound: rcmgr.Unlimited,
		},
		PeerDefault: rcmgr.ResourceLimits{
			Streams: 2 * maxPeerStreams, StreamsInbound: maxPeerStreams, StreamsOutbound: maxPeerStreams, Memory: maxPeerBytes,
		},
	}
	inner, err := rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(limits.Build(scaling.AutoScale())), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: maxConnsPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: maxConnsPerAddress}},
		),
		rcmgr.WithConnRateLimiters(connLimiter()),
	)
	if err != nil {
		return nil, fmt.Errorf("make limits of resources: %w", err)
	}
	return &resources{inner, m}, nil
}

// connLimiter bounds the new connections from one IP address, but for this machine itself.
func connLimiter() *rate.Limiter {
	limit := rate.Limit{RPS: connRate, Burst: maxConnsPerAddress}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: limit}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 64, Limit: limit}},
			GracePeriod:      time.Minute,
		},
	}
}

// OpenStream counts a stream that a peer opens.
func (r *resources) OpenStream(p peer.ID, direction network.Direction) (network.StreamManagementScope, error) {
	if direction == network.DirInbound && !r.meter.spend(p, goodStreams, 1) {
		return nil, fmt.Errorf("open stream of peer %s: %w", p, ErrCutOff)
	}
	return r.ResourceManager.OpenStream(p, direction)
}
