package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"shoal/eval/lab/papers"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

const (
	collapseTitle = "The collapse at 48 agents"
	mobilenet     = "mobilenet_v2"
	classes       = 10   // of CIFAR-10
	asGuessing    = 0.02 // so near a tenth is guessing: six standard deviations of 10,000 guesses are 0.018
	muchOf        = 0.05 // a difference of accuracy that a reader would call large
)

// collapse is the page of that name: sections of three experiments, of which any may be missing.
type collapse struct {
	Papers, Causes, Shoal *study
	drawn                 *drawings
}

func newCollapse(all map[string]study, figures string) collapse {
	of := func(name string) *study {
		if s, ok := all[name]; ok {
			return &s
		}
		return nil
	}
	return collapse{of("papers-mobilenetv2"), of("causes"), of("shoal-48"), &drawings{dir: figures, of: "collapse"}}
}

func (c collapse) any() bool { return c.Papers != nil || c.Causes != nil || c.Shoal != nil }

// Title is the page's.
func (c collapse) Title() string { return collapseTitle }

// All are the experiments that there are rows of.
func (c collapse) All() []study {
	var all []study
	for _, s := range []*study{c.Papers, c.Causes, c.Shoal} {
		if s != nil {
			all = append(all, *s)
		}
	}
	return all
}

// Chance is the loss of a model that gives every class the same share.
func (c collapse) Chance() string { return fmt.Sprintf("ln %d = %.4f", classes, math.Log(classes)) }

// Theirs is what was published of so many ranks.
func (c collapse) Theirs(ranks int) (papers.Scaling, error) {
	s, _ := papers.Published(mobilenet)
	i := slices.IndexFunc(s.Scaling, func(l papers.Scaling) bool { return l.Ranks == ranks })
	if i < 0 || s.Scaling[i].TestAccuracy == nil {
		return papers.Scaling{}, fmt.Errorf("of %d ranks no test accuracy is published", ranks)
	}
	return s.Scaling[i], nil
}

// Number is a published value, times a factor.
func (c collapse) Number(v *float64, factor float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", *v*factor)
}

// ends are the groups of a model with the fewest and the most agents.
func ends(groups []spread.Group, model string) (fewest, most spread.Group) {
	of := slices.DeleteFunc(slices.Clone(groups), func(g spread.Group) bool { return g.Model != model })
	if len(of) == 0 {
		return fewest, most
	}
	by := func(a, b spread.Group) int { return cmp.Compare(a.Agents, b.Agents) }
	return slices.MinFunc(of, by), slices.MaxFunc(of, by)
}

// Same says what became of the papers' experiment here.
func (c collapse) Same() []string {
	fewest, most := ends(c.Papers.Groups, mobilenet)
	if len(most.Runs) == 0 {
		return []string{"The rows have no run of MobileNetV2."}
	}
	running, again := most.Of(accuracy(row.Running)), most.Of(accuracy(row.Reestimated))
	sign := "which is more than guessing gets"
	if math.Abs(running.Mean-1.0/classes) < asGuessing {
		sign = "which is what guessing gets"
	}
	said := []string{fmt.Sprintf("With the running statistics of batch norm, as the papers scored, %d agents get %s of the test images right, %s.", most.Agents, running.Text(percent), sign)}
	line := fmt.Sprintf("The same weights, with statistics made anew before the score, get %s: ", again.Text(percent))
	switch d := again.Mean - running.Mean; {
	case !again.Known():
		return said
	case d > muchOf:
		line += "what is missing in the first score is not what was learned but the statistics, which had not come far from the values that they began with."
	case d > 0:
		line += "the statistics hide little here; what is missing was not learned."
	default:
		line += "the statistics hide nothing here; what is missing was not learned."
	}
	said = append(said, line)
	if few := fewest.Of(accuracy(row.Reestimated)); fewest.Agents < most.Agents && few.Known() {
		line = fmt.Sprintf("With such statistics %d agents get %s. ", fewest.Agents, few.Text(percent))
		if few.Mean-again.Mean > muchOf {
			line += fmt.Sprintf("So %d agents also learned less from as many images.", most.Agents)
		} else {
			line += fmt.Sprintf("So %d agents learned about as much from as many images.", most.Agents)
		}
		said = append(said, line)
	}
	return said
}

// SameFigures are the accuracy and the train loss by agents.
func (c collapse) SameFigures() ([]string, error) {
	return c.take(c.Papers, "test-accuracy", "train-loss")
}

// ReachedFigures are those of the preset.
func (c collapse) ReachedFigures() ([]string, error) {
	return c.take(c.Shoal, "test-accuracy", "test-accuracy-reestimated", "curve-test-accuracy-reestimated")
}

// take draws figures of a study's report for this page.
func (c collapse) take(s *study, names ...string) ([]string, error) {
	named := *s
	named.figures = names
	named.drawn = &drawings{dir: c.drawn.dir, of: "collapse-" + s.name}
	return named.Figures()
}

// Reached says for each model whether most agents reach what the fewest do.
func (c collapse) Reached() []string {
	var said []string
	_, of := c.Shoal.score()
	for _, model := range c.Shoal.models() {
		fewest, most := ends(c.Shoal.Groups, model)
		a, b := most.Of(of), fewest.Of(of)
		if fewest.Agents == most.Agents || !a.Known() || !b.Known() {
			continue
		}
		line := fmt.Sprintf("%s: %d agents get %s, %d agents %s. ", modelName(model), most.Agents, a.Text(percent), fewest.Agents, b.Text(percent))
		n := fmt.Sprintf("%d agents", most.Agents)
		switch v := judge(a, b); {
		case v == within:
			line += n + " reach what so few do: repetitions differ as much as the two."
		case v == better:
			line += n + " get more than so few do, by " + points(a, b) + "."
		case v == worse:
			line += n + " do not reach what so few do: " + points(a, b) + ", more than repetitions differ."
		case a.Mean >= b.Mean:
			line += n + " reach it, in runs too few to know their spread."
		default:
			line += n + " do not reach it, by " + points(a, b) + ", in runs too few to know their spread."
		}
		said = append(said, line)
		if few := c.theirFewest(model, of); few.Known() {
			said = append(said, fmt.Sprintf("In the papers' design the fewest agents, who learn most there, get %s. With shoal-48 %s get %s: %s.", few.Text(percent), n, a.Text(percent), points(a, few)))
		}
	}
	return said
}

// theirFewest is the score of the fewest agents in the papers' design.
func (c collapse) theirFewest(model string, of func(row.Run) float64) spread.Spread {
	if c.Papers == nil {
		return spread.Spread{}
	}
	fewest, _ := ends(c.Papers.Groups, model)
	return fewest.Of(of)
}

// modelName is a model's for readers.
func modelName(model string) string {
	switch model {
	case mobilenet:
		return "MobileNetV2"
	case "squeezenet1_1":
		return "SqueezeNet 1.1"
	}
	return model
}

// published is the paper's accuracy of a group, as a cell.
func published(g spread.Group) string {
	s, _ := papers.Published(g.Model)
	for _, l := range s.Scaling {
		if l.Ranks == g.Agents && l.TestAccuracy != nil {
			return percent(*l.TestAccuracy)
		}
	}
	return "–"
}

// SameTable has a line for each number of agents.
func (c collapse) SameTable() string { return c.Papers.accuracies(true) }

// ReachedTable has a line for each model and number of agents.
func (c collapse) ReachedTable() string { return c.Shoal.accuracies(false) }

// accuracies is a table of scores beside the published ones. With loss, it has that of running statistics.
func (s study) accuracies(loss bool) string {
	head := []string{"agents", "published", "running statistics", "re-estimated statistics", "train accuracy"}
	if loss {
		head = append(head, "test loss, running")
	}
	var lines [][]string
	for _, g := range s.Groups {
		line := []string{
			fmt.Sprint(g.Agents), published(g), g.Of(accuracy(row.Running)).Text(percent), g.Of(accuracy(row.Reestimated)).Text(percent),
			g.Of(func(r row.Run) float64 { return float64(r.TrainAccuracy) }).Text(percent),
		}
		if len(s.models()) > 1 {
			line[0] = fmt.Sprintf("%d, %s", g.Agents, modelName(g.Model))
		}
		if loss {
			line = append(line, g.Of(runningLoss).Text(func(v float64) string { return fmt.Sprintf("%.4f", v) }))
		}
		lines = append(lines, line)
	}
	return grid(head, lines)
}

func runningLoss(r row.Run) float64 {
	if s, ok := row.ScoreBy(r.Scores, row.Running); ok {
		return float64(s.TestLoss)
	}
	return math.NaN()
}
