// Package p2p moves bytes between named members over libp2p: TCP, TLS 1.3 and yamux, one stream protocol.
//
// A peer gets in by Admit, which membership calls with the record that the peer signed; before that the connection
// gater closes whatever it opens. The first frame of every stream names its purpose:
//
//	messages  one-way frames, ordered per peer, on one long-lived stream (Send, OnMessage)
//	call      one request and one answer, which may be large (Call, HandleCall)
//	link      raw bytes of one attempt of a round after another, from one rank to another (Links)
//	abort     word that an attempt is over
//
// Nothing here knows what the bytes mean.
package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"shoal/gossip/roster"
)

// Protocol is the one stream protocol that agents speak.
const Protocol = protocol.ID("/shoal/1.0.0")

const (
	// streamWindowBytes is yamux's initial window: with its default of 256 KiB a ring reaches 85 % of a 1 Gb/s line,
	// because the window grows only by the round trip of an idle link; with 4 MiB 99 %.
	streamWindowBytes = 4 << 20
	// keepAlive asks an idle connection for life, so that a cut cable shows in about 20 s and not in 37 s.
	keepAlive = 10 * time.Second
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
	backoff *swarm.DialBackoff
	parking *parking

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	working sync.WaitGroup
	wake    chan struct{} // a peer was admitted

	onMessage atomic.Pointer[func(from roster.ID, kind string, body []byte)]
	onLost    atomic.Pointer[func(id roster.ID)]

	mu       sync.Mutex // guards what follows
	streams  map[peer.ID]int
	outboxes map[peer.ID]*outbox
	inboxes  map[peer.ID]*inbox
	calls    map[string]CallHandler
	lanes    map[roster.ID]*lane // to peers, between two attempts
	met      map[peer.ID]bool    // connected, and answered
}

// New starts to listen at cfg.Listen as the owner of key. Nobody is admitted yet.
func New(cfg Config, key crypto.PrivKey) (*Host, error) {
	if err := tryListen(cfg.Listen); err != nil {
		return nil, fmt.Errorf("listen on p2p.listen %q: %w (take a free port, or stop the agent that holds this one)", cfg.Listen, err)
	}
	// libp2p writes failed dials and closing listeners to standard error; what matters comes back as an error.
	gologshim.SetDefaultHandler(slog.DiscardHandler)
	gate := newGate()
	inner, err := libp2p.New(options(cfg, key, gate)...)
	if err != nil {
		return nil, fmt.Errorf("start host at p2p.listen %q: %w", cfg.Listen, err)
	}
	net, ok := inner.Network().(*swarm.Swarm)
	if !ok {
		return nil, errors.Join(fmt.Errorf("use network %T: want a swarm", inner.Network()), inner.Close())
	}
	h := &Host{
		host: inner, self: inner.ID(), id: roster.ID(inner.ID().String()), gate: gate, backoff: net.Backoff(),
		parking: newParking(), wake: make(chan struct{}, 1),
		streams: map[peer.ID]int{}, outboxes: map[peer.ID]*outbox{}, inboxes: map[peer.ID]*inbox{}, calls: map[string]CallHandler{},
		lanes: map[roster.ID]*lane{}, met: map[peer.ID]bool{},
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	inner.Network().Notify(&network.NotifyBundle{DisconnectedF: h.disconnected})
	inner.SetStreamHandler(Protocol, h.serve)
	h.working.Go(h.keepConnected)
	return h, nil
}

// options are the LAN profile: nothing that finds, relays or measures, since membership knows every address.
func options(cfg Config, key crypto.PrivKey, gate *gate) []libp2p.Option {
	mux := *yamux.DefaultTransport
	mux.InitialStreamWindowSize = streamWindowBytes
	mux.KeepAliveInterval = keepAlive
	return []libp2p.Option{
		libp2p.Identity(key),
		libp2p.ListenAddrStrings(cfg.Listen),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, &mux),
		// With SO_REUSEPORT a second agent on the same port would start, and steal half of the connections.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.ConnectionGater(gate),
		// Who may be connected is decided by admission; trimming connections would break a ring.
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		libp2p.UserAgent("shoal"),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.Ping(false), libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
	}
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

// Addrs are the multiaddresses at which this host listens, interfaces resolved.
func (h *Host) Addrs() []string {
	var texts []string
	for _, a := range h.host.Addrs() {
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

// open dials the peer if need be, opens a stream, writes its first frame and waits until the peer has taken it, so that
// nothing is lost on a connection that the peer is about to close. A member that does not admit us yet is asked again
// until patience is over.
func (h *Host) open(ctx context.Context, to roster.ID, purpose string, body []byte) (network.Stream, error) {
	p, err := decode(to)
	if err != nil {
		return nil, err
	}
	if !h.gate.admits(p) {
		return nil, fmt.Errorf("open stream to %s: %w", to, ErrNotAdmitted)
	}
	head, err := appendFrame(nil, purpose, body)
	if err != nil {
		return nil, err
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause *= 2 {
		s, err := h.openOnce(ctx, p, to, head)
		if err == nil || errors.As(err, new(*RefusedError)) {
			return s, err
		}
		select {
		case <-patient.Done():
			return nil, fmt.Errorf("open stream to %s: %w", to, err)
		case <-time.After(pause):
		}
	}
}

func (h *Host) openOnce(ctx context.Context, p peer.ID, to roster.ID, head []byte) (network.Stream, error) {
	h.backoff.Clear(p) // the swarm would refuse to dial for 5 s after one refusal
	s, err := h.host.NewStream(network.WithDialPeerTimeout(ctx, dialTimeout), p, Protocol)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	_, err = s.Write(head)
	if err == nil {
		err = awaitTaken(s, to)
	}
	if err == nil {
		h.meet(p)
		return s, nil
	}
	_ = s.Reset() // it may be gone already
	return nil, errors.Join(err, ctx.Err())
}

// serve reads the first frame of a stream that a peer opened, and hands the stream to its purpose.
func (h *Host) serve(s network.Stream) {
	p := s.Conn().RemotePeer()
	from := roster.ID(p.String())
	if !h.enter(p) {
		refuse(s, fmt.Sprintf("more than %d streams from one peer", maxStreamsPerPeer))
		return
	}
	defer h.leave(p)
	_ = s.SetReadDeadline(time.Now().Add(frameTimeout))
	purpose, body, err := readFrame(s, maxHeadBytes)
	if err != nil {
		end(s, err)
		return
	}
	h.meet(p)
	if !slices.Contains([]string{purposeMessages, purposeCall, purposeLink, purposeAbort}, purpose) {
		refuse(s, fmt.Sprintf("purpose %q is unknown", purpose))
		return
	}
	if take(s) != nil {
		return
	}
	switch purpose {
	case purposeMessages:
		h.serveMessages(s, p, from)
	case purposeCall:
		h.serveCall(s, from, body)
	case purposeLink:
		h.serveLane(s, p, body)
	case purposeAbort:
		if err := h.serveAbort(p, body); err != nil {
			refuse(s, err.Error())
			return
		}
		_ = s.Close() // the peer has all it waits for
	}
}

// enter counts a stream of p in, unless there are too many.
func (h *Host) enter(p peer.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.streams[p] >= maxStreamsPerPeer {
		return false
	}
	h.streams[p]++
	h.working.Add(1)
	return true
}

// start runs f unless the host is closing, which waits for it.
func (h *Host) start(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() == nil {
		h.working.Go(f)
	}
}

func (h *Host) leave(p peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[p]--; h.streams[p] == 0 {
		delete(h.streams, p)
	}
	h.working.Done()
}
