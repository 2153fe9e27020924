package p2p

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// serveLane brings an incoming stream to the attempt that its header names, stays until that is over, and goes on with
// the next one if the attempt ended in good order.
func (h *Host) serveLane(s network.Stream, p peer.ID, body []byte) {
	mark := ""
	for {
		l, from, err := h.attach(s, p, body, mark)
		if err != nil {
			refuse(s, err.Error())
			return
		}
		select {
		case <-l.over:
		case <-h.ctx.Done():
		}
		took, clean := l.release(from)
		if !clean {
			_ = s.ResetWithError(codeAborted) // it may be gone already
			return
		}
		if mark, err = writeEnd(s, took); err != nil {
			_ = s.Reset() // it may be gone already
			return
		}
		var kind string
		if kind, body, err = readWhole(s, maxHeadBytes); err != nil {
			end(s, err)
			return
		}
		if kind != purposeLink {
			refuse(s, fmt.Sprintf("frame %q where an attempt is to be named", kind))
			return
		}
	}
}

// attach finds the attempt of a stream, or waits for it, and gives it the stream.
func (h *Host) attach(s network.Stream, p peer.ID, body []byte, mark string) (l *Links, from int, err error) {
	head, err := parseLinkHead(body)
	if err != nil {
		return nil, 0, err
	}
	if head.After != mark {
		return nil, 0, errors.New("bytes of an attempt that is over are on the stream")
	}
	l, arrival, err := h.parking.find(head.Tag, p)
	if err == nil && l == nil {
		l, err = h.park(head.Tag, p, arrival)
	}
	if err == nil {
		err = l.accept(s, p, head)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("stream of attempt %s: %w", tagName(head.Tag), err)
	}
	return l, head.From, nil
}

// writeEnd tells the sender that the attempt is over here, after n bytes, and draws the mark of its next header.
func writeEnd(s network.Stream, n int64) (mark string, err error) {
	body := binary.BigEndian.AppendUint64(make([]byte, 0, 8+markBytes), uint64(n))[:8+markBytes]
	if _, err := rand.Read(body[8:]); err != nil {
		return "", err
	}
	frame, err := appendFrame(nil, kindEnd, body)
	if err != nil {
		return "", err
	}
	_ = s.SetWriteDeadline(time.Now().Add(frameTimeout)) // fails only on a closed stream, which the write reports
	_, err = s.Write(frame)
	return hex.EncodeToString(body[8:]), err
}
