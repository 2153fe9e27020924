// Package learner trains one model: parameters as one flat vector, stochastic gradient descent on it, scores, and
// checkpoints that torchvision can load. It knows nothing of a cluster; whoever averages models writes to the vector
// between steps.
package learner

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"

	"shoal/learner/graph"
	"shoal/learner/kernel"
)

// maxClasses is more than any set of images we know has.
const maxClasses = 1 << 16

// engine is what the learner needs of whatever runs its net.
type engine interface {
	Run(b graph.Batch, mode graph.Mode) (graph.Result, error)
	Logits() []float32
	Plan() graph.Plan
	Profile(on bool)
}

// Plan is what a training step does, step by step, and in how much memory.
type Plan = graph.Plan

// PlannedStep is one step of a Plan.
type PlannedStep = graph.PlannedStep

// Result is what a step or a score found: the mean loss over N images, and how many of them were classified correctly.
type Result struct {
	Loss       float64
	Correct, N int
}

// Learner is a model in training. It is for one goroutine at a time, and shares the work of a step among its own workers.
// What it computes does not depend on their number.
type Learner struct {
	cfg     Config
	classes int
	net     *graph.Net
	pool    *graph.Pool
	engine  engine

	shared   []float32 // parameters, running statistics, momentum
	params   []float32
	running  []float32
	momentum []float32
	grads    []float32
	steps    atomic.Int64 // batches that the running statistics have seen here

	rate    float32   // of the step that the workers are in
	shrink  float32   // what Optimizer.Clip multiplies its gradients by
	squares []float64 // of the gradients, by block
	descend func(worker, item int)
	measure func(worker, item int)
}

// New builds the model that cfg names, for images of cfg.Input pixels and classes labels, and draws its parameters from
// seed: the same on every machine. Close it in the end.
func New(cfg Config, classes int, seed uint64) (*Learner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("make learner: %w", err)
	}
	if classes < 1 || classes > maxClasses {
		return nil, fmt.Errorf("make learner: %d classes, outside 1..%d; is the set of images empty?", classes, maxClasses)
	}
	net, err := model(cfg, classes)
	if err != nil {
		return nil, fmt.Errorf("make learner: %w", err)
	}
	l := &Learner{cfg: cfg, classes: classes, net: net}
	p, r := net.ParamsLen, net.RunningLen
	l.shared, l.grads = make([]float32, 2*p+r), make([]float32, p)
	l.params, l.running, l.momentum = l.shared[:p:p], l.shared[p:p+r:p+r], l.shared[p+r:]
	l.draw(seed)
	threads := cfg.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	l.pool = graph.NewPool(threads)
	program, err := graph.Compile(net, graph.Memory{Params: l.params, Grads: l.grads, Running: l.running}, l.pool)
	if err != nil {
		l.pool.Close()
		return nil, fmt.Errorf("make learner: %w", err)
	}
	l.engine, l.descend, l.measure = program, l.descendBlock, l.measureBlock
	l.squares = make([]float64, l.blocks())
	return l, nil
}

// model builds the expression of the configured model.
func model(cfg Config, classes int) (*graph.Net, error) {
	spec := graph.Spec{Width: cfg.Width, Input: cfg.Input, Batch: cfg.Batch, Classes: classes, Epsilon: cfg.BatchNorm.Epsilon}
	switch cfg.Model {
	case MobileNetV2:
		return graph.MobileNetV2(spec)
	case SqueezeNet11:
		return graph.SqueezeNet11(spec)
	}
	return nil, fmt.Errorf("build model %q: it is unknown", cfg.Model)
}

// Close ends the workers. Nothing else may be called afterwards.
func (l *Learner) Close() { l.pool.Close() }

// Plan tells what a training step of a whole batch does, and the times that were measured.
func (l *Learner) Plan() Plan { return l.engine.Plan() }

// Profile begins to measure how long each step of the plan takes, from zero, or ends it. It costs nothing while it is off.
func (l *Learner) Profile(on bool) { l.engine.Profile(on) }

// Shared is the state that members of a cluster have in common: parameters, then running statistics, then with momentum
// the optimiser's, each in the order of Tensors. It is the learner's own memory: what is written there between calls is
// what the next call works with.
func (l *Learner) Shared(momentum bool) []float32 {
	if momentum {
		return l.shared
	}
	n := len(l.params) + len(l.running)
	return l.shared[:n:n]
}

// Params is the part of Shared that is descended on: all but running statistics and momentum.
func (l *Learner) Params() []float32 { return l.params }

// Step trains on one batch at the given learning rate, that is Config.Optimizer.Rate times the schedule's factor. x is
// (n, H, W, 3) with n = len(labels), at most Config.Batch. The result is of the parameters before the step. After an
// error the parameters are as they were; running statistics may have moved.
func (l *Learner) Step(x []float32, labels []int32, rate float64) (Result, error) {
	if !(rate >= 0) || math.IsInf(rate, 0) {
		return Result{}, fmt.Errorf("take step: rate %v is no learning rate", rate)
	}
	got, err := l.engine.Run(graph.Batch{X: x, Labels: labels, N: len(labels), Decay: l.cfg.BatchNorm.Decay}, graph.Train)
	if err != nil {
		return Result{}, fmt.Errorf("take step: %w", err)
	}
	l.rate, l.shrink = float32(rate), l.clip()
	l.pool.Run(l.blocks(), l.descend)
	l.steps.Add(1)
	return Result(got), nil
}

// clip is what the gradients are multiplied by so that their L2 norm is at most Optimizer.Clip.
func (l *Learner) clip() float32 {
	limit := l.cfg.Optimizer.Clip
	if limit == 0 {
		return 1
	}
	l.pool.Run(l.blocks(), l.measure)
	sum := 0.0
	for _, s := range l.squares { // in order, so that the result does not depend on who measured which
		sum += s
	}
	return float32(min(limit/math.Sqrt(sum), 1))
}

func (l *Learner) measureBlock(_, item int) {
	lo, hi := l.span(item)
	l.squares[item] = kernel.SumSquares(l.grads[lo:hi])
}

// descendLen is how many parameters a worker updates at once.
const descendLen = 1 << 14

func (l *Learner) blocks() int { return (len(l.params) + descendLen - 1) / descendLen }

// span is the range of parameters of a block.
func (l *Learner) span(item int) (lo, hi int) {
	return item * descendLen, min((item+1)*descendLen, len(l.params))
}

func (l *Learner) descendBlock(_, item int) {
	lo, hi := l.span(item)
	o := l.cfg.Optimizer
	if l.shrink != 1 {
		kernel.Scale(l.grads[lo:hi], l.shrink)
	}
	kernel.Descend(l.params[lo:hi], l.momentum[lo:hi], l.grads[lo:hi], l.rate, float32(o.Momentum), float32(o.WeightDecay), o.Nesterov)
}

// Score evaluates any number of images, x (n, H, W, 3) with n = len(labels), by the running statistics. Nothing changes.
func (l *Learner) Score(x []float32, labels []int32) (Result, error) {
	var sum Result
	image := l.imageLen()
	if len(x) != len(labels)*image {
		return sum, fmt.Errorf("score %d labels: %d values, want %d", len(labels), len(x), len(labels)*image)
	}
	for lo := 0; lo < len(labels); lo += l.cfg.Batch {
		hi := min(lo+l.cfg.Batch, len(labels))
		got, err := l.engine.Run(graph.Batch{X: x[lo*image : hi*image], Labels: labels[lo:hi], N: hi - lo}, graph.Evaluate)
		if err != nil {
			return sum, fmt.Errorf("score images %d to %d: %w", lo, hi, err)
		}
		sum.Loss += got.Loss * float64(got.N)
		sum.Correct += got.Correct
		sum.N += got.N
	}
	sum.Loss /= float64(max(sum.N, 1))
	return sum, nil
}

// Logits evaluates n images, x (n, H, W, 3), by the running statistics, and returns (n, classes). Nothing changes.
func (l *Learner) Logits(x []float32, n int) ([]float32, error) {
	image := l.imageLen()
	if n < 0 || len(x) != n*image {
		return nil, fmt.Errorf("evaluate %d images: %d values, want %d", n, len(x), n*image)
	}
	logits := make([]float32, 0, n*l.classes)
	for lo := 0; lo < n; lo += l.cfg.Batch {
		hi := min(lo+l.cfg.Batch, n)
		if _, err := l.engine.Run(graph.Batch{X: x[lo*image : hi*image], N: hi - lo}, graph.Evaluate); err != nil {
			return nil, fmt.Errorf("evaluate images %d to %d: %w", lo, hi, err)
		}
		logits = append(logits, l.engine.Logits()...)
	}
	return logits, nil
}

// Reestimate replaces the running statistics by the plain mean of the statistics of so many batches under the parameters
// as they are ("precise batch norm", Wu & Johnson 2021). next gives batch i: n images of x (n, H, W, 3), at most
// Config.Batch. After an error the running statistics are as they were. A model without batch norm asks for no batch.
func (l *Learner) Reestimate(batches int, next func(i int) (x []float32, n int)) error {
	if len(l.running) == 0 {
		return nil
	}
	if batches < 1 {
		return errors.New("re-estimate statistics: no batches; give at least one")
	}
	before := slices.Clone(l.running)
	for i := range batches {
		x, n := next(i)
		decay := float64(i) / float64(i+1)
		if _, err := l.engine.Run(graph.Batch{X: x, N: n, Decay: decay}, graph.Estimate); err != nil {
			copy(l.running, before)
			return fmt.Errorf("re-estimate statistics on batch %d: %w", i, err)
		}
	}
	return nil
}

// imageLen is the number of values of one image.
func (l *Learner) imageLen() int { return l.cfg.Input * l.cfg.Input * 3 }
