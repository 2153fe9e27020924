package learner

import (
	"math"
	"slices"
	"strings"
	"testing"

	"shoal/learner/graph"
)

// TestInitScaleIsARate: filters half as large before batch norm compute the same, and a step at a quarter of the rate
// changes them in proportion.
func TestInitScaleIsARate(t *testing.T) {
	cfg := tiny()
	cfg.Batch, cfg.Input, cfg.BatchNorm.Epsilon = 16, 96, 1e-9 // many values for each statistic, so that rounding is not blown up
	cfg.Optimizer = SGD{Rate: 1}
	one := make1(t, cfg, 4, 3)
	cfg.InitScale = 0.5
	half := make1(t, cfg, 4, 3)
	before := slices.Clone(one.Params())
	x, labels := batch(cfg, 4, 1)
	a, b := step(t, one, x, labels, 0.1), step(t, half, x, labels, 0.1/4)
	if math.Abs(a.Loss-b.Loss) > 1e-4 {
		t.Errorf("loss %v at scale 1, %v at ½", a.Loss, b.Loss)
	}
	for _, p := range one.net.Params {
		if p.Kind != graph.Filter {
			continue
		}
		scale := float32(0.5)
		if strings.HasPrefix(p.Name, "classifier.") {
			scale = 1
		}
		var moved, off float64
		for i := p.Offset; i < p.Offset+p.Len(); i++ {
			want := scale * (one.params[i] - before[i])
			if scale == 1 {
				want /= 4
			}
			got := half.params[i] - scale*before[i]
			moved, off = moved+float64(want*want), off+float64((got-want)*(got-want))
		}
		if !(moved > 0) || math.Sqrt(off/moved) > 0.02 {
			t.Errorf("%s moved by %v, of that %v away from what it should", p.Name, math.Sqrt(moved), math.Sqrt(off))
		}
	}
}

// TestInitScaleSparesSqueezeNet, whose filters nothing normalises.
func TestInitScaleSparesSqueezeNet(t *testing.T) {
	cfg := tiny()
	cfg.Model = SqueezeNet11
	one := slices.Clone(make1(t, cfg, 4, 3).Params())
	cfg.InitScale = 0.1
	if !slices.Equal(one, make1(t, cfg, 4, 3).Params()) {
		t.Error("the scale reached filters without batch norm")
	}
}

// TestInitBranchPassesOn: where branches begin with a scale of 0, what is in them does not matter, blocks pass on their
// input, and a step teaches the scales, and only them in their branches.
func TestInitBranchPassesOn(t *testing.T) {
	cfg := tiny()
	cfg.InitBranch = 0
	cfg.Optimizer = SGD{Rate: 1}
	l, other := make1(t, cfg, 4, 3), make1(t, cfg, 4, 3)
	inside := []string{"features.3.conv.", "features.5.conv.", "features.6.conv.", "features.8.conv.", "features.16.conv."}
	in := func(name string) bool {
		return slices.ContainsFunc(inside, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	}
	for _, p := range other.net.Params {
		if in(p.Name) && p.Kind == graph.Filter {
			for i := range other.params[p.Offset:][:p.Len()] {
				other.params[p.Offset+i] *= -2
			}
		}
	}
	x, labels := batch(cfg, 4, 1)
	before := slices.Clone(l.Params())
	a, b := step(t, l, x, labels, 0.1), step(t, other, x, labels, 0.1)
	if a.Loss != b.Loss {
		t.Errorf("loss %v, with other filters in the branches %v", a.Loss, b.Loss)
	}
	branches := 0
	for _, p := range l.net.Params {
		moved := !slices.Equal(before[p.Offset:][:p.Len()], l.params[p.Offset:][:p.Len()])
		switch {
		case p.Kind == graph.Branch:
			branches++
			if before[p.Offset] != 0 || !moved {
				t.Errorf("%s began at %v, moved: %v", p.Name, before[p.Offset], moved)
			}
		case in(p.Name) && p.Kind == graph.Filter && moved:
			t.Errorf("%s moved behind a scale of 0", p.Name)
		}
	}
	if branches != 11 { // one more than torchvision has at width 1: here the first block keeps its number of channels
		t.Errorf("%d branches, want 11", branches)
	}
}
