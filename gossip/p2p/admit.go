package p2p

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

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

// Record is this agent's signed peer record: who it is, and up to four addresses at which others can dial it. A host
// that listens on every interface names its interfaces, and loopback only if there is nothing else.
func (h *Host) Record() ([]byte, error) {
	addrs := reachable(h.addresses())
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
// IPv6, through a relay; loopback only where there is nothing else, link-local never. Through a relay is kept if there is
// such a way at all, TCP goes before QUIC.
func reachable(addrs []ma.Multiaddr) []ma.Multiaddr {
	kept := slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool {
		return manet.IsIP6LinkLocal(a) || manet.IsIPUnspecified(a)
	})
	slices.SortStableFunc(kept, func(a, b ma.Multiaddr) int { return cmp.Compare(reach(a), reach(b)) })
	if len(kept) > 0 && reach(kept[0]) < reachLoopback {
		kept = slices.DeleteFunc(kept, func(a ma.Multiaddr) bool { return reach(a) >= reachLoopback })
	}
	if n := len(kept); n > maxRecordAddrs && isRelayed(kept[n-1]) {
		return append(kept[:maxRecordAddrs-1], kept[n-1])
	}
	return kept[:min(len(kept), maxRecordAddrs)]
}

// reachLoopback is the reach of an address on this machine's own loopback.
const reachLoopback = 8

// reach is the smaller the likelier others can dial an address.
func reach(a ma.Multiaddr) int {
	n := 0
	_, err := a.ValueForProtocol(ma.P_IP4)
	switch {
	case isRelayed(a):
		return reachLoopback - 1
	case manet.IsIPLoopback(a):
		n = reachLoopback
	case err != nil:
		n = 4
	case !manet.IsPrivateAddr(a):
		n = 2
	}
	if _, err := a.ValueForProtocol(ma.P_TCP); err != nil {
		n++
	}
	return n
}

// isRelayed reports whether an address leads through a relay.
func isRelayed(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
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
	if h.gate.allowed != nil && !h.gate.allowed[p] {
		return fmt.Errorf("admit %s: %w; add it there if it belongs to this cluster", name, ErrNotAllowed)
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
