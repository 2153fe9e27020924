package collective

import (
	"math"
	"math/rand/v2"
	"testing"
)

// dumbOuter follows the papers' formulas in float64, with the pseudo-gradient g = -mean of the members' deltas.
func dumbOuter(o Outer, base, mean, velocity []float64) {
	for i := range base {
		g := -mean[i]
		switch o.Kind {
		case "none":
			base[i] -= g
		case "slowmo": // u = βu + Δ/γ; x -= αγu, with γ = 1
			velocity[i] = o.Momentum*velocity[i] + g
			base[i] -= o.Rate * velocity[i]
		case "nesterov": // PyTorch: buf = μ·buf + g; x -= lr·(g + μ·buf)
			velocity[i] = o.Momentum*velocity[i] + g
			base[i] -= o.Rate * (g + o.Momentum*velocity[i])
		}
	}
}

func TestOuterStepsFollowTheirPapers(t *testing.T) {
	rng := rand.New(rand.NewPCG(19, 20))
	for _, o := range []Outer{
		{Kind: "none", Rate: 1}, {Kind: "slowmo", Rate: 1, Momentum: 0.7}, {Kind: "slowmo", Rate: 0.5, Momentum: 0},
		{Kind: "nesterov", Rate: 0.7, Momentum: 0.9}, {Kind: "nesterov", Rate: 2, Momentum: 0.1},
	} {
		const n = 33
		base, velocity := make([]float32, n), make([]float32, n)
		dumbBase, dumbVelocity := make([]float64, n), make([]float64, n)
		for range 20 {
			mean, dumbMean := make([]float32, n), make([]float64, n)
			for i := range mean {
				mean[i] = float32(rng.NormFloat64())
				dumbMean[i] = float64(mean[i])
			}
			o.Step(base, mean, velocity)
			dumbOuter(o, dumbBase, dumbMean, dumbVelocity)
		}
		for i := range base {
			if d := math.Abs(float64(base[i]) - dumbBase[i]); d > 1e-4 {
				t.Errorf("%+v: element %d is %v, want %v", o, i, base[i], dumbBase[i])
			}
			if d := math.Abs(float64(velocity[i]) + dumbVelocity[i]); d > 1e-4 {
				t.Errorf("%+v: velocity %d is %v, want %v", o, i, velocity[i], -dumbVelocity[i])
			}
		}
	}
}

// TestOuterWithoutMomentumIsTheMean, to the bit.
func TestOuterWithoutMomentumIsTheMean(t *testing.T) {
	for _, kind := range outerNames() {
		o := Outer{Kind: kind, Rate: 1}
		base, mean := []float32{1, -2, 1e-8, 0}, []float32{0.1, 1e-9, 1e-8, -3}
		o.Step(base, mean, make([]float32, 4))
		for i, want := range []float32{float32(1) + 0.1, -2, 2e-8, -3} {
			if base[i] != want {
				t.Errorf("%s: element %d is %v, want %v", kind, i, base[i], want)
			}
		}
		if o.HasVelocity() != (kind != "none") {
			t.Errorf("%s has velocity: %v", kind, o.HasVelocity())
		}
	}
	Outer{Kind: "none"}.Step([]float32{1}, []float32{1}, nil)
	Outer{Kind: "slowmo"}.Step(nil, nil, nil)
}

// TestOuterRoundsEveryProduct: fused, the second step's velocity would have other bits.
func TestOuterRoundsEveryProduct(t *testing.T) {
	a, b := float32(1+1.0/4096), float32(0.9)
	velocity, base := []float32{a}, []float32{0}
	Outer{Kind: "slowmo", Rate: 1, Momentum: float64(b)}.Step(base, []float32{-a * b}, velocity)
	if velocity[0] != 0 { // fused it is the rounding error of the product
		t.Errorf("velocity is %v: a product was fused", velocity[0])
	}
}
