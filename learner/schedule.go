package learner

import "math"

// Factor is what the learning rate is multiplied by at a time of the run, both in rounds, fractions allowed: a linear
// warm-up times the course of Kind. A cosine falls from 1 at the end of the warm-up to Floor at the end of the run;
// without an end (rounds 0) it does not fall.
func (s Schedule) Factor(at float64, rounds int) float64 {
	at = max(at, 0)
	warm := 1.0
	if at < s.Warmup {
		warm = at / s.Warmup
	}
	switch s.Kind {
	case "step":
		return warm * math.Pow(s.Gamma, math.Floor(at/s.Every))
	case "cosine":
		return warm * s.cosine(at, float64(rounds))
	}
	return warm
}

// cosine is half a period of a cosine over what the warm-up leaves of the run [Loshchilov & Hutter 2017].
func (s Schedule) cosine(at, rounds float64) float64 {
	if at <= s.Warmup || rounds <= s.Warmup {
		return 1
	}
	done := min((at-s.Warmup)/(rounds-s.Warmup), 1)
	return s.Floor + (1-s.Floor)*(1+math.Cos(math.Pi*done))/2
}
