package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"shoal/eval/lab/papers"
	"shoal/eval/lab/report"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// grid is a table in Markdown, its first column text and the others numbers.
func grid(head []string, lines [][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n| --- |%s\n", strings.Join(head, " | "), strings.Repeat(" ---: |", len(head)-1))
	for _, line := range lines {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
	}
	return b.String()
}

// column is one of a study's table; it is left out where no group has a value.
type column struct {
	head string
	of   func(spread.Group) string // empty: not known
}

// numbers is a column of a value's spread.
func numbers(head string, format func(float64) string, of func(row.Run) float64) column {
	return column{head, func(g spread.Group) string {
		if s := g.Of(of); s.Known() {
			return s.Text(format)
		}
		return ""
	}}
}

// times is a column of virtual seconds, empty for experiments without.
func times(head string, of func(row.Run) float64) column {
	return column{head, func(g spread.Group) string {
		if s := g.Of(of); s.Max > 0 {
			return s.Text(report.Seconds)
		}
		return ""
	}}
}

// columns are all that a study's table can have.
func (s study) columns() []column {
	_, of := s.score()
	return []column{
		numbers("test accuracy, running", percent, accuracy(row.Running)),
		numbers("test accuracy, re-estimated", percent, accuracy(row.Reestimated)),
		{"beside its base", func(g spread.Group) string {
			base, ok := s.baseOf(g)
			if !ok {
				return ""
			}
			return points(g.Of(of), base.Of(of)) + ", " + string(judge(g.Of(of), base.Of(of)))
		}},
		numbers("images seen", func(v float64) string { return fmt.Sprintf("%.0f", v) }, func(r row.Run) float64 { return float64(r.Images) }),
		times("virtual time", total),
		times("of it averaging", func(r row.Run) float64 { return r.Seconds.Average }),
		times("waiting", func(r row.Run) float64 { return r.Seconds.Wait }),
		{"rounds", s.rounds},
		{"sent by a member, MB a round", s.sent},
		{"members apart", s.apart},
	}
}

// rounds is how many a group has, empty where all have as many.
func (s study) rounds(g spread.Group) string {
	of := func(r row.Run) float64 { return float64(r.Rounds) }
	if !slices.ContainsFunc(s.File.Runs, func(r row.Run) bool { return of(r) != of(s.File.Runs[0]) }) {
		return ""
	}
	return g.Of(of).Text(func(v float64) string { return fmt.Sprintf("%.0f", v) })
}

// apart is how far the members of a group that average in pairs are from the mean of their states at the end.
func (s study) apart(g spread.Group) string {
	end := func(r row.Run) float64 {
		for _, line := range s.File.RoundsOf(r.Run) {
			if line.Round == r.Rounds && line.Pairs > 0 {
				return float64(line.Distance)
			}
		}
		return math.NaN()
	}
	if apart := g.Of(end); apart.Known() {
		return apart.Text(func(v float64) string { return fmt.Sprintf("%.2g", v) })
	}
	return ""
}

// sent is how much a member of a group sends in a round, on average over the rounds that are kept.
func (s study) sent(g spread.Group) string {
	sum, n := 0.0, 0
	for _, r := range s.File.Rounds {
		if spread.Key(r.Place) == spread.Key(g.Place) {
			sum, n = sum+float64(r.BytesSent), n+1
		}
	}
	if n == 0 || sum == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f", sum/float64(n)/1e6)
}

// Table has a line for each configuration, or for the papers' experiments the lines of the papers beside ours.
func (s study) Table() string {
	switch s.table {
	case scaling, batches:
		var all []string
		for _, model := range s.models() {
			t := papers.ScalingTable(s.File, model)
			if s.table == batches {
				t = papers.BatchTable(s.File, model)
			}
			all = append(all, t.Markdown())
		}
		return strings.Join(all, "\n")
	}
	var columns []column
	for _, c := range s.columns() {
		if slices.ContainsFunc(s.Groups, func(g spread.Group) bool { return c.of(g) != "" }) {
			columns = append(columns, c)
		}
	}
	head := []string{"configuration"}
	for _, c := range columns {
		head = append(head, c.head)
	}
	var lines [][]string
	for _, g := range s.Groups {
		line := []string{"`" + g.Name + "`"}
		for _, c := range columns {
			line = append(line, orDash(c.of(g)))
		}
		lines = append(lines, line)
	}
	return grid(head, lines)
}

// models are those of the runs, in order.
func (s study) models() []string {
	var all []string
	for _, r := range s.File.Runs {
		if !slices.Contains(all, r.Model) {
			all = append(all, r.Model)
		}
	}
	return all
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}
