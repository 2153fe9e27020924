// Package gossip says who is in the cluster: memberlist beneath, views above.
//
// A member's name in memberlist is its peer ID, its metadata is a name for people and the libp2p peer record that it
// signed. Both are checked before a member is let in. Everything is encrypted with the cluster key, so that who lacks
// it sees and changes nothing. Announcements over pubsub are for what is periodic and superseded.
//
// A view is this agent's opinion and is late by design: a dead member shows here after several seconds. Streams and
// deadlines tell sooner.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"

	"shoal/gossip/roster"
)

const (
	// maxRefused and maxConflicts bound what waits to be read; older events are dropped.
	maxRefused   = 16
	maxConflicts = 16
)

// Node is this agent as it presents itself.
type Node struct {
	ID     roster.ID
	Name   string // for people, at most 64 bytes
	Record []byte // the signed libp2p peer record, at most 440 bytes
}

// tuning is how fast things go: made for Pis on a LAN, faster in tests.
type tuning struct {
	probeInterval, probeTimeout, gossipInterval, pushPullInterval time.Duration
	rejoinFirst, rejoinEvery                                      time.Duration // pauses of the rejoin loop
	quiet, restless                                               time.Duration // of a view: publish after, and at the latest after
	readmit                                                       time.Duration
	conflictAfter                                                 time.Duration
	rereadKeys                                                    time.Duration
	askAgain                                                      time.Duration // of a double of this agent
}

// pi is the profile of a Pi on a LAN. A dead member is declared so about 6 to 9 s after its death: of n members each probes
// one every 600 ms, so that one death in a hundred is found only after 4.6 intervals, whatever n is; the probe takes one, and
// then the member has 5.0 to 5.4 s to object. A probe may take 250 ms, and the rest of the interval over TCP and through
// others, because training takes every core; those must be able to say within the interval that they got no answer either,
// or memberlist takes this member for the slow one. Who is suspected wrongly says so in time. Two members exchange all that
// they know every 3 s: gossip may pass a member by, which then lacks the newcomer until such an exchange; one of 64 members
// takes about 30 kB.
func pi() tuning {
	return tuning{
		probeInterval: 600 * time.Millisecond, probeTimeout: 250 * time.Millisecond,
		gossipInterval: 200 * time.Millisecond, pushPullInterval: 3 * time.Second,
		rejoinFirst: 250 * time.Millisecond, rejoinEvery: 10 * time.Second,
		quiet: 50 * time.Millisecond, restless: 500 * time.Millisecond,
		readmit: time.Second, conflictAfter: 15 * time.Second,
		rereadKeys: 2 * time.Second, askAgain: 4 * time.Second,
	}
}

// Gossip is this agent's part in membership. All its methods may be called at once.
type Gossip struct {
	list    *memberlist.Memberlist
	ring    *memberlist.Keyring
	table   *table
	addr    string
	seeds   []string
	tuning  tuning
	log     *log.Logger
	views   chan View
	refused chan error

	memoryFile string // empty: none
	memory     memory // of the rejoin loop alone

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu   sync.Mutex // orders Leave and Close
	shut bool
}

// Setup is what membership works with, beside its configuration.
type Setup struct {
	Self Node
	// Keys are those of the cluster. If the configuration has a key file, it is read again every 2 s, and what it holds
	// then counts.
	Keys Keys
	// Admit is called with name and record of every member before it is let in, again whenever it is heard of, and at
	// once from several goroutines; it must be quick, and its error keeps the member out.
	Admit func(name string, record []byte) error
	// Prove signs with the private key of this agent's identity; nil: another agent of the same identity is not found out.
	Prove func(text []byte) ([]byte, error)
	// Memory is a file where the addresses of members are kept for the next start; empty: nowhere.
	Memory string
	// Log gets lines that begin with their level in brackets, as in "[WARN] ", one per Write; nil: nobody does.
	Log io.Writer
}

// Start listens at cfg.Listen and looks for the seeds until one answers; that none does yet is no error. ctx bounds the
// start only: membership ends with Close.
func Start(ctx context.Context, cfg Config, with Setup) (*Gossip, error) {
	return start(ctx, cfg, with, pi(), listen)
}

// wire gives memberlist's configuration a transport that listens at a host:port, and returns the host:port that others
// are told.
type wire func(ctx context.Context, conf *memberlist.Config, listen string) (string, error)

func start(ctx context.Context, cfg Config, with Setup, tune tuning, listen wire) (*Gossip, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start membership: %w", err)
	}
	meta, err := encodeMeta(with.Self.Name, with.Self.Record)
	if err != nil {
		return nil, fmt.Errorf("start membership as %q: %w", with.Self.Name, err)
	}
	if with.Log == nil {
		with.Log = io.Discard
	}
	g := &Gossip{
		table: newTable(with.Self, meta, with.Admit, tune.conflictAfter), seeds: cfg.Seeds, tuning: tune,
		views: make(chan View, 1), refused: make(chan error, maxRefused), memoryFile: with.Memory,
	}
	g.log = newLogger(with.Log, g.table)
	if g.table.doubles, err = newDoubles(with.Prove, tune.askAgain); err != nil {
		return nil, err
	}
	if g.memory, err = readMemory(with.Memory); err != nil {
		g.log.Printf("[WARN] gossip: %v; only the seeds are known", err)
	}
	if g.ring, err = keyring(with.Keys); err != nil {
		return nil, err
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	conf := settings(tune, g.ring, g.log)
	conf.Name = string(with.Self.ID)
	g.table.attach(conf)
	conf.AdvertiseAddr = g.memory.host()
	if g.addr, err = listen(g.ctx, conf, cfg.Listen); err == nil {
		g.table.addr = g.addr
		g.list, err = memberlist.Create(conf)
	}
	if err != nil {
		g.cancel()
		return nil, fmt.Errorf("start membership at gossip.listen %q: %w", cfg.Listen, err)
	}
	g.working.Go(g.publish)
	g.working.Go(g.rejoin)
	g.working.Go(g.inquire)
	if cfg.KeyFile != "" {
		g.working.Go(func() { g.watchKeys(cfg.KeyFile, with.Keys) })
	}
	return g, nil
}

// Views gives the newest view whenever membership changed and has been quiet for a moment. A reader that is slow misses
// those between. Reading from it is for one goroutine. It is never closed.
func (g *Gossip) Views() <-chan View { return g.views }

// Conflicts tells of two agents that use one identity.
func (g *Gossip) Conflicts() <-chan Conflict { return g.table.conflicts }

// Refused tells of seeds that this agent cannot join: a *KeyError for each that has another cluster key.
func (g *Gossip) Refused() <-chan error { return g.refused }

// Addr is the host:port at which others join this agent.
func (g *Gossip) Addr() string { return g.addr }

// renewWithin bounds how long a renewed record may wait to be sent for the first time.
const renewWithin = 5 * time.Second

// Renew tells everybody this agent's new peer record, because its addresses changed.
func (g *Gossip) Renew(record []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return errors.New("renew the peer record: membership is closed")
	}
	meta, err := encodeMeta(g.table.self.Name, record)
	if err != nil {
		return fmt.Errorf("renew the peer record: %w", err)
	}
	g.table.meta.Store(&meta)
	if err := g.list.UpdateNode(renewWithin); err != nil {
		return fmt.Errorf("renew the peer record: %w", err)
	}
	return nil
}

// WatchAddresses calls f whenever the addresses of a host have changed, until ctx ends.
func WatchAddresses(ctx context.Context, h host.Host, f func()) error {
	changes, err := h.EventBus().Subscribe(new(event.EvtLocalAddressesUpdated))
	if err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	defer changes.Close()
	known := fmt.Sprint(h.Addrs())
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changes.Out():
			if !open {
				return nil // the host is closed
			}
			if now := fmt.Sprint(h.Addrs()); now != known { // the first event tells what is known
				known = now
				f()
			}
		}
	}
}

// Leave tells everybody that this agent goes on purpose, and returns when that is on its way or after timeout. Others
// then show it as Left, not Dead. Close is still to be called.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return errors.New("leave the cluster: membership is closed")
	}
	deadline := time.Now().Add(timeout)
	g.sayGoodbye(timeout / 2)
	if err := g.list.Leave(max(time.Until(deadline), time.Millisecond)); err != nil {
		return fmt.Errorf("leave the cluster within %v: %w", timeout, err)
	}
	return nil
}

// sayGoodbye tells every live member over TCP, because memberlist's own news of a leave does not reach the application
// as such.
func (g *Gossip) sayGoodbye(timeout time.Duration) {
	text := encodeGoodbye(g.table.self.ID)
	var sent sync.WaitGroup
	turns := make(chan struct{}, maxJoins)
	for _, addr := range g.table.live() {
		sent.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			// A member that does not hear it shows us as dead.
			_ = g.sendTo(addr, text)
		})
	}
	done := make(chan struct{})
	g.working.Go(func() { sent.Wait(); close(done) })
	select {
	case <-done:
	case <-time.After(timeout):
	}
}

// Close stops at once, which to others looks like death unless Leave came before.
func (g *Gossip) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil
	}
	g.shut = true
	g.cancel()
	err := g.list.Shutdown()
	g.working.Wait()
	if err != nil {
		return fmt.Errorf("stop membership: %w", err)
	}
	return nil
}
