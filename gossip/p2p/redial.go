package p2p

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
)

// redial says when a peer that did not answer is dialled again.
type redial struct {
	at    time.Time
	pause time.Duration
}

// keepConnected dials admitted peers without a connection, so that pubsub reaches everybody. Of two peers the one with
// the smaller ID dials; the other does when it has something to send.
func (h *Host) keepConnected() {
	waits := map[peer.ID]redial{}
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.wake:
		case <-ticker.C:
		}
		waits = h.dialMissing(waits, time.Now())
	}
}

// dialMissing dials every peer that is due, and returns when those that did not answer are due again.
func (h *Host) dialMissing(waits map[peer.ID]redial, now time.Time) map[peer.ID]redial {
	next := map[peer.ID]redial{}
	var due []peer.ID
	for _, p := range h.gate.list() {
		if p < h.self || isConnected(h.host.Network(), p) || !h.gate.admits(p) {
			continue
		}
		if wait := waits[p]; now.Before(wait.at) {
			next[p] = wait
		} else {
			due = append(due, p)
		}
	}
	failed := make([]bool, len(due))
	var dials errgroup.Group
	dials.SetLimit(maxDials)
	for i, p := range due {
		dials.Go(func() error {
			failed[i] = h.dial(p) != nil
			return nil
		})
	}
	_ = dials.Wait() // which failed is all that matters
	for i, p := range due {
		if failed[i] {
			pause := min(max(keepInterval, 2*waits[p].pause), keepPauseMax)
			next[p] = redial{time.Now().Add(pause), pause}
		}
	}
	return next
}

func (h *Host) dial(p peer.ID) error {
	ctx, cancel := context.WithTimeout(h.ctx, dialTimeout)
	defer cancel()
	h.backoff.Clear(p)
	return h.host.Connect(ctx, peer.AddrInfo{ID: p})
}

// notify wakes a loop that waits on a channel of one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
