package gossip

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// authorRate and authorBurst bound what one member announces; an agent tells its progress and its newest score, less
	// than twice a second.
	authorRate  = 8.0 // per second
	authorBurst = 64
	// relayRate and relayBurst bound what one peer passes on, of others and of itself.
	relayRate  = 256.0
	relayBurst = 1024
	// mutedFor is how long who exceeds a bound is ignored, from its last message on.
	mutedFor = time.Minute
	// graylisted is the score of a muted peer, by which pubsub drops all that it sends unread, and graylist the bound.
	graylisted, graylist = -100, -10
)

// quotas is how much each peer may still send: a token bucket for each.
type quotas struct {
	rate, burst float64

	mu sync.Mutex
	by map[peer.ID]*quota
}

type quota struct {
	left  float64
	at    time.Time // when left was counted
	muted time.Time // until when; zero: never was
}

func newQuotas(rate, burst float64) *quotas {
	return &quotas{rate: rate, burst: burst, by: map[peer.ID]*quota{}}
}

// take counts one message of p. It is refused while p is muted, and fresh if p is muted by this one. There is no quota for
// a peer too many: those that have not sent for a while make room first.
func (q *quotas) take(p peer.ID, now time.Time) (ok, fresh bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.by[p]
	if u == nil {
		if u = q.admit(p, now); u == nil {
			return false, false
		}
	}
	if now.Before(u.muted) {
		u.muted = now.Add(mutedFor)
		return false, false
	}
	u.left = min(q.burst, u.left+q.rate*now.Sub(u.at).Seconds())
	u.at = now
	if u.left < 1 {
		u.muted = now.Add(mutedFor)
		return false, true
	}
	u.left--
	return true, false
}

// admit gives p a quota. The caller holds the lock.
func (q *quotas) admit(p peer.ID, now time.Time) *quota {
	if len(q.by) >= maxAuthors {
		for old, u := range q.by {
			if now.Sub(u.at) > mutedFor && now.After(u.muted) {
				delete(q.by, old)
			}
		}
		if len(q.by) >= maxAuthors {
			return nil
		}
	}
	u := &quota{left: q.burst, at: now}
	q.by[p] = u
	return u
}

// muted reports whether p is ignored.
func (q *quotas) muted(p peer.ID, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.by[p]
	return u != nil && now.Before(u.muted)
}
