// Package compare sets the results of two experiments side by side: runs that have the same axes and variant are matched,
// and of each final value it says by how much it differs and whether that is more than repetitions differ by themselves.
package compare

import (
	"cmp"
	"math"
	"slices"

	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// Verdict is what a difference means.
type Verdict string

// The verdicts. Beyond needs two repetitions or more on both sides, of which no value of one lies within the range of the
// other's: that is a statement on these runs, and no test of significance.
const (
	Equal   Verdict = "equal"          // the same mean and range
	Beyond  Verdict = "beyond spread"  // more than repetitions differ
	Within  Verdict = "within spread"  // repetitions differ as much
	Single  Verdict = "spread unknown" // fewer than two repetitions on a side
	Unknown Verdict = "no value"       // on one side nothing finite was measured
)

// Side is the spread of one value in one experiment. Without a finite value all three are NaN, null in JSON.
type Side struct {
	N    int        `json:"n"`
	Mean row.Number `json:"mean"`
	Min  row.Number `json:"min"`
	Max  row.Number `json:"max"`
	Lost int        `json:"lost,omitempty"` // values that were not finite
}

// Difference is one value of a matched configuration: B's mean minus A's, and what to make of it.
type Difference struct {
	Value      string     `json:"value"` // "test accuracy, running"
	Unit       string     `json:"unit"`  // "share" of 0 to 1, "nats", "seconds"
	A          Side       `json:"a"`
	B          Side       `json:"b"`
	Difference row.Number `json:"difference"`
	Verdict    Verdict    `json:"verdict"`
}

// Pair is a configuration that both have.
type Pair struct {
	Name        string       `json:"name"`
	Differences []Difference `json:"differences"`
}

// Comparison is all of two experiments.
type Comparison struct {
	Pairs []Pair   `json:"pairs"`
	OnlyA []string `json:"only_a"` // configurations without a partner
	OnlyB []string `json:"only_b"`
}

// Beyond is how many differences are more than repetitions differ, of how many.
func (c Comparison) Beyond() (beyond, of int) {
	for _, p := range c.Pairs {
		for _, d := range p.Differences {
			of++
			if d.Verdict == Beyond {
				beyond++
			}
		}
	}
	return beyond, of
}

// Rows compares the finished runs of two files. Names are those of the first.
func Rows(a, b row.File) Comparison {
	c := Comparison{Pairs: []Pair{}, OnlyA: []string{}, OnlyB: []string{}}
	groupsA, groupsB := spread.Groups(a.Runs), spread.Groups(b.Runs)
	partner := map[string]spread.Group{}
	for _, g := range groupsB {
		partner[spread.Key(g.Place)] = g
	}
	matched := map[string]bool{}
	for _, g := range groupsA {
		key := spread.Key(g.Place)
		other, ok := partner[key]
		if !ok {
			c.OnlyA = append(c.OnlyA, g.Name)
			continue
		}
		matched[key] = true
		c.Pairs = append(c.Pairs, Pair{g.Name, differences(g, other)})
	}
	for _, g := range groupsB {
		if !matched[spread.Key(g.Place)] {
			c.OnlyB = append(c.OnlyB, g.Name)
		}
	}
	return c
}

// value is one number of a finished run.
type value struct {
	name, unit string
	of         func(row.Run) float64
}

// values are what two configurations are compared by: train values, time, and a test accuracy and loss for each kind of
// statistics that either has.
func values(a, b spread.Group) []value {
	all := []value{
		{"train accuracy", "share", func(r row.Run) float64 { return float64(r.TrainAccuracy) }},
		{"train loss", "nats", func(r row.Run) float64 { return float64(r.TrainLoss) }},
		{"virtual time", "seconds", func(r row.Run) float64 { return r.Seconds.Total }},
	}
	var statistics []string
	for _, r := range slices.Concat(a.Runs, b.Runs) {
		for _, s := range r.Scores {
			if !slices.Contains(statistics, s.Statistics) {
				statistics = append(statistics, s.Statistics)
			}
		}
	}
	slices.SortFunc(statistics, cmp.Compare)
	for _, name := range statistics {
		score := func(of func(row.Score) row.Number) func(row.Run) float64 {
			return func(r row.Run) float64 {
				if s, ok := row.ScoreBy(r.Scores, name); ok {
					return float64(of(s))
				}
				return math.NaN()
			}
		}
		all = append(all,
			value{"test accuracy, " + name, "share", score(func(s row.Score) row.Number { return s.TestAccuracy })},
			value{"test loss, " + name, "nats", score(func(s row.Score) row.Number { return s.TestLoss })})
	}
	return all
}

func differences(a, b spread.Group) []Difference {
	var all []Difference
	for _, v := range values(a, b) {
		sa, sb := a.Of(v.of), b.Of(v.of)
		all = append(all, Difference{v.name, v.unit, side(sa), side(sb), row.Number(sb.Mean - sa.Mean), judge(sa, sb)})
	}
	return all
}

// judge says what the difference of two spreads means.
func judge(a, b spread.Spread) Verdict {
	switch {
	case !a.Known() || !b.Known():
		return Unknown
	case a.N == b.N && a.Mean == b.Mean && a.Min == b.Min && a.Max == b.Max:
		return Equal
	case a.N < 2 || b.N < 2:
		return Single
	case a.Apart(b):
		return Beyond
	}
	return Within
}

func side(s spread.Spread) Side {
	return Side{s.N, row.Number(s.Mean), row.Number(s.Min), row.Number(s.Max), s.Lost}
}
