package learner

import (
	"errors"
	"fmt"
	"slices"
)

// What the nets and their buffers are made for. A step's memory grows with batch · input², so both have an end.
const (
	minWidth, maxWidth         = 0.1, 4.0   // beyond, every layer is at its least width, or no longer fits a small machine
	minInput, maxInput         = 32, 512    // both nets halve the side five times
	minInitScale, maxInitScale = 0.01, 10.0 // smaller, batch norm's epsilon hides what filters compute; larger, they hardly turn
	maxBatch                   = 4096
	maxThreads                 = 256
)

// Validate reports every value that cannot be used, joined, each as "key: value …, and the remedy".
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{MobileNetV2, SqueezeNet11}, c.Model) {
		bad("model: %q is unknown, give %s or %s", c.Model, MobileNetV2, SqueezeNet11)
	}
	if !within(c.Width, minWidth, maxWidth) {
		bad("width: %v is outside %v..%v, give 1 for the full net or 0.5 for half as many channels", c.Width, minWidth, maxWidth)
	}
	if c.Input < minInput || c.Input > maxInput {
		bad("input: %d is outside %d..%d pixels, give the side of the images, such as 32", c.Input, minInput, maxInput)
	}
	if c.Batch < 1 || c.Batch > maxBatch {
		bad("batch: %d is outside 1..%d images, give as many as memory allows, such as 12", c.Batch, maxBatch)
	}
	if c.Threads < 0 || c.Threads > maxThreads {
		bad("threads: %d is outside 0..%d, give 0 for one per CPU", c.Threads, maxThreads)
	}
	if c.Init != "he" && c.Init != "xavier" {
		bad("init: %q is unknown, give he or xavier", c.Init)
	}
	if !within(c.InitScale, minInitScale, maxInitScale) {
		bad("init_scale: %v is outside %v..%v, give 1 for filters as init draws them, or 0.1 for many agents", c.InitScale, minInitScale, maxInitScale)
	}
	if !within(c.InitBranch, 0, 1) {
		bad("init_branch: %v is outside 0..1, give 1 for blocks that take part from the first step, or 0 for many agents", c.InitBranch)
	}
	return errors.Join(errors.Join(errs...), c.Optimizer.validate(), c.Schedule.validate(), c.BatchNorm.validate())
}

func (s SGD) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !within(s.Rate, 0, 100) || s.Rate == 0 {
		bad("sgd.rate: %v is not in (0, 100], give a learning rate such as 0.05", s.Rate)
	}
	if !within(s.Momentum, 0, 1) || s.Momentum == 1 {
		bad("sgd.momentum: %v is outside [0, 1), give 0.9, or 0 for none", s.Momentum)
	}
	if s.Nesterov && s.Momentum == 0 {
		bad("sgd.nesterov: true needs momentum, give sgd.momentum 0.9 or nesterov false")
	}
	if !within(s.WeightDecay, 0, 1) {
		bad("sgd.weight_decay: %v is outside 0..1, give 0.0001, or 0 for none", s.WeightDecay)
	}
	if !within(s.Clip, 0, 1e6) {
		bad("sgd.clip: %v is outside 0..1e6, give the greatest norm of a gradient, such as 2, or 0 for any", s.Clip)
	}
	return errors.Join(errs...)
}

func (s Schedule) validate() error {
	const rounds = 1e9 // no run is longer
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{"constant", "step", "cosine"}, s.Kind) {
		bad("schedule.kind: %q is unknown, give constant, step or cosine", s.Kind)
	}
	if !within(s.Warmup, 0, rounds) {
		bad("schedule.warmup: %v rounds cannot be, give a number from 0, such as 0.5", s.Warmup)
	}
	if s.Kind == "step" && (!within(s.Every, 0, rounds) || s.Every == 0) {
		bad("schedule.every: %v rounds cannot be, give the rounds between drops, such as 3", s.Every)
	}
	if s.Kind == "step" && (!within(s.Gamma, 0, 1) || s.Gamma == 0) {
		bad("schedule.gamma: %v is not in (0, 1], give the factor of each drop, such as 0.1", s.Gamma)
	}
	if s.Kind == "cosine" && !within(s.Floor, 0, 1) {
		bad("schedule.floor: %v is outside 0..1, give the last factor of the rate, such as 0", s.Floor)
	}
	return errors.Join(errs...)
}

func (b BatchNorm) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !within(b.Decay, 0, 1) || b.Decay == 1 {
		bad("batch_norm.decay: %v is outside [0, 1), give 0.9", b.Decay)
	}
	if !within(b.Epsilon, 1e-12, 1) {
		bad("batch_norm.epsilon: %v is outside 1e-12..1, give 1e-5", b.Epsilon)
	}
	return errors.Join(errs...)
}

// within says whether v is in [lo, hi]; NaN is nowhere.
func within(v, lo, hi float64) bool { return lo <= v && v <= hi }
