package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"shoal/eval/lab/spread"
)

// axis is what the figures that compare runs have on their X axis: a number that the experiment varies.
type axis struct {
	path   string // empty: nothing that is a number varies
	label  string
	agents bool
	log    bool
}

// chooseAxis takes the number of agents if it varies, else the axis with the most numbers on it.
func chooseAxis(groups []spread.Group) axis {
	values := map[string]map[float64]bool{}
	var paths []string
	text := map[string]bool{}
	agents := map[int]bool{}
	for _, g := range groups {
		agents[g.Agents] = true
		for _, a := range g.Axes {
			path := a[0]
			if values[path] == nil {
				values[path] = map[float64]bool{}
				paths = append(paths, path)
			}
			v, err := strconv.ParseFloat(a[1], 64)
			text[path] = text[path] || err != nil
			values[path][v] = true
		}
	}
	if len(agents) > 1 {
		return axis{path: "agents", label: "agents", agents: true, log: true}
	}
	best := axis{}
	most := 1
	for _, path := range paths {
		if n := len(values[path]); n > most && !text[path] && !strings.HasSuffix(path, "seed") {
			best, most = axis{path: path, label: path}, n
		}
	}
	best.log = best.path != "" && wide(values[best.path])
	return best
}

// wide reports whether values lie too far apart for a linear scale.
func wide(values map[float64]bool) bool {
	var all []float64
	for v := range values {
		all = append(all, v)
	}
	return slices.Min(all) > 0 && slices.Max(all) >= 8*slices.Min(all)
}

// of is a group's place on the axis.
func (x axis) of(g spread.Group) (float64, bool) {
	if x.agents {
		return float64(g.Agents), true
	}
	text, ok := g.Axis(x.path)
	v, err := strconv.ParseFloat(text, 64)
	return v, ok && err == nil
}

// along puts groups that differ in the axis only into one series, in the order in which the first of each comes.
func (x axis) along(groups []spread.Group) []series {
	if x.path == "" {
		return nil
	}
	var all []series
	at := map[string]int{}
	for _, g := range groups {
		name := x.rest(g)
		i, ok := at[name]
		if !ok {
			i = len(all)
			at[name] = i
			all = append(all, series{name: name})
		}
		all[i].groups = append(all[i].groups, g)
	}
	for _, s := range all {
		slices.SortStableFunc(s.groups, func(a, b spread.Group) int {
			va, _ := x.of(a)
			vb, _ := x.of(b)
			return cmp.Compare(va, vb)
		})
	}
	return all
}

// rest is a group's name without its place on the axis.
func (x axis) rest(g spread.Group) string {
	if x.agents {
		return g.Series
	}
	short := x.path[strings.LastIndexByte(x.path, '.')+1:]
	var parts []string
	for part := range strings.SplitSeq(g.Name, ", ") {
		if path, _, ok := strings.Cut(part, "="); !ok || path != short && path != x.path {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}
