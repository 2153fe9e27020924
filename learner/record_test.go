package learner

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"shoal/learner/safetensors"
)

var record = flag.Bool("record", false, "write testdata's traces again")

// numbers are the results of a training, by the names that they have in a trace.
type numbers[T float32 | float64] map[string][]T

// load makes a reference, and a batch, from the initial values of a trace.
func load[T float32 | float64](cfg Config, file *safetensors.File) (*reference[T], *plane[T], []int32) {
	r := &reference[T]{params: map[string][]T{}, grads: map[string][]T{}, running: map[string][]T{},
		train: true, epsilon: T(cfg.BatchNorm.Epsilon), decay: T(cfg.BatchNorm.Decay)}
	for _, t := range file.Tensors {
		name, ok := strings.CutPrefix(t.Name, "init.")
		switch {
		case ok && strings.Contains(name, ".running_"):
			r.running[name] = widen[T](t)
		case ok:
			r.params[name] = widen[T](t)
			r.grads[name] = make([]T, len(r.params[name]))
		}
	}
	input, _ := file.Find("input")
	labels, err := ints(file)
	if err != nil {
		panic(err)
	}
	x := newPlane[T](len(labels), 3, cfg.Input, cfg.Input)
	copy(x.v, widen[T](input))
	return r, x, labels
}

// play trains the reference as a trace says, from its initial values, and returns what it gives.
func play[T float32 | float64](cfg Config, classes, steps int, file *safetensors.File) numbers[T] {
	r, x, labels := load[T](cfg, file)
	got, velocity := numbers[T]{}, map[string][]T{}
	for step := range steps {
		logits := r.forward(cfg, classes, x)
		loss := r.loss(logits, labels)
		r.backward()
		if step == 0 {
			got["loss"], got["logits"] = []T{T(loss)}, logits.v
			for name, g := range r.grads {
				got["grad."+name] = slices.Clone(g)
			}
		}
		r.descend(cfg.Optimizer, velocity)
	}
	for _, values := range []map[string][]T{r.params, r.running} {
		for name, v := range values {
			got[fmt.Sprintf("after%d.%s", steps, name)] = slices.Clone(v)
		}
	}
	r.train = false
	got["eval_logits"] = r.forward(cfg, classes, x).v
	return got
}

// widen is a float32 tensor's values in the precision of a play.
func widen[T float32 | float64](t safetensors.Tensor) []T {
	narrow, err := t.Float32s()
	if err != nil {
		panic(err)
	}
	values := make([]T, len(narrow))
	for i, v := range narrow {
		values[i] = T(v)
	}
	return values
}

// ints are a trace's labels.
func ints(file *safetensors.File) ([]int32, error) {
	tensor, _ := file.Find("labels")
	wide, err := tensor.Int64s()
	labels := make([]int32, len(wide))
	for i, v := range wide {
		labels[i] = int32(v)
	}
	return labels, err
}

// start is a trace with a learner's first parameters, slightly off where they would be all zero or one, and a batch.
func start(l *Learner, seed uint64) *safetensors.File {
	file := &safetensors.File{Metadata: map[string]string{}}
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, p := range l.parts(l.Shared(false), nil) {
		values := make([]float32, p.Len())
		p.Export(values, p.values)
		if len(p.Shape) == 1 {
			for i := range values {
				values[i] += rng.Float32() / 4
			}
		}
		file.Tensors = append(file.Tensors, safetensors.Floats("init."+p.name, p.Shape, values))
	}
	n, side := l.cfg.Batch, l.cfg.Input
	x, labels := make([]float32, n*3*side*side), make([]int64, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for i := range labels {
		labels[i] = rng.Int64N(int64(l.classes))
	}
	file.Tensors = append(file.Tensors, safetensors.Floats("input", []int{n, 3, side, side}, x), safetensors.Ints("labels", []int{n}, labels))
	return file
}

// complete plays a trace that has its start only, in float64, and writes what that gives and how far float32 is from it.
func complete(cfg Config, classes, steps int, file *safetensors.File) {
	want, rough := play[float64](cfg, classes, steps, file), play[float32](cfg, classes, steps, file)
	o, format := cfg.Optimizer, func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	maps.Copy(file.Metadata, map[string]string{"arch": cfg.Model, "width": format(cfg.Width), "batch": fmt.Sprint(cfg.Batch),
		"size": fmt.Sprint(cfg.Input), "classes": fmt.Sprint(classes), "lr": format(o.Rate), "momentum": format(o.Momentum),
		"weight_decay": format(o.WeightDecay), "nesterov": fmt.Sprint(o.Nesterov), "steps": fmt.Sprint(steps),
		"bn_eps": format(cfg.BatchNorm.Epsilon), "bn_momentum": format(1 - cfg.BatchNorm.Decay)})
	shapes := map[string][]int{}
	for _, t := range file.Tensors {
		shapes[t.Name] = t.Shape
	}
	sums := map[string][2]float64{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		kind, rest, _ := strings.Cut(name, ".")
		kind = strings.TrimRight(kind, "0123456789")
		shape := shapes["init."+rest]
		if shape == nil {
			shape = []int{len(want[name])}
		}
		narrow := make([]float32, len(want[name]))
		s := sums[kind]
		for i, v := range want[name] {
			narrow[i] = float32(v)
			d := float64(rough[name][i]) - v
			s[0], s[1] = s[0]+d*d, s[1]+v*v
		}
		sums[kind] = s
		file.Tensors = append(file.Tensors, safetensors.Floats(name, shape, narrow))
	}
	for kind, s := range sums {
		file.Metadata["float32_error_"+kind] = format(math.Sqrt(s[0] / s[1]))
	}
}

// recorded is the training of testdata's trace.
func recorded() Config {
	cfg := Defaults()
	cfg.Width, cfg.Input, cfg.Batch, cfg.Threads, cfg.Optimizer.Rate = 0.1, 48, 6, 1, 0.00005
	cfg.BatchNorm = BatchNorm{Decay: 0.5, Epsilon: 1e-2}
	return cfg
}

// small are the trainings that the learner is compared on, each with something that the others do not have. Where fewer
// values are normalised than here, float32 has few digits left in either.
func small() map[string]Config {
	cfg := Defaults()
	cfg.Threads = 1
	with := func(change func(c *Config)) Config { c := cfg; change(&c); return c }
	return map[string]Config{
		"mobilenet_v2_w0.35_s33": with(func(c *Config) {
			c.Width, c.Input, c.Batch, c.Init = 0.35, 33, 3, "xavier"
			c.Optimizer = SGD{Rate: 0.002, Momentum: 0.8, Nesterov: true, WeightDecay: 0.1}
			c.BatchNorm = BatchNorm{Decay: 0.7, Epsilon: 1e-3}
		}),
		"squeezenet1_1_s32": with(func(c *Config) {
			c.Model, c.Batch, c.Optimizer = SqueezeNet11, 2, SGD{Rate: 0.001, Momentum: 0.9, WeightDecay: 0.1}
		}),
		"squeezenet1_1_s43": with(func(c *Config) {
			c.Model, c.Input, c.Batch, c.Init, c.Optimizer = SqueezeNet11, 43, 1, "xavier", SGD{Rate: 0.002}
		}),
	}
}

// TestAgainstReference trains the learner beside the reference.
func TestAgainstReference(t *testing.T) {
	for name, cfg := range small() {
		t.Run(name, func(t *testing.T) {
			const classes, steps = 4, 2
			l, err := New(cfg, classes, 7)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			file := start(l, 7)
			complete(cfg, classes, steps, file)
			checkTrace(t, file)
		})
	}
}

// TestReferenceGradients compares the reference's gradients with differences of its loss, along a random direction for
// each kind of parameter.
func TestReferenceGradients(t *testing.T) {
	for _, cfg := range []Config{recorded(), small()["squeezenet1_1_s43"]} {
		cfg.Input, cfg.Batch, cfg.BatchNorm = 32, 2, Defaults().BatchNorm
		l, err := New(cfg, 3, 5)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		r, x, labels := load[float64](cfg, start(l, 5))
		logits := r.forward(cfg, 3, x)
		r.loss(logits, labels)
		r.backward()
		grads := r.grads
		r.grads = map[string][]float64{}
		for name := range grads {
			r.grads[name] = make([]float64, len(grads[name]))
		}
		for _, kind := range []string{".weight", ".bias"} {
			rng, want := rand.New(rand.NewPCG(1, 2)), 0.0
			directions := map[string][]float64{}
			for _, name := range slices.Sorted(maps.Keys(grads)) {
				directions[name] = make([]float64, len(grads[name]))
				for i, g := range grads[name] {
					if strings.HasSuffix(name, kind) {
						directions[name][i] = rng.NormFloat64()
						want += directions[name][i] * g
					}
				}
			}
			const step = 1e-9 // small filters turn far, and soon meet a kink
			moved := func(by float64) float64 {
				for name, d := range directions {
					for i := range d {
						r.params[name][i] += by * d[i]
					}
				}
				return r.loss(r.forward(cfg, 3, x), labels)
			}
			got := (moved(step) - moved(-2*step)) / (2 * step)
			moved(step)
			if math.Abs(got-want) > 1e-4*math.Abs(want) {
				t.Errorf("%s, along %s: loss changes by %v, gradients say %v", cfg.Model, kind, got, want)
			}
		}
	}
}

// TestRecord writes the trace that the repository carries.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("run with -record to write testdata again")
	}
	const name, classes, steps = "mobilenet_v2_w0.1_s48", 2, 3
	cfg := recorded()
	l, err := New(cfg, classes, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := start(l, 1)
	complete(cfg, classes, steps, file)
	if err := safetensors.Write(filepath.Join("testdata", name+".safetensors"), file); err != nil {
		t.Fatal(err)
	}
}
