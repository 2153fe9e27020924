package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

// OnLost sets who is told, at once, that the last connection to a peer that had answered is gone: it died, closed, was
// cut off by the network or expelled here. The peer may come back. Losses are told one after another per call of f, and f
// must not block; OnLost must be called before traffic.
func (h *Host) OnLost(f func(id roster.ID)) { h.onLost.Store(&f) }

// meet notes that a peer answered on its connection, so that the loss of that is a loss.
func (h *Host) meet(p peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.met[p] = true
}

// disconnected tells the caller and running attempts that a peer is gone with its last connection. One that never
// answered has a moment to come back: the first connections to a member that has not admitted us yet come and go.
// Streams that are open fail by themselves.
func (h *Host) disconnected(n network.Network, c network.Conn) {
	p := c.RemotePeer()
	gone := func() bool { return !isConnected(n, p) }
	if !gone() {
		return
	}
	h.mu.Lock()
	met := h.met[p]
	delete(h.met, p)
	h.mu.Unlock()
	if met {
		h.lose(p)
		return
	}
	if len(h.parking.attempts()) == 0 {
		return
	}
	h.start(func() {
		select {
		case <-time.After(patience):
		case <-h.ctx.Done():
			return
		}
		if gone() {
			h.lose(p)
		}
	})
}

// isConnected reports whether there is a connection to the peer, direct or relayed.
func isConnected(n network.Network, p peer.ID) bool {
	c := n.Connectedness(p)
	return c == network.Connected || c == network.Limited
}

// lose fails what waits for a peer, and tells the caller.
func (h *Host) lose(p peer.ID) {
	for _, l := range h.parking.attempts() {
		l.lost(p)
	}
	if f := h.onLost.Load(); f != nil && h.ctx.Err() == nil {
		(*f)(roster.ID(p.String()))
	}
}
