package p2p

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Why a peer gets no connection.
var (
	// ErrNotAdmitted: membership has not vouched for the peer, or no longer does.
	ErrNotAdmitted = errors.New("the peer is not an admitted member")
	// ErrNotAllowed: p2p.allow names others only.
	ErrNotAllowed = errors.New("the peer is not on the list of p2p.allow")
	// ErrCutOff: the peer went over its limits a short while ago.
	ErrCutOff = errors.New("the peer is cut off for going over its limits")
)

// admission is what is known of one admitted peer.
type admission struct {
	record []byte
	seq    uint64
}

// gate is the connection gater: only admitted peers hold a connection, and relays that this agent was told to use.
type gate struct {
	allowed map[peer.ID]bool // nil: any
	relays  map[peer.ID]bool

	mu       sync.RWMutex // guards what follows
	admitted map[peer.ID]admission
	cut      map[peer.ID]time.Time // until when
}

func newGate() *gate {
	return &gate{relays: map[peer.ID]bool{}, admitted: map[peer.ID]admission{}, cut: map[peer.ID]time.Time{}}
}

// check says why a peer may not talk to this agent, or nothing if it may.
func (g *gate) check(p peer.ID) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if left := time.Until(g.cut[p]); left > 0 {
		return fmt.Errorf("%w, for another %v", ErrCutOff, left.Round(time.Second))
	}
	if g.allowed != nil && !g.allowed[p] {
		return ErrNotAllowed
	}
	if _, ok := g.admitted[p]; !ok {
		return ErrNotAdmitted
	}
	return nil
}

// admits reports whether a peer may talk to this agent.
func (g *gate) admits(p peer.ID) bool { return g.check(p) == nil }

// connects reports whether a peer may hold a connection.
func (g *gate) connects(p peer.ID) bool {
	err := g.check(p)
	return err == nil || g.relays[p] && !errors.Is(err, ErrCutOff)
}

// cutOff shuts a peer out until then, and reports whether it was not yet.
func (g *gate) cutOff(p peer.ID, until time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for q, t := range g.cut {
		if now.After(t) {
			delete(g.cut, q)
		}
	}
	if _, already := g.cut[p]; already || len(g.cut) >= maxAdmitted {
		return false
	}
	g.cut[p] = until
	return true
}

func (g *gate) knows(p peer.ID, envelope []byte) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a, ok := g.admitted[p]
	return ok && bytes.Equal(a.record, envelope)
}

func (g *gate) list() []peer.ID {
	g.mu.RLock()
	defer g.mu.RUnlock()
	ids := make([]peer.ID, 0, len(g.admitted))
	for p := range g.admitted {
		ids = append(ids, p)
	}
	slices.Sort(ids)
	return ids
}

// InterceptPeerDial lets libp2p dial who may be connected.
func (g *gate) InterceptPeerDial(p peer.ID) bool { return g.connects(p) }

// InterceptAddrDial lets every address of such a peer be dialled.
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept waits to see who it is.
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured decides as soon as the peer has proved who it is.
func (g *gate) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.connects(p)
}

// InterceptUpgraded has nothing left to decide.
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// AllowReserve lets members keep a place at this relay.
func (g *gate) AllowReserve(p peer.ID, _ ma.Multiaddr) bool { return g.admits(p) }

// AllowConnect lets members reach members through this relay.
func (g *gate) AllowConnect(from peer.ID, _ ma.Multiaddr, to peer.ID) bool {
	return g.admits(from) && g.admits(to)
}
