package cluster

import (
	"slices"
	"time"

	"shoal/eval/lab/row"
	"shoal/gossip/collective"
)

// Clock says how long things take on the machines of the cluster; *timing.Model is one. Ranks are those of the whole
// cluster, but for Exchange and Latency, whose are the roster's.
type Clock interface {
	// Begin begins a round, from 1: what is random is drawn from it.
	Begin(round int)
	// Start is from the start of an agent to its first step.
	Start() time.Duration
	// Steps is how long a rank trains on so many images in so many steps.
	Steps(rank, images, steps int) time.Duration
	// Evaluate is how long one agent scores so many images.
	Evaluate(images int) time.Duration
	// Exchange says when each rank is done with an exchange, by when each is ready.
	Exchange(plan collective.Plan, elements int, wire string, ready []time.Duration) (done []time.Duration, err error)
	// Keep is how long an agent hashes and stores a state of so many elements.
	Keep(elements int) time.Duration
	// Latency is how long a short message takes.
	Latency(from, to int) time.Duration
}

// Still is the clock of an experiment without times: nothing takes any.
type Still struct{}

// Begin does nothing.
func (Still) Begin(int) {}

// Start is 0.
func (Still) Start() time.Duration { return 0 }

// Steps is 0.
func (Still) Steps(int, int, int) time.Duration { return 0 }

// Evaluate is 0.
func (Still) Evaluate(int) time.Duration { return 0 }

// Exchange is done when all are ready.
func (Still) Exchange(_ collective.Plan, _ int, _ string, ready []time.Duration) ([]time.Duration, error) {
	return slices.Repeat([]time.Duration{slices.Max(ready)}, len(ready)), nil
}

// Keep is 0.
func (Still) Keep(int) time.Duration { return 0 }

// Latency is 0.
func (Still) Latency(int, int) time.Duration { return 0 }

// wordsPerRound is how many messages after one another a round takes beside its exchange: a coordinator's poll is answered
// while others train, and then come the last answer, begin, and done.
const wordsPerRound = 3

// lap is the virtual time of a round's local steps.
type lap struct {
	ready []time.Duration // by rank, since the round's begin; with pairs since the start of the run
	steps []int           // that each rank gets done
}

// ahead plans the local steps in time: who is so late that it is cut ends after the step at work. A member that scores the
// state of the round before does so first.
func (c *Cluster) ahead(r *round) lap {
	if c.schedule.Pairs {
		return c.aheadPairs(r)
	}
	n := len(r.present)
	l := lap{make([]time.Duration, n), make([]int, n)}
	for i, m := range r.present {
		l.steps[i] = len(r.stretches[i].Batches)
		l.ready[i] = c.busy[m] + c.stepsOf(r, i, l.steps[i])
	}
	until := c.patience(r, l)
	for i, m := range r.present {
		if l.ready[i] <= until {
			continue
		}
		for l.steps[i] > 0 && c.busy[m]+c.stepsOf(r, i, l.steps[i]-1) >= until {
			l.steps[i]--
		}
		l.ready[i] = max(c.busy[m]+c.stepsOf(r, i, l.steps[i]), until)
	}
	for i, ready := range l.ready {
		if r.drawn[i] {
			c.history = append(c.history, ready)
		}
	}
	c.history = c.history[max(0, len(c.history)-historyLen):]
	return l
}

// patience is when the members of a round that still train are told to stop.
func (c *Cluster) patience(r *round, l lap) time.Duration {
	var training []time.Duration
	for i, ready := range l.ready {
		if r.drawn[i] {
			training = append(training, ready)
		}
	}
	return deadline(training, c.history, c.recipe.Rounds.Deadline, c.recipe.Rounds.Gather)
}

// stepsOf is how long rank i of a round takes for its first steps.
func (c *Cluster) stepsOf(r *round, i, steps int) time.Duration {
	images := 0
	for _, b := range r.stretches[i].Batches[:steps] {
		images += len(b)
	}
	usual := c.clock.Steps(r.present[i], images, steps)
	return time.Duration(float64(usual) * c.schedule.slow(r.present[i], r.number))
}

// advance moves the clock past the round's exchange, and says where the time went.
func (c *Cluster) advance(r *round, l lap) (row.RoundSeconds, error) {
	if c.schedule.Pairs {
		return c.advancePairs(r, l)
	}
	done, err := c.clock.Exchange(r.plan, c.shared, c.recipe.Averaging.Wire, l.ready)
	if err != nil {
		return row.RoundSeconds{}, err
	}
	last := 0
	for i, at := range l.ready {
		if at > l.ready[last] {
			last = i
		}
	}
	words := time.Duration(0)
	for from := range r.present {
		words = max(words, c.clock.Latency(from, 0), c.clock.Latency(0, from))
	}
	kept, words := c.clock.Keep(len(c.state)), words*wordsPerRound
	if len(r.present) == 1 {
		words = 0
	}
	end := slices.Max(done)
	busy := c.busy[r.present[last]]
	s := row.RoundSeconds{
		Train: (l.ready[last] - busy).Seconds(), Evaluate: busy.Seconds(),
		Average: (end - l.ready[last] + kept).Seconds(), Wait: words.Seconds(),
	}
	c.now += end + kept + words
	clear(c.busy)
	return s, nil
}
