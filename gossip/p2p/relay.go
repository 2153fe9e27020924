package p2p

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// maxRelays bounds the relays of one agent: the addresses through them must fit into its record.
	maxRelays = 4
	// relayPause is how soon a relay that refused is asked again: it refuses until membership has vouched for this agent.
	relayPause = time.Second
	// relayTimeout bounds the asking, and relayRenew is how long before its end a place is asked for again.
	relayTimeout = 10 * time.Second
	relayRenew   = 5 * time.Minute
)

// keepPlace keeps this agent reachable through a relay: it asks for a place there, again before the place is void, and
// after the connection was lost.
func (h *Host) keepPlace(relay peer.AddrInfo) {
	through, err := throughRelay(relay)
	if err != nil {
		return // parseRelay took an address that is none: our own mistake, and the record shows it
	}
	h.host.Peerstore().AddAddrs(relay.ID, relay.Addrs, peerstore.PermanentAddrTTL)
	ticker := time.NewTicker(relayPause)
	defer ticker.Stop()
	var until time.Time
	for {
		held := time.Now().Before(until) && isConnected(h.host.Network(), relay.ID)
		if !held {
			until = h.askPlace(relay)
			held = time.Now().Before(until)
			h.place(relay.ID, through, held)
		}
		select {
		case <-h.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// askPlace asks a relay for a place, and is until when it need not be asked again; zero: it gave none.
func (h *Host) askPlace(relay peer.AddrInfo) time.Time {
	ctx, cancel := context.WithTimeout(h.ctx, relayTimeout)
	defer cancel()
	h.backoff.Clear(relay.ID)
	place, err := client.Reserve(ctx, h.host, relay)
	if err != nil {
		return time.Time{}
	}
	return place.Expiration.Add(-relayRenew)
}

// throughRelay is the address of whoever has a place at a relay.
func throughRelay(relay peer.AddrInfo) (ma.Multiaddr, error) {
	end, err := ma.NewMultiaddr(fmt.Sprintf("/p2p/%s/p2p-circuit", relay.ID))
	if err != nil {
		return nil, fmt.Errorf("make address through relay %s: %w", relay.ID, err)
	}
	return relay.Addrs[0].Encapsulate(end), nil
}

// place notes whether this agent is reached through a relay.
func (h *Host) place(relay peer.ID, through ma.Multiaddr, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, before := h.places[relay]
	if held == before {
		return
	}
	if held {
		h.places[relay] = through
	} else {
		delete(h.places, relay)
	}
	notify(h.moved)
}

// addresses are those at which this agent is reached: its own, and those through relays.
func (h *Host) addresses() []ma.Multiaddr {
	list := h.host.Addrs()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, relay := range h.relays {
		if through, ok := h.places[relay.ID]; ok {
			list = append(list, through)
		}
	}
	return list
}
