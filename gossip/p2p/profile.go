package p2p

import (
	"fmt"
	"strings"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// relayBufferBytes is what a relay moves at once; its default of 2 KiB costs a system call each.
	relayBufferBytes = 64 << 10
	// maxCircuits bounds the relayed connections of one member: one to each of a large roster.
	maxCircuits = 128
)

// options are those of every profile, and what the configuration adds.
func options(cfg Config, key crypto.PrivKey, g *gate, m *meter) ([]libp2p.Option, error) {
	limits, err := newResources(m)
	if err != nil {
		return nil, err
	}
	list := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.ListenAddrStrings(listens(cfg)...),
		security(cfg.Security),
		libp2p.Muxer(yamux.ID, newMuxer()),
		// With SO_REUSEPORT a second agent on the same port would start, and steal half of the connections.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.ConnectionGater(g),
		libp2p.ResourceManager(limits),
		// Who may be connected is decided by admission; trimming connections would break a ring.
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		libp2p.UserAgent("shoal"),
		libp2p.DisableMetrics(), libp2p.Ping(false),
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
	}
	if cfg.NetworkKeyFile != "" {
		secret, err := readNetworkKey(cfg.NetworkKeyFile)
		if err != nil {
			return nil, err
		}
		list = append(list, libp2p.PrivateNetwork(secret))
	}
	if cfg.Profile == "lan" {
		// Nothing that finds, relays or measures, since membership knows every address.
		return append(list, libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery()), nil
	}
	return natOptions(list, cfg, g), nil
}

// natOptions add what gets through routers: QUIC, a mapped port, hole punching, and relays where nothing else helps.
func natOptions(list []libp2p.Option, cfg Config, g *gate) []libp2p.Option {
	list = append(list,
		libp2p.Transport(libp2pquic.NewTransport), libp2p.NATPortMap(), libp2p.EnableRelay(), libp2p.EnableHolePunching())
	if cfg.RelayService {
		return append(list, libp2p.ForceReachabilityPublic(), libp2p.EnableRelayService(relayOptions(g)...))
	}
	return append(list, libp2p.EnableAutoNATv2())
}

// relayOptions serve members without the limits that suit strangers, of 128 KiB and two minutes.
func relayOptions(g *gate) []relay.Option {
	r := relay.DefaultResources()
	r.MaxReservations, r.MaxReservationsPerIP, r.MaxReservationsPerASN = maxAdmitted, maxConnsPerAddress, maxAdmitted
	r.MaxCircuits, r.BufferSize = maxCircuits, relayBufferBytes
	return []relay.Option{
		relay.WithResources(r), relay.WithInfiniteLimits(), relay.WithACL(g),
		// Members may meet in a private network too.
		relay.WithReservationAddressFilter(func(ma.Multiaddr) bool { return true }),
	}
}

// security is how connections prove who they are and hide what they carry.
func security(kind string) libp2p.Option {
	switch kind {
	case "noise":
		return libp2p.Security(noise.ID, noise.New)
	case "plain":
		return libp2p.NoSecurity
	default:
		return libp2p.Security(libp2ptls.ID, libp2ptls.New)
	}
}

// listens are the addresses to listen at: profile nat adds QUIC on the UDP port of the same number.
func listens(cfg Config) []string {
	list := []string{cfg.Listen}
	if head, port, ok := strings.Cut(cfg.Listen, "/tcp/"); ok && cfg.Profile == "nat" {
		list = append(list, fmt.Sprintf("%s/udp/%s/quic-v1", head, port))
	}
	return list
}
