package p2p

import (
	"io"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// pipe is a stream without a connection beneath.
type pipe struct {
	network.Stream
	c net.Conn
}

// newPipe is the two ends of one.
func newPipe() (here, there *pipe) {
	a, b := net.Pipe()
	return &pipe{c: a}, &pipe{c: b}
}

func (p *pipe) Read(b []byte) (int, error)                        { return p.c.Read(b) }
func (p *pipe) Write(b []byte) (int, error)                       { return p.c.Write(b) }
func (p *pipe) Close() error                                      { return p.c.Close() }
func (p *pipe) CloseWrite() error                                 { return p.c.Close() }
func (p *pipe) Reset() error                                      { return p.c.Close() }
func (p *pipe) ResetWithError(code network.StreamErrorCode) error { return p.c.Close() }

func (p *pipe) SetDeadline(t time.Time) error      { return p.c.SetDeadline(t) }
func (p *pipe) SetReadDeadline(t time.Time) error  { return p.c.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(t time.Time) error { return p.c.SetWriteDeadline(t) }

// saying is a stream from which a peer's words are read.
type saying struct {
	network.Stream
	r io.Reader
}

func (s *saying) Read(b []byte) (int, error) { return s.r.Read(b) }

func (s *saying) Write(b []byte) (int, error) { return len(b), nil }
