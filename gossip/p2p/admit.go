package p2p

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/sync/errgroup"

	"shoal/gossip/roster"
)

const (
	// MaxRecordBytes bounds a signed peer record, so that it fits in membership's 512 bytes of metadata beside a name
	// of 64 bytes.
	MaxRecordBytes = 440
	// maxRecordAddrs bounds the addresses in a record: the first few interfaces, best first.
	maxRecordAddrs = 4
	// maxAdmitted bounds the peers that are let in.
	maxAdmitted = 1024
	// keepInterval is how often missing connections are looked for; keepPauseMax how rarely a peer that does not
	// answer is dialled.
	keepInterval = 250 * time.Millisecond
	keepPauseMax = 10 * time.Second
	// maxDials bounds the connections made at once.
	maxDials = 8
)

// admission is what is known of one admitted peer.
type admission struct {
	record []byte
	seq    uint64
}

// gate is the connection gater: only admitted peers hold a connection.
type gate struct {
	mu       sync.RWMutex
	admitted map[peer.ID]admission
}

func newGate() *gate { return &gate{admitted: map[peer.ID]admission{}} }

func (g *gate) admits(p peer.ID) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	_, ok := g.admitted[p]
	return ok
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

func (g *gate) InterceptPeerDial(p peer.ID) bool                                { return g.admits(p) }
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// InterceptSecured decides as soon as the peer has proved who it is.
func (g *gate) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.admits(p)
}

// Record is this agent's signed peer record: who it is, and up to four addresses at which others can dial it. A host
// that listens on every interface names its interfaces, and loopback only if there is nothing else.
func (h *Host) Record() ([]byte, error) {
	addrs := reachable(h.host.Addrs())
	if len(addrs) == 0 {
		return nil, fmt.Errorf("make record of %s: no address to be reached at; is a network interface up?", h.id)
	}
	key := h.host.Peerstore().PrivKey(h.self)
	for n := len(addrs); n > 0; n-- {
		rec := peer.PeerRecordFromAddrInfo(peer.AddrInfo{ID: h.self, Addrs: addrs[:n]})
		envelope, err := record.Seal(rec, key)
		if err != nil {
			return nil, fmt.Errorf("sign record: %w", err)
		}
		text, err := envelope.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encode record: %w", err)
		}
		if len(text) <= MaxRecordBytes {
			return text, nil
		}
	}
	return nil, fmt.Errorf("make record: address %s is too long for %d bytes", addrs[0], MaxRecordBytes)
}

// reachable orders addresses by how likely others can dial them and keeps the first few: private IPv4, other IPv4,
// IPv6; loopback only where there is nothing else, link-local never.
func reachable(addrs []ma.Multiaddr) []ma.Multiaddr {
	rank := func(a ma.Multiaddr) int {
		switch _, err := a.ValueForProtocol(ma.P_IP4); {
		case manet.IsIPLoopback(a):
			return 3
		case err != nil:
			return 2
		case manet.IsPrivateAddr(a):
			return 0
		}
		return 1
	}
	kept := slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool {
		return manet.IsIP6LinkLocal(a) || manet.IsIPUnspecified(a)
	})
	slices.SortStableFunc(kept, func(a, b ma.Multiaddr) int { return cmp.Compare(rank(a), rank(b)) })
	if len(kept) > 0 && rank(kept[0]) < 3 {
		kept = slices.DeleteFunc(kept, func(a ma.Multiaddr) bool { return rank(a) == 3 })
	}
	return kept[:min(len(kept), maxRecordAddrs)]
}

// Admit checks that envelope is a peer record signed by the peer called name, remembers its addresses and lets that
// peer in from now on. Admitting a peer again updates its addresses.
func (h *Host) Admit(name string, envelope []byte) error {
	p, err := decode(roster.ID(name))
	if err != nil {
		return fmt.Errorf("admit %q: %w", name, err)
	}
	if p == h.self || h.gate.knows(p, envelope) {
		return nil
	}
	rec, err := verifyRecord(p, envelope)
	if err != nil {
		return fmt.Errorf("admit %s: %w", name, err)
	}
	h.gate.mu.Lock()
	defer h.gate.mu.Unlock()
	old, known := h.gate.admitted[p]
	if !known && len(h.gate.admitted) >= maxAdmitted {
		return fmt.Errorf("admit %s: %d peers are admitted already", name, maxAdmitted)
	}
	book := h.host.Peerstore()
	if known && rec.Seq < old.seq {
		// Either late gossip, or a node whose clock went back at boot, as a Pi's does: keep both, for a while.
		book.AddAddrs(p, rec.Addrs, peerstore.TempAddrTTL)
		return nil
	}
	book.ClearAddrs(p)
	book.AddAddrs(p, rec.Addrs, peerstore.PermanentAddrTTL)
	h.gate.admitted[p] = admission{bytes.Clone(envelope), rec.Seq}
	notify(h.wake)
	return nil
}

// verifyRecord opens an envelope that must be signed by p and speak of p.
func verifyRecord(p peer.ID, envelope []byte) (*peer.PeerRecord, error) {
	if len(envelope) > MaxRecordBytes {
		return nil, fmt.Errorf("record of %d bytes, limit %d", len(envelope), MaxRecordBytes)
	}
	env, rec, err := record.ConsumeEnvelope(envelope, peer.PeerRecordEnvelopeDomain)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	pr, ok := rec.(*peer.PeerRecord)
	switch {
	case !ok:
		return nil, fmt.Errorf("record is a %T", rec)
	case !pr.PeerID.MatchesPublicKey(env.PublicKey):
		return nil, fmt.Errorf("record of %s is signed by another", pr.PeerID)
	case pr.PeerID != p:
		return nil, fmt.Errorf("record is of %s", pr.PeerID)
	case len(pr.Addrs) == 0:
		return nil, errors.New("record names no address")
	}
	return pr, nil
}

// Expel closes the peer's connections and lets it in no more, until it is admitted again.
func (h *Host) Expel(id roster.ID) {
	p, err := decode(id)
	if err != nil {
		return // never was admitted
	}
	h.gate.mu.Lock()
	delete(h.gate.admitted, p)
	h.gate.mu.Unlock()
	h.mu.Lock()
	delete(h.outboxes, p)
	h.mu.Unlock()
	h.host.Peerstore().ClearAddrs(p)
	_ = h.host.Network().ClosePeer(p) // a connection that fails to close is closed
}

// redial says when a peer that did not answer is dialled again.
type redial struct {
	at    time.Time
	pause time.Duration
}

// keepConnected dials admitted peers without a connection, so that pubsub reaches everybody. Of two peers the one with
// the smaller ID dials; the other does when it has something to send.
func (h *Host) keepConnected() {
	waits := map[peer.ID]redial{}
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.wake:
		case <-ticker.C:
		}
		waits = h.dialMissing(waits, time.Now())
	}
}

// dialMissing dials every peer that is due, and returns when those that did not answer are due again.
func (h *Host) dialMissing(waits map[peer.ID]redial, now time.Time) map[peer.ID]redial {
	next := map[peer.ID]redial{}
	var due []peer.ID
	for _, p := range h.gate.list() {
		if p < h.self || h.host.Network().Connectedness(p) == network.Connected {
			continue
		}
		if wait := waits[p]; now.Before(wait.at) {
			next[p] = wait
		} else {
			due = append(due, p)
		}
	}
	failed := make([]bool, len(due))
	var dials errgroup.Group
	dials.SetLimit(maxDials)
	for i, p := range due {
		dials.Go(func() error {
			failed[i] = h.dial(p) != nil
			return nil
		})
	}
	_ = dials.Wait() // which failed is all that matters
	for i, p := range due {
		if failed[i] {
			pause := min(max(keepInterval, 2*waits[p].pause), keepPauseMax)
			next[p] = redial{time.Now().Add(pause), pause}
		}
	}
	return next
}

func (h *Host) dial(p peer.ID) error {
	ctx, cancel := context.WithTimeout(h.ctx, dialTimeout)
	defer cancel()
	h.backoff.Clear(p)
	return h.host.Connect(ctx, peer.AddrInfo{ID: p})
}

// notify wakes a loop that waits on a channel of one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
