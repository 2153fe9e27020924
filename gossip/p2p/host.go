// Package p2p moves bytes between named members over libp2p: TCP, TLS 1.3 and yamux, one stream protocol.
//
// A peer gets in by Admit, which membership calls with the record that the peer signed; before that the connection
// gater closes whatever it opens. The first frame of every stream names its purpose:
//
//	messages  one-way frames, ordered per peer, on one long-lived stream (Send, OnMessage)
//	call      one request and one answer, which may be large (Call, HandleCall)
//	link      raw bytes of one attempt of a round after another, from one rank to another (Links)
//	abort     word that an attempt is over
//	probe     a few bytes to time (Probe)
//
// Nothing here knows what the bytes mean.
package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"shoal/gossip/roster"
)

// Protocol is the one stream protocol that agents speak.
const Protocol = protocol.ID("/shoal/1.0.0")

const (
	// dialTimeout bounds one attempt to connect; a Pi under load answers within a second or two.
	dialTimeout = 5 * time.Second
	// patience bounds the retries of a stream to a member that has not admitted us yet, and is how long a peer without
	// a connection may take to come back: membership reaches both sides within a few gossip intervals of 200 ms.
	patience = time.Second
	// maxStreamsPerPeer bounds the streams that one peer may hold open here, whatever their purpose.
	maxStreamsPerPeer = 64
)

// Host is this agent on the wire. All its methods may be called at once.
type Host struct {
	host    host.Host
	self    peer.ID
	id      roster.ID
	gate    *gate
	meter   *meter
	backoff *swarm.DialBackoff
	parking *parking

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	working sync.WaitGroup
	wake    chan struct{} // a peer was admitted
	moved   chan struct{} // a relay gave a place, or took it
	relays  []peer.AddrInfo

	onMessage atomic.Pointer[func(from roster.ID, kind string, body []byte)]
	onLost    atomic.Pointer[func(id roster.ID)]
	onCutOff  atomic.Pointer[func(id roster.ID, what string, until time.Time)]

	mu       sync.Mutex // guards what follows
	streams  map[peer.ID]int
	outboxes map[peer.ID]*outbox
	inboxes  map[peer.ID]*inbox
	calls    map[string]CallHandler
	lanes    map[roster.ID]*lane      // to peers, between two attempts
	met      map[peer.ID]bool         // connected, and answered
	places   map[peer.ID]ma.Multiaddr // addresses through relays
	probe    context.CancelFunc       // ends the probe under way, if there is one
}

// New starts to listen at cfg.Listen as the owner of key. Nobody is admitted yet.
func New(cfg Config, key crypto.PrivKey) (*Host, error) { return listen(cfg, key) }

// listen is New with options that override the profile's.
func listen(cfg Config, key crypto.PrivKey, more ...libp2p.Option) (*Host, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure p2p: %w", err)
	}
	if err := tryListen(cfg.Listen); err != nil {
		return nil, fmt.Errorf("listen on p2p.listen %q: %w (take a free port, or stop the agent that holds this one)", cfg.Listen, err)
	}
	// libp2p writes failed dials and closing listeners to standard error; what matters comes back as an error.
	gologshim.SetDefaultHandler(slog.DiscardHandler)
	gate, meter := newGate(), newMeter()
	var err error
	if gate.allowed, err = readAllowed(cfg.Allow); err != nil {
		return nil, err
	}
	relays, err := parseRelays(cfg.Relays)
	if err != nil {
		return nil, err
	}
	for _, relay := range relays {
		gate.relays[relay.ID] = true
	}
	list, err := options(cfg, key, gate, meter)
	if err != nil {
		return nil, err
	}
	inner, err := libp2p.New(append(list, more...)...)
	if err != nil {
		return nil, fmt.Errorf("start host at p2p.listen %q: %w", cfg.Listen, err)
	}
	return newHostOver(inner, gate, meter, relays)
}

// newHostOver is the Host on a libp2p host.
func newHostOver(inner host.Host, gate *gate, meter *meter, relays []peer.AddrInfo) (*Host, error) {
	net, ok := inner.Network().(*swarm.Swarm)
	if !ok {
		return nil, errors.Join(fmt.Errorf("use network %T: want a swarm", inner.Network()), inner.Close())
	}
	h := &Host{
		host: inner, self: inner.ID(), id: roster.ID(inner.ID().String()), gate: gate, meter: meter, backoff: net.Backoff(),
		parking: newParking(), wake: make(chan struct{}, 1),
		streams: map[peer.ID]int{}, outboxes: map[peer.ID]*outbox{}, inboxes: map[peer.ID]*inbox{}, calls: map[string]CallHandler{},
		lanes: map[roster.ID]*lane{}, met: map[peer.ID]bool{},
		relays: relays, places: map[peer.ID]ma.Multiaddr{}, moved: make(chan struct{}, 1),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	meter.begin(h.cutOff)
	inner.Network().Notify(&network.NotifyBundle{DisconnectedF: h.disconnected})
	inner.SetStreamHandler(Protocol, h.serve)
	h.working.Go(h.keepConnected)
	for _, relay := range relays {
		h.working.Go(func() { h.keepPlace(relay) })
	}
	return h, nil
}

// tryListen finds out whether an address is free, because libp2p would write its own log about one that is not.
func tryListen(address string) error {
	addr, err := ma.NewMultiaddr(address)
	if err != nil {
		return err
	}
	listener, err := manet.Listen(addr)
	if err != nil {
		return err
	}
	return listener.Close()
}

// ID is this agent's peer ID: what others call it, and who it is authenticated as.
func (h *Host) ID() roster.ID { return h.id }

// Addrs are the multiaddresses at which this host listens, interfaces resolved, and those through relays.
func (h *Host) Addrs() []string {
	var texts []string
	for _, a := range h.addresses() {
		texts = append(texts, a.String())
	}
	return texts
}

// Libp2p is the host beneath, for pubsub.
func (h *Host) Libp2p() host.Host { return h.host }

// Close resets every stream, closes every connection and waits for all handlers.
func (h *Host) Close() error {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	for _, l := range h.parking.attempts() {
		l.Abort()
	}
	err := h.host.Close()
	h.working.Wait()
	if err != nil {
		return fmt.Errorf("close host %s: %w", h.id, err)
	}
	return nil
}

// decode is the libp2p form of a member's name.
func decode(id roster.ID) (peer.ID, error) {
	p, err := peer.Decode(string(id))
	if err != nil {
		return "", fmt.Errorf("parse peer ID %q: %w", id, err)
	}
	return p, nil
}
