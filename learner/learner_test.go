package learner

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/learner/safetensors"
)

// batch draws a batch of images with a trace of their class in them: a stripe of its channel is brighter.
func batch(cfg Config, classes int, seed uint64) ([]float32, []int32) {
	rng := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, cfg.Batch*cfg.Input*cfg.Input*3)
	labels := make([]int32, cfg.Batch)
	image := cfg.Input * cfg.Input * 3
	for i := range labels {
		labels[i] = int32(i % classes)
		for p := range image {
			x[i*image+p] = rng.Float32()*2 - 1
			if row := p / (cfg.Input * 3); row*classes/cfg.Input == int(labels[i]) && p%3 == int(labels[i])%3 {
				x[i*image+p] += 2
			}
		}
	}
	return x, labels
}

// tiny is the smallest MobileNetV2 that there is.
func tiny() Config {
	cfg := Defaults()
	cfg.Width, cfg.Batch, cfg.Threads = 0.1, 8, 1
	return cfg
}

func make1(t testing.TB, cfg Config, classes int, seed uint64) *Learner {
	t.Helper()
	l, err := New(cfg, classes, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func step(t testing.TB, l *Learner, x []float32, labels []int32, rate float64) Result {
	t.Helper()
	got, err := l.Step(x, labels, rate)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLearnsAFewImagesByHeart(t *testing.T) {
	mobile, squeeze := tiny(), tiny()
	mobile.Input = 64
	squeeze.Model = SqueezeNet11
	for _, c := range []struct {
		cfg  Config
		rate float64
	}{{mobile, 0.005}, {squeeze, 0.001}} {
		l := make1(t, c.cfg, 4, 3)
		x, labels := batch(c.cfg, 4, 1)
		var got Result
		for i := range 60 {
			got = step(t, l, x, labels, c.rate*min(1, float64(i+1)/10))
		}
		if got.Correct != got.N || got.Loss > 0.1 {
			t.Errorf("%s: after 60 steps on %d images: %+v", c.cfg.Model, c.cfg.Batch, got)
		}
		if err := l.Reestimate(1, func(int) ([]float32, int) { return x, c.cfg.Batch }); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Score(x, labels); err != nil || got.Correct != got.N {
			t.Errorf("%s: scored %+v, %v on what it knows by heart", c.cfg.Model, got, err)
		}
	}
}

func TestSameBitsWhateverTheThreads(t *testing.T) {
	for _, name := range []string{MobileNetV2, SqueezeNet11} {
		var want []float32
		for _, threads := range []int{1, 2, 3, 7} {
			cfg := tiny()
			cfg.Optimizer.Clip = 0.1
			cfg.Model, cfg.Threads = name, threads
			l := make1(t, cfg, 4, 3)
			for i := range 2 {
				x, labels := batch(cfg, 4, uint64(i))
				step(t, l, x, labels, 0.01)
			}
			got := slices.Clone(l.Shared(true))
			if want == nil {
				want = got
			} else if !slices.Equal(got, want) {
				t.Errorf("%s: %d threads give other bits than one", name, threads)
			}
		}
	}
}

func TestSeedDecidesTheBeginning(t *testing.T) {
	for _, init := range []string{"he", "xavier"} {
		cfg := tiny()
		cfg.Init = init
		a, b, c := make1(t, cfg, 4, 3), make1(t, cfg, 4, 3), make1(t, cfg, 4, 4)
		if !slices.Equal(a.Shared(true), b.Shared(true)) {
			t.Errorf("%s: one seed gives two models", init)
		}
		if slices.Equal(a.Shared(true), c.Shared(true)) {
			t.Errorf("%s: two seeds give one model", init)
		}
	}
	// Known sums, so that every architecture draws the same.
	var sum float64
	for i, v := range make1(t, tiny(), 4, 3).Shared(false) {
		sum += float64(v) * float64(i%17)
	}
	if want := 57927.181985615636; math.Abs(sum-want) > 1e-6 {
		t.Errorf("the draw of seed 3 sums to %.12f, want %.12f", sum, want)
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	for _, threads := range []int{1, 2} {
		cfg := tiny()
		cfg.Optimizer.Clip = 0.1
		cfg.Threads = threads
		l := make1(t, cfg, 4, 3)
		x, labels := batch(cfg, 4, 1)
		if n := testing.AllocsPerRun(3, func() { step(t, l, x, labels, 0.01) }); n != 0 {
			t.Errorf("%d threads: a step allocates %v times", threads, n)
		}
	}
}

func TestBatchMayBeSmaller(t *testing.T) {
	for _, name := range []string{MobileNetV2, SqueezeNet11} {
		large, small := tiny(), tiny()
		large.Model, small.Model, small.Batch = name, name, 3
		a, b := make1(t, large, 4, 3), make1(t, small, 4, 3)
		x, labels := batch(large, 4, 9)
		step(t, a, x, labels, 0) // leaves the rest of the batch in the buffers
		copy(b.Shared(true), a.Shared(true))
		x, labels = batch(small, 4, 1)
		got, want := step(t, a, x, labels, 0.01), step(t, b, x, labels, 0.01)
		if got != want || got.N != 3 {
			t.Errorf("%s: 3 of 8 images give %+v, 3 of 3 %+v", name, got, want)
		}
		if !slices.Equal(a.Shared(true), b.Shared(true)) {
			t.Errorf("%s: 3 of 8 images and 3 of 3 train differently", name)
		}
	}
}

func TestScoreTakesAnyNumber(t *testing.T) {
	cfg := tiny()
	l := make1(t, cfg, 4, 3)
	x, labels := batch(cfg, 4, 1)
	for range 5 {
		step(t, l, x, labels, 0.01)
	}
	before := slices.Clone(l.Shared(true))
	image := len(x) / cfg.Batch
	for _, n := range []int{0, 1, cfg.Batch - 1, cfg.Batch, cfg.Batch + 1, 2*cfg.Batch + 3} {
		many, wanted := slices.Repeat(x, 3)[:n*image], slices.Repeat(labels, 3)[:n]
		got, err := l.Score(many, wanted)
		if err != nil {
			t.Fatal(err)
		}
		logits, err := l.Logits(many, n)
		if err != nil {
			t.Fatal(err)
		}
		want := Result{N: n}
		for i, label := range wanted {
			row := logits[4*i:][:4]
			var sum float64
			for _, v := range row {
				sum += math.Exp(float64(v))
			}
			want.Loss += (math.Log(sum) - float64(row[label])) / float64(n)
			if slices.Max(row) == row[label] {
				want.Correct++
			}
		}
		if got.N != want.N || got.Correct != want.Correct || math.Abs(got.Loss-want.Loss) > 1e-6*(1+want.Loss) {
			t.Errorf("%d images: score %+v, logits say %+v", n, got, want)
		}
	}
	if !slices.Equal(before, l.Shared(true)) {
		t.Error("scoring changed the model")
	}
}

// TestReestimate compares with the mean of the statistics that single batches leave when nothing is remembered.
func TestReestimate(t *testing.T) {
	cfg := tiny()
	cfg.BatchNorm.Decay = 0
	l := make1(t, cfg, 4, 3)
	params := slices.Clone(l.params)
	const batches = 3
	want := make([]float64, len(l.running))
	for i := range batches {
		x, labels := batch(cfg, 4, uint64(i))
		step(t, l, x, labels, 0)
		for j, v := range l.running {
			want[j] += float64(v) / batches
		}
	}
	fill(l.running, float32(math.NaN()))
	err := l.Reestimate(batches, func(i int) ([]float32, int) {
		x, labels := batch(cfg, 4, uint64(i))
		return x, len(labels)
	})
	if err != nil {
		t.Fatal(err)
	}
	for j, v := range l.running {
		if math.Abs(float64(v)-want[j]) > 1e-5*(1+math.Abs(want[j])) {
			t.Fatalf("statistic %d is %v, the batches' mean %v", j, v, want[j])
		}
	}
	if !slices.Equal(params, l.params) {
		t.Error("re-estimating changed parameters")
	}
	before := slices.Clone(l.running)
	bad := func(i int) ([]float32, int) {
		x, labels := batch(cfg, 4, 1)
		return x, len(labels) + i
	}
	if err := l.Reestimate(batches, bad); err == nil || !slices.Equal(before, l.running) {
		t.Errorf("a batch that is too large: %v; statistics kept: %v", err, slices.Equal(before, l.running))
	}
	if err := l.Reestimate(0, nil); err == nil {
		t.Error("no batches are enough")
	}
}

func TestSharedIsTheLearners(t *testing.T) {
	l := make1(t, tiny(), 4, 3)
	if n := len(l.Shared(false)); n != len(l.params)+len(l.running) || len(l.Shared(true)) != n+len(l.params) {
		t.Fatalf("shared vectors of %d and %d for %d parameters", n, len(l.Shared(true)), len(l.params))
	}
	end := 0
	for _, tensor := range l.Tensors() {
		if tensor.Offset != end {
			t.Fatalf("%s begins at %d, the one before ends at %d", tensor.Name, tensor.Offset, end)
		}
		end += tensor.Len
	}
	if end != len(l.Shared(true)) {
		t.Errorf("tensors end at %d of %d", end, len(l.Shared(true)))
	}
	x, _ := batch(l.cfg, 4, 1)
	clear(l.Shared(false)[:len(l.params)])
	logits, err := l.Logits(x, l.cfg.Batch)
	if err != nil || slices.ContainsFunc(logits, func(v float32) bool { return v != 0 }) {
		t.Errorf("a model of zeros gives %v, %v", logits, err)
	}
}

func TestErrorsNameTheNumbers(t *testing.T) {
	l := make1(t, tiny(), 4, 3)
	x, labels := batch(l.cfg, 4, 1)
	state := slices.Clone(l.Shared(true))
	off := slices.Clone(labels)
	off[2] = 4
	_, tooMany := l.Step(slices.Repeat(x, 2), slices.Repeat(labels, 2), 0.1)
	_, none := l.Step(nil, nil, 0.1)
	_, short := l.Step(x[1:], labels, 0.1)
	_, label := l.Step(x, off, 0.1)
	_, rate := l.Step(x, labels, math.NaN())
	_, score := l.Score(x[1:], labels)
	_, logits := l.Logits(x, 3)
	_, classes := New(tiny(), 0, 1)
	_, config := New(Config{}, 4, 1)
	for i, c := range []struct {
		err  error
		want string
	}{
		{tooMany, "16 images"}, {none, "0 images"}, {short, "24575 values, want 24576"}, {label, "label 4 of image 2"},
		{rate, "rate NaN"}, {score, "24575"}, {logits, "3 images"}, {classes, "0 classes"}, {config, "batch: 0"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("case %d: %v; want an error with %q", i, c.err, c.want)
		}
	}
	if !slices.Equal(state, l.Shared(true)) {
		t.Error("a refused step changed the model")
	}
}

func TestCheckpointRoundTrip(t *testing.T) {
	for _, name := range []string{MobileNetV2, SqueezeNet11} {
		cfg := tiny()
		cfg.Model = name
		a, b := make1(t, cfg, 4, 3), make1(t, cfg, 4, 8)
		x, labels := batch(cfg, 4, 1)
		step(t, a, x, labels, 0.01)
		path := filepath.Join(t.TempDir(), "model.safetensors")
		if err := a.Save(path, map[string]string{"round": "7"}); err != nil {
			t.Fatal(err)
		}
		meta, err := b.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if meta["round"] != "7" || meta["model"] != name || meta["classes"] != "4" {
			t.Errorf("%s: metadata %v", name, meta)
		}
		if !slices.Equal(a.Shared(true), b.Shared(true)) {
			t.Errorf("%s: what was saved is not what was loaded", name)
		}
		if step(t, a, x, labels, 0.01) != step(t, b, x, labels, 0.01) || !slices.Equal(a.Shared(true), b.Shared(true)) {
			t.Errorf("%s: a loaded model goes on differently", name)
		}
	}
}

// TestCheckpointIsTorchvisions holds the names, shapes and layout that load_state_dict wants.
func TestCheckpointIsTorchvisions(t *testing.T) {
	l := make1(t, tiny(), 4, 3)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := l.Save(path, nil); err != nil {
		t.Fatal(err)
	}
	file, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, shape := range map[string][]int{
		"features.0.0.weight": {8, 3, 3, 3}, "features.1.conv.0.0.weight": {8, 1, 3, 3}, "features.17.conv.2.weight": {32, 96, 1, 1},
		"features.18.1.running_var": {1280}, "features.18.1.num_batches_tracked": {}, "classifier.1.weight": {4, 1280}, "classifier.1.bias": {4},
	} {
		tensor, ok := file.Find(name)
		if !ok || !slices.Equal(tensor.Shape, shape) {
			t.Errorf("%s has shape %v (there: %v), want %v", name, tensor.Shape, ok, shape)
		}
	}
	tensor, _ := file.Find("features.0.0.weight")
	theirs, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	const out, in, y, x = 5, 2, 1, 0 // any element
	if ours := l.params[((y*3+x)*3+in)*8+out]; theirs[((out*3+in)*3+y)*3+x] != ours {
		t.Error("filters are not stored as (out, in, height, width)")
	}
}

func TestLoadRefuses(t *testing.T) {
	l := make1(t, tiny(), 4, 3)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	good := func() *safetensors.File {
		if err := l.Save(path, nil); err != nil {
			t.Fatal(err)
		}
		file, err := safetensors.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	without := func(drop func(name string) bool) *safetensors.File {
		file := good()
		file.Tensors = slices.DeleteFunc(file.Tensors, func(t safetensors.Tensor) bool { return drop(t.Name) })
		return file
	}
	more := good()
	more.Tensors = append(more.Tensors, safetensors.Floats("features.99.weight", []int{1}, []float32{1}))
	with := func(tensor safetensors.Tensor) *safetensors.File {
		file := good()
		i := slices.IndexFunc(file.Tensors, func(t safetensors.Tensor) bool { return t.Name == tensor.Name })
		file.Tensors[i] = tensor
		return file
	}
	shape := with(safetensors.Floats("features.0.0.weight", []int{8, 27}, make([]float32, 8*27)))
	dtype := with(safetensors.Ints("features.0.1.bias", []int{8}, make([]int64, 8)))
	wild := make([]float32, 8)
	wild[3] = float32(math.Inf(1))
	infinite := with(safetensors.Floats("features.0.1.bias", []int{8}, wild))
	state := slices.Clone(l.Shared(true))
	for _, c := range []struct {
		name, want string
		file       *safetensors.File
	}{
		{"a tensor is missing", `"classifier.1.bias" is missing`, without(func(n string) bool { return n == "classifier.1.bias" })},
		{"a momentum is missing", `"momentum.classifier.1.bias" is missing`, without(func(n string) bool { return n == "momentum.classifier.1.bias" })},
		{"no momentum", "", without(func(n string) bool { return strings.HasPrefix(n, momentumPrefix) })},
		{"no counts of batches", "", without(func(n string) bool { return strings.HasSuffix(n, batchesSuffix) })},
		{"one too many", `"features.99.weight" is not in this model`, more},
		{"another shape", `"features.0.0.weight" has shape [8 27]; this model's is [8 3 3 3]`, shape},
		{"another type", "I64", dtype},
		{"infinite", `"features.0.1.bias" has values that are not finite`, infinite},
	} {
		if err := safetensors.Write(path, c.file); err != nil {
			t.Fatal(err)
		}
		_, err := l.Load(path)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
		if c.want != "" && !slices.Equal(state, l.Shared(true)) {
			t.Fatalf("%s: a refused file changed the model", c.name)
		}
	}
	if _, err := l.Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("loaded a file that is not there")
	}
}

// FuzzLoad holds that a file is taken as a whole or changes nothing.
func FuzzLoad(f *testing.F) {
	l := make1(f, tiny(), 4, 3)
	path := filepath.Join(f.TempDir(), "model.safetensors")
	for _, tensors := range [][]safetensors.Tensor{
		nil,
		{safetensors.Floats("classifier.1.bias", []int{4}, make([]float32, 4))},
		{safetensors.Ints("classifier.1.bias", []int{4}, make([]int64, 4)), safetensors.Ints("num_batches_tracked", nil, []int64{1})},
	} {
		if err := safetensors.Write(path, &safetensors.File{Tensors: tensors}); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	state := slices.Clone(l.Shared(true))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Load(path); err == nil {
			t.Skip("a whole model")
		}
		if !slices.Equal(state, l.Shared(true)) {
			t.Fatal("a refused file changed the model")
		}
	})
}

// TestSizesAreTorchvisions counts parameters for a thousand classes, as torchvision's models have them.
func TestSizesAreTorchvisions(t *testing.T) {
	for _, c := range []struct {
		model string
		width float64
		want  int
	}{{MobileNetV2, 1, 3504872}, {MobileNetV2, 0.5, 1968680}, {SqueezeNet11, 1, 1235496}} {
		cfg := tiny()
		cfg.Model, cfg.Width, cfg.Batch = c.model, c.width, 1
		if got := len(make1(t, cfg, 1000, 1).params); got != c.want {
			t.Errorf("%s of width %v has %d parameters, want %d", c.model, c.width, got, c.want)
		}
	}
}
