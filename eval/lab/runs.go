package lab

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"shoal/agent/part"
	"shoal/configs"
	"shoal/eval/lab/cluster"
	"shoal/eval/lab/row"
	"shoal/eval/lab/timing"
	"shoal/shards"
)

// Run is one combination of an experiment with one seed.
type Run struct {
	row.Place
	base configs.Config
	own  settings
}

// runs are all combinations: variants, then axes in their order, then seeds, the last varying fastest. The error joins
// what is wrong with any of them.
func (d *document) runs() ([]Run, error) {
	variants := d.variants
	if len(variants) == 0 {
		variants = []variant{{}}
	}
	count := len(variants) * d.Repetitions
	for _, a := range d.axes {
		count *= len(a.values)
		if count > maxRuns {
			return nil, fmt.Errorf("axes: more than %d runs; take values or axes away", maxRuns)
		}
	}
	var list []Run
	seen := map[string]bool{}
	for i := range count {
		run, err := d.run(variants, i)
		if err != nil {
			return nil, fmt.Errorf("run %q: %w", run.Run, err)
		}
		if seen[run.Run] {
			return nil, fmt.Errorf("run %s comes twice; give variants different names, and axes different values", run.Run)
		}
		seen[run.Run] = true
		list = append(list, run)
	}
	return list, nil
}

// run is combination i.
func (d *document) run(variants []variant, i int) (Run, error) {
	var r Run
	r.Repetition, i = i%d.Repetitions, i/d.Repetitions
	values := make([]string, len(d.axes))
	for k := len(d.axes) - 1; k >= 0; k-- {
		n := len(d.axes[k].values)
		values[k], i = d.axes[k].values[i%n], i/n
	}
	chosen := variants[i]
	changes := append([]configs.Override(nil), chosen.changes...)
	for k, a := range d.axes {
		changes = append(changes, configs.Override{Path: a.path, Text: values[k], Origin: a.origin})
		r.Axes = append(r.Axes, [2]string{a.path, values[k]})
	}
	r.Variant, r.Axes = chosen.name, append([][2]string{}, r.Axes...)
	err := r.settle(d, changes)
	r.Run = r.id()
	return r, err
}

// settle makes the run's configuration and settings.
func (r *Run) settle(d *document, changes []configs.Override) error {
	r.own = d.own
	var rest []configs.Override
	for _, o := range changes {
		if !isOwn(o.Path) {
			rest = append(rest, o)
		} else if err := r.own.set(o); err != nil {
			return err
		}
	}
	rest = append(rest, configs.Override{Path: "rounds.expect", Text: strconv.Itoa(r.own.Agents), Origin: "agents"})
	base, origins, err := configs.LoadBelow(d.file, d.text, d.base, rest)
	if err == nil {
		err = base.Validate(origins)
	}
	if err = errors.Join(err, r.own.validate()); err != nil {
		return err
	}
	base.Seed += uint64(r.Repetition)
	r.base = base
	if err := r.own.Schedule.Suits(r.recipe()); err != nil {
		return err
	}
	r.Seed, r.Agents = base.Seed, r.own.Agents
	r.Model, r.Input, r.Batch = base.Learner.Model, base.Learner.Input, base.Learner.Batch
	if len(r.own.Score.Statistics) == 0 {
		r.own.Score.Statistics = []string{row.Running}
		if base.Eval.Reestimate > 0 {
			r.own.Score.Statistics = []string{row.Reestimated}
		}
	}
	_, _, err = r.clock(1, 1)
	return err
}

// id names the run by what differs: "often,agents=4,plan=ring,seed=1".
func (r *Run) id() string {
	var parts []string
	if r.Variant != "" {
		parts = append(parts, r.Variant)
	}
	shorts := map[string]int{}
	for _, a := range r.Axes {
		shorts[last(a[0])]++
	}
	for _, a := range r.Axes {
		name := a[0]
		if short := last(name); shorts[short] == 1 {
			name = short
		}
		parts = append(parts, name+"="+a[1])
	}
	if r.Model != "" { // else it is not settled, and named for an error
		parts = append(parts, fmt.Sprintf("seed=%d", r.Seed))
	}
	return strings.Join(parts, ",")
}

// last is the last key of a path.
func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// clock is the run's clock for a set of so many images, and what its times assume.
func (r *Run) clock(train, test int) (cluster.Clock, []string, error) {
	if !r.own.timed {
		return cluster.Still{}, []string{"No times were computed: the experiment has no time section."}, nil
	}
	l := r.base.Learner
	m, err := timing.New(r.own.Time, timing.Work{
		Model: l.Model, Width: l.Width, Input: l.Input, Batch: l.Batch, Threads: l.Threads, Train: train, Test: test,
		Agents: r.Agents, AgentsPerNode: r.own.AgentsPerNode, Segment: r.base.Averaging.Segment,
		Durable: r.base.Rounds.Durable == "round",
	})
	if err != nil {
		return nil, nil, err
	}
	return m, m.Assumptions(), nil
}

// recipe is what its members compute.
func (r *Run) recipe() part.Recipe {
	b := r.base
	return part.Recipe{Seed: b.Seed, Data: b.Data, Learner: b.Learner, Rounds: b.Rounds, Averaging: b.Averaging}
}

// length is how many rounds a run has on a training set, how many images all members see of it, and how many epochs a
// round is. With epochs given, they and the warm-up become rounds of the configuration.
func (r *Run) length(set *shards.Set) (rounds int, images int64, perRound float64) {
	perEpoch := r.recipe().StepsPerEpoch(set.Train.N, r.own.Schedule.SharesOf(r.Agents))
	perRound = 1
	if steps := r.base.Rounds.Steps; steps > 0 {
		perRound = float64(steps) / float64(perEpoch)
	}
	if share := r.own.Schedule.Participation; share > 0 {
		perRound *= math.Max(math.Round(share*float64(r.Agents)), 1) / float64(r.Agents)
	}
	if r.own.Epochs > 0 {
		r.base.Rounds.Count = max(int(math.Ceil(r.own.Epochs/perRound-1e-9)), 1)
	}
	if r.own.Warmup > 0 {
		r.base.Learner.Schedule.Warmup = r.own.Warmup / perRound
	}
	rounds = r.base.Rounds.Count
	return rounds, int64(float64(rounds) * perRound * float64(set.Train.N)), perRound
}

// scored reports whether a round, of perRound epochs, is followed by a score.
func (r *Run) scored(round int, perRound float64) bool {
	if round == r.base.Rounds.Count {
		return true
	}
	every := r.own.Score.Every
	if every == 0 {
		return false
	}
	passed := func(n int) float64 { return math.Floor(float64(n)*perRound/every + 1e-9) }
	return passed(round) > passed(round-1)
}
