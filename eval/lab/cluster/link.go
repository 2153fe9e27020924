package cluster

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// cable connects the members of a virtual cluster in memory: between every two an ordered stream each way. A sender hands
// its segment over and waits until the receiver has copied it, so nothing is buffered.
type cable struct {
	size   int
	lanes  []lane // [from·size + to]
	broken chan struct{}
	once   sync.Once
}

// lane is one stream.
type lane struct {
	offered chan []byte
	taken   chan struct{}
	rest    []byte // of the segment that was offered last; the receiver's
}

// plug is rank's end of a cable, a collective.Link.
type plug struct {
	*cable
	rank int
}

var (
	errBroken = errors.New("the exchange was aborted")
	errStuck  = errors.New("nothing moved")
)

// So many ticks without a move end an exchange. Deadlines of the clock are for wires: where the process is stopped for a while
// (SIGSTOP, Ctrl+Z), one tick is late, and no member.
const (
	tick     = time.Second
	patience = 600
)

func newCable(size int) *cable {
	c := &cable{size: size, lanes: make([]lane, size*size), broken: make(chan struct{})}
	for i := range c.lanes {
		c.lanes[i].offered, c.lanes[i].taken = make(chan []byte), make(chan struct{})
	}
	return c
}

// Send hands the segment over, and returns when it was copied.
func (p plug) Send(to int, segment []byte, _ time.Time) error {
	l := &p.lanes[p.rank*p.size+to]
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	offered, taken := l.offered, chan struct{}(nil)
	for left := patience; left > 0; {
		select {
		case offered <- segment:
			offered, taken = nil, l.taken
		case <-taken:
			return nil
		case <-p.broken:
			return errBroken
		case <-ticker.C:
			left--
		}
	}
	return fmt.Errorf("hand a segment to rank %d: %w in %v", to, errStuck, patience*tick)
}

// Recv fills the segment from what rank from sends.
func (p plug) Recv(from int, segment []byte, _ time.Time) error {
	l := &p.lanes[from*p.size+p.rank]
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for left := patience; len(segment) > 0; {
		if len(l.rest) == 0 {
			select {
			case l.rest = <-l.offered:
			case <-p.broken:
				return errBroken
			case <-ticker.C:
				if left--; left == 0 {
					return fmt.Errorf("wait for a segment of rank %d: %w in %v", from, errStuck, patience*tick)
				}
				continue
			}
		}
		n := copy(segment, l.rest)
		segment, l.rest = segment[n:], l.rest[n:]
		if len(l.rest) > 0 {
			continue
		}
		select {
		case l.taken <- struct{}{}:
		case <-p.broken:
			return errBroken
		}
	}
	return nil
}

// Abort breaks all streams: in a virtual cluster an exchange fails for all or for none.
func (p plug) Abort() { p.once.Do(func() { close(p.broken) }) }
