package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"shoal/eval/lab/figure"
	"shoal/eval/lab/report"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// The variants that causes are taken from, and put back into.
const (
	theirDesign = "papers"
	preset      = "shoal-48"
)

// cause is what a variant changes, in words, and the variant that it is compared with.
type cause struct{ what, base string }

// causes are the variants that are known. Of others the name has to do.
func causes() map[string]cause {
	return map[string]cause{
		theirDesign:            {"the papers' design, as they trained it", ""},
		"two-agents":           {"number of updates: two agents, so that each makes 24 times as many", theirDesign},
		"statistics":           {"statistics: running ones that follow faster", theirDesign},
		"rate":                 {"learning rate: a higher one", theirDesign},
		"period":               {"averaging period: every few steps instead of once per epoch", theirDesign},
		"momentum":             {"momentum: averaged too, with that period", "period"},
		"redrawn":              {"shards: drawn anew each epoch", theirDesign},
		"initialisation":       {"initialisation: filters begin as torchvision draws them", theirDesign},
		preset:                 {"the preset shoal-48", ""},
		preset + "-filters":    {"filters that do not begin smaller, at the same rate", preset},
		preset + "-classifier": {"filters that do not begin smaller, at the rate that goes with them", preset},
		preset + "-labels":     {"labels of a shard as they fall", preset},
		preset + "-momentum":   {"momentum of each agent's own", preset},
		preset + "-period":     {"an average once per epoch", preset},
		preset + "-branches":   {"residual branches that all count from the first step on", preset},
	}
}

// causeOf is a variant's.
func causeOf(variant string) cause {
	if c, ok := causes()[variant]; ok {
		return c
	}
	if strings.HasPrefix(variant, preset) {
		return cause{variant, preset}
	}
	return cause{variant, theirDesign}
}

// variant is the group of that name.
func (s study) variant(name string) (spread.Group, bool) {
	i := slices.IndexFunc(s.Groups, func(g spread.Group) bool { return g.Variant == name })
	if i < 0 {
		return spread.Group{}, false
	}
	return s.Groups[i], true
}

// family are the variants around the papers' design, or around the preset.
func (c collapse) family(ofPreset bool) []spread.Group {
	return slices.DeleteFunc(slices.Clone(c.Causes.Groups), func(g spread.Group) bool {
		return strings.HasPrefix(g.Variant, preset) != ofPreset
	})
}

// AwayTable takes causes away from the papers' design, BackTable puts them back into the preset.
func (c collapse) AwayTable() string { return c.changes(c.family(false)) }

// BackTable puts causes back into the preset.
func (c collapse) BackTable() string { return c.changes(c.family(true)) }

func (c collapse) changes(groups []spread.Group) string {
	var lines [][]string
	for _, g := range groups {
		line := []string{causeOf(g.Variant).what}
		base, compared := c.Causes.variant(causeOf(g.Variant).base)
		for _, name := range []string{row.Running, row.Reestimated} {
			s, change := g.Of(accuracy(name)), "–"
			if compared {
				change = points(s, base.Of(accuracy(name)))
			}
			line = append(line, s.Text(percent), change)
		}
		lines = append(lines, line)
	}
	return grid([]string{"what is changed", "running statistics", "change", "re-estimated statistics", "change"}, lines)
}

// AwayFigure draws the variants around the papers' design.
func (c collapse) AwayFigure() (string, error) {
	return c.bars("causes-away", "One cause at a time taken from the papers' design", c.family(false))
}

// BackFigure draws those around the preset.
func (c collapse) BackFigure() (string, error) {
	return c.bars("causes-back", "One cause at a time put back into shoal-48", c.family(true))
}

func (c collapse) bars(name, title string, groups []spread.Group) (string, error) {
	if len(groups) == 0 {
		return "", nil
	}
	f := figure.Figure{
		Name: name, Title: title, X: "test accuracy (%)", Y: "by what is changed", Apart: true,
		Parts: []string{"re-estimated statistics", "running statistics"}, Caption: c.Causes.Repetitions(),
	}
	for _, g := range groups {
		bar := figure.Bar{Name: causeOf(g.Variant).what}
		for _, statistics := range []string{row.Reestimated, row.Running} {
			s := g.Of(accuracy(statistics))
			bar.Values, bar.Low, bar.High = append(bar.Values, 100*s.Mean), append(bar.Low, 100*s.Min), append(bar.High, 100*s.Max)
		}
		f.Bars = append(f.Bars, bar)
	}
	return c.drawn.put(f)
}

// Why says which causes count, by the rows.
func (c collapse) Why() []string {
	var said []string
	for _, name := range []string{row.Running, row.Reestimated} {
		if g, gain, ok := c.strongest(c.family(false), name, +1); ok {
			line := fmt.Sprintf("Scored with %s statistics, the change that helps most is *%s*: %s.", worded(name), causeOf(g.Variant).what, gain)
			if g.Of(accuracy(name)).Mean-c.base(g).Of(accuracy(name)).Mean <= 0 {
				line = fmt.Sprintf("Scored with %s statistics, no single change helps.", worded(name))
			}
			said = append(said, line)
		}
	}
	ours, there := c.Causes.variant(preset)
	alone := slices.DeleteFunc(c.family(false), func(g spread.Group) bool { return g.Agents != ours.Agents })
	if best, _ := extreme(alone, accuracy(row.Reestimated)); there && len(best.Runs) > 0 {
		a, b := best.Of(accuracy(row.Reestimated)), ours.Of(accuracy(row.Reestimated))
		verb := fmt.Sprintf("reaches what shoal-48 does, %s", b.Text(percent))
		if a.Mean < b.Mean {
			verb = fmt.Sprintf("reaches what shoal-48 does, %s: that is %s away", b.Text(percent), points(a, b))
		}
		subject := map[bool]string{true: "None of these with as many agents", false: "One of these, *" + causeOf(best.Variant).what + "*,"}[a.Mean < b.Mean]
		said = append(said, subject+" "+verb+".")
	}
	if g, loss, ok := c.strongest(c.family(true), row.Reestimated, -1); ok && strings.HasPrefix(loss, "−") {
		said = append(said, fmt.Sprintf("Put back into shoal-48, what costs most is *%s*: %s.", causeOf(g.Variant).what, loss))
	}
	return append(said, c.caution()...)
}

// base is the group that g is compared with.
func (c collapse) base(g spread.Group) spread.Group {
	b, _ := c.Causes.variant(causeOf(g.Variant).base)
	return b
}

// strongest is the group whose difference to what it is compared with is greatest (sign +1) or least (−1).
func (c collapse) strongest(groups []spread.Group, statistics string, sign float64) (best spread.Group, gain string, ok bool) {
	most := 0.0
	of := accuracy(statistics)
	for _, g := range groups {
		a, b := g.Of(of), c.base(g).Of(of)
		if d := sign * (a.Mean - b.Mean); a.Known() && b.Known() && (!ok || d > most) {
			best, gain, most, ok = g, points(a, b), d, true
		}
	}
	return best, gain, ok
}

// caution says how much seeds alone differ, where that is known.
func (c collapse) caution() []string {
	if slices.ContainsFunc(c.Causes.Groups, func(g spread.Group) bool { return len(g.Runs) > 1 }) {
		return nil
	}
	line := "Each of these is one run."
	if c.Shoal != nil {
		_, g := ends(c.Shoal.Groups, mobilenet)
		if s := g.Of(accuracy(row.Reestimated)); s.N > 1 {
			line += fmt.Sprintf(" Below, %d seeds of shoal-48 with %d agents differ by %.2f points: smaller differences say nothing.", s.N, g.Agents, 100*(s.Max-s.Min))
		}
	}
	return []string{line}
}

// perNode is how many agents an experiment puts on a node.
func (s study) perNode() int {
	m := regexp.MustCompile(`(?m)^agents_per_node:\s*(\d+)`).FindStringSubmatch(s.File.Header.Experiment)
	if m == nil {
		return 1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 1
	}
	return max(n, 1)
}

// costly are the groups whose times the page tells.
func (c collapse) costly() (groups []spread.Group, names []string, nodes []int) {
	add := func(s *study, g spread.Group, name string) {
		if len(g.Runs) > 0 && g.Of(total).Max > 0 {
			per := s.perNode()
			groups, names, nodes = append(groups, g), append(names, name), append(nodes, (g.Agents+per-1)/per)
		}
	}
	if c.Papers != nil {
		fewest, most := ends(c.Papers.Groups, mobilenet)
		add(c.Papers, fewest, "papers' design")
		add(c.Papers, most, "papers' design")
	}
	if c.Causes != nil {
		for _, name := range []string{theirDesign, preset} {
			g, _ := c.Causes.variant(name)
			add(c.Causes, g, causeOf(name).what)
		}
	}
	if c.Shoal != nil {
		for _, g := range c.Shoal.Groups {
			add(c.Shoal, g, "shoal-48, "+modelName(g.Model))
		}
	}
	return groups, names, nodes
}

// CostTable has the predicted times; empty without any.
func (c collapse) CostTable() string {
	groups, names, nodes := c.costly()
	if len(groups) == 0 {
		return ""
	}
	var lines [][]string
	for i, g := range groups {
		line := []string{names[i], fmt.Sprint(g.Agents), fmt.Sprint(nodes[i])}
		for _, of := range []func(row.RunSeconds) float64{
			func(s row.RunSeconds) float64 { return s.Train },
			func(s row.RunSeconds) float64 { return s.Average },
			func(s row.RunSeconds) float64 { return s.Start + s.Wait + s.Evaluate },
			func(s row.RunSeconds) float64 { return s.Total },
		} {
			line = append(line, report.Seconds(g.Of(func(r row.Run) float64 { return of(r.Seconds) }).Mean))
		}
		lines = append(lines, line)
	}
	return grid([]string{"what", "agents", "Raspberry Pis", "training", "averaging", "start, waiting, scores", "in all"}, lines)
}

// Cost compares the preset with the papers' design on as many Pis.
func (c collapse) Cost() string {
	if c.Causes == nil {
		return ""
	}
	theirs, a := c.Causes.variant(theirDesign)
	ours, b := c.Causes.variant(preset)
	x, y := theirs.Of(total).Mean, ours.Of(total).Mean
	if !a || !b || !(x > 0) || !(y > 0) {
		return ""
	}
	ratio, word := y/x, "as long as"
	share := ours.Of(func(r row.Run) float64 { return r.Seconds.Average }).Mean / y
	return fmt.Sprintf("On the same %d Raspberry Pis shoal-48 is predicted to take %s, %.2f times %s the papers' design run by Shoal (%s); %.0f %% of it is averaging.",
		(ours.Agents+c.Causes.perNode()-1)/c.Causes.perNode(), report.Seconds(y), ratio, word, report.Seconds(x), 100*share)
}
