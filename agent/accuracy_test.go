package agent

import (
	"math"
	"math/rand/v2"
	"testing"
)

// drawn is the agreement of members whose work is signal plus noise of so large a norm each, measured on real vectors.
func drawn(rng *rand.Rand, members int, signal, noise float64) agreement {
	const size = 4000
	mean, norms := make([]float64, size), make([]float64, members)
	for m := range norms {
		for i := range mean {
			x := (signal + noise*rng.NormFloat64()) / math.Sqrt(size)
			mean[i] += x / float64(members)
			norms[m] += x * x
		}
		norms[m] = math.Sqrt(norms[m])
	}
	sum := 0.0
	for _, x := range mean {
		sum += x * x
	}
	a, ok := agreementOf(norms, int64(100*members), math.Sqrt(sum))
	if !ok {
		panic("members that can be measured are not")
	}
	return a
}

// TestNoiseScaleIsTheRatio: with noise b times the signal in the work on 100 images, 100·b² images have as much of both.
func TestNoiseScaleIsTheRatio(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, members := range []int{2, 8, 48} {
		for _, noise := range []float64{0.1, 1, 3} {
			got, want := drawn(rng, members, 1, noise).noiseScale(), 100*noise*noise
			if math.Abs(got/want-1) > 0.35 {
				t.Errorf("%d members, noise %v: scale of %.1f images, want %.1f", members, noise, got, want)
			}
		}
	}
	one := agreement{Members: 2, Images: 1, Mean: 1, Each: 2}
	if got := one.distance(); got != 1 {
		t.Errorf("two at right angles are %v away from their mean, want 1", got)
	}
	if got := one.noiseScale(); !math.IsInf(got, 1) {
		t.Errorf("nothing but noise has scale %v", got)
	}
}

func TestAgreementOfWhatCannotBeKnown(t *testing.T) {
	for name, c := range map[string]struct {
		norms  []float64
		images int64
		mean   float64
	}{
		"nobody": {nil, 0, 0}, "one": {[]float64{1}, 5, 1}, "no norm": {[]float64{1, 0}, 5, 1}, "no images": {[]float64{1, 1}, 0, 1},
		"no mean": {[]float64{1, 1}, 5, 0}, "not a number": {[]float64{1, math.NaN()}, 5, 1}, "infinite": {[]float64{1, math.Inf(1)}, 5, 1},
		"longer than its parts": {[]float64{1, 1}, 5, 2}, "mean not a number": {[]float64{1, 1}, 5, math.NaN()},
	} {
		if a, ok := agreementOf(c.norms, c.images, c.mean); ok {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestAccuracyWarns of what is wrong, once, and says when it is over.
func TestAccuracyWarns(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, c := range map[string]struct {
		members       int
		signal, noise float64
		steps         int
		want          string
	}{
		"fine":       {48, 1, 5, 87, ""},
		"few":        {2, 1, 2, 2084, ""},
		"the same":   {48, 1, 0.5, 87, warnSaturated},
		"unrelated":  {48, 0, 1, 87, warnApart},
		"few steps":  {48, 1, 5, 10, warnShort},
		"just a few": {8, 1, 2, 87, ""},
	} {
		var w accuracy
		var begun []Warning
		for range 30 {
			b, _ := w.see(drawn(rng, c.members, c.signal, c.noise), c.steps)
			begun = append(begun, b...)
		}
		switch {
		case c.want == "" && len(begun) > 0:
			t.Errorf("%s: warns of %v", name, begun)
		case c.want != "" && (len(begun) != 1 || begun[0].Kind != c.want || len(w.warnings()) != 1):
			t.Errorf("%s: warns of %v, in force %v; want %s once", name, begun, w.warnings(), c.want)
		}
		if c.want == "" {
			continue
		}
		over := 0
		for range 60 {
			_, ended := w.see(drawn(rng, c.members, 1, 5), 87)
			over += len(ended)
		}
		if over != 1 || len(w.warnings()) != 0 {
			t.Errorf("%s: ended %d times, in force %v", name, over, w.warnings())
		}
	}
}

// TestAccuracyDoesNotNag: values that go back and forth over a limit give one warning.
func TestAccuracyDoesNotNag(t *testing.T) {
	var w accuracy
	changes := 0
	for round := range 400 {
		steps := shortAt - 1
		if round/7%2 == 1 {
			steps = shortAt + 5
		}
		begun, ended := w.see(agreement{Members: 8, Images: 100, Mean: 1, Each: 4}, steps)
		changes += len(begun) + len(ended)
	}
	if changes != 1 {
		t.Errorf("%d changes, want the one warning", changes)
	}
}
