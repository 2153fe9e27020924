package agent

import (
	"context"
	"time"

	"shoal/gossip/roster"
)

// outboxLen bounds the messages waiting for one peer; a round needs some ten. When it is full the peer is not reading,
// and counts as unreachable.
const outboxLen = 256

// sendWithin bounds the delivery of one message.
const sendWithin = 5 * time.Second

// outbox sends the machine's messages, one goroutine for each peer, so that each gets them in order and none holds up the
// others.
type outbox struct {
	ctx   context.Context
	agent *Agent
	peers map[roster.ID]chan []byte
}

// messageKind names the machines' messages on the control stream.
const messageKind = "roster"

func newOutbox(ctx context.Context, a *Agent) *outbox {
	return &outbox{ctx: ctx, agent: a, peers: map[roster.ID]chan []byte{}}
}

// send queues m for a peer. Only the loop calls it.
func (o *outbox) send(to roster.ID, m roster.Message) {
	body, err := m.Encode()
	if err != nil {
		o.agent.log.Error().Str("event", "message_too_large").Err(err).Msg("cannot encode")
		return
	}
	queue, known := o.peers[to]
	if !known {
		queue = make(chan []byte, outboxLen)
		o.peers[to] = queue
		o.agent.start(func() { o.deliver(to, queue) })
	}
	select {
	case queue <- body:
	default:
		o.agent.log.Warn().Str("event", "peer_stuck").Str("peer", string(to)).Msg("messages to the peer pile up; this one is dropped")
	}
}

// deliver sends what is queued for one peer. A failure drops what is queued behind it, too: it is of the same, lost
// conversation.
func (o *outbox) deliver(to roster.ID, queue chan []byte) {
	for {
		select {
		case <-o.ctx.Done():
			return
		case body := <-queue:
			ctx, cancel := context.WithTimeout(o.ctx, sendWithin)
			err := o.agent.host.Send(ctx, to, messageKind, body)
			cancel()
			if err != nil && o.ctx.Err() == nil {
				o.agent.log.Debug().Str("event", "send_failed").Str("peer", string(to)).Err(err).Msg("message not delivered")
				for len(queue) > 0 {
					<-queue
				}
				o.agent.post(roster.Unreachable{ID: to})
			}
		}
	}
}
