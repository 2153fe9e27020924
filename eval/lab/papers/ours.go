package papers

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-yaml"

	"shoal/eval/lab/row"
)

// perNode is how many agents the experiment puts on a node.
func perNode(f row.File) int {
	var said struct {
		PerNode int `yaml:"agents_per_node"`
	}
	if err := yaml.Unmarshal([]byte(f.Header.Experiment), &said); err != nil {
		return 1 // rows of another maker, with another text
	}
	return max(said.PerNode, 1)
}

// of are the finished runs of a model.
func of(f row.File, model string) []row.Run {
	return slices.DeleteFunc(slices.Clone(f.Runs), func(r row.Run) bool { return r.Model != model })
}

// grouped are runs by a number of theirs, and those numbers in order.
func grouped(runs []row.Run, by func(row.Run) int) (keys []int, groups map[int][]row.Run) {
	groups = map[int][]row.Run{}
	for _, r := range runs {
		groups[by(r)] = append(groups[by(r)], r)
	}
	return slices.Sorted(maps.Keys(groups)), groups
}

// mean is that of the values which are known and numbers; nil, if none is.
func mean(runs []row.Run, value func(row.Run) (row.Number, bool)) *float64 {
	sum, n := 0.0, 0
	for _, r := range runs {
		if v, ok := value(r); ok && v.Finite() {
			sum, n = sum+float64(v), n+1
		}
	}
	if n == 0 {
		return nil
	}
	sum /= float64(n)
	return &sum
}

// ScalingOf is the strong-scaling table of an experiment's runs of a model, a line for each number of agents, means over
// all its runs with that number. Speed-up and efficiency are over the line with the fewest agents. Test figures are those
// of running statistics, as the papers' are.
func ScalingOf(f row.File, model string) []Scaling {
	keys, groups := grouped(of(f, model), func(r row.Run) int { return r.Agents })
	var all []Scaling
	for _, ranks := range keys {
		runs := groups[ranks]
		score := func(statistics string, value func(row.Score) row.Number) *float64 {
			return mean(runs, func(r row.Run) (row.Number, bool) {
				s, ok := row.ScoreBy(r.Scores, statistics)
				return value(s), ok
			})
		}
		s := Scaling{
			Ranks: ranks, Nodes: (ranks + perNode(f) - 1) / perNode(f),
			Seconds:       mean(runs, func(r row.Run) (row.Number, bool) { return row.Number(r.Seconds.Total), r.Seconds.Total > 0 }),
			TrainLoss:     mean(runs, func(r row.Run) (row.Number, bool) { return r.TrainLoss, true }),
			TrainAccuracy: mean(runs, func(r row.Run) (row.Number, bool) { return r.TrainAccuracy, true }),
			TestLoss:      score(row.Running, func(s row.Score) row.Number { return s.TestLoss }),
			TestAccuracy:  score(row.Running, func(s row.Score) row.Number { return s.TestAccuracy }),
			Reestimated:   score(row.Reestimated, func(s row.Score) row.Number { return s.TestAccuracy }),
		}
		if len(all) > 0 && s.Seconds != nil && all[0].Seconds != nil {
			speedup := *all[0].Seconds / *s.Seconds
			efficiency := speedup * float64(all[0].Ranks) / float64(ranks)
			s.Speedup, s.Efficiency = &speedup, &efficiency
		} else if len(all) == 0 && s.Seconds != nil {
			one, whole := 1.0, 1.0
			s.Speedup, s.Efficiency = &one, &whole
		}
		all = append(all, s)
	}
	return all
}

// BatchesOf is the batch sweep of an experiment's runs of a model, a line for each batch; the start of the
// agents is in no epoch. Memory and CPU time are not
// known: the process that computes a virtual cluster is none of its agents.
func BatchesOf(f row.File, model string) []Batch {
	keys, groups := grouped(of(f, model), func(r row.Run) int { return r.Batch })
	var all []Batch
	for _, batch := range keys {
		all = append(all, Batch{
			Batch: batch,
			EpochSeconds: mean(groups[batch], func(r row.Run) (row.Number, bool) {
				epochs := epochs(f, r)
				return row.Number((r.Seconds.Total - r.Seconds.Start) / epochs), epochs > 0 && r.Seconds.Total > 0
			}),
			StepSeconds: mean(groups[batch], func(r row.Run) (row.Number, bool) {
				steps := float64(r.Images) / float64(max(r.Batch*r.Agents, 1))
				return row.Number(r.Seconds.Train / steps), steps > 0 && r.Seconds.Train > 0
			}),
			ImagesPerSecond: mean(groups[batch], func(r row.Run) (row.Number, bool) {
				return row.Number(r.ImagesPerSecond), r.ImagesPerSecond > 0
			}),
		})
	}
	return all
}

// epochs is how many passes over the training set a run made, by its last round; 0 if that is not there.
func epochs(f row.File, r row.Run) float64 {
	last := 0.0
	for _, round := range f.Rounds {
		if round.Run == r.Run {
			last = max(last, round.Epoch)
		}
	}
	return last
}

// repetitions says how many runs a line is the mean of.
func repetitions(f row.File, model string, by func(row.Run) int) string {
	_, groups := grouped(of(f, model), by)
	least, most := 0, 0
	for _, g := range groups {
		if least == 0 || len(g) < least {
			least = len(g)
		}
		most = max(most, len(g))
	}
	switch {
	case most <= 1:
		return "Ours are single runs."
	case least == most:
		return fmt.Sprintf("Ours are means of %d runs.", most)
	}
	return fmt.Sprintf("Ours are means of %d to %d runs.", least, most)
}
