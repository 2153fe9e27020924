package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"shoal/configs"
	"shoal/eval"
	"shoal/gossip"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
	"shoal/learner"
	"shoal/shards"
)

// Agent is one running member. One goroutine, loop, owns everything that is not marked otherwise; work that takes long
// runs beside it and answers with an event.
type Agent struct {
	cfg     configs.Config
	version string
	shared  map[string]string // what all members must have the same
	log     zerolog.Logger
	started time.Time
	node    string // see nodeID

	store     *store
	host      *p2p.Host
	gossip    *gossip.Gossip
	announcer *gossip.Announcer
	journal   *eval.Journal
	trainer   *trainer
	machine   *roster.Machine
	outbox    *outbox

	events  chan any      // answers to the loop
	quit    chan struct{} // closed when the loop has ended: nobody listens to events any more
	working sync.WaitGroup

	members  map[roster.ID]*member
	view     gossip.View
	round    roundWork
	scores   scoreWork
	exports  exporting
	serving  chan struct{} // holds one while a portion of another's evaluation is done
	advice   advice
	accuracy accuracy
	diverged divergence
	ending   ending
	shown    shown     // what HTTP shows
	told     time.Time // when the others heard of our progress last
	cpu      cpuShare

	moment      moment      // nil but in tests
	coordinates atomic.Bool // this member coordinates, or did, the ballot it promised last
}

// eventQueue bounds the answers that wait for the loop: senders block, they do not lose.
const eventQueue = 256

// gcPercent is how much garbage may pile up, in percent of what is alive, before it is collected. A training step makes
// none, so collecting early costs little, and an agent of MobileNetV2 at batch 32 peaks at 110 MB instead of 140 MB.
const gcPercent = 25

// tameGarbage sets gcPercent unless somebody chose another value than Go's own, and returns what takes it back.
func tameGarbage() (undo func()) {
	before := debug.SetGCPercent(gcPercent)
	if before != 100 {
		debug.SetGCPercent(before)
	}
	return func() { debug.SetGCPercent(before) }
}

// Run is the life of one agent: it joins, trains its rounds and leaves. It returns nil when the run is finished, or when
// ctx ended and the agent left in good order.
func Run(ctx context.Context, cfg configs.Config, version string, log zerolog.Logger) error {
	return run(ctx, cfg, version, log, nil)
}

func run(ctx context.Context, cfg configs.Config, version string, log zerolog.Logger, at moment) error {
	a := &Agent{
		moment: at,
		cfg:    cfg, version: version, log: log, started: time.Now(), node: nodeID(),
		events: make(chan any, eventQueue), quit: make(chan struct{}), serving: make(chan struct{}, 1), members: map[roster.ID]*member{},
	}
	defer tameGarbage()()
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	err := a.open(work)
	if err == nil {
		err = a.loop(ctx, work)
	}
	close(a.quit)
	stop()
	if a.trainer != nil {
		a.trainer.stop()
	}
	return errors.Join(err, a.close())
}

// open builds the parts from the bottom up: state directory, data, learner, streams, membership, HTTP.
func (a *Agent) open(ctx context.Context) (err error) {
	if a.store, err = openStore(a.cfg.State); err != nil {
		return err
	}
	relaxed := a.cfg.Rounds.Durable == roster.DurableRelaxed
	if err = a.store.settle(relaxed, bootID()); err != nil {
		return err
	}
	if err = a.openJournal(); err != nil {
		return err
	}
	if relaxed {
		a.journal.Relax()
	}
	set, err := shards.Open(ctx, a.cfg.Data, a.cfg.Learner.Input, a.cfg.Seed)
	if err != nil {
		return fmt.Errorf("%w: open data set: %w", ErrData, err)
	}
	l, err := learner.New(a.cfg.Learner, len(set.Classes), a.cfg.Seed)
	if err != nil {
		return fmt.Errorf("make learner: %w", err)
	}
	if err = a.begin(l); err != nil {
		return err
	}
	a.trainer = newTrainer(a.cfg, l, set)
	if err = a.resume(); err != nil {
		return err
	}
	a.shared = a.cfg.Agreement()
	a.shared["data"], a.shared["untrained state"] = set.Hash, a.round.initial
	a.start(func() { a.trainer.run(ctx) })
	if err = a.connect(ctx); err != nil {
		return err
	}
	return a.serveHTTP(ctx)
}

// begin gives the learner the weights that the configuration wants it to begin from.
func (a *Agent) begin(l *learner.Learner) error {
	path := a.cfg.Learner.Weights
	if path == "" {
		return nil
	}
	fresh, err := l.LoadPretrained(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	a.log.Info().Str("event", "pretrained").Str("file", path).Strs("fresh", fresh).Msg("begins from these weights")
	return nil
}

func (a *Agent) openJournal() (err error) {
	var dropped int64
	a.journal, dropped, err = eval.OpenJournal(a.store.path("journal.jsonl"))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if dropped > 0 {
		a.log.Warn().Str("event", "journal_repaired").Int64("bytes_dropped", dropped).Msg("the journal ended in a torn line")
	}
	return nil
}

// connect opens streams and membership.
func (a *Agent) connect(ctx context.Context) error {
	identity, err := p2p.LoadIdentity(a.store.path("identity.key"))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	keys, err := gossip.ReadKeys(a.cfg.Gossip.KeyFile)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if a.host, err = p2p.New(a.cfg.P2P, identity); err != nil {
		return busy(err)
	}
	if err := a.checkMemory(); err != nil {
		return err
	}
	a.machine = roster.NewMachine(a.cfg.Rounds, a.host.ID(), a.round.initial, a.round.stable)
	a.machine.SetPlanner(a.planner)
	a.advice.measure = a.measureWay
	if err := a.recordLast(); err != nil {
		return err
	}
	a.outbox = newOutbox(ctx, a)
	a.scratch()
	a.show()
	a.handle()
	return a.join(ctx, keys, identity.Sign)
}

// busy marks an address in use.
func busy(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// start runs f beside the loop; close waits for it.
func (a *Agent) start(f func()) { a.working.Go(f) }

// post gives the loop an event. It blocks while the queue is full, and drops the event when the loop has ended.
func (a *Agent) post(e any) {
	select {
	case a.events <- e:
	case <-a.quit:
	}
}

// close takes everything down, in the reverse order of open.
func (a *Agent) close() error {
	a.log.Debug().Str("event", "closing").Msg("closing")
	defer a.log.Debug().Str("event", "closed").Msg("closed")
	var errs []error
	if a.gossip != nil {
		errs = append(errs, a.gossip.Close())
	}
	if a.announcer != nil {
		a.announcer.Close()
	}
	if a.host != nil {
		errs = append(errs, a.host.Close())
	}
	a.working.Wait()
	if a.trainer != nil {
		a.trainer.learner.Close()
	}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.close())
	}
	return errors.Join(errs...)
}

// listen is net.Listen on a TCP address.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, busy(fmt.Errorf("listen on %s: %w; give another with --set http.listen=HOST:PORT", addr, err))
	}
	return l, nil
}

func (a *Agent) file(name string) string { return filepath.Join(a.store.dir, name) }
