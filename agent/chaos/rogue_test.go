//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/configs"
	"shoal/gossip"
	"shoal/gossip/collective"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
	"shoal/learner"
)

// rogue is a member with a valid key that does not play by the rules: a real host with real membership, and for those that
// lie from within the rounds the real machine, whose effects it carries out dishonestly.
type rogue struct {
	t       *testing.T
	cfg     configs.Config
	lie     string // hash | nan | norm | replay | flood
	host    *p2p.Host
	gossip  *gossip.Gossip
	machine *roster.Machine
	length  int // of what is averaged
	events  chan roster.Event
	ctx     context.Context
	working sync.WaitGroup
	stop    func() // ends it; cleanup does, too

	mu    sync.Mutex
	heard [][]byte // bodies of messages, to be said again
	lies  int
}

// maxHeard bounds what a rogue keeps to say it again.
const maxHeard = 2000

// newRogue joins agents that run, agreeing with agent 0 on everything when asked.
func newRogue(s *shelf, lie string) *rogue {
	s.t.Helper()
	cfg, _, err := configs.Load(s.config(0), nil, nil)
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &rogue{t: s.t, cfg: cfg, lie: lie, events: make(chan roster.Event, 1024), ctx: ctx}
	l, err := learner.New(cfg.Learner, 10, cfg.Seed)
	s.must(err)
	r.length = len(l.Shared(cfg.Averaging.Momentum))
	l.Close()
	identity, err := p2p.LoadIdentity(filepath.Join(s.dir, "rogue.key"))
	s.must(err)
	r.host, err = p2p.New(p2p.Config{Listen: "/ip4/127.0.0.1/tcp/0"}, identity)
	s.must(err)
	keys, err := gossip.ReadKeys(s.key())
	s.must(err)
	record, err := r.host.Record()
	s.must(err)
	self := gossip.Node{ID: r.host.ID(), Name: "rogue", Record: record}
	r.host.OnMessage(r.hear)
	where := cfg.Gossip
	where.Listen, where.Seeds = "127.0.0.1:0", s.gossip
	r.gossip, err = gossip.Start(ctx, where, gossip.Setup{Self: self, Keys: keys, Admit: r.host.Admit, Log: io.Discard})
	s.must(err)
	r.stop = sync.OnceFunc(func() {
		cancel()
		err := errors.Join(r.gossip.Close(), r.host.Close())
		r.working.Wait()
		if err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(r.stop)
	return r
}

func (r *rogue) hear(from roster.ID, _ string, body []byte) {
	r.mu.Lock()
	if len(r.heard) < maxHeard {
		r.heard = append(r.heard, slices.Clone(body))
	}
	r.mu.Unlock()
	if m, err := roster.Decode(body); err == nil && r.machine != nil {
		r.post(roster.Received{From: from, Message: m})
	}
}

func (r *rogue) post(e roster.Event) {
	select {
	case r.events <- e:
	case <-r.ctx.Done():
	}
}

// hello asks an agent what it greets with; the rogue says the same.
func (r *rogue) hello(s *shelf) (untrained string) {
	s.t.Helper()
	first := roster.ID(s.id(0))
	var text []byte
	s.until("agent-0 greets the rogue", 30*time.Second, func() (ok bool) {
		var err error
		text, err = r.host.Call(r.ctx, first, "hello", nil)
		return err == nil
	})
	var said struct {
		Shared map[string]string `json:"shared"`
	}
	s.must(json.Unmarshal(text, &said))
	r.host.HandleCall("hello", func(context.Context, roster.ID, []byte) ([]byte, error) { return text, nil })
	return said.Shared["untrained state"]
}

// join takes part in the rounds, in its way.
func (r *rogue) join(s *shelf) {
	untrained := r.hello(s)
	r.machine = roster.NewMachine(r.cfg.Rounds, r.host.ID(), untrained, roster.Stable{})
	r.working.Go(r.loop)
}

func (r *rogue) loop() {
	r.step(roster.Start{})
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	for {
		if at := r.machine.Wake(); !at.IsZero() {
			wake.Reset(max(time.Until(at), time.Millisecond))
		}
		select {
		case <-r.ctx.Done():
			return
		case v := <-r.gossip.Views():
			e := roster.ViewChange{Alive: []roster.ID{r.host.ID()}}
			for _, m := range v.Members {
				if m.ID != r.host.ID() && (m.State == gossip.Alive || m.State == gossip.Suspect) {
					e.Alive = append(e.Alive, m.ID)
				}
			}
			slices.Sort(e.Alive)
			r.step(e)
		case e := <-r.events:
			r.step(e)
		case <-wake.C:
			r.step(roster.Tick{})
		}
	}
}

// step carries out what the machine decides, with lies where there is something to lie about.
func (r *rogue) step(e roster.Event) {
	for _, effect := range r.machine.Step(time.Now(), e) {
		switch e := effect.(type) {
		case roster.Send:
			if body, err := e.Message.Encode(); err == nil {
				r.working.Go(func() { r.send(e.To, body) })
			}
		case roster.Train:
			r.working.Go(func() { r.post(roster.Trained{Samples: 60, Norm: 0.05}) })
		case roster.Reduce:
			r.working.Go(func() { r.reduce(e) })
		case roster.Fetch:
			r.working.Go(func() { r.post(roster.Fetched{Hash: e.Hash}) })
		case roster.Adopt:
			r.working.Go(func() { r.post(roster.Adopted{}) })
		}
	}
}

func (r *rogue) send(to roster.ID, body []byte) {
	ctx, cancel := context.WithTimeout(r.ctx, 2*time.Second)
	defer cancel()
	_ = r.host.Send(ctx, to, "roster", body) // nobody relies on it
	if r.lie != "replay" {
		return
	}
	r.mu.Lock()
	old := slices.Clone(r.heard[:min(len(r.heard), 20)])
	r.mu.Unlock()
	for _, body := range old {
		_ = r.host.Send(ctx, to, "roster", body)
	}
}

// reduce takes part in an exchange with what is not fit for it, and says it stored something else than the others.
func (r *rogue) reduce(e roster.Reduce) {
	r.mu.Lock()
	r.lies++
	r.mu.Unlock()
	rank, _ := e.Roster.Rank(r.host.ID())
	ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
	defer cancel()
	plan, err := collective.New("ring", e.Roster.Size())
	if e.Plan != "" {
		plan, err = collective.Decode(e.Plan, e.Roster.Size())
	}
	if err == nil {
		err = r.exchange(ctx, plan, rank, e)
	}
	if err != nil {
		r.post(roster.Failed{Ballot: e.Tag.Ballot, Reason: "it went wrong"})
		return
	}
	r.post(roster.Reduced{Ballot: e.Tag.Ballot, Hash: strings.Repeat("bad0", 16)})
}

func (r *rogue) exchange(ctx context.Context, plan collective.Plan, rank int, e roster.Reduce) error {
	links, err := r.host.Links(ctx, e.Tag, e.Roster)
	if err != nil {
		return err
	}
	vec := make([]float32, r.length)
	for i := range vec {
		switch r.lie {
		case "nan":
			vec[i] = float32(math.NaN())
		case "norm":
			vec[i] = 1e4
		}
	}
	weights := make([]float64, len(e.Samples))
	for i, n := range e.Samples {
		weights[i] = float64(n)
	}
	scales, limit := collective.Limits(e.Norms, r.cfg.Averaging.Bound)
	if _, err = collective.NewAverager(r.cfg.Averaging).Mean(ctx, plan, rank, weights, scales, limit, vec, links); err != nil {
		links.Abort()
		return err
	}
	return links.Close()
}

// knockEvery is how often each of a rogue's four floods of an agent asks to be let in again: an agent lets 20 connections a
// second in from one address, but not from loopback.
const knockEvery = 4 * time.Second / 20

// flood sends everybody messages, calls and streams, as fast as they go, until ctx ends.
func (r *rogue) flood(rng *rand.Rand, to []roster.ID) {
	junk := make([]byte, 32<<10)
	for i := range junk {
		junk[i] = byte(rng.Uint32())
	}
	for _, id := range to {
		for range 4 {
			r.working.Go(func() {
				for r.ctx.Err() == nil {
					ctx, cancel := context.WithTimeout(r.ctx, time.Second)
					err := errors.Join(r.host.Send(ctx, id, "roster", junk), r.host.Send(ctx, id, "roster", []byte(`{"kind":"ask"}`)))
					_, called := r.host.Call(ctx, id, "state", []byte(strings.Repeat("0", 64)))
					r.mu.Lock()
					r.lies += 3
					r.mu.Unlock()
					if err != nil && called != nil {
						select { // refused
						case <-time.After(knockEvery):
						case <-r.ctx.Done():
						}
					}
					cancel()
				}
			})
		}
	}
}

// Three honest agents beside one that lies from within the rounds: they commit all rounds, to the right state, and say who
// lied.
func TestChaosLiars(t *testing.T) {
	dice(t)
	t.Parallel()
	for _, lie := range []string{"hash", "nan", "norm", "replay"} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			const rounds = 15
			s := newLoopback(t, 3, small+fmt.Sprintf("rounds: {count: %d, steps: 20, expect: 4, gather: 1s}\n", rounds))
			s.startAll()
			r := newRogue(s, lie)
			r.join(s)
			s.until("all rounds are committed", 120*time.Second, func() bool {
				return !slices.ContainsFunc([]int{0, 1, 2}, func(i int) bool { return s.last(i).Round < rounds })
			})
			r.stop() // elected for the last score, it would keep them waiting for the next in line
			all := s.finish(rounds, 60*time.Second)
			if r.lies == 0 {
				t.Error("the rogue was never asked for a lie")
			}
			s.named(r.host.ID(), all)
		})
	}
}

// named expects the rogue to be blamed in the logs, and nobody honest to be missing or blamed beside it. What it gave to an
// exchange that succeeded counts: it is the lie about it that costs it its place.
func (s *shelf) named(id roster.ID, all []Ledger) {
	s.t.Helper()
	missing, turns, logged := 0, 0, 0
	for i, l := range all {
		for _, row := range l.Report.Rows {
			for _, m := range row.Missing {
				switch {
				case m.ID == id:
					missing++
				case strings.HasPrefix(m.Reason, "blames "+string(id)+", who stays"): // nobody else can know who is right: the two take turns
					turns++
				default:
					s.t.Errorf("round %d: %s is missing: %s", row.Round, m.ID, m.Reason)
				}
			}
		}
		for line := range strings.Lines(s.agents[i].out.String()) {
			if strings.Contains(line, `"event":"member_blamed"`) {
				logged++
				if !strings.Contains(line, `"message":"`+string(id)) {
					s.t.Errorf("%s blames another than the rogue: %s", s.name(i), line)
				}
			}
		}
	}
	s.t.Logf("named as missing %d times, an accuser in its place %d times, blamed in the logs %d times", missing, turns, logged)
	if turns > missing {
		s.t.Errorf("who accuses the rogue was left out %d times, the rogue %d times", turns, missing)
	}
	if logged == 0 {
		s.t.Error("the rogue is not blamed in any log")
	}
}

// Three honest agents beside one that floods them.
func TestChaosFlood(t *testing.T) {
	rng := dice(t)
	t.Parallel()
	const rounds = 30
	s := newLoopback(t, 3, small+fmt.Sprintf("rounds: {count: %d, steps: 20, expect: 3, gather: 1s}\n", rounds))
	s.startAll()
	s.reach(2, 60*time.Second)
	r := newRogue(s, "flood")
	var to []roster.ID
	for i := range s.agents {
		to = append(to, roster.ID(s.id(i)))
	}
	r.flood(rng, to)
	all := s.finish(rounds, 240*time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("%d messages and calls while %d rounds were trained; missing: %q", r.lies, rounds, absences(t, all[0]))
	if r.lies < 1000 {
		t.Errorf("%d messages are no flood", r.lies)
	}
}
