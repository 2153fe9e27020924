package learner

import (
	"math"
	"slices"
	"testing"
)

// A step's gradient keeps its direction and is no longer than Clip; one that is shorter is left alone, to the bit.
func TestClip(t *testing.T) {
	cfg := tiny()
	cfg.Optimizer = SGD{Rate: 1}
	x, labels := batch(cfg, 4, 1)
	gradient := func(clip float64) []float32 {
		cfg.Optimizer.Clip = clip
		l := make1(t, cfg, 4, 3)
		step(t, l, x, labels, 1)
		return slices.Clone(l.momentum) // without momentum and decay, what the parameters were moved by
	}
	length := func(v []float32) float64 {
		sum := 0.0
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		return math.Sqrt(sum)
	}
	whole := gradient(0)
	norm := length(whole)
	if same := gradient(norm * 1.01); !slices.Equal(same, whole) {
		t.Errorf("a gradient of norm %v is changed by a clip of %v", norm, norm*1.01)
	}
	clipped := gradient(norm / 8)
	if got := length(clipped); math.Abs(got/norm*8-1) > 1e-5 {
		t.Errorf("a gradient of norm %v, clipped at %v, has norm %v", norm, norm/8, got)
	}
	for i, g := range clipped {
		if want := whole[i] / 8; math.Abs(float64(g-want)) > 1e-6*norm {
			t.Fatalf("parameter %d: clipped gradient %v, want %v", i, g, want)
		}
	}
}
