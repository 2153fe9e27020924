package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

const (
	// maxAnnouncementBytes bounds a message on the wire, and MaxAnnouncementBodyBytes the body within it.
	maxAnnouncementBytes     = 64 << 10
	MaxAnnouncementBodyBytes = 60 << 10
	// maxKindBytes bounds an announcement's kind.
	maxKindBytes = 64
	// announceQueue is how many messages pubsub keeps per peer and on the way in: with its default of 32 a burst loses a
	// third.
	announceQueue = 256
	// maxReceived bounds the announcements that wait to be read; the oldest are dropped.
	maxReceived = 256
	// maxFloods bounds the floods that wait to be told of.
	maxFloods = 16
	// readyWithin is how long a publication waits for the first peer on the topic when peers are connected.
	readyWithin = 250 * time.Millisecond
	// maxAuthors bounds the authors whose last sequence number is kept, and authorTTL for how long: a Pi whose clock
	// went back at boot is heard again after that, and what is older than it is superseded anyway.
	maxAuthors = 1024
	authorTTL  = 2 * time.Minute
)

// Announcement is something that a member told everybody.
type Announcement struct {
	From roster.ID // who signed it
	Kind string
	Body []byte
}

// Announcer tells everybody what is periodic and superseded: progress, metrics, scores. Announcements may be lost, be
// late or change order, and nothing may rest on them.
type Announcer struct {
	self     peer.ID
	host     host.Host
	topic    *pubsub.Topic
	sub      *pubsub.Subscription
	received chan Announcement
	floods   chan roster.ID
	authored *quotas         // by who signed
	relayed  *quotas         // by who sent
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	working  sync.WaitGroup
}

// NewAnnouncer joins the topic. ctx bounds the start only: announcements end with Close.
func NewAnnouncer(ctx context.Context, h host.Host, topic string) (*Announcer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("join topic %s: %w", topic, err)
	}
	a := &Announcer{
		self: h.ID(), host: h, received: make(chan Announcement, maxReceived), floods: make(chan roster.ID, maxFloods),
		authored: newQuotas(authorRate, authorBurst), relayed: newQuotas(relayRate, relayBurst),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	if err := a.join(topic); err != nil {
		a.cancel()
		return nil, fmt.Errorf("join topic %s: %w", topic, err)
	}
	a.working.Go(a.receive)
	return a, nil
}

func (a *Announcer) join(topic string) error {
	quiet := slog.New(slog.DiscardHandler)
	ps, err := pubsub.NewGossipSub(a.ctx, a.host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		// Inline, since validators beside each other change the order, and then the later of two is taken for a replay.
		pubsub.WithDefaultValidator(pubsub.NewBasicSeqnoValidator(newAuthors(), quiet), pubsub.WithValidatorInline(true)),
		// To all peers on the topic and not to the mesh alone, which forms at the next heartbeat only and is everybody
		// anyway while they are few.
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerScore(a.scoring()),
		pubsub.WithPeerOutboundQueueSize(announceQueue),
		pubsub.WithValidateQueueSize(announceQueue),
		pubsub.WithMaxMessageSize(maxAnnouncementBytes),
		pubsub.WithLogger(quiet), pubsub.WithRPCLogger(quiet),
	)
	if err != nil {
		return err
	}
	if err = ps.RegisterTopicValidator(topic, a.validate, pubsub.WithValidatorInline(true)); err != nil {
		return err
	}
	if a.topic, err = ps.Join(topic); err != nil {
		return err
	}
	a.sub, err = a.topic.Subscribe(pubsub.WithBufferSize(announceQueue))
	return err
}

// scoring makes pubsub drop unread all that a muted peer sends; nothing else lowers or raises a score.
func (a *Announcer) scoring() (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	score := func(p peer.ID) float64 {
		if now := time.Now(); a.authored.muted(p, now) || a.relayed.muted(p, now) {
			return graylisted
		}
		return 0
	}
	return &pubsub.PeerScoreParams{
			SkipAtomicValidation: true, AppSpecificScore: score, AppSpecificWeight: 1, DecayInterval: time.Second, DecayToZero: 0.01,
		}, &pubsub.PeerScoreThresholds{
			SkipAtomicValidation: true, GossipThreshold: graylist, PublishThreshold: graylist, GraylistThreshold: graylist,
		}
}

// validate is asked for every announcement, this agent's own among them: it must be one, and within what its author and
// the peer that sent it may send.
func (a *Announcer) validate(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == a.self {
		return pubsub.ValidationAccept
	}
	if _, _, err := decodeAnnouncement(m.GetData()); err != nil {
		return pubsub.ValidationReject
	}
	now := time.Now()
	for _, by := range []struct {
		quotas *quotas
		peer   peer.ID
	}{{a.relayed, from}, {a.authored, m.GetFrom()}} {
		ok, fresh := by.quotas.take(by.peer, now)
		if fresh {
			offer(a.floods, roster.ID(by.peer.String()))
		}
		if !ok {
			return pubsub.ValidationIgnore
		}
	}
	return pubsub.ValidationAccept
}

// Floods names each peer that announced or passed on too much: what it sends is ignored until it has been quiet for a
// minute. It is never closed.
func (a *Announcer) Floods() <-chan roster.ID { return a.floods }

// Publish announces a body to everybody else and returns at once, but waits a moment for the first peer while a
// connection is young. Nobody confirms it.
func (a *Announcer) Publish(ctx context.Context, kind string, body []byte) error {
	text, err := encodeAnnouncement(kind, body)
	if err != nil {
		return err
	}
	a.awaitPeer(ctx)
	if err := a.topic.Publish(ctx, text); err != nil {
		return fmt.Errorf("announce %s: %w", kind, err)
	}
	return nil
}

// awaitPeer waits for a peer on the topic, if a peer is connected at all.
func (a *Announcer) awaitPeer(ctx context.Context) {
	ready := func() bool { return len(a.topic.ListPeers()) > 0 || len(a.host.Network().Peers()) == 0 }
	if ready() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	again := time.NewTicker(readyWithin / 10)
	defer again.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// Received gives the announcements of others. It is never closed.
func (a *Announcer) Received() <-chan Announcement { return a.received }

// Close leaves the topic. The host goes on.
func (a *Announcer) Close() {
	a.sub.Cancel()
	a.cancel()
	a.working.Wait()
}

func (a *Announcer) receive() {
	for {
		m, err := a.sub.Next(a.ctx)
		if err != nil {
			return // closed
		}
		kind, body, err := decodeAnnouncement(m.GetData())
		if m.GetFrom() == a.self || err != nil {
			continue
		}
		offer(a.received, Announcement{roster.ID(m.GetFrom().String()), kind, bytes.Clone(body)})
	}
}

// encodeAnnouncement is length of kind (1 byte), kind, body.
func encodeAnnouncement(kind string, body []byte) ([]byte, error) {
	if len(kind) == 0 || len(kind) > maxKindBytes {
		return nil, fmt.Errorf("announce %q: kind of %d bytes, want 1 to %d", kind, len(kind), maxKindBytes)
	}
	if len(body) > MaxAnnouncementBodyBytes {
		return nil, fmt.Errorf("announce %s: body of %d bytes, limit %d", kind, len(body), MaxAnnouncementBodyBytes)
	}
	return append(append([]byte{byte(len(kind))}, kind...), body...), nil
}

// decodeAnnouncement is encodeAnnouncement's inverse. The body aliases text.
func decodeAnnouncement(text []byte) (kind string, body []byte, err error) {
	if len(text) == 0 {
		return "", nil, errors.New("decode announcement: it is empty")
	}
	n := int(text[0])
	if n == 0 || n > maxKindBytes || len(text) < 1+n {
		return "", nil, fmt.Errorf("decode announcement: kind of %d bytes in %d", n, len(text))
	}
	if body = text[1+n:]; len(body) > MaxAnnouncementBodyBytes {
		return "", nil, fmt.Errorf("decode announcement: body of %d bytes, limit %d", len(body), MaxAnnouncementBodyBytes)
	}
	return string(text[1 : 1+n]), body, nil
}

// authors remembers the last sequence number of each author, so that old announcements cannot be played again.
type authors struct {
	mu   sync.Mutex
	last map[peer.ID]author
	now  func() time.Time
}

type author struct {
	seqno []byte
	at    time.Time
}

func newAuthors() *authors { return &authors{last: map[peer.ID]author{}, now: time.Now} }

// Get is the author's last sequence number, nil if none is known.
func (s *authors) Get(_ context.Context, p peer.ID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.last[p]; ok && s.now().Sub(a.at) < authorTTL {
		return a.seqno, nil
	}
	return nil, nil
}

// Put remembers an author's last sequence number. When there are too many authors, the stale ones go, or else it fails.
func (s *authors) Put(_ context.Context, p peer.ID, seqno []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if _, known := s.last[p]; !known && len(s.last) >= maxAuthors {
		for q, a := range s.last {
			if now.Sub(a.at) >= authorTTL {
				delete(s.last, q)
			}
		}
		if len(s.last) >= maxAuthors {
			return fmt.Errorf("remember author %s: there are %d", p, maxAuthors)
		}
	}
	s.last[p] = author{seqno, now}
	return nil
}
