package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"shoal/eval/lab/report"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// study is the rows of one experiment, as its page tells of them.
type study struct {
	page
	File   row.File
	Groups []spread.Group
	drawn  *drawings
}

// score is the name of the statistics that configurations are compared by, and the accuracy of a run with them.
func (s study) score() (string, func(row.Run) float64) {
	for _, name := range []string{row.Reestimated, row.Running} {
		for _, r := range s.File.Runs {
			if _, ok := row.ScoreBy(r.Scores, name); ok {
				return name, accuracy(name)
			}
		}
	}
	return row.Running, accuracy(row.Running)
}

// accuracy is a run's test accuracy with the statistics named, NaN without such a score.
func accuracy(statistics string) func(row.Run) float64 {
	return func(r row.Run) float64 {
		if s, ok := row.ScoreBy(r.Scores, statistics); ok {
			return float64(s.TestAccuracy)
		}
		return math.NaN()
	}
}

// baseOf is the configuration that one is compared with: the same with the page's pins in place. It is not ok for that
// configuration itself, and where the rows have none such.
func (s study) baseOf(g spread.Group) (base spread.Group, ok bool) {
	if len(s.pins) == 0 {
		return base, false
	}
	p := g.Place
	p.Axes = slices.Clone(p.Axes)
	for path, value := range s.pins {
		if path == "variant" {
			p.Variant = value
		}
		for i := range p.Axes {
			if p.Axes[i][0] == path {
				p.Axes[i][1] = value
			}
		}
	}
	if spread.Key(p) == spread.Key(g.Place) {
		return base, false
	}
	i := slices.IndexFunc(s.Groups, func(o spread.Group) bool { return spread.Key(o.Place) == spread.Key(p) })
	if i < 0 {
		return base, false
	}
	return s.Groups[i], true
}

// verdict is what a difference between two spreads means.
type verdict string

const (
	better  verdict = "better, beyond spread"
	worse   verdict = "worse, beyond spread"
	within  verdict = "within spread"
	single  verdict = "spread unknown"
	nothing verdict = "not known"
)

// judge compares a with b, of which more is better. Beyond spread takes two repetitions or more on both sides, of which no
// value of one lies within the range of the other.
func judge(a, b spread.Spread) verdict {
	switch {
	case !a.Known() || !b.Known():
		return nothing
	case a.N < 2 || b.N < 2:
		return single
	case !a.Apart(b):
		return within
	case a.Mean > b.Mean:
		return better
	}
	return worse
}

// points is a difference of two shares in points of a percent.
func points(a, b spread.Spread) string {
	return strings.Replace(fmt.Sprintf("%+.2f points", 100*(a.Mean-b.Mean)), "-", "−", 1)
}

func percent(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) }

// Findings are what came out, in sentences that the rows choose.
func (s study) Findings() []string {
	name, of := s.score()
	best, _ := extreme(s.Groups, of)
	if len(best.Runs) == 0 {
		return []string{"No run ended with a finite score."}
	}
	said := []string{fmt.Sprintf("Most accurate is `%s`, with %s of the test images (%s statistics).", best.Name, best.Of(of).Text(percent), worded(name))}
	if len(s.Groups) == 1 {
		said[0] = fmt.Sprintf("`%s` gets %s of the test images right (%s statistics).", best.Name, best.Of(of).Text(percent), worded(name))
	} else if best.Of(of).Mean <= 1./classes+asGuessing {
		said[0] = fmt.Sprintf("By %s statistics none is more accurate than guessing: none gets more than %s of the test images right.", worded(name), best.Of(of).Text(percent))
	}
	for _, base := range s.Groups {
		said = append(said, s.against(base, of)...)
	}
	if slowest, fastest := extreme(s.Groups, total); len(s.Groups) > 1 && total(fastest.Runs[0]) > 0 {
		a, b := fastest.Of(total), slowest.Of(total)
		said = append(said, fmt.Sprintf("In virtual time the shortest is `%s` with %s, the longest `%s` with %s: %.2f times as long.",
			fastest.Name, a.Text(report.Seconds), slowest.Name, b.Text(report.Seconds), b.Mean/a.Mean))
	}
	for _, r := range s.File.Runs {
		if r.Failed != "" {
			said = append(said, fmt.Sprintf("Run `%s` ended early, after round %d: %s.", r.Run, r.Rounds, r.Failed))
		}
	}
	return said
}

// against sorts the configurations that are compared with base by what came out.
func (s study) against(base spread.Group, of func(row.Run) float64) []string {
	by := map[verdict][]string{}
	for _, g := range s.Groups {
		if b, ok := s.baseOf(g); ok && spread.Key(b.Place) == spread.Key(base.Place) {
			v := judge(g.Of(of), base.Of(of))
			by[v] = append(by[v], fmt.Sprintf("`%s` (%s)", g.Name, points(g.Of(of), base.Of(of))))
		}
	}
	var said []string
	for _, k := range []struct {
		verdict verdict
		format  string
	}{
		{worse, "Less accurate than `%s` by more than repetitions differ: %s."},
		{better, "More accurate than `%s` by more than repetitions differ: %s."},
		{within, "Not told apart from `%s` by these repetitions: %s."},
		{single, "One run each says nothing of spread; beside `%s`: %s."},
	} {
		if names := by[k.verdict]; len(names) > 0 {
			said = append(said, fmt.Sprintf(k.format, base.Name, strings.Join(names, ", ")))
		}
	}
	return said
}

// extreme is the groups with the greatest and the least mean; those without a finite value are neither.
func extreme(groups []spread.Group, of func(row.Run) float64) (most, least spread.Group) {
	known := slices.DeleteFunc(slices.Clone(groups), func(g spread.Group) bool { return !g.Of(of).Known() })
	if len(known) == 0 {
		return most, least
	}
	by := func(a, b spread.Group) int { return cmp.Compare(a.Of(of).Mean, b.Of(of).Mean) }
	return slices.MaxFunc(known, by), slices.MinFunc(known, by)
}

func total(r row.Run) float64 { return r.Seconds.Total }

// worded is the name of statistics for readers.
func worded(statistics string) string {
	if statistics == row.Reestimated {
		return "re-estimated"
	}
	return statistics
}

// Timed reports whether the experiment has times.
func (s study) Timed() bool {
	return slices.ContainsFunc(s.File.Runs, func(r row.Run) bool { return r.Seconds.Total > 0 })
}

// Repetitions says what stands behind the numbers of the table.
func (s study) Repetitions() string {
	least, most := math.MaxInt, 0
	for _, g := range s.Groups {
		least, most = min(least, len(g.Runs)), max(most, len(g.Runs))
	}
	switch {
	case most < 2:
		return "One run each: no spread is known."
	case least == most:
		return fmt.Sprintf("Means of %d runs that differ in their seed, with the least and the greatest.", most)
	}
	return fmt.Sprintf("Means of %d to %d runs that differ in their seed, with the least and the greatest.", least, most)
}
