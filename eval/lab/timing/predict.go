package timing

import (
	"fmt"
	"slices"
	"time"

	"shoal/gossip/collective"
)

// Course is a training run whose rounds are all alike.
type Course struct {
	Images   int64 // seen by all agents together
	Steps    int   // of a round, at each agent
	Elements int   // that are averaged
	Plan     string
	Wire     string
	Delayed  bool // the exchange of a round runs beside the steps of the next
	Scores   int  // evaluations of the test set, after rounds spread evenly
	Scored   int  // images that an agent looks at for one evaluation, those for re-estimated statistics among them (eval.Scorer.Share)
	Stored   int  // elements of the state kept after a round; 0: those averaged
}

// Phases are where the time of a course goes, on the path of the slowest.
type Phases struct {
	Rounds                                int
	Start, Train, Average, Wait, Evaluate time.Duration
}

// Total is the sum.
func (p Phases) Total() time.Duration { return p.Start + p.Train + p.Average + p.Wait + p.Evaluate }

// words is how many short messages follow each other in a round beside its exchange: the last answer to the poll, begin, done.
const words = 3

// Trained is the sum of what lies between the first step and the last score.
func (p Phases) Trained() time.Duration { return p.Total() - p.Start }

// Predict adds up a course's rounds. With a delayed exchange, what of it outlasts the steps counts as averaging, and what it
// takes of the cores that train.
func (m *Model) Predict(c Course) (Phases, error) {
	n := m.work.Agents
	perRound := int64(n) * int64(c.Steps) * int64(m.work.Batch)
	if perRound < 1 || c.Images < 1 {
		return Phases{}, fmt.Errorf("predict %d images in rounds of %d steps: give both from 1", c.Images, c.Steps)
	}
	plan, err := collective.New(c.Plan, n)
	if err != nil {
		return Phases{}, err
	}
	p := Phases{Rounds: int((c.Images + perRound - 1) / perRound), Start: m.Start()}
	if m.steady() {
		r, err := m.round(c, plan, 1)
		k := time.Duration(p.Rounds)
		p.Train, p.Average, p.Wait = k*r.Train, k*r.Average, k*r.Wait
		if err != nil {
			return Phases{}, err
		}
	}
	for round := 0; round < p.Rounds && !m.steady(); round++ {
		r, err := m.round(c, plan, round+1)
		if err != nil {
			return Phases{}, err
		}
		p.Train, p.Average, p.Wait = p.Train+r.Train, p.Average+r.Average, p.Wait+r.Wait
	}
	p.Evaluate = time.Duration(c.Scores) * m.Evaluate(c.Scored)
	return p, nil
}

// steady says whether all rounds are alike: nothing of them is random.
func (m *Model) steady() bool {
	return m.cfg.Stragglers.Distribution != "lognormal" && m.cfg.Network.Jitter == 0
}

// round is one round of a course.
func (m *Model) round(c Course, plan collective.Plan, number int) (Phases, error) {
	m.Begin(number)
	ready := make([]time.Duration, m.work.Agents)
	for r := range ready {
		ready[r] = m.Steps(r, c.Steps*m.work.Batch, c.Steps)
	}
	done, err := m.Exchange(plan, c.Elements, c.Wire, ready)
	if err != nil {
		return Phases{}, err
	}
	p := Phases{Train: slices.Max(ready)}
	exchange, kept := slices.Max(done)-p.Train, m.Keep(max(c.Stored, c.Elements))
	p.Average = exchange + kept
	if c.Delayed {
		p.Average = max(exchange-p.Train, 0) + kept + m.beside(plan, c)
	}
	if len(ready) > 1 {
		p.Wait = words * m.Latency(0, len(ready)-1)
	}
	return p, nil
}

// beside is by how much an exchange that runs beside steps holds them up: what the busiest rank sends and receives, as the
// part of its cores that this takes.
func (m *Model) beside(plan collective.Plan, c Course) time.Duration {
	chunks := make([]int, plan.Size)
	for _, step := range plan.Steps {
		for _, move := range step {
			chunks[move.From]++
			chunks[move.To]++
		}
	}
	bytes := float64(collective.Bytes(c.Wire, c.Elements, m.work.Segment)) / float64(plan.Chunks)
	return seconds(float64(slices.Max(chunks)) * bytes * m.busy(c.Wire) / m.cores())
}
