package onnx

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/learner"
	"shoal/learner/safetensors"
)

// trained is a small model with parameters and running statistics that are far from their first values, its checkpoint,
// some images (N, H, W, 3), and what the model makes of them.
type trained struct {
	cfg        learner.Config
	checkpoint *safetensors.File
	path       string
	x          []float32
	n          int
	logits     []float32
}

func train(t *testing.T, model string, width float64) trained {
	t.Helper()
	cfg := learner.Defaults()
	cfg.Model, cfg.Width, cfg.Batch, cfg.Threads, cfg.BatchNorm.Epsilon = model, width, 4, 1, 1e-3
	l, err := learner.New(cfg, 7, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	m := trained{cfg: cfg, n: 4, x: make([]float32, 4*cfg.Input*cfg.Input*3), path: filepath.Join(t.TempDir(), "model.safetensors")}
	for i := range m.x {
		m.x[i] = float32(rng.NormFloat64())
	}
	for range 3 {
		if _, err := l.Step(m.x, []int32{0, 3, 6, 1}, 0.02); err != nil {
			t.Fatal(err)
		}
	}
	if m.logits, err = l.Logits(m.x, m.n); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(m.path, map[string]string{"class_names": `["a"]`}); err != nil {
		t.Fatal(err)
	}
	if m.checkpoint, err = safetensors.Read(m.path); err != nil {
		t.Fatal(err)
	}
	return m
}

// planar is the images as ONNX wants them, (N, 3, H, W).
func (m trained) planar() tensor {
	side := m.cfg.Input
	out := tensor{shape: []int{m.n, 3, side, side}, data: make([]float64, len(m.x))}
	for i, v := range m.x {
		image, pixel, c := i/(3*side*side), i/3%(side*side), i%3
		out.data[(image*3+c)*side*side+pixel] = float64(v)
	}
	return out
}

func models() map[string]float64 {
	return map[string]float64{learner.MobileNetV2: 0.1, learner.SqueezeNet11: 1}
}

// TestRunsAsTheModel runs what was written by an interpreter that knows nothing of how it was written.
func TestRunsAsTheModel(t *testing.T) {
	for name, width := range models() {
		t.Run(name, func(t *testing.T) {
			m := train(t, name, width)
			b, err := Encode(m.checkpoint, "v1")
			if err != nil {
				t.Fatal(err)
			}
			p := readModel(t, b)
			if p.ir != 8 || p.opset != 13 || p.metadata["class_names"] != `["a"]` || p.metadata["model"] != name {
				t.Errorf("IR %d, operator set %d, metadata %v", p.ir, p.opset, p.metadata)
			}
			if p.input != "input [N 3 32 32]" || p.output != "logits [N 7]" {
				t.Errorf("input %s, output %s", p.input, p.output)
			}
			got := p.run(t, m.planar())
			if !slices.Equal(got.shape, []int{m.n, 7}) {
				t.Fatalf("logits %v", got.shape)
			}
			for i, want := range m.logits {
				if math.Abs(got.data[i]-float64(want)) > 1e-4*(1+math.Abs(float64(want))) {
					t.Errorf("logit %d is %v, the model's %v", i, got.data[i], want)
				}
			}
		})
	}
}

// TestKeepsNames: who loads the file finds every parameter and statistic of the checkpoint under its name, and nothing of
// the optimiser.
func TestKeepsNames(t *testing.T) {
	for name, width := range models() {
		m := train(t, name, width)
		b, err := Encode(m.checkpoint, "v1")
		if err != nil {
			t.Fatal(err)
		}
		p := readModel(t, b)
		for _, want := range m.checkpoint.Tensors {
			got, ok := p.values[want.Name]
			skipped := strings.HasPrefix(want.Name, "momentum.") || strings.HasSuffix(want.Name, ".num_batches_tracked")
			if ok == skipped || ok && !slices.Equal(got.shape, want.Shape) {
				t.Errorf("%s: %s is there: %v, with shape %v for %v", name, want.Name, ok, got.shape, want.Shape)
			}
		}
		again, err := Encode(m.checkpoint, "v1")
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%s: written again it differs, %v", name, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	m := train(t, learner.MobileNetV2, 0.1)
	change := func(edit func(f *safetensors.File)) *safetensors.File {
		f := &safetensors.File{Metadata: map[string]string{}, Tensors: slices.Clone(m.checkpoint.Tensors)}
		for k, v := range m.checkpoint.Metadata {
			f.Metadata[k] = v
		}
		edit(f)
		return f
	}
	without := func(name string) func(*safetensors.File) {
		return func(f *safetensors.File) {
			f.Tensors = slices.DeleteFunc(f.Tensors, func(t safetensors.Tensor) bool { return t.Name == name })
		}
	}
	set := func(key, value string) func(*safetensors.File) {
		return func(f *safetensors.File) { f.Metadata[key] = value }
	}
	replace := func(with safetensors.Tensor) func(*safetensors.File) {
		return func(f *safetensors.File) {
			without(with.Name)(f)
			f.Tensors = append(f.Tensors, with)
		}
	}
	for name, v := range map[string]struct {
		file *safetensors.File
		want string
	}{
		"nothing":       {&safetensors.File{}, `metadata "input" is "", not a side`},
		"no input":      {change(set("input", "-1")), `metadata "input" is "-1"`},
		"other model":   {change(set("model", "resnet")), `metadata "model" is "resnet"`},
		"wrong model":   {change(set("model", "squeezenet1_1")), `tensor "features.0.weight" is missing`},
		"bad epsilon":   {change(set("epsilon", "NaN")), `metadata "epsilon" is "NaN"`},
		"first missing": {change(without("features.0.0.weight")), `tensor "features.0.0.weight" is missing`},
		"last missing":  {change(without("classifier.1.bias")), `tensor "classifier.1.bias" is missing`},
		"other shape":   {change(replace(safetensors.Floats("features.0.1.bias", []int{9}, make([]float32, 9)))), `"features.0.1.bias" has shape [9]`},
		"other rank":    {change(replace(safetensors.Floats("classifier.1.weight", []int{7}, make([]float32, 7)))), `"classifier.1.weight" has shape [7]`},
		"none":          {change(replace(safetensors.Floats("classifier.1.weight", []int{0, 1280}, nil))), `"classifier.1.weight" has shape [0 1280]`},
		"other dtype":   {change(replace(safetensors.Ints("features.0.1.bias", []int{8}, make([]int64, 8)))), "its dtype is I64"},
	} {
		if b, err := Encode(v.file, "v1"); err == nil || b != nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// The example of message's comment, and lengths at which a varint grows.
func TestWire(t *testing.T) {
	var m message
	m.int(1, 150)
	m.int(2, -1)
	m.float(3, 1)
	m.bytes(16, bytes.Repeat([]byte{7}, 128))
	want := "089601" + "10ffffffffffffffffff01" + "1d0000803f" + "8201" + "8001" + strings.Repeat("07", 128)
	if got := fmt.Sprintf("%x", []byte(m)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzEncode: a checkpoint of a stranger becomes a model that can be read, or an error.
func FuzzEncode(f *testing.F) {
	f.Add("mobilenet_v2", "32", "1e-5", "features.0.0.weight", 8)
	f.Add("squeezenet1_1", "224", "", "features.0.weight", 64)
	f.Add("", "x", "2", "", -1)
	f.Fuzz(func(t *testing.T, model, input, epsilon, name string, c int) {
		c = min(max(c, 0), 64)
		file := &safetensors.File{
			Metadata: map[string]string{"model": model, "input": input, "epsilon": epsilon},
			Tensors:  []safetensors.Tensor{safetensors.Floats(name, []int{c, 3, 3, 3}, make([]float32, 27*c))},
		}
		if b, err := Encode(file, "v1"); err == nil {
			readModel(t, b)
		}
	})
}

// script compares with ONNX Runtime: the arguments are the model, the images (N, 3, H, W) and the logits, as raw float32,
// and the shape of the images. It prints the largest difference, as a part of the largest logit.
const script = `
import sys
try:
    import numpy as np, onnxruntime as ort
except ImportError as e:
    print("missing", e); sys.exit(0)
x = np.fromfile(sys.argv[2], np.float32).reshape([int(v) for v in sys.argv[4].split(",")])
want = np.fromfile(sys.argv[3], np.float32)
s = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
got = s.run(["logits"], {"input": x})[0]
print("differs by", float(np.abs(got.reshape(-1) - want).max() / max(1, np.abs(want).max())))
`

func TestONNXRuntimeAgrees(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 to run ONNX Runtime with")
	}
	for name, width := range models() {
		m := train(t, name, width)
		b, err := Encode(m.checkpoint, "v1")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		var planar []float32
		for _, v := range m.planar().data {
			planar = append(planar, float32(v))
		}
		files := []string{filepath.Join(dir, "model.onnx"), filepath.Join(dir, "x"), filepath.Join(dir, "logits")}
		for i, data := range [][]byte{b, safetensors.Floats("", nil, planar).Data, safetensors.Floats("", nil, m.logits).Data} {
			if err := os.WriteFile(files[i], data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		shape := fmt.Sprintf("%d,3,%d,%d", m.n, m.cfg.Input, m.cfg.Input)
		out, err := exec.CommandContext(t.Context(), python, append(append([]string{"-c", script}, files...), shape)...).CombinedOutput()
		text := strings.TrimSpace(string(out))
		if strings.HasPrefix(text, "missing") {
			t.Skipf("python3 has no onnxruntime: %s", text)
		}
		var most float64
		if _, scan := fmt.Sscanf(text, "differs by %g", &most); err != nil || scan != nil || !(most <= 1e-4) {
			t.Errorf("%s: ONNX Runtime: %v: %s", name, err, text)
		}
	}
}
