package collective

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errAborted  = errors.New("aborted")
	errDeadline = errors.New("deadline passed")
	errInjected = errors.New("injected")
)

// pipe is a bounded ordered byte stream in memory: one sender, one receiver.
type pipe struct {
	packets chan []byte
	rest    []byte // of the receiver
	broken  chan struct{}
	once    sync.Once
}

func (p *pipe) abort() { p.once.Do(func() { close(p.broken) }) }

// cable is a fully meshed network of pipes.
type cable struct{ pipes [][]*pipe }

// newCable connects n ranks by pipes that hold so many segments before a sender blocks; 0: until the receiver is there.
func newCable(n, capacity int) *cable {
	c := &cable{pipes: make([][]*pipe, n)}
	for from := range c.pipes {
		c.pipes[from] = make([]*pipe, n)
		for to := range c.pipes[from] {
			c.pipes[from][to] = &pipe{packets: make(chan []byte, capacity), broken: make(chan struct{})}
		}
	}
	return c
}

// plug is rank's end of a cable. Its fields before the cable's are faults to inject.
type plug struct {
	failAt int64 // the operation, counted from 1, that fails; 0: none
	calls  atomic.Int64
	cable  *cable
	rank   int
}

func (l *plug) fault() error {
	if l.calls.Add(1) == l.failAt {
		return errInjected
	}
	return nil
}

func (l *plug) Send(to int, segment []byte, deadline time.Time) error {
	if err := l.fault(); err != nil {
		return err
	}
	p := l.cable.pipes[l.rank][to]
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-p.broken:
		return errAborted
	case p.packets <- append([]byte(nil), segment...):
		return nil
	case <-timer.C:
		return errDeadline
	}
}

func (l *plug) Recv(from int, segment []byte, deadline time.Time) error {
	if err := l.fault(); err != nil {
		return err
	}
	p := l.cable.pipes[from][l.rank]
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for len(segment) > 0 {
		if len(p.rest) == 0 {
			select {
			case p.rest = <-p.packets:
			case <-p.broken:
				return errAborted
			case <-timer.C:
				return errDeadline
			}
		}
		n := copy(segment, p.rest)
		segment, p.rest = segment[n:], p.rest[n:]
	}
	return nil
}

// Abort breaks every stream of this rank, in both directions.
func (l *plug) Abort() {
	for other := range l.cable.pipes {
		l.cable.pipes[l.rank][other].abort()
		l.cable.pipes[other][l.rank].abort()
	}
}

// patient hides Abort, as a link without it does.
type patient struct{ Link }
