package p2p

import (
	"net"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

const (
	// streamWindowBytes is yamux's initial window: with its default of 256 KiB a ring reaches 85 % of a 1 Gb/s line,
	// because the window grows only by the round trip of an idle link; with 4 MiB 99 %.
	streamWindowBytes = 4 << 20
	// muxFrameBytes lets a segment of 16384 elements, of 64 KiB, and its header of 12 bytes be one frame.
	muxFrameBytes = 64<<10 + 12
	// keepAlive asks an idle connection for life, so that a cut cable shows: the question stays unacknowledged.
	keepAlive = 10 * time.Second
	// muxTimeout is how long an answer to that, or one write, may take. On a link that is kept full both wait behind what
	// the kernel has buffered, up to 4 MiB: 34 s at 1 Mbit/s. Only the kernel knows sooner whether bytes still arrive.
	muxTimeout = time.Minute
	// ackTimeout is how long the kernel, where it can, lets bytes go unacknowledged before the connection is dead.
	ackTimeout = 15 * time.Second
)

// muxer is yamux over connections whose death the kernel watches for.
type muxer struct{ yamux *yamux.Transport }

func newMuxer() muxer {
	y := *yamux.DefaultTransport
	y.InitialStreamWindowSize = streamWindowBytes
	y.MaxMessageSize = muxFrameBytes
	y.KeepAliveInterval = keepAlive
	y.ConnectionWriteTimeout = muxTimeout
	return muxer{&y}
}

// NewConn begins to multiplex a connection that is secured.
func (m muxer) NewConn(nc net.Conn, server bool, scope network.PeerScope) (network.MuxedConn, error) {
	inner := nc
	if secured, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		inner = secured.NetConn()
	}
	if socket, ok := inner.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			_ = boundAck(raw, ackTimeout) // without it a cut cable shows later, by muxTimeout
		}
	}
	return m.yamux.NewConn(nc, server, scope)
}
