// Package cluster is a cluster in one process: the training of every member is computed as an agent computes it, with the
// same learner, shards, rosters, plans, exchange, outer step and scores (agent/part), while clock and wire are virtual. The
// state after a round has the bits that agents on a network commit for the same configuration, ranks and contributors.
//
// Members take their turns on a few learners, one thread or more each, since what a learner computes does not depend on the
// number of threads; of a member there is only what is its own between rounds. Rounds run in lock-step: what the machines
// of gossip/roster settle by messages is decided here at once, by the rules they follow where nobody fails in the middle of
// a round. The roster is who is present, in the order of their numbers; a straggler is cut by roster.Patience and counts by
// the samples it has seen; who is absent begins anew when it is back, without momentum of its own. Gossip pairs (pairs.go)
// are what agents do not do: members of which each has a state and a clock of its own.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"shoal/agent/part"
	"shoal/eval"
	"shoal/eval/lab/row"
	"shoal/gossip/collective"
	"shoal/shards"
)

// Config is what a virtual cluster runs.
type Config struct {
	Recipe   part.Recipe // of learner, threads count for nothing
	Eval     eval.Config
	Agents   int
	Schedule Schedule
	Clock    Clock
	Threads  int // of this process; 0: one per CPU
}

// Cluster is a virtual cluster between two rounds. It is for one goroutine.
type Cluster struct {
	recipe   part.Recipe
	eval     eval.Config
	set      *shards.Set
	schedule Schedule
	clock    Clock
	agents   int
	workers  []*worker
	members  []*member

	state  []float32 // the shared state of the last round; with pairs the mean of the members'
	next   []float32 // memory for the one that follows
	origin []float32 // with pairs: the untrained state
	shared int       // elements of it that a learner shares, and that are averaged
	params int       // of those, the parameters

	number  int           // of the last round; 0: none
	images  int64         // seen so far
	now     time.Duration // virtual
	busy    []time.Duration
	history []time.Duration
	clocks  []time.Duration // with pairs: when each member was done with the last round
}

// member is what one member keeps from one round to the next, and what it gives to an exchange.
type member struct {
	state    []float32 // of its own, with pairs
	momentum []float32 // of its own; empty: zeros, or the shared one
	fresh    []float32 // the same after the local steps of a round that is not committed
	averager *collective.Averager
	delta    []float32 // with pairs the state after the local steps, and then after the exchange
	tally
}

// round is a round at work. Lists are by rank of its roster.
type round struct {
	number    int
	present   []int // members
	drawn     []bool
	stretches []part.Stretch
	plan      collective.Plan // with pairs: of two ranks
	partner   []int           // with pairs: of each rank; itself: nobody
	abreast   collective.Plan // with pairs: all their exchanges
	samples   []int64
	norms     []float64
}

// New makes a cluster of set whose members hold the untrained state. Close it in the end.
func New(cfg Config, set *shards.Set) (*Cluster, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("make a virtual cluster: %w", err)
	}
	averaging := cfg.Recipe.Averaging
	c := &Cluster{
		recipe: cfg.Recipe, eval: cfg.Eval, set: set, schedule: cfg.Schedule, clock: cfg.Clock, agents: cfg.Agents,
		busy: make([]time.Duration, cfg.Agents),
	}
	threads := cfg.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	if err := c.hire(min(threads, cfg.Agents), threads); err != nil {
		c.Close()
		return nil, fmt.Errorf("make a virtual cluster: %w", err)
	}
	local := c.workers[0].local(averaging.Momentum)
	c.params, c.shared = len(c.workers[0].learner.Params()), len(local)
	c.state = c.recipe.Formation(local, c.params)
	c.next = make([]float32, len(c.state))
	for range cfg.Agents {
		c.members = append(c.members, &member{averager: collective.NewAverager(averaging)})
	}
	c.now = c.clock.Start()
	if c.schedule.Pairs {
		c.origin, c.clocks = slices.Clone(c.state), slices.Repeat([]time.Duration{c.now}, cfg.Agents)
		for _, m := range c.members {
			m.state = slices.Clone(c.state)
		}
	}
	return c, nil
}

// check refuses what a virtual cluster cannot run.
func (c Config) check() error {
	switch {
	case c.Agents < 1:
		return fmt.Errorf("agents: %d; give at least 1", c.Agents)
	case c.Clock == nil:
		return errors.New("there is no clock")
	}
	return errors.Join(c.Schedule.Validate(c.Agents), c.Schedule.Suits(c.Recipe))
}

// hire makes workers that share the threads.
func (c *Cluster) hire(count, threads int) error {
	for i := range count {
		w, err := newWorker(c.recipe, c.set, max(threads/count, 1))
		if err != nil {
			return err
		}
		c.workers = append(c.workers, w)
		if path := c.recipe.Learner.Weights; i == 0 && path != "" {
			if _, err := w.learner.LoadPretrained(path); err != nil {
				return fmt.Errorf("learner.weights: %w", err)
			}
		}
	}
	return nil
}

// Close ends the learners.
func (c *Cluster) Close() {
	for _, w := range c.workers {
		w.learner.Close()
	}
}

// Parameters is the number of elements that an exchange averages.
func (c *Cluster) Parameters() int { return c.params }

// Number is the last round that was run.
func (c *Cluster) Number() int { return c.number }

// Hash is that of the shared state, as agents name it.
func (c *Cluster) Hash() string { return part.Hash(c.state) }

// Round runs one round and returns its line, without place and scores. After an error, the end of ctx among them, the
// cluster is as it was before.
func (c *Cluster) Round(ctx context.Context) (row.Round, error) {
	now, busy, history, clocks := c.now, slices.Clone(c.busy), slices.Clone(c.history), slices.Clone(c.clocks)
	line, err := c.round(ctx)
	if err != nil {
		c.now, c.busy, c.history, c.clocks = now, busy, history, clocks
		return line, fmt.Errorf("round %d: %w", c.number+1, err)
	}
	c.number = line.Round
	c.images = line.Images
	return line, nil
}

func (c *Cluster) round(ctx context.Context) (row.Round, error) {
	line := row.Round{Round: c.number + 1}
	r, err := c.begin()
	if err != nil {
		return line, fmt.Errorf("begin: %w", err)
	}
	l := c.ahead(r)
	sum, err := c.train(ctx, r, l)
	if err != nil {
		return line, fmt.Errorf("train: %w", err)
	}
	if line.Seconds, err = c.advance(r, l); err != nil {
		return line, fmt.Errorf("tell the time: %w", err)
	}
	if err := c.average(ctx, r, &line); err != nil {
		return line, fmt.Errorf("average: %w", err)
	}
	line.Missing = missing(c.agents, r.present, r.drawn, r.samples)
	line.Contributors = c.agents - len(line.Missing)
	line.Images = c.images + sum.images
	line.Epoch = float64(line.Images) / float64(c.set.Train.N)
	line.TrainLoss, line.TrainAccuracy = sum.means()
	line.Rate, line.Clock, line.Hash = sum.rate, c.now.Seconds(), c.Hash()
	return line, nil
}

// begin fixes the roster of the next round, and what each of it trains on.
func (c *Cluster) begin() (*round, error) {
	r := &round{number: c.number + 1}
	c.clock.Begin(r.number)
	r.present = c.schedule.present(c.agents, r.number)
	n := len(r.present)
	if n == 0 {
		return nil, errors.New("schedule.churn leaves nobody; let one member stay")
	}
	r.drawn = c.schedule.drawn(r.present, c.recipe.Seed, r.number)
	name := c.recipe.Averaging.Plan
	if name == collective.Auto { // as agents do while nothing is measured
		name = "ring"
	}
	ranks := n
	if c.schedule.Pairs {
		ranks, r.partner = 2, partners(n, c.recipe.Seed, r.number)
	}
	var err error
	if r.plan, err = collective.New(name, ranks); err != nil {
		return nil, err
	}
	if c.schedule.Pairs {
		r.abreast = abreast(r.plan, r.partner)
	}
	shares := c.schedule.sharesAmong(r.present)
	r.stretches, r.samples, r.norms = make([]part.Stretch, n), make([]int64, n), make([]float64, n)
	for i := range r.present {
		if !r.drawn[i] {
			continue
		}
		if r.stretches[i], err = c.recipe.Stretch(c.set.Train, r.number, i, shares); err != nil {
			return nil, err
		}
	}
	c.forgetAbsent(r.present)
	return r, nil
}

// forgetAbsent takes from members that are not there what a new process would not have.
func (c *Cluster) forgetAbsent(present []int) {
	there := make([]bool, c.agents)
	for _, m := range present {
		there[m] = true
	}
	for i, m := range c.members {
		if !there[i] {
			m.momentum, m.fresh, m.delta, m.averager = nil, nil, nil, collective.NewAverager(c.recipe.Averaging)
		}
	}
}
