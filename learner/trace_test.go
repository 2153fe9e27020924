package learner

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"shoal/learner/graph"
	"shoal/learner/kernel"
	"shoal/learner/safetensors"
)

// TestTraces trains as recorded by another framework and compares. Traces are *.safetensors in the directory that
// SHOAL_TRACES names, and in testdata. Each has "init.NAME", "input" (N, 3, H, W), "labels", "loss" and "logits" of
// the first forward pass, "grad.NAME", "afterS.NAME" after S steps on the same batch, and "eval_logits" after those; its
// metadata says how it was trained, and which errors float32 made there.
func TestTraces(t *testing.T) {
	dirs := []string{"testdata"}
	if dir := os.Getenv("SHOAL_TRACES"); dir != "" {
		if _, err := os.Stat(dir); err != nil && !filepath.IsAbs(dir) {
			dir = filepath.Join("..", dir) // from the repository root
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		if err != nil || len(files) == 0 {
			t.Errorf("no traces in %s (SHOAL_TRACES=%q): %v", dir, os.Getenv("SHOAL_TRACES"), err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				recorded, err := safetensors.Read(file)
				if err != nil {
					t.Fatal(err)
				}
				inEverySet(t, func(t *testing.T) { checkTrace(t, recorded) })
			})
		}
	}
}

// inEverySet runs f with each set of kernels that this CPU has, or with the one that SHOAL_CPU names.
func inEverySet(t *testing.T, f func(t *testing.T)) {
	sets := kernel.Sets()
	if name := os.Getenv("SHOAL_CPU"); name != "" {
		sets = []string{name}
	}
	before := kernel.Chosen()
	defer func() {
		if err := kernel.Choose(before); err != nil {
			t.Error(err)
		}
	}()
	for _, name := range sets {
		if err := kernel.Choose(name); err != nil {
			t.Fatal(err)
		}
		t.Run(name, f)
	}
}

// trace is one recorded training.
type trace struct {
	t    *testing.T
	file *safetensors.File
}

func (tr trace) floats(name string) []float32 {
	tr.t.Helper()
	tensor, ok := tr.file.Find(name)
	if !ok {
		tr.t.Fatalf("trace has no tensor %q", name)
	}
	values, err := tensor.Float32s()
	if err != nil {
		tr.t.Fatal(err)
	}
	return values
}

func (tr trace) number(keys ...string) float64 {
	tr.t.Helper()
	for _, key := range keys {
		if text, ok := tr.file.Metadata[key]; ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				tr.t.Fatalf("metadata %s: %v", key, err)
			}
			return v
		}
	}
	tr.t.Fatalf("metadata has none of %v", keys)
	return 0
}

// steps are how many steps the trace has taken in its "afterS." tensors.
func (tr trace) steps() int {
	tr.t.Helper()
	for _, tensor := range tr.file.Tensors {
		if m := regexp.MustCompile(`^after(\d+)\.`).FindStringSubmatch(tensor.Name); m != nil {
			n, _ := strconv.Atoi(m[1])
			return n
		}
	}
	tr.t.Fatal("trace has no tensors after steps")
	return 0
}

// bound is ten times the error that float32 made where the trace was recorded, or 1e-5 where that is smaller.
func (tr trace) bound(what string) float64 {
	tr.t.Helper()
	recorded := tr.number("float32_error_" + what)
	if 10*recorded < 1e-5 {
		return 1e-5
	}
	return 10 * recorded
}

func (tr trace) config() Config {
	cfg := Defaults()
	cfg.Model, cfg.Width = tr.file.Metadata["arch"], tr.number("width")
	cfg.Input, cfg.Batch, cfg.Threads = int(tr.number("size")), int(tr.number("batch")), 2
	cfg.Optimizer = SGD{Rate: tr.number("lr"), Momentum: tr.number("momentum"), WeightDecay: tr.number("weight_decay"),
		Nesterov: strings.EqualFold(tr.file.Metadata["nesterov"], "true")}
	cfg.BatchNorm = BatchNorm{Epsilon: tr.number("bn_eps"), Decay: 1 - tr.number("bn_momentum")}
	return cfg
}

// pixels is the batch as (N, H, W, 3).
func (tr trace) pixels(n, size int) []float32 {
	planes := tr.floats("input")
	x := make([]float32, len(planes))
	area := size * size
	for i := range n {
		for c := range 3 {
			for p := range area {
				x[(i*area+p)*3+c] = planes[(i*3+c)*area+p]
			}
		}
	}
	return x
}

func (tr trace) labels() []int32 {
	labels, err := ints(tr.file)
	if err != nil {
		tr.t.Fatal(err)
	}
	return labels
}

// checkTrace trains as the trace says, with the batch in several orders, which only rounding can see. Loss and logits must
// be right in all of them. What depends on gradients must be right in one: ReLU6 has kinks, and of some million inputs to
// it, one within rounding of a kink falls on either side; then a gradient jumps by more than rounding.
func checkTrace(t *testing.T, file *safetensors.File) {
	tr := trace{t, file}
	cfg := tr.config()
	l, err := New(cfg, int(tr.number("classes")), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var log []string
	for turn := range min(cfg.Batch, 4) {
		lines, ok := tr.train(l, turn)
		if log = append(log, lines...); ok {
			t.Logf("batch turned by %d:\n%s", turn, strings.Join(lines, "\n"))
			return
		}
	}
	t.Errorf("out of bounds whatever the order of the batch:\n%s", strings.Join(log, "\n"))
}

// train plays the trace with the batch turned by some images, and says whether everything was within its bound.
func (tr trace) train(l *Learner, turn int) (log []string, ok bool) {
	tr.t.Helper()
	for _, tensors := range [][]graph.Tensor{l.net.Params, l.net.Running} {
		for _, tensor := range tensors {
			tensor.Import(l.block(tensor), tr.floats("init."+tensor.Name))
		}
	}
	clear(l.momentum)
	cfg := l.cfg
	x, labels := turned(tr.pixels(cfg.Batch, cfg.Input), turn*l.imageLen()), turned(tr.labels(), turn)
	ok = true
	compare := func(what string, got, want []float32, bound float64) bool {
		e := distance(got, want)
		log = append(log, fmt.Sprintf("%-12s error %.2e of %.2e", what, e, bound))
		ok = ok && e <= bound // which NaN is not
		return e <= bound
	}
	for step := range tr.steps() {
		got, err := l.Step(x, labels, cfg.Optimizer.Rate)
		if err != nil {
			tr.t.Fatal(err)
		}
		if step > 0 {
			continue
		}
		exact := compare("loss", []float32{float32(got.Loss)}, tr.floats("loss"), tr.bound("logits"))
		exact = compare("logits", l.engine.Logits(), turned(tr.floats("logits"), turn*l.classes), tr.bound("logits")) && exact
		if !exact {
			tr.t.Errorf("turned by %d: loss or logits are out of bounds:\n%s", turn, strings.Join(log, "\n"))
		}
		compare("grad.*", l.together(l.net.Params, l.grads), tr.together("grad.", l.net.Params), tr.bound("grad"))
	}
	after := fmt.Sprintf("after%d.", tr.steps())
	all := slices.Concat(l.net.Params, l.net.Running)
	compare(after+"*", l.together(all, nil), tr.together(after, all), tr.bound("after"))
	logits, err := l.Logits(x, cfg.Batch)
	if err != nil {
		tr.t.Fatal(err)
	}
	compare("eval_logits", logits, turned(tr.floats("eval_logits"), turn*l.classes), tr.bound("eval_logits"))
	return log, ok
}

// turned is s with its first n elements last.
func turned[T any](s []T, n int) []T { return slices.Concat(s[n:], s[:n]) }

// block is where a tensor's values are.
func (l *Learner) block(tensor graph.Tensor) []float32 {
	block := l.params
	if tensor.Kind == graph.Mean || tensor.Kind == graph.Variance {
		block = l.running
	}
	return block[tensor.Offset:][:tensor.Len()]
}

// together are the values of tensors one after another, in torchvision's order, from a block or from where each belongs.
func (l *Learner) together(tensors []graph.Tensor, block []float32) (all []float32) {
	for _, tensor := range tensors {
		values := l.block(tensor)
		if block != nil {
			values = block[tensor.Offset:][:tensor.Len()]
		}
		part := make([]float32, tensor.Len())
		tensor.Export(part, values)
		all = append(all, part...)
	}
	return all
}

// together are the trace's values of the same tensors.
func (tr trace) together(prefix string, tensors []graph.Tensor) (all []float32) {
	for _, tensor := range tensors {
		all = append(all, tr.floats(prefix+tensor.Name)...)
	}
	return all
}

// distance is the relative L2 distance; NaN where lengths differ.
func distance(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.NaN()
	}
	var diff, norm float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		diff += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(diff / norm)
}
