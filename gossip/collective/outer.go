package collective

import "fmt"

// Outer is the optimiser that applies the mean delta to the shared parameters. The negative mean delta stands in for a
// gradient: what the members' local steps found, as one large step.
type Outer struct {
	Kind     string  `yaml:"kind"`     // none: the mean is the next state | slowmo | nesterov
	Rate     float64 `yaml:"rate"`     // outer learning rate: 1 with slowmo, 0.7 with nesterov in their papers; none has no use for it
	Momentum float64 `yaml:"momentum"` // share of the velocity that stays, in [0, 1)
}

// maxRate bounds the outer rate: beyond it the state leaves the members far behind.
const maxRate = 100

// outerNames are the kinds of Outer.
func outerNames() []string { return []string{"none", "slowmo", "nesterov"} }

// HasVelocity says whether Step uses velocity, which then belongs to the state that members share.
func (o Outer) HasVelocity() bool { return o.Kind == "slowmo" || o.Kind == "nesterov" }

// Step makes base, the parameters of the last committed state, the next ones, given the mean of the members' deltas to
// it, and updates velocity, which begins as zeros. All have the same length; velocity may be nil where HasVelocity is
// false.
//
//   - none: base += mean, which is the mean of the members' states (FedAvg, [McMahan2017]).
//   - slowmo: v = momentum·v + mean; base += rate·v ([Wang2020], "SlowMo", algorithm 1, with the inner learning rate, by
//     which the paper divides the delta and multiplies the step, the same in all rounds). rate 1 and momentum 0.7 are a
//     good start; momentum 0 and rate 1 are none.
//   - nesterov: v = momentum·v + mean; base += rate·(mean + momentum·v), PyTorch's SGD with Nesterov momentum on the
//     negative mean delta ([Douillard2023], "DiLoCo", rate 0.7 and momentum 0.9).
//
// Every product is rounded before it is added, so that members get the same bits on every architecture.
func (o Outer) Step(base, mean, velocity []float32) {
	mean = mean[:len(base)]
	if !o.HasVelocity() {
		for i := range base {
			base[i] += mean[i]
		}
		return
	}
	rate, momentum, velocity := float32(o.Rate), float32(o.Momentum), velocity[:len(base)]
	if o.Kind == "slowmo" {
		for i, d := range mean {
			v := float32(momentum*velocity[i]) + d
			velocity[i] = v
			base[i] += float32(rate * v)
		}
		return
	}
	for i, d := range mean {
		v := float32(momentum*velocity[i]) + d
		velocity[i] = v
		ahead := d + float32(momentum*v)
		base[i] += float32(rate * ahead)
	}
}

func (o Outer) validate() []error {
	var errs []error
	if !(o.Rate > 0 && o.Rate <= maxRate) {
		errs = append(errs, fmt.Errorf("outer.rate: %v is outside (0, %d]; slowmo begins with 1, nesterov with 0.7", o.Rate, maxRate))
	}
	if !(o.Momentum >= 0 && o.Momentum < 1) {
		errs = append(errs, fmt.Errorf("outer.momentum: %v is outside [0, 1); slowmo begins with 0.7, nesterov with 0.9", o.Momentum))
	}
	return errs
}
