package spread

import (
	"cmp"
	"slices"
	"strings"

	"shoal/eval/lab/row"
)

// Group is runs that differ in repetition and seed only.
type Group struct {
	Name   string // what sets it apart from the other groups of the file: "agents=48, partition=strided"
	Series string // the same without the number of agents; empty: nothing else varies
	row.Place
	Runs []row.Run // by repetition, then seed
}

// Groups puts runs together, in the order in which the first of each comes. Names tell only what varies among the runs,
// with the last word of an axis' path where that is enough.
func Groups(runs []row.Run) []Group {
	var groups []Group
	at := map[string]int{}
	for _, r := range runs {
		k := Key(r.Place)
		i, ok := at[k]
		if !ok {
			i = len(groups)
			at[k] = i
			groups = append(groups, Group{Place: r.Place})
		}
		groups[i].Runs = append(groups[i].Runs, r)
	}
	names := newNames(groups)
	for i := range groups {
		g := &groups[i]
		slices.SortStableFunc(g.Runs, func(a, b row.Run) int {
			return cmp.Or(cmp.Compare(a.Repetition, b.Repetition), cmp.Compare(a.Seed, b.Seed))
		})
		g.Name, g.Series = names.of(g.Place, true), names.of(g.Place, false)
		if g.Name == "" {
			g.Name = g.Model
		}
	}
	return groups
}

// Of is the spread of one value of each run.
func (g Group) Of(value func(row.Run) float64) Spread {
	values := make([]float64, len(g.Runs))
	for i, r := range g.Runs {
		values[i] = value(r)
	}
	return Of(values...)
}

// Key is the same for runs that differ in repetition and seed only, in this file or another.
func Key(p row.Place) string {
	var parts []string
	for _, axis := range p.Axes {
		if last(axis[0]) != "seed" {
			parts = append(parts, axis[0]+"="+axis[1])
		}
	}
	slices.Sort(parts)
	return strings.Join(append(parts, "variant="+p.Variant), "\n")
}

// last is the last word of a path: "rate" of "learner.sgd.rate".
func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// Agents reports whether the axis at path is the number of agents.
func Agents(path string) bool { return last(path) == "agents" }

// names knows which axes vary and how short their paths can be.
type names struct {
	varies  map[string]bool
	short   map[string]string
	variant bool
}

func newNames(groups []Group) names {
	n := names{varies: map[string]bool{}, short: map[string]string{}}
	first, users := map[string]string{}, map[string]string{}
	for i, g := range groups {
		n.variant = n.variant || g.Variant != groups[0].Variant
		for _, axis := range g.Axes {
			path, value := axis[0], axis[1]
			if was, ok := first[path]; !ok && i == 0 {
				first[path] = value
			} else if was != value {
				n.varies[path] = true
			}
			switch user, ok := users[last(path)]; {
			case !ok:
				users[last(path)], n.short[path] = path, last(path)
			case user != path:
				n.short[user], n.short[path] = user, path
			}
		}
	}
	return n
}

// of names a place by what varies.
func (n names) of(p row.Place, agents bool) string {
	var parts []string
	if n.variant {
		parts = append(parts, cmp.Or(p.Variant, "as given"))
	}
	for _, axis := range p.Axes {
		path := axis[0]
		if n.varies[path] && last(path) != "seed" && (agents || !Agents(path)) {
			parts = append(parts, n.short[path]+"="+axis[1])
		}
	}
	return strings.Join(parts, ", ")
}
