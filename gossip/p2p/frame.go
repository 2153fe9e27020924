package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"shoal/gossip/roster"
)

// Purposes of a stream, named by its first frame, and the kinds that answer.
const (
	purposeMessages = "messages"
	purposeCall     = "call"
	purposeLink     = "link"
	purposeAbort    = "abort"
	purposeProbe    = "probe"

	kindTaken   = "taken"
	kindAnswer  = "answer"
	kindError   = "error"
	kindRefused = "refused"
	kindEnd     = "end"
)

const (
	// MaxKindBytes bounds the name of a message or call.
	MaxKindBytes = 64
	// MaxMessageBytes bounds the body of one message or request: a roster of a few hundred members with weights and
	// hashes takes a tenth of it.
	MaxMessageBytes = 1 << 20
	// maxHeadBytes bounds the first frame's body, which names a call or an attempt.
	maxHeadBytes = 4 << 10
	// maxReasonBytes bounds the text of an error or refusal that crosses the wire.
	maxReasonBytes = 1 << 10
	// frameTimeout is how long the rest of a frame may take once its length is here.
	frameTimeout = 30 * time.Second
	// refuseTimeout is how long a refused peer gets to read why.
	refuseTimeout = 2 * time.Second
)

// Errors that a caller tells apart.
var (
	// ErrAborted: the peer gave up the attempt; it lives.
	ErrAborted = errors.New("the peer aborted the attempt")
	// ErrClosed: this side closed or aborted the links.
	ErrClosed = errors.New("the links are closed")
)

// RefusedError is a peer's reason to close a stream of ours.
type RefusedError struct {
	Peer   roster.ID
	Reason string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("peer %s refused: %s", e.Peer, e.Reason) }

// RemoteError is the error of the handler that a Call reached.
type RemoteError struct {
	Peer roster.ID
	Kind string
	Text string
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("call %s of peer %s: %s", e.Kind, e.Peer, e.Text)
}

// LinkError is a failed Send or Recv: with whom, and why. The cause is ErrAborted if the peer gave up, though it may be
// another than the one sent to or received from; a RefusedError if it does not take part, os.ErrDeadlineExceeded if time ran out, ErrClosed if this side ended the attempt, and else
// what the connection died of.
type LinkError struct {
	Op   string // "send to", "receive from" or "abort by"
	Rank int
	Peer roster.ID
	Tag  roster.Tag
	Err  error
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("%s rank %d (%s) in attempt %s: %s", e.Op, e.Rank, e.Peer, tagName(e.Tag), e.Err)
}

func (e *LinkError) Unwrap() error { return e.Err }

// appendFrame appends a frame to dst: the length of what follows (4 bytes, big endian), the length of kind (1 byte),
// kind, body. The message "hi" with the body "abc" is
//
//	00 00 00 06  02 'h' 'i'  'a' 'b' 'c'
func appendFrame(dst []byte, kind string, body []byte) ([]byte, error) {
	if len(kind) == 0 || len(kind) > MaxKindBytes {
		return nil, fmt.Errorf("frame kind %q: %d bytes, want 1 to %d", kind, len(kind), MaxKindBytes)
	}
	if len(body) > MaxMessageBytes {
		return nil, fmt.Errorf("frame %s: body of %d bytes, limit %d", kind, len(body), MaxMessageBytes)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(1+len(kind)+len(body)))
	dst = append(dst, byte(len(kind)))
	dst = append(dst, kind...)
	return append(dst, body...), nil
}

// readFrame reads one frame with a body of at most limit bytes. A clean end before the frame is io.EOF.
func readFrame(r io.Reader, limit int) (kind string, body []byte, err error) {
	size, err := readLength(r)
	if err != nil {
		return "", nil, err
	}
	return readRest(r, size, limit)
}

func readLength(r io.Reader) (uint32, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(head[:]), nil
}

func readRest(r io.Reader, size uint32, limit int) (kind string, body []byte, err error) {
	if size < 2 || int64(size) > int64(1+MaxKindBytes+limit) {
		return "", nil, fmt.Errorf("frame of %d bytes, want 2 to %d", size, 1+MaxKindBytes+limit)
	}
	rest := make([]byte, size)
	if _, err := io.ReadFull(r, rest); err != nil {
		return "", nil, fmt.Errorf("read frame of %d bytes: %w", size, noEOF(err))
	}
	n := int(rest[0])
	if n == 0 || n > MaxKindBytes || n > len(rest)-1 {
		return "", nil, fmt.Errorf("frame kind of %d bytes in a frame of %d", n, size)
	}
	if len(rest)-1-n > limit {
		return "", nil, fmt.Errorf("frame body of %d bytes, limit %d", len(rest)-1-n, limit)
	}
	return string(rest[1 : 1+n]), rest[1+n:], nil
}

// noEOF tells an end in the middle of something from a clean one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// clip shortens a text that crosses the wire.
func clip(text string) []byte { return []byte(text[:min(len(text), maxReasonBytes)]) }

// refuse tells the peer why, gives it a moment to read that, and ends the stream.
func refuse(s network.Stream, reason string) {
	defer s.Reset()
	frame, err := appendFrame(nil, kindRefused, clip(reason))
	if err != nil {
		return
	}
	_ = s.SetDeadline(time.Now().Add(refuseTimeout)) // fails only on a closed stream, which the write notices
	if _, err := s.Write(frame); err != nil || s.CloseWrite() != nil {
		return
	}
	// The peer resets when it has read the reason. What it sent meanwhile is at most a window.
	_, _ = io.Copy(io.Discard, io.LimitReader(s, streamWindowBytes))
}

// end ends a stream on which reading failed: silently if the peer or the connection ended it, else with the reason.
func end(s network.Stream, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, network.ErrReset) {
		_ = s.Reset() // it is gone already
		return
	}
	refuse(s, err.Error())
}

// take tells the peer that its stream has come to where it is read, and clears the read deadline.
func take(s network.Stream) error {
	frame, err := appendFrame(nil, kindTaken, nil)
	if err != nil {
		return err
	}
	_ = s.SetDeadline(time.Now().Add(frameTimeout)) // fails only on a closed stream, which the write notices
	if _, err := s.Write(frame); err != nil {
		return errors.Join(err, s.Reset())
	}
	return s.SetDeadline(time.Time{})
}

// awaitTaken reads what take wrote.
func awaitTaken(s network.Stream, from roster.ID) error {
	switch kind, body, err := readFrame(s, maxReasonBytes); {
	case err != nil:
		return noEOF(err)
	case kind == kindRefused:
		return &RefusedError{from, string(body)}
	case kind != kindTaken:
		return fmt.Errorf("peer %s answered %q to a new stream", from, kind)
	}
	return nil
}

// awaitRefusal reads the peer's side of a stream on which it never writes but to refuse: the reason, or how the stream
// ended.
func awaitRefusal(s network.Stream, from roster.ID) error {
	kind, body, err := readFrame(s, maxReasonBytes)
	if err != nil {
		return err
	}
	if kind != kindRefused {
		return fmt.Errorf("peer %s answered %q where nothing is awaited", from, kind)
	}
	return &RefusedError{from, string(body)}
}
