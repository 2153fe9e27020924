package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

// open dials the peer if need be, opens a stream, writes its first frame and waits until the peer has taken it, so that
// nothing is lost on a connection that the peer is about to close. A member that does not admit us yet is asked again
// until patience is over.
func (h *Host) open(ctx context.Context, to roster.ID, purpose string, body []byte) (network.Stream, error) {
	p, err := decode(to)
	if err != nil {
		return nil, err
	}
	if err := h.gate.check(p); err != nil {
		return nil, fmt.Errorf("open stream to %s: %w", to, err)
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
	dial := network.WithAllowLimitedConn(network.WithDialPeerTimeout(ctx, dialTimeout), "members use relays as they are")
	s, err := h.host.NewStream(dial, p, Protocol)
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
	if err := h.gate.check(p); err != nil { // a relay, or one that was shut out a moment ago
		refuse(s, err.Error())
		return
	}
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
	if !slices.Contains([]string{purposeMessages, purposeCall, purposeLink, purposeAbort, purposeProbe}, purpose) {
		refuse(s, fmt.Sprintf("purpose %q is unknown", purpose))
		return
	}
	if purpose == purposeMessages && h.onMessage.Load() == nil { // before the peer takes its first message for sent
		refuse(s, "messages are not taken yet")
		return
	}
	if take(s) != nil {
		return
	}
	switch purpose {
	case purposeMessages:
		h.serveMessages(s, p, from)
	case purposeCall:
		h.serveCall(s, p, from, body)
	case purposeLink:
		h.serveLane(s, p, body)
	case purposeAbort:
		if err := h.serveAbort(p, body); err != nil {
			refuse(s, err.Error())
			return
		}
		_ = s.Close() // the peer has all it waits for
	case purposeProbe:
		h.serveProbe(s)
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
