package learner

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"shoal/learner/graph"
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
				checkTrace(t, recorded)
			})
		}
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

func checkTrace(t *testing.T, file *safetensors.File) {
	tr := trace{t, file}
	cfg := tr.config()
	l, err := New(cfg, int(tr.number("classes")), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tensors := range [][]graph.Tensor{l.net.Params, l.net.Running} {
		for _, tensor := range tensors {
			tensor.Import(l.block(tensor), tr.floats("init."+tensor.Name))
		}
	}
	x, labels := tr.pixels(cfg.Batch, cfg.Input), tr.labels()
	for step := range tr.steps() {
		got, err := l.Step(x, labels, cfg.Optimizer.Rate)
		if err != nil {
			t.Fatal(err)
		}
		if step == 0 {
			compare(t, "loss", []float32{float32(got.Loss)}, tr.floats("loss"), tr.bound("logits"))
			compare(t, "logits", l.engine.Logits(), tr.floats("logits"), tr.bound("logits"))
			l.compareAll(tr, "grad.", tr.bound("grad"), l.net.Params, l.grads)
		}
	}
	after := fmt.Sprintf("after%d.", tr.steps())
	l.compareAll(tr, after, tr.bound("after"), append(l.net.Params, l.net.Running...), nil)
	logits, err := l.Logits(x, cfg.Batch)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "eval_logits", logits, tr.floats("eval_logits"), tr.bound("eval_logits"))
}

// block is where a tensor's values are.
func (l *Learner) block(tensor graph.Tensor) []float32 {
	block := l.params
	if tensor.Kind == graph.Mean || tensor.Kind == graph.Variance {
		block = l.running
	}
	return block[tensor.Offset:][:tensor.Len()]
}

// compareAll compares all tensors together; block holds them, or if it is nil, each is where it belongs.
func (l *Learner) compareAll(tr trace, prefix string, bound float64, tensors []graph.Tensor, block []float32) {
	var got, want []float32
	for _, tensor := range tensors {
		values := l.block(tensor)
		if block != nil {
			values = block[tensor.Offset:][:tensor.Len()]
		}
		part := make([]float32, tensor.Len())
		tensor.Export(part, values)
		got, want = append(got, part...), append(want, tr.floats(prefix+tensor.Name)...)
	}
	compare(tr.t, prefix+"*", got, want, bound)
}

// compare bounds the relative L2 error.
func compare(t *testing.T, what string, got, want []float32, bound float64) {
	t.Helper()
	e := distance(got, want)
	t.Logf("%-12s error %.2e of %.2e", what, e, bound)
	if !(e <= bound) {
		t.Errorf("%s: relative error %v, want at most %v", what, e, bound)
	}
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
