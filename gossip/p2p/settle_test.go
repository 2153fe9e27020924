package p2p

import (
	"testing"
	"testing/synctest"
	"time"

	"shoal/gossip/roster"
)

// A lane that another attempt took over is not given up when the time of the attempt before is over: an exchange under
// way would break.
func TestKeptLaneOutlivesItsFormerAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, _ := newPipe()
		l := &lane{host: &Host{ctx: t.Context(), lanes: map[roster.ID]*lane{}}, stream: here, to: "b"}
		l.begin()
		l.finish() // before the peer's word
		l.mu.Lock()
		l.took = 0
		l.settle(true)
		l.mu.Unlock()
		l.begin()
		attempt := l.settled
		time.Sleep(2 * settleTime)
		select {
		case <-attempt:
			t.Errorf("the next attempt's lane was given up, reuse is %v", l.reuse)
		default:
		}
		l.finish() // which nobody answers
		time.Sleep(2 * settleTime)
		select {
		case <-attempt:
		default:
			t.Error("a lane that the peer does not end is kept for ever")
		}
	})
}
