package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"shoal/gossip/roster"
)

const (
	// probePings are the round trips of a probe, of which the shortest counts.
	probePings = 4
	// probeLightBytes and probeHeavyBytes are what a probe sends. The heavy load follows only if the light one took less
	// than probeQuick: over a slow link a few packets say enough, over a fast one they are all in some buffer.
	probeLightBytes = 64 << 10
	probeHeavyBytes = 512 << 10
	probeQuick      = 50 * time.Millisecond
	// probeTimeout bounds a probe at both ends: the loads take 5 s at 1 Mbit/s.
	probeTimeout = 10 * time.Second

	kindPing = "ping"
	kindLoad = "load"
	kindTook = "took"
	kindBusy = "busy"
)

// ErrBusy says that an exchange or another probe is under way here or at the peer; try again later.
var ErrBusy = errors.New("busy with an exchange or another probe")

// Probe is what was measured of the way to a peer.
type Probe struct {
	RTT            time.Duration // shortest of a few small frames, there and back
	BytesPerSecond float64       // one way, from here to there, as the peer saw the bytes come in
}

// Probe measures the way to a peer with at most 576 KiB, within ctx or ten seconds. There is one at a time at either end,
// and none beside an exchange: ErrBusy says so, also when an exchange begins while the probe is under way.
func (h *Host) Probe(ctx context.Context, id roster.ID) (Probe, error) {
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	release, ok := h.probing(cancel)
	if !ok {
		return Probe{}, fmt.Errorf("probe %s: %w", id, ErrBusy)
	}
	defer release()
	s, err := h.open(ctx, id, purposeProbe, nil)
	if err != nil {
		return Probe{}, fmt.Errorf("probe %s: %w", id, err)
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	p, err := measure(s, id)
	switch {
	case err == nil:
		return p, nil
	case asked.Err() == nil && errors.Is(ctx.Err(), context.Canceled): // an exchange began
		err = ErrBusy
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return Probe{}, fmt.Errorf("probe %s: %w", id, err)
}

// probing takes the one place for a probe, unless it is taken or an exchange is under way. An exchange that begins
// meanwhile calls cancel.
func (h *Host) probing(cancel context.CancelFunc) (release func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.probe != nil || len(h.parking.attempts()) > 0 || h.ctx.Err() != nil {
		return nil, false
	}
	h.probe = cancel
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.probe = nil
	}, true
}

// endProbe ends the probe that is under way, for an exchange.
func (h *Host) endProbe() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.probe != nil {
		h.probe()
	}
}

// measure asks on a stream that the peer answers.
func measure(s network.Stream, id roster.ID) (Probe, error) {
	var p Probe
	for range probePings {
		start := time.Now()
		if _, err := ask8(s, id, kindPing, 0, kindPing); err != nil {
			return Probe{}, err
		}
		if d := time.Since(start); p.RTT == 0 || d < p.RTT {
			p.RTT = d
		}
	}
	for _, n := range []int{probeLightBytes, probeHeavyBytes} {
		took, err := ask8(s, id, kindLoad, n, kindTook)
		if err != nil {
			return Probe{}, err
		}
		took = min(max(took, 1), uint64(probeTimeout))
		p.BytesPerSecond = float64(n/2) / time.Duration(took).Seconds()
		if time.Duration(took) >= probeQuick {
			break
		}
	}
	return p, nil
}

// ask8 sends a frame that announces n bytes, and the bytes, and reads an answer of a kind with a number of 8 bytes.
func ask8(s network.Stream, id roster.ID, kind string, n int, want string) (uint64, error) {
	request, err := appendFrame(make([]byte, 0, n+32), kind, binary.BigEndian.AppendUint64(nil, uint64(n)))
	if err != nil {
		return 0, err
	}
	if _, err := s.Write(append(request, make([]byte, n)...)); err != nil {
		return 0, err
	}
	switch got, body, err := readFrame(s, maxReasonBytes); {
	case err != nil:
		return 0, noEOF(err)
	case got == kindBusy:
		return 0, fmt.Errorf("peer %s: %w", id, ErrBusy)
	case got == kindRefused:
		return 0, &RefusedError{id, string(body)}
	case got != want || len(body) != 8:
		return 0, fmt.Errorf("peer %s answered %q with %d bytes, want %s with 8", id, got, len(body), want)
	default:
		return binary.BigEndian.Uint64(body), nil
	}
}

// serveProbe answers one probe, if there is none and no exchange.
func (h *Host) serveProbe(s network.Stream) {
	_ = s.SetDeadline(time.Now().Add(probeTimeout)) // fails only on a closed stream, which the read reports
	release, ok := h.probing(func() { _ = s.Reset() })
	if !ok {
		h.refuseBusy(s)
		return
	}
	defer release()
	end(s, answerProbe(s))
}

// refuseBusy tells a prober to try again later.
func (h *Host) refuseBusy(s network.Stream) {
	defer s.Reset()
	frame, err := appendFrame(nil, kindBusy, nil)
	if err != nil {
		return
	}
	if _, err := s.Write(frame); err != nil || s.CloseWrite() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(s, probeHeavyBytes)) // until the peer has read it
}

// answerProbe answers pings and loads until the prober ends the stream; the error is how it did. A load is timed over its second half, when its
// bytes come as fast as the way lets them.
func answerProbe(s io.ReadWriter) error {
	for left := probeLightBytes + probeHeavyBytes; ; {
		kind, body, err := readFrame(s, 8)
		if err != nil {
			return err
		}
		if (kind != kindPing && kind != kindLoad) || len(body) != 8 {
			return fmt.Errorf("frame %q with %d bytes in a probe", kind, len(body))
		}
		n := binary.BigEndian.Uint64(body)
		if kind == kindPing && n != 0 || n > uint64(left) {
			return fmt.Errorf("%s of %d bytes in a probe that may send %d more", kind, n, left)
		}
		left -= int(n)
		answer, took := kindPing, time.Duration(0)
		if kind == kindLoad {
			answer = kindTook
			if took, err = timeLoad(s, int64(n)); err != nil {
				return err
			}
		}
		frame, err := appendFrame(nil, answer, binary.BigEndian.AppendUint64(nil, uint64(took)))
		if err != nil {
			return err
		}
		if _, err := s.Write(frame); err != nil {
			return err
		}
	}
}

// timeLoad takes n bytes, and is how long their second half took.
func timeLoad(r io.Reader, n int64) (time.Duration, error) {
	if _, err := io.CopyN(io.Discard, r, n-n/2); err != nil {
		return 0, noEOF(err)
	}
	half := time.Now()
	if _, err := io.CopyN(io.Discard, r, n/2); err != nil {
		return 0, noEOF(err)
	}
	return time.Since(half), nil
}
