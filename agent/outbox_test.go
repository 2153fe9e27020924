package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"shoal/gossip/roster"
)

// An exchange begins when what tells others to begin has left, and at the latest after a moment: a peer that is gone holds
// nobody up.
func TestDrainWaitsForMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(t.Context(), nil)
		took := func(ctx context.Context) time.Duration {
			begun := time.Now()
			o.drain(ctx)
			return time.Since(begun)
		}
		if d := took(t.Context()); d != 0 {
			t.Errorf("nothing waits, and it takes %v", d)
		}
		o.waiting["peer"] = []letter{{body: []byte{1}}}
		time.AfterFunc(20*time.Millisecond, func() {
			for ok := true; ok; {
				_, ok = o.next("peer")
			}
		})
		if d := took(t.Context()); d < 20*time.Millisecond || d > 25*time.Millisecond {
			t.Errorf("sent after 20ms, and it takes %v", d)
		}
		o.waiting[roster.ID("gone")] = nil // being served
		if d := took(t.Context()); d != drainWithin {
			t.Errorf("never sent, and it takes %v, want %v", d, drainWithin)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if d := took(ended); d != 0 {
			t.Errorf("cancelled, and it takes %v", d)
		}
	})
}
