package timing

import (
	"math"
	"math/rand/v2"
)

// draw is by what factor each member takes longer in a round.
func (s Stragglers) draw(members, round int) []float64 {
	slow := make([]float64, members)
	for r := range slow {
		slow[r] = 1
	}
	switch s.Distribution {
	case "fixed":
		rng := rand.New(rand.NewPCG(s.Seed, 0))
		for _, r := range rng.Perm(members)[:int(math.Round(s.Share*float64(members)))] {
			slow[r] = s.Factor
		}
	case "lognormal":
		rng := rand.New(rand.NewPCG(s.Seed, uint64(round)))
		for r := range slow {
			slow[r] = math.Exp(s.sigma() * rng.NormFloat64())
		}
	}
	return slow
}

// sigma is that of the logarithm, with median 1 and the share beyond the factor.
func (s Stragglers) sigma() float64 {
	z := math.Sqrt2 * math.Erfinv(1-2*s.Share)
	return math.Log(s.Factor) / z
}
