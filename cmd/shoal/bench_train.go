package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"shoal/learner"
	"shoal/learner/kernel"
	"shoal/shards"
)

// benchRate is the learning rate of a benchmark: so small that random labels do not drive parameters to infinity, where
// arithmetic takes other times.
const benchRate = 5e-4

// Images of a benchmark without a data set: ten classes, and CIFAR-10's number in an epoch, as in the papers.
const (
	benchClasses     = 10
	benchEpochImages = 50_000
)

// benchResult is what was measured of one configuration.
type benchResult struct {
	Peer            string  `json:"peer"`
	Model           string  `json:"model"`
	Width           float64 `json:"width"`
	Input           int     `json:"input"`
	Batch           int     `json:"batch"`
	Threads         int     `json:"threads"`
	Steps           int     `json:"steps"`
	Set             string  `json:"cpu"` // of kernels
	Data            string  `json:"data"`
	ImagesPerSecond float64 `json:"images_per_second"` // of the median step
	StepMedian      float64 `json:"step_ms_median"`
	StepMean        float64 `json:"step_ms_mean"`
	StepMin         float64 `json:"step_ms_min"`
	StepMax         float64 `json:"step_ms_max"`
	LoadMedian      float64 `json:"load_ms_median"` // decoding and augmenting a batch, which is not in a step
	EpochImages     int     `json:"epoch_images"`
	EpochSeconds    float64 `json:"epoch_s"`     // of mean steps, with loading
	PeakRSS         float64 `json:"peak_rss_mb"` // of 2²⁰ bytes, as other programs tell it
	CPUPercent      float64 `json:"cpu_percent"` // 100 is one CPU busy
	Allocations     float64 `json:"allocations_per_step"`
	ArenaBytes      int64   `json:"arena_bytes"`
	GFLOPs          float64 `json:"gflops"` // of the median step: a multiply-add is two
	StepGFLOP       float64 `json:"step_gflop"`
	StepBytes       int64   `json:"step_bytes"` // that a step moves by its plan
	PeakShare       float64 `json:"peak_share,omitempty"`
	Peaks           *peaks  `json:"peaks,omitempty"`
	Machine         machine `json:"machine"`
	Build           build   `json:"build"`

	plan learner.Plan
}

// train measures the configuration in this process.
func (b *bench) train(ctx context.Context) (*benchResult, error) {
	feed, err := newFeed(ctx, b)
	if err != nil {
		return nil, err
	}
	cfg := b.cfg.Learner
	if cfg.Threads == 0 {
		cfg.Threads = runtime.GOMAXPROCS(0)
	}
	l, err := learner.New(cfg, feed.classes, b.cfg.Seed)
	if err != nil {
		return nil, fmt.Errorf("measure training: %w", err)
	}
	defer l.Close()
	r := &benchResult{
		Peer: "shoal " + thisBuild(version).Version, Model: cfg.Model, Width: cfg.Width, Input: cfg.Input, Batch: cfg.Batch,
		Threads: cfg.Threads, Set: kernel.Chosen(), Data: feed.name, EpochImages: feed.images,
		Machine: thisMachine(), Build: thisBuild(version),
	}
	if err := b.steady(ctx, l, feed, r); err != nil {
		return nil, err
	}
	r.PeakRSS = float64(peakRSS()) / (1 << 20) // before the machine's limits are measured, which takes memory
	r.plan = l.Plan()
	r.account()
	if b.peaks {
		p, err := measurePeaks(ctx, cfg.Threads, b.plan)
		if err != nil {
			return nil, err
		}
		r.Peaks, r.PeakShare = &p, r.GFLOPs/p.GFLOPS
	}
	return r, nil
}

// steady takes the steps of the warm-up and then those that count.
func (b *bench) steady(ctx context.Context, l *learner.Learner, feed *feed, r *benchResult) error {
	steps, loads := make([]float64, 0, maxBenchSteps), make([]float64, 0, maxBenchSteps)
	var before, after runtime.MemStats
	var busy time.Duration
	var began time.Time
	for i := -b.warmup; i < b.steps || i < maxBenchSteps && time.Since(began) < b.least; i++ {
		if i == 0 {
			l.Profile(b.plan)
			runtime.ReadMemStats(&before)
			began, busy = time.Now(), cpuTime()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		from := time.Now()
		feed.next()
		loaded := time.Now()
		if _, err := l.Step(feed.x, feed.labels, benchRate); err != nil {
			return fmt.Errorf("measure training: %w", err)
		}
		if i >= 0 {
			loads, steps = append(loads, milliseconds(loaded.Sub(from))), append(steps, milliseconds(time.Since(loaded)))
		}
	}
	busy = cpuTime() - busy
	r.CPUPercent = 100 * busy.Seconds() / time.Since(began).Seconds()
	runtime.ReadMemStats(&after)
	r.Steps = len(steps)
	r.Allocations = float64(after.Mallocs-before.Mallocs) / float64(len(steps))
	r.spread(steps, loads)
	return nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// spread fills in times from those of each step, in milliseconds.
func (r *benchResult) spread(steps, loads []float64) {
	r.StepMedian, r.StepMin, r.StepMax = median(steps), slices.Min(steps), slices.Max(steps)
	total := 0.0
	for i, ms := range steps {
		r.StepMean += ms / float64(len(steps))
		total += (ms + loads[i]) / float64(len(steps))
	}
	r.LoadMedian = median(loads)
	r.ImagesPerSecond = float64(r.Batch) / (r.StepMedian / 1e3)
	r.EpochSeconds = total / 1e3 * float64(r.EpochImages) / float64(r.Batch)
}

// account fills in what the plan says of a step.
func (r *benchResult) account() {
	var flops int64
	for _, s := range r.plan.Steps {
		flops += s.FLOPs
		r.StepBytes += s.Bytes
	}
	r.ArenaBytes, r.StepGFLOP = r.plan.ArenaBytes, float64(flops)/1e9
	r.GFLOPs = r.StepGFLOP / (r.StepMedian / 1e3)
}

// text is the result for people.
func (r *benchResult) text() string {
	var t strings.Builder
	width := ""
	if r.Model == learner.MobileNetV2 {
		width = fmt.Sprintf(" α %g", r.Width)
	}
	fmt.Fprintf(&t, "%s%s at %d×%d, batch %d, %d threads of %s, %s\n\n", r.Model, width, r.Input, r.Input, r.Batch, r.Threads, r.Set, r.Machine)
	fmt.Fprintf(&t, "speed        %.1f images/s\n", r.ImagesPerSecond)
	fmt.Fprintf(&t, "step         %.2f ms median, %.2f to %.2f in %d steps\n", r.StepMedian, r.StepMin, r.StepMax, r.Steps)
	fmt.Fprintf(&t, "epoch        %.1f s for %d images (%s), loading %.2f ms a batch\n", r.EpochSeconds, r.EpochImages, r.Data, r.LoadMedian)
	fmt.Fprintf(&t, "memory       %.1f MiB at most, %s of it for activations\n", r.PeakRSS, humanBytes(r.ArenaBytes))
	fmt.Fprintf(&t, "CPU          %.0f %% (100 is one CPU), %.1f allocations a step\n", r.CPUPercent, r.Allocations)
	fmt.Fprintf(&t, "arithmetic   %.1f GFLOP/s", r.GFLOPs)
	if r.Peaks == nil {
		t.WriteString("\n")
		return t.String()
	}
	fmt.Fprintf(&t, ", %.0f %% of the %.1f that multiply-adds in registers reach here\n", 100*r.PeakShare, r.Peaks.GFLOPS)
	t.WriteString(r.Peaks.products())
	moved := float64(r.StepBytes) / 1e9 / (r.StepMedian / 1e3)
	fmt.Fprintf(&t, "traffic      %.1f GB/s between layers by the plan; memory gives %.1f GB/s\n", moved, r.Peaks.Bandwidth)
	return t.String()
}

// feed gives batches.
type feed struct {
	name    string
	classes int
	images  int // in an epoch
	x       []float32
	labels  []int32
	next    func() // fills x and labels
}

// newFeed makes a feed of random values, the same batch again and again, or of the configured images.
func newFeed(ctx context.Context, b *bench) (*feed, error) {
	c := b.cfg.Learner
	f := &feed{
		name: "random", classes: benchClasses, images: benchEpochImages,
		x: make([]float32, c.Batch*c.Input*c.Input*3), labels: make([]int32, c.Batch), next: func() {},
	}
	rng := rand.New(rand.NewPCG(b.cfg.Seed, 1))
	if b.data == "" {
		for i := range f.x {
			f.x[i] = float32(rng.NormFloat64())
		}
		for i := range f.labels {
			f.labels[i] = rng.Int32N(benchClasses)
		}
		return f, nil
	}
	set, err := shards.Open(ctx, b.cfg.Data, c.Input, b.cfg.Seed)
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	if err != nil {
		return nil, fail(exitData, err)
	}
	loader := shards.NewLoader(set, b.cfg.Data, c.Input, b.cfg.Seed)
	indices := make([]int32, c.Batch)
	f.name, f.classes, f.images = set.Name, len(set.Classes), set.Train.N
	f.next = func() {
		for i := range indices {
			indices[i] = rng.Int32N(int32(set.Train.N))
		}
		loader.Train(f.x, f.labels, indices, 0)
	}
	return f, nil
}
