package timing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/learner"
)

const (
	// measureWarmup is how many steps caches and clocks settle in.
	measureWarmup = 3
	// measureFor is how long this machine is measured at training, and again at evaluation.
	measureFor = 1500 * time.Millisecond
	// measureClasses and measureRate are of random images and labels; the rate is so small that parameters stay finite.
	measureClasses, measureRate = 10, 5e-4
)

// Measure is this machine as the device of an experiment: how fast so many agents that train as configured are on it
// together. As many learners as its cores have room for train side by side on random images for a moment, and then
// evaluate; more agents than that share what these reach (and
// lose more by taking turns than is measured here: 38 % were seen with four to a core).
func Measure(ctx context.Context, cfg learner.Config, agents int) (Device, error) {
	d := Device{Profile: ThisMachine, Share: 1 / float64(max(agents, 1)), Cores: runtime.GOMAXPROCS(0)}
	cores := d.Cores
	threads := cfg.Threads
	if threads == 0 {
		threads = cores
	}
	beside := max(1, min(agents, cores/threads))
	for _, kind := range []struct {
		rate  *float64
		trial func(l *learner.Learner, x []float32, labels []int32) error
	}{
		{&d.ImagesPerSecond, func(l *learner.Learner, x []float32, labels []int32) error {
			_, err := l.Step(x, labels, measureRate)
			return err
		}},
		{&d.Evaluate, func(l *learner.Learner, x []float32, labels []int32) error {
			_, err := l.Score(x, labels)
			return err
		}},
	} {
		rates := make([]float64, beside)
		group, ctx := errgroup.WithContext(ctx)
		for i := range rates {
			group.Go(func() (err error) {
				rates[i], err = measureOne(ctx, cfg, kind.trial)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return d, fmt.Errorf("measure this machine: %w", err)
		}
		for _, r := range rates {
			*kind.rate += r
		}
	}
	return d, nil
}

// measureOne is how many images per second one learner gets through.
func measureOne(ctx context.Context, cfg learner.Config, trial func(l *learner.Learner, x []float32, labels []int32) error) (float64, error) {
	l, err := learner.New(cfg, measureClasses, 1)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	rng := rand.New(rand.NewPCG(1, 0))
	x, labels := make([]float32, cfg.Batch*cfg.Input*cfg.Input*3), make([]int32, cfg.Batch)
	for i := range x {
		x[i] = rng.Float32()
	}
	for i := range labels {
		labels[i] = int32(rng.IntN(measureClasses))
	}
	var began time.Time
	for n := -measureWarmup; ; n++ {
		if n == 0 {
			began = time.Now()
		}
		if took := time.Since(began); n > 0 && took > measureFor {
			return float64(n*cfg.Batch) / took.Seconds(), nil
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := trial(l, x, labels); err != nil {
			return 0, err
		}
	}
}
