package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// meshWithin is how long the ranks of a benchmark may take to find each other: somebody starts them by hand.
	meshWithin = time.Minute
	// meshPause is between two attempts to reach a rank that does not listen yet.
	meshPause = 100 * time.Millisecond
	// meshPatience bounds the wait for a rank's next word, while others may still be at an exchange.
	meshPatience = 5 * time.Minute
	// maxMeshMessage bounds what a rank says at once: its record, or its times.
	maxMeshMessage = 4 << 20
	// meshMagic begins what a rank that connects says: then the number of ranks and its own, 4 bytes each, big endian.
	meshMagic = "shoalbch"
)

// mesh is a TCP connection between every two ranks of a benchmark, unencrypted: for the rendezvous, and with
// --unencrypted for the vectors too. Its methods are not to be called at once.
type mesh struct {
	rank  int
	conns []net.Conn // by rank; nil at one's own
}

// joinMesh connects rank, which listens, to all others, by their addresses. It closes the listener.
func joinMesh(ctx context.Context, listener net.Listener, peers []string, rank int) (*mesh, error) {
	ctx, cancel := context.WithTimeout(ctx, meshWithin)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer listener.Close()
	m := &mesh{rank: rank, conns: make([]net.Conn, len(peers))}
	for r := range rank {
		c, err := dialRank(ctx, peers[r], len(peers), rank)
		if err != nil {
			m.close()
			return nil, fmt.Errorf("reach rank %d at %s: %w", r, peers[r], err)
		}
		m.conns[r] = c
	}
	for missing := len(peers) - 1 - rank; missing > 0; {
		c, err := listener.Accept()
		if err != nil {
			m.close()
			return nil, fmt.Errorf("wait for %d more ranks: %w", missing, cmpErr(context.Cause(ctx), err))
		}
		r, err := readHello(c, len(peers))
		if err != nil || r <= rank || m.conns[r] != nil {
			c.Close() // somebody else's, or a rank that is given twice
			continue
		}
		m.conns[r] = c
		missing--
	}
	return m, nil
}

// cmpErr is the first error that is one.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// dialRank connects to a rank, again and again until it listens.
func dialRank(ctx context.Context, address string, ranks, own int) (net.Conn, error) {
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			hello := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte(meshMagic), uint32(ranks)), uint32(own))
			_ = c.SetWriteDeadline(time.Now().Add(meshWithin)) // fails only on a closed connection, which the write reports
			if _, err = c.Write(hello); err == nil {
				return c, nil
			}
			c.Close()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("not within %v: %w", meshWithin, err)
		case <-time.After(meshPause):
		}
	}
}

// readHello is the rank that a connection is from.
func readHello(c net.Conn, ranks int) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(meshPause * 50)) // fails only on a closed connection, which the read reports
	hello := make([]byte, len(meshMagic)+8)
	if _, err := io.ReadFull(c, hello); err != nil {
		return 0, err
	}
	n, rank := binary.BigEndian.Uint32(hello[len(meshMagic):]), binary.BigEndian.Uint32(hello[len(meshMagic)+4:])
	if !bytes.HasPrefix(hello, []byte(meshMagic)) || int(n) != ranks || int64(rank) >= int64(ranks) {
		return 0, errors.New("not a rank of this benchmark")
	}
	return int(rank), nil
}

func (m *mesh) close() {
	for _, c := range m.conns {
		if c != nil {
			c.Close()
		}
	}
}

// say sends a message to a rank: its length in 4 bytes, big endian, and its bytes.
func (m *mesh) say(to int, message []byte) error {
	_ = m.conns[to].SetWriteDeadline(time.Now().Add(meshPatience)) // fails only on a closed connection, which the write reports
	_, err := m.conns[to].Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	if err != nil {
		return fmt.Errorf("tell rank %d: %w", to, err)
	}
	return nil
}

// hear receives a message of a rank.
func (m *mesh) hear(from int) ([]byte, error) {
	_ = m.conns[from].SetReadDeadline(time.Now().Add(meshPatience)) // fails only on a closed connection, which the read reports
	var head [4]byte
	if _, err := io.ReadFull(m.conns[from], head[:]); err != nil {
		return nil, fmt.Errorf("hear rank %d: %w", from, err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMeshMessage {
		return nil, fmt.Errorf("hear rank %d: a message of %d bytes, limit %d", from, n, maxMeshMessage)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(m.conns[from], message); err != nil {
		return nil, fmt.Errorf("hear rank %d: %w", from, err)
	}
	return message, nil
}

// exchange gives every rank's message to every rank, by rank. Messages are far shorter than what connections buffer.
func (m *mesh) exchange(own []byte) ([][]byte, error) {
	all := make([][]byte, len(m.conns))
	all[m.rank] = own
	for r := range m.conns {
		if r == m.rank {
			continue
		}
		if err := m.say(r, own); err != nil {
			return nil, err
		}
	}
	for r := range m.conns {
		if r == m.rank {
			continue
		}
		var err error
		if all[r], err = m.hear(r); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// barrier returns when every rank has called it.
func (m *mesh) barrier() error {
	if m.rank == 0 {
		return errors.Join(m.hearAll(), m.sayAll())
	}
	if err := m.say(0, nil); err != nil {
		return err
	}
	_, err := m.hear(0)
	return err
}

func (m *mesh) hearAll() error {
	for r := 1; r < len(m.conns); r++ {
		if _, err := m.hear(r); err != nil {
			return err
		}
	}
	return nil
}

func (m *mesh) sayAll() error {
	for r := 1; r < len(m.conns); r++ {
		if err := m.say(r, nil); err != nil {
			return err
		}
	}
	return nil
}

// pings is how many short messages a latency is the median of.
const pings = 51

// latency is the time in seconds from a word said between ranks 0 and 1 to its being heard: half of a round trip.
func (m *mesh) latency() (float64, error) {
	if m.rank > 1 || len(m.conns) < 2 {
		return 0, nil
	}
	var times []float64
	for range pings {
		began := time.Now()
		if m.rank == 0 {
			if err := m.say(1, nil); err != nil {
				return 0, err
			}
		}
		if _, err := m.hear(1 - m.rank); err != nil {
			return 0, err
		}
		if m.rank == 1 {
			if err := m.say(0, nil); err != nil {
				return 0, err
			}
		}
		times = append(times, time.Since(began).Seconds()/2)
	}
	return median(times), nil
}

// gather gives rank 0 what every rank has to say, by rank; others get nil.
func gather[T any](m *mesh, own T) ([]T, error) {
	if m.rank > 0 {
		text, err := json.Marshal(own)
		if err != nil {
			return nil, fmt.Errorf("write this rank's result: %w", err)
		}
		return nil, m.say(0, text)
	}
	all := []T{own}
	for r := 1; r < len(m.conns); r++ {
		text, err := m.hear(r)
		if err != nil {
			return nil, err
		}
		var other T
		if err := json.Unmarshal(text, &other); err != nil {
			return nil, fmt.Errorf("read the result of rank %d: %w", r, err)
		}
		all = append(all, other)
	}
	return all, nil
}

// Send, Recv and Abort make a mesh a collective.Link without encryption.
func (m *mesh) Send(to int, segment []byte, deadline time.Time) error {
	_ = m.conns[to].SetWriteDeadline(deadline) // fails only on a closed connection, which the write reports
	_, err := m.conns[to].Write(segment)
	return err
}

// Recv fills segment with the next bytes of a rank.
func (m *mesh) Recv(from int, segment []byte, deadline time.Time) error {
	_ = m.conns[from].SetReadDeadline(deadline) // fails only on a closed connection, which the read reports
	_, err := io.ReadFull(m.conns[from], segment)
	return err
}

// Abort closes every connection.
func (m *mesh) Abort() { m.close() }
