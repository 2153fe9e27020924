package p2p

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"shoal/gossip/roster"
)

const (
	// abortTimeout bounds the telling of one member that an attempt is aborted; it has a deadline of its own anyway.
	abortTimeout = 2 * time.Second
	// maxTold bounds the members told at once.
	maxTold = 8
	// maxAborts bounds the aborts remembered of attempts that have not begun here.
	maxAborts = 256
)

// abortNote says that a peer aborted an attempt that has not begun here.
type abortNote struct {
	tag  roster.Tag
	from peer.ID
}

// tell sends word of an abort to the members that no reset stream tells it. It returns at once.
func (l *Links) tell() {
	if l.aborter.Load() != 0 {
		return // whoever aborted first tells
	}
	text, err := json.Marshal(l.tag)
	if err != nil || len(text) > maxHeadBytes {
		return // a tag that no stream can name, so nobody waits for it
	}
	var untold []roster.ID
	for rank, id := range l.r.Members {
		s, _ := l.in[rank].get()
		if rank != l.rank && l.out[rank].get() == nil && s == nil {
			untold = append(untold, id)
		}
	}
	l.host.start(func() {
		var tellers errgroup.Group
		tellers.SetLimit(maxTold)
		for _, id := range untold {
			tellers.Go(func() error {
				l.host.tellAbort(id, text)
				return nil
			})
		}
		_ = tellers.Wait() // a member that cannot be told has its deadline
	})
}

func (h *Host) tellAbort(to roster.ID, text []byte) {
	ctx, cancel := context.WithTimeout(h.ctx, abortTimeout)
	defer cancel()
	if s, err := h.open(ctx, to, purposeAbort, text); err == nil {
		_ = s.Reset() // the peer has read it
	}
}

// serveAbort takes word of an abort.
func (h *Host) serveAbort(p peer.ID, body []byte) error {
	tag, err := parseTag(body)
	if err != nil {
		return err
	}
	if l := h.parking.abort(tag, p); l != nil {
		l.abortedBy(p)
	}
	return nil
}

// parseTag reads the tag that an abort names.
func parseTag(text []byte) (roster.Tag, error) {
	var tag roster.Tag
	if len(text) > maxHeadBytes {
		return tag, fmt.Errorf("tag of %d bytes, limit %d", len(text), maxHeadBytes)
	}
	if err := json.Unmarshal(text, &tag); err != nil {
		return roster.Tag{}, fmt.Errorf("parse tag: %w", err)
	}
	return tag, nil
}

// abortedBy aborts the attempt on word of a member of its roster, and says whether it was one.
func (l *Links) abortedBy(p peer.ID) bool {
	rank := slices.Index(l.peers, p)
	if rank < 0 || l.isOver() {
		return false
	}
	l.aborter.CompareAndSwap(0, int64(rank)+1)
	l.Abort()
	return true
}

// abort is the open attempt that a peer aborted; one that has not begun yet is remembered.
func (k *parking) abort(tag roster.Tag, from peer.ID) *Links {
	k.mu.Lock()
	defer k.mu.Unlock()
	note := abortNote{tag, from}
	if l := k.open[tag]; l != nil {
		return l
	}
	if !slices.Contains(k.over, tag) && !slices.Contains(k.aborts, note) {
		if k.aborts = append(k.aborts, note); len(k.aborts) > maxAborts {
			k.aborts = slices.Delete(k.aborts, 0, len(k.aborts)-maxAborts)
		}
	}
	return nil
}

// aborters are the peers that aborted an attempt before it began here.
func (k *parking) aborters(tag roster.Tag) []peer.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []peer.ID
	k.aborts = slices.DeleteFunc(k.aborts, func(n abortNote) bool {
		if n.tag == tag {
			list = append(list, n.from)
		}
		return n.tag == tag
	})
	return list
}
