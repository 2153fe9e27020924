package agent

import (
	"context"
	"sync"
	"time"

	"shoal/gossip/roster"
)

// outboxLen bounds the messages waiting for one peer; a round needs some ten. When it is full the peer is not reading,
// and counts as unreachable.
const outboxLen = 256

// sendWithin bounds the delivery of one message.
const sendWithin = 5 * time.Second

// outbox sends the machine's messages: those to one peer in order, and no peer holds up another. A peer costs memory and
// a goroutine only while something waits for it.
type outbox struct {
	ctx   context.Context
	agent *Agent

	mu      sync.Mutex
	waiting map[roster.ID][]letter // a peer has an entry, maybe an empty one, while deliver serves it
}

// letter is an encoded message.
type letter struct {
	kind roster.Kind
	body []byte
}

// messageKind names the machines' messages on the control stream.
const messageKind = "roster"

func newOutbox(ctx context.Context, a *Agent) *outbox {
	return &outbox{ctx: ctx, agent: a, waiting: map[roster.ID][]letter{}}
}

// send queues m for a peer. Only the loop calls it.
func (o *outbox) send(to roster.ID, m roster.Message) {
	body, err := m.Encode()
	if err != nil {
		o.agent.log.Error().Str("event", "message_too_large").Err(err).Msg("cannot encode")
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	queue, served := o.waiting[to]
	if len(queue) >= outboxLen {
		o.agent.log.Warn().Str("event", "peer_stuck").Str("peer", string(to)).Msg("messages to the peer pile up; this one is dropped")
		return
	}
	o.waiting[to] = append(queue, letter{m.Kind, body})
	if !served {
		o.agent.start(func() { o.deliver(to) })
	}
}

// next takes the first message waiting for a peer. When there is none deliver must return: the peer has no entry any more.
func (o *outbox) next(to roster.ID) (l letter, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue := o.waiting[to]
	if len(queue) == 0 {
		delete(o.waiting, to)
		return letter{}, false
	}
	o.waiting[to] = queue[1:]
	return queue[0], true
}

// drop forgets what is queued for a peer.
func (o *outbox) drop(to roster.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting[to] = nil
}

// deliver sends what is queued for one peer. A failure drops what is queued behind it, too: it is of the same, lost
// conversation.
func (o *outbox) deliver(to roster.ID) {
	for {
		l, ok := o.next(to)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(o.ctx, sendWithin)
		var err error
		o.agent.around("deliver "+string(l.kind), func() { err = o.agent.host.Send(ctx, to, messageKind, l.body) })
		cancel()
		if err == nil {
			continue
		}
		o.drop(to)
		if o.ctx.Err() == nil {
			o.agent.log.Debug().Str("event", "send_failed").Str("peer", string(to)).Err(err).Msg("message not delivered")
			o.agent.post(roster.Unreachable{ID: to})
		}
	}
}

// drainWithin bounds the wait for what is queued, since a peer that is gone takes longer.
const drainWithin = 100 * time.Millisecond

// drain waits for a moment until nothing is left to be sent. An exchange begins behind it: its bytes share connections with
// the messages that tell others to begin, and would delay those by a whole chunk.
// A nil outbox has nothing to send.
func (o *outbox) drain(ctx context.Context) {
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	poll := time.NewTicker(drainWithin / 200)
	defer poll.Stop()
	for {
		o.mu.Lock()
		left := len(o.waiting)
		o.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
}
