package report

import (
	"fmt"
	"math"

	"shoal/eval/lab/figure"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// maxBars is how many stacked bars one figure has.
const maxBars = 12

// measure is one value of a run.
type measure struct {
	name, title string
	unit        string // of the Y axis' label
	zero        bool
	of          func(row.Run) float64
	published   func(ReferencePoint) *float64 // nil: never compared
	scale       float64                       // of both
}

// figures are all that the rows allow, in the order of the page.
func (e *experiment) figures() []figure.Figure {
	var all []figure.Figure
	if e.x.agents {
		all = append(all, e.relative(true), e.relative(false))
	}
	if e.x.path != "" {
		all = append(all, e.accuracies()...)
		for _, m := range e.measures() {
			all = append(all, e.against(m))
		}
	} else {
		all = append(all, e.accuracyBars())
	}
	for _, c := range e.curves() {
		all = append(all, e.curve(c))
	}
	all = append(all, e.phases())
	var drawable []figure.Figure
	for _, f := range all {
		if len(f.Bars) > 0 || hasPoints(f) {
			drawable = append(drawable, f)
		}
	}
	return drawable
}

// hasPoints reports whether anything of a figure can be drawn.
func hasPoints(f figure.Figure) bool {
	for _, s := range f.Series {
		for _, p := range s.Points {
			if v := p.X + p.Y + p.Low + p.High; !math.IsNaN(v) && !math.IsInf(v, 0) && (!f.LogX || p.X > 0) {
				return true
			}
		}
	}
	return false
}

// measures are what is drawn against the X axis, as in the papers.
func (e *experiment) measures() []measure {
	scale, unit := timeUnit(e.Runs)
	return []measure{
		{"train-accuracy", "Train accuracy", "train accuracy (%)", true, func(r row.Run) float64 { return float64(r.TrainAccuracy) },
			func(p ReferencePoint) *float64 { return p.TrainAccuracy }, 100},
		{"train-loss", "Train loss", "train loss (cross-entropy, nats)", false, func(r row.Run) float64 { return float64(r.TrainLoss) },
			func(p ReferencePoint) *float64 { return p.TrainLoss }, 1},
		{"total-time", "Total time", "virtual time (" + unit + ")", true, func(r row.Run) float64 { return r.Seconds.Total },
			func(p ReferencePoint) *float64 { return p.Seconds }, scale},
	}
}

// timeUnit is what to multiply seconds by so that the longest run has a number that is easily read.
func timeUnit(runs []row.Run) (scale float64, unit string) {
	longest := 0.0
	for _, r := range runs {
		longest = max(longest, r.Seconds.Total)
	}
	switch {
	case longest >= 3*3600:
		return 1.0 / 3600, "hours"
	case longest >= 300:
		return 1.0 / 60, "minutes"
	}
	return 1, "seconds"
}

// point is a spread as a figure has it.
func point(x float64, s spread.Spread, scale float64) figure.Point {
	return figure.Point{X: x, Y: s.Mean * scale, Low: s.Min * scale, High: s.Max * scale}
}

// base is a figure over the X axis of the experiment.
func (e *experiment) base(name, title, y string) figure.Figure {
	return figure.Figure{
		Name: name, Title: fmt.Sprintf("%s against %s", title, e.x.label), X: e.x.label, Y: y, LogX: e.x.log,
		Caption: e.repetitions() + e.seriesLeftOut(),
	}
}

// repetitions says of how many runs each point is.
func (e *experiment) repetitions() string {
	least, most, lost := math.MaxInt, 0, 0
	for _, g := range e.groups {
		least, most = min(least, len(g.Runs)), max(most, len(g.Runs))
		for _, r := range g.Runs {
			if r.Failed != "" {
				lost++
			}
		}
	}
	text := "One run each: no spread is known."
	switch {
	case most == 0:
		return "No run has ended yet."
	case most > 1 && least == most:
		text = fmt.Sprintf("Mean of %d repetitions; whiskers and bands from the least to the most.", most)
	case most > 1:
		text = fmt.Sprintf("Mean of %d to %d repetitions; whiskers and bands from the least to the most.", least, most)
	}
	if lost > 0 {
		text += fmt.Sprintf(" %s ended early and %s in it as far as finite.", count(lost, "run"), map[bool]string{true: "is", false: "are"}[lost == 1])
	}
	return text
}

// seriesLeftOut says what a figure over the X axis does not show.
func (e *experiment) seriesLeftOut() string {
	if n := len(e.series); n > figure.MaxSeries {
		return fmt.Sprintf(" %d of %d series are drawn; all are in the table.", figure.MaxSeries, n)
	}
	return ""
}

// shown is the series that are drawn, named.
func (e *experiment) shown() []series {
	all := e.series[:min(len(e.series), figure.MaxSeries)]
	named := make([]series, len(all))
	for i, s := range all {
		if s.name == "" {
			s.name = "the lab"
		}
		named[i] = s
	}
	return named
}

// against draws one measure over the X axis, and what was published.
func (e *experiment) against(m measure) figure.Figure {
	f := e.base(m.name, m.title, m.unit)
	f.Zero = m.zero
	for _, s := range e.shown() {
		line := figure.Series{Name: s.name}
		for _, g := range s.groups {
			x, _ := e.x.of(g)
			line.Points = append(line.Points, point(x, g.Of(m.of), m.scale))
		}
		f.Series = append(f.Series, line)
	}
	f.Series = append(f.Series, e.published(m.published, m.scale)...)
	return f
}

// published draws the references' values, over agents only.
func (e *experiment) published(of func(ReferencePoint) *float64, scale float64) []figure.Series {
	var all []figure.Series
	for _, ref := range e.references {
		line := figure.Series{Name: ref.Name, Style: figure.Published}
		for _, p := range ref.Points {
			if v := of(p); v != nil {
				line.Points = append(line.Points, point(float64(p.Agents), spread.Of(*v), scale))
			}
		}
		if len(line.Points) > 0 && e.x.agents {
			all = append(all, line)
		}
	}
	return all
}

// speedup is how many times as fast as the first group of its series each run of g is, and the agents of that group.
func speedup(s series, g spread.Group) (spread.Spread, int) {
	first := s.groups[0].Of(func(r row.Run) float64 { return r.Seconds.Total })
	return g.Of(func(r row.Run) float64 { return first.Mean / r.Seconds.Total }), s.groups[0].Agents
}

// relative draws the speed-up, or the efficiency: speed-up for each time that there are as many agents.
func (e *experiment) relative(absolute bool) figure.Figure {
	f := e.base("efficiency", "Efficiency", "speed-up per agent (%)")
	of := func(p ReferencePoint) *float64 { return p.Efficiency }
	scale := 100.0
	if absolute {
		f = e.base("speed-up", "Speed-up", "speed-up (times)")
		of, scale = func(p ReferencePoint) *float64 { return p.Speedup }, 1
	}
	f.Zero = true
	ideal := figure.Series{Name: "ideal", Style: figure.Ideal}
	most := 0.0
	for _, s := range e.shown() {
		line := figure.Series{Name: s.name}
		for _, g := range s.groups {
			times, base := speedup(s, g)
			more := float64(g.Agents) / float64(base)
			if !absolute {
				times = spread.Of(times.Mean/more, times.Min/more, times.Max/more)
			}
			line.Points = append(line.Points, point(float64(g.Agents), times, scale))
			if len(f.Series) == 0 {
				y := map[bool]float64{true: more, false: 100}[absolute]
				ideal.Points = append(ideal.Points, figure.Point{X: float64(g.Agents), Y: y, Low: y, High: y})
			}
			most = max(most, times.Max*scale)
		}
		f.Series = append(f.Series, line)
	}
	f.Series = append(f.Series, e.published(of, scale)...)
	f.Series = append(f.Series, reach(ideal, most))
	f.Caption = fmt.Sprintf("Total virtual time of the run with the fewest agents of the series over that of each run. %s", f.Caption)
	return f
}

// reach cuts the ideal line where it would press what was measured to the floor: above twice the most.
func reach(ideal figure.Series, most float64) figure.Series {
	for i, p := range ideal.Points {
		if i > 1 && p.Y > 2*most {
			ideal.Points = ideal.Points[:i]
			break
		}
	}
	return ideal
}

// scoreOf is a run's test accuracy with the statistics named, NaN without such a score.
func scoreOf(statistics string) func(row.Run) float64 {
	return func(r row.Run) float64 { return accuracy(r.Scores, statistics) }
}

func accuracy(scores []row.Score, statistics string) float64 {
	if s, ok := row.ScoreBy(scores, statistics); ok {
		return float64(s.TestAccuracy)
	}
	return math.NaN()
}

// statistics are those that any score was taken with.
func (e *experiment) statistics() []string {
	var all []string
	for _, name := range []string{row.Reestimated, row.Running} {
		found := false
		for _, r := range e.Runs {
			_, ok := row.ScoreBy(r.Scores, name)
			found = found || ok
		}
		if found {
			all = append(all, name)
		}
	}
	return all
}

// worded is the name of statistics for readers.
func worded(statistics string) string {
	if statistics == row.Reestimated {
		return "re-estimated"
	}
	return statistics
}

// accuracies draw the test accuracy with running against re-estimated statistics: in one figure if there is room for both
// lines of each series, else in two.
func (e *experiment) accuracies() []figure.Figure {
	const title = "Test accuracy"
	published := e.published(func(p ReferencePoint) *float64 { return p.TestAccuracy }, 100)
	var all []figure.Figure
	together := e.base("test-accuracy", title, "test accuracy (%)")
	for _, name := range e.statistics() {
		m := measure{"test-accuracy-" + name, title + ", " + worded(name) + " statistics,", "test accuracy (%)", true, scoreOf(name), nil, 100}
		m.published = func(ReferencePoint) *float64 { return nil }
		f := e.against(m)
		for _, s := range f.Series {
			if len(e.statistics()) > 1 && len(e.series) == 1 {
				s.Name = worded(name) + " statistics"
			} else if len(e.statistics()) > 1 {
				s.Name += ", " + worded(name)
			}
			together.Series = append(together.Series, s)
		}
		f.Series = append(f.Series, published...)
		all = append(all, f)
	}
	if len(together.Series) > figure.MaxSeries || len(all) == 0 {
		return all
	}
	together.Zero = true
	together.Series = append(together.Series, published...)
	return []figure.Figure{together}
}
