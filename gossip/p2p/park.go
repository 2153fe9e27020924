package p2p

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

const (
	// parkTime is how long a stream waits here for its attempt to begin: peers begin an attempt within a message's
	// time of each other, so a stream that waits longer belongs to an attempt that this agent never joined.
	parkTime = 10 * time.Second
	// maxParkedPerPeer bounds one peer's waiting streams; an attempt needs one, and an aborted one may still wait.
	maxParkedPerPeer = 8
	// maxAttempts bounds the attempts open at once, and maxOver those remembered as over.
	maxAttempts = 16
	maxOver     = 256
)

// linkHead names what follows on a stream: the attempt that it belongs to, the ranks of sender and receiver, and after the
// first attempt the mark with which the receiver ended the last.
//
//	{"tag":{"lineage":"a1","generation":2,"ballot":{"round":7,"view":1,"coordinator":"12D3…"}},"from":0,"to":1}
type linkHead struct {
	Tag   roster.Tag `json:"tag"`
	From  int        `json:"from"`
	To    int        `json:"to"`
	After string     `json:"after,omitempty"`
}

func (l linkHead) encode() ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode link header: %w", err)
	}
	if len(text) > maxHeadBytes {
		return nil, fmt.Errorf("link header of %d bytes, limit %d", len(text), maxHeadBytes)
	}
	return text, nil
}

func parseLinkHead(text []byte) (linkHead, error) {
	var l linkHead
	if len(text) > maxHeadBytes {
		return l, fmt.Errorf("link header of %d bytes, limit %d", len(text), maxHeadBytes)
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return linkHead{}, fmt.Errorf("parse link header: %w", err)
	}
	if l.From < 0 || l.To < 0 || l.From == l.To {
		return linkHead{}, fmt.Errorf("link header from rank %d to rank %d", l.From, l.To)
	}
	return l, nil
}

// tagName is a tag as errors show it.
func tagName(t roster.Tag) string { return fmt.Sprintf("%s/%d/%s", t.Lineage, t.Generation, t.Ballot) }

// parking is where link streams find their attempt, and wait for it if they are early.
type parking struct {
	mu      sync.Mutex
	open    map[roster.Tag]*Links
	over    []roster.Tag // oldest first
	waiting map[roster.Tag][]chan *Links
	parked  map[peer.ID]int
	aborts  []abortNote // oldest first
}

func newParking() *parking {
	return &parking{open: map[roster.Tag]*Links{}, waiting: map[roster.Tag][]chan *Links{}, parked: map[peer.ID]int{}}
}

// claim begins an attempt and gives it the streams that waited.
func (k *parking) claim(l *Links) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.open[l.tag] != nil:
		return fmt.Errorf("open links of attempt %s: it is open already", tagName(l.tag))
	case slices.Contains(k.over, l.tag):
		return fmt.Errorf("open links of attempt %s: it is over; a new attempt takes a new ballot", tagName(l.tag))
	case len(k.open) >= maxAttempts:
		return fmt.Errorf("open links of attempt %s: %d attempts are open; close one", tagName(l.tag), maxAttempts)
	}
	k.open[l.tag] = l
	for _, stream := range k.waiting[l.tag] {
		stream <- l // has room for it
	}
	delete(k.waiting, l.tag)
	return nil
}

// finish ends an attempt: its streams are refused from now on.
func (k *parking) finish(l *Links) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open[l.tag] != l {
		return
	}
	delete(k.open, l.tag)
	if k.over = append(k.over, l.tag); len(k.over) > maxOver {
		k.over = slices.Delete(k.over, 0, len(k.over)-maxOver)
	}
}

// attempts are the open ones.
func (k *parking) attempts() []*Links {
	k.mu.Lock()
	defer k.mu.Unlock()
	open := make([]*Links, 0, len(k.open))
	for _, l := range k.open {
		open = append(open, l)
	}
	return open
}

// find returns the attempt if it is open, or a channel on which it will come.
func (k *parking) find(tag roster.Tag, from peer.ID) (*Links, chan *Links, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.open[tag]; l != nil {
		return l, nil, nil
	}
	if slices.Contains(k.over, tag) {
		return nil, nil, errors.New("it is over")
	}
	if k.parked[from] >= maxParkedPerPeer {
		return nil, nil, fmt.Errorf("it has not begun here, and %d streams of this peer wait already", maxParkedPerPeer)
	}
	k.parked[from]++
	arrival := make(chan *Links, 1)
	k.waiting[tag] = append(k.waiting[tag], arrival)
	return nil, arrival, nil
}

// unpark takes a stream out of the waiting ones; an attempt that claimed it meanwhile still counts.
func (k *parking) unpark(tag roster.Tag, from peer.ID, arrival chan *Links) *Links {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.parked[from]--; k.parked[from] == 0 {
		delete(k.parked, from)
	}
	rest := slices.DeleteFunc(k.waiting[tag], func(c chan *Links) bool { return c == arrival })
	if k.waiting[tag] = rest; len(rest) == 0 {
		delete(k.waiting, tag)
	}
	select {
	case l := <-arrival:
		return l
	default:
		return nil
	}
}

// park waits for the attempt of a stream.
func (h *Host) park(tag roster.Tag, p peer.ID, arrival chan *Links) (*Links, error) {
	timer := time.NewTimer(parkTime)
	defer timer.Stop()
	select {
	case l := <-arrival:
		arrival <- l // for unpark, which is alone with it: claim sends once
	case <-timer.C:
	case <-h.ctx.Done():
	}
	if l := h.parking.unpark(tag, p, arrival); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("it has not begun here within %v", parkTime)
}
