package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

const (
	// MaxAnswerBytes bounds the answer to a call: the state of a model with 16 M parameters, momentum and statistics.
	MaxAnswerBytes = 256 << 20
	// callTimeout bounds a call whose ctx has no deadline, and every handler: 256 MiB at 100 Mbit/s take 22 s.
	callTimeout = 2 * time.Minute
	// chunkTimeout bounds the transfer of one chunk of an answer: 1 MiB at 1 Mbit/s takes 8 s.
	chunkTimeout = 20 * time.Second
	// chunkBytes is the unit of an answer's deadline, and what an answer must deliver before memory is set aside for
	// the length that it claims.
	chunkBytes = 1 << 20
)

// CallHandler answers a call; from is the authenticated peer. It owns body, and the answer may be memory that it goes
// on using for reads: it is written, never kept. ctx ends with the caller's deadline, or when the caller goes away.
type CallHandler func(ctx context.Context, from roster.ID, body []byte) ([]byte, error)

// HandleCall sets who answers calls of a kind. It must be called before traffic.
func (h *Host) HandleCall(kind string, f CallHandler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls[kind] = f
}

// Call asks a peer on a stream of its own and returns its answer, of at most MaxAnswerBytes. The handler's error comes
// back as a RemoteError. Without a deadline in ctx a call ends after two minutes.
func (h *Host) Call(ctx context.Context, to roster.ID, kind string, body []byte) ([]byte, error) {
	request, err := appendFrame(nil, kind, body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	left := binary.BigEndian.AppendUint64(nil, uint64(max(0, time.Until(deadline).Milliseconds())))
	s, err := h.open(ctx, to, purposeCall, left)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", kind, err)
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	answer, err := ask(s, to, kind, request)
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("call %s of peer %s: %w", kind, to, ctx.Err())
	case errors.As(err, new(*RemoteError)), errors.As(err, new(*RefusedError)):
		return nil, err
	}
	return nil, fmt.Errorf("call %s of peer %s: %w", kind, to, err)
}

// ask writes the request and reads the answer's frame, and the answer behind it, until the caller resets the stream.
func ask(s network.Stream, to roster.ID, kind string, request []byte) ([]byte, error) {
	_ = s.SetWriteDeadline(time.Time{}) // fails only on a closed stream, which the write reports
	if _, err := s.Write(request); err != nil {
		return nil, err
	}
	status, body, err := readFrame(s, maxReasonBytes)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", noEOF(err))
	}
	switch {
	case status == kindAnswer && len(body) == 8:
		return readAnswer(s, binary.BigEndian.Uint64(body))
	case status == kindError:
		return nil, &RemoteError{to, kind, string(body)}
	case status == kindRefused:
		return nil, &RefusedError{to, string(body)}
	}
	return nil, fmt.Errorf("answer %q with %d bytes is unknown", status, len(body))
}

// readAnswer reads an answer of size bytes, straight into the slice that it returns but for the first chunk.
func readAnswer(r io.Reader, size uint64) ([]byte, error) {
	if size > MaxAnswerBytes {
		return nil, fmt.Errorf("answer of %d bytes, limit %d", size, MaxAnswerBytes)
	}
	answer := make([]byte, min(size, chunkBytes))
	n, err := io.ReadFull(r, answer)
	if err == nil && uint64(n) < size {
		answer = append(make([]byte, 0, size), answer...)[:size]
		var rest int
		rest, err = io.ReadFull(r, answer[n:])
		n += rest
	}
	if err != nil {
		return nil, fmt.Errorf("read answer, %d of %d bytes: %w", n, size, noEOF(err))
	}
	return answer, nil
}

// serveCall reads a request, lets its handler answer, and writes the answer.
func (h *Host) serveCall(s network.Stream, p peer.ID, from roster.ID, left []byte) {
	if len(left) != 8 {
		refuse(s, fmt.Sprintf("call with %d bytes of deadline, want 8", len(left)))
		return
	}
	limit := callTimeout // and a second more, so that a late answer is the caller's deadline, not the handler's error
	if ms := binary.BigEndian.Uint64(left); ms < uint64(callTimeout/time.Millisecond) {
		limit = time.Duration(ms) * time.Millisecond
	}
	_ = s.SetReadDeadline(time.Now().Add(frameTimeout)) // fails only on a closed stream, which the read reports
	kind, body, err := readFrame(s, MaxMessageBytes)
	if err != nil {
		end(s, err)
		return
	}
	if !h.meter.spend(p, goodCalls, 1) || !h.meter.spend(p, goodBytes, len(body)) {
		_ = s.Reset() // with its connection, in a moment
		return
	}
	h.mu.Lock()
	handle, ok := h.calls[kind]
	h.mu.Unlock()
	if !ok {
		refuse(s, fmt.Sprintf("call %q is unknown", kind))
		return
	}
	ctx, cancel := context.WithTimeout(h.ctx, limit+time.Second)
	defer cancel()
	_ = s.SetReadDeadline(time.Time{}) // from here on the caller only ends the stream
	h.start(func() {
		_, _ = s.Read(make([]byte, 1))
		cancel()
	})
	answer, err := handle(ctx, from, body)
	if err == nil && len(answer) > MaxAnswerBytes {
		err = fmt.Errorf("answer of %d bytes, limit %d", len(answer), MaxAnswerBytes)
	}
	writeAnswer(ctx, s, answer, err)
}

// writeAnswer writes a handler's result, or resets a stream that does not move. The caller, who notices either, resets
// the stream when it has read everything.
func writeAnswer(ctx context.Context, s network.Stream, answer []byte, failed error) {
	defer s.Reset()
	kind, body := kindAnswer, binary.BigEndian.AppendUint64(nil, uint64(len(answer)))
	if failed != nil {
		kind, body, answer = kindError, clip(failed.Error()), nil
	}
	head, err := appendFrame(nil, kind, body)
	if err != nil {
		return
	}
	for chunk := head; ; {
		_ = s.SetWriteDeadline(time.Now().Add(chunkTimeout)) // fails only on a closed stream, which the write reports
		if _, err := s.Write(chunk); err != nil {
			return
		}
		if len(answer) == 0 {
			break
		}
		n := min(len(answer), chunkBytes)
		chunk, answer = answer[:n], answer[n:]
	}
	if s.CloseWrite() == nil {
		<-ctx.Done() // the caller's reset, or its deadline
	}
}
