package report

import (
	"fmt"
	"math"
	"slices"

	"shoal/eval/lab/figure"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// curve is one value of a round, over the run.
type curve struct {
	name, title, unit string
	zero              bool
	scale             float64
	of                func(row.Round) float64
	byRound           bool // over rounds, else over epochs
}

// curves are what is drawn over the run.
func (e *experiment) curves() []curve {
	all := []curve{
		{"curve-train-loss", "Train loss over epochs", "train loss (cross-entropy, nats)", false, 1, func(r row.Round) float64 { return float64(r.TrainLoss) }, false},
		{"curve-train-accuracy", "Train accuracy over epochs", "train accuracy (%)", true, 100, func(r row.Round) float64 { return float64(r.TrainAccuracy) }, false},
	}
	for _, name := range []string{row.Reestimated, row.Running} {
		all = append(all, curve{
			"curve-test-accuracy-" + name, "Test accuracy over epochs, " + worded(name) + " statistics", "test accuracy (%)", true, 100,
			func(r row.Round) float64 { return accuracy(r.Scores, name) }, false,
		})
	}
	return append(all, curve{
		"distance", "Distance between members over rounds", "spread of the members' deltas, over their mean", true, 1,
		func(r row.Round) float64 { return float64(r.Distance) }, true,
	})
}

// curve draws one value over the run: the mean and the range of each group.
func (e *experiment) curve(c curve) figure.Figure {
	f := figure.Figure{Name: c.name, Title: c.title, X: "epoch", Y: c.unit, Zero: c.zero, Caption: e.repetitions()}
	if c.byRound {
		f.X = "round"
		f.Caption += " The root of the mean squared distance of a member's change from the mean change, over the length of the mean change."
		if slices.ContainsFunc(e.Rounds, func(r row.Round) bool { return r.Pairs > 0 }) {
			f.Caption += " With gossip pairs: of a member's parameters from the mean of all after the round, over the length of that."
		}
	}
	groups := e.running()
	if c.byRound { // one member is at no distance from itself
		groups = slices.DeleteFunc(groups, func(g spread.Group) bool { return g.Agents == 1 })
	}
	picked := e.sample(groups)
	for _, g := range picked {
		line := figure.Series{Name: g.Name, Points: e.over(g, c)}
		if len(line.Points) > 0 {
			f.Series = append(f.Series, line)
		}
	}
	if len(picked) < len(groups) {
		f.Caption += fmt.Sprintf(" %d of %d configurations are drawn; all are in the table and in %s.", len(picked), len(groups), TensorBoardDir)
	}
	return f
}

// sample is as many groups as one figure can have: of each series the first, the last and some between, so that lines of
// one series can be compared with those of another.
func (e *experiment) sample(groups []spread.Group) []spread.Group {
	var picked []spread.Group
	if len(groups) <= figure.MaxSeries {
		return groups
	}
	if len(e.series) < 2 || len(e.series) > figure.MaxSeries/2 {
		for _, i := range pick(len(groups), figure.MaxSeries) {
			picked = append(picked, groups[i])
		}
		return picked
	}
	for _, s := range e.series {
		for _, i := range pick(len(s.groups), figure.MaxSeries/len(e.series)) {
			picked = append(picked, s.groups[i])
		}
	}
	return picked
}

// running is the groups, and those of runs that have not ended yet.
func (e *experiment) running() []spread.Group {
	runs := append([]row.Run(nil), e.Runs...)
	known := map[string]bool{}
	for _, r := range runs {
		known[r.Run] = true
	}
	for _, r := range e.Rounds {
		if !known[r.Run] {
			known[r.Run] = true
			runs = append(runs, row.Run{Place: r.Place})
		}
	}
	return spread.Groups(runs)
}

// over is a group's values round by round. A round of which no repetition has a value is left out: scores are not taken
// after each. One where some are lost keeps the rest.
func (e *experiment) over(g spread.Group, c curve) []figure.Point {
	var at []float64
	var values [][]float64
	for _, run := range g.Runs {
		for i, r := range e.rounds[run.Run] {
			if i == len(at) {
				at, values = append(at, r.Epoch), append(values, nil)
				if c.byRound {
					at[i] = float64(r.Round)
				}
			}
			if v := c.of(r); !math.IsNaN(v) {
				values[i] = append(values[i], v)
			}
		}
	}
	var points []figure.Point
	for i, v := range values {
		if s := spread.Of(v...); s.Known() {
			points = append(points, point(at[i], s, c.scale))
		}
	}
	return points
}

// pick is n places of total, or all: the first, the last, and between them at even distances.
func pick(total, n int) []int {
	n = min(n, total)
	places := make([]int, n)
	for i := range places {
		if n > 1 {
			places[i] = i * (total - 1) / (n - 1)
		}
	}
	return places
}

// phases draws where the time went.
func (e *experiment) phases() figure.Figure {
	scale, unit := timeUnit(e.Runs)
	f := figure.Figure{
		Name: "phases", Title: "Virtual time by phase", X: "virtual time (" + unit + ")", Y: "by configuration",
		Parts:   []string{"start", "train", "average", "wait", "evaluate"},
		Caption: "On the path of the member that was last, mean of the repetitions.",
	}
	picked := pick(len(e.groups), maxBars)
	for _, i := range picked {
		g := e.groups[i]
		bar := figure.Bar{Name: g.Name}
		for _, of := range []func(row.RunSeconds) float64{
			func(s row.RunSeconds) float64 { return s.Start },
			func(s row.RunSeconds) float64 { return s.Train },
			func(s row.RunSeconds) float64 { return s.Average },
			func(s row.RunSeconds) float64 { return s.Wait },
			func(s row.RunSeconds) float64 { return s.Evaluate },
		} {
			bar.Values = append(bar.Values, g.Of(func(r row.Run) float64 { return of(r.Seconds) }).Mean*scale)
		}
		f.Bars = append(f.Bars, bar)
	}
	if len(picked) < len(e.groups) {
		f.Caption += fmt.Sprintf(" %d of %d configurations are drawn; all are in the table.", len(picked), len(e.groups))
	}
	return f
}

// accuracyBars draws the test accuracy of each configuration where nothing that varies is a number.
func (e *experiment) accuracyBars() figure.Figure {
	f := figure.Figure{
		Name: "test-accuracy", Title: "Test accuracy by configuration", X: "test accuracy (%)", Y: "by configuration", Apart: true,
		Caption: e.repetitions(),
	}
	statistics := e.statistics()
	for _, name := range statistics {
		f.Parts = append(f.Parts, worded(name)+" statistics")
	}
	picked := pick(len(e.groups), maxBars)
	for _, i := range picked {
		bar := figure.Bar{Name: e.groups[i].Name}
		for _, name := range statistics {
			s := e.groups[i].Of(scoreOf(name))
			bar.Values, bar.Low, bar.High = append(bar.Values, 100*s.Mean), append(bar.Low, 100*s.Min), append(bar.High, 100*s.Max)
		}
		if len(bar.Values) > 0 {
			f.Bars = append(f.Bars, bar)
		}
	}
	if len(picked) < len(e.groups) {
		f.Caption += fmt.Sprintf(" %d of %d configurations are drawn; all are in the table.", len(picked), len(e.groups))
	}
	return f
}
