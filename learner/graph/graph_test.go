package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"shoal/learner/kernel"
)

// fixture is a small net with everything that it needs to run.
type fixture struct {
	net     *Net
	memory  Memory
	program *Program
	batch   Batch
}

// nets are expressions that have every operation between them, with the awkward sizes that kernels have edges for.
func nets() map[string]func(n *Net, x *G.Node) *G.Node {
	classify := func(n *Net, x *G.Node) *G.Node {
		return n.bias("fc", n.linear("fc", n.average("mean", x), 5), kernel.None)
	}
	return map[string]func(n *Net, x *G.Node) *G.Node{
		"linear only": func(n *Net, x *G.Node) *G.Node { return classify(n, x) },
		"pointwise": func(n *Net, x *G.Node) *G.Node {
			return classify(n, n.conv("b", n.conv("a", x, 7, 1, 1, 0), 18, 1, 1, 0))
		},
		"dense strides": func(n *Net, x *G.Node) *G.Node {
			return classify(n, n.conv("c", n.conv("b", n.conv("a", x, 6, 3, 1, 1), 9, 3, 2, 0), 5, 3, 2, 1))
		},
		"depthwise": func(n *Net, x *G.Node) *G.Node {
			return classify(n, n.depthwise("c", n.depthwise("b", n.conv("a", x, 19, 1, 1, 0), 2), 1))
		},
		"norms": func(n *Net, x *G.Node) *G.Node {
			x = n.norm("a.norm", n.conv("a", x, 6, 1, 1, 0), kernel.ReLU6, nil)
			x = n.norm("b.norm", n.conv("b", x, 9, 1, 1, 0), kernel.ReLU, nil)
			return classify(n, n.norm("c.norm", n.conv("c", x, 4, 1, 1, 0), kernel.None, nil))
		},
		"residual": func(n *Net, x *G.Node) *G.Node {
			x = n.convNorm("a", x, 6, 3, 2)
			y := n.norm("c", n.conv("b", x, 6, 1, 1, 0), kernel.None, x)
			return classify(n, n.norm("e", n.depthwise("d", y, 1), kernel.None, y))
		},
		"fire": func(n *Net, x *G.Node) *G.Node {
			return n.average("mean", n.convBias("d", n.maxPool("c", n.fire("b", n.convBias("a", x, 10, 3, 2, 0), 3, 6)), 5, 1, 1, 0))
		},
		"inverted residuals": func(n *Net, x *G.Node) *G.Node {
			x = n.invertedResidual("b", n.convNorm("a", x, 8, 3, 2), 8, 8, 1, 1)
			return classify(n, n.invertedResidual("d", n.invertedResidual("c", x, 8, 8, 6, 1), 8, 12, 6, 2))
		},
	}
}

// everything fuses whatever it can, however small.
var everything = fusion{on: true}

// fit builds a net, draws its parameters and a batch, and compiles it for some workers, with everything fused.
func fit(t testing.TB, model func(n *Net, x *G.Node) *G.Node, spec Spec, workers int) *fixture {
	t.Helper()
	return fitted(t, model, spec, workers, everything)
}

func fitted(t testing.TB, model func(n *Net, x *G.Node) *G.Node, spec Spec, workers int, how fusion) *fixture {
	t.Helper()
	n, err := build(spec, model)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{net: n, memory: Memory{make([]float32, n.ParamsLen), make([]float32, n.ParamsLen), make([]float32, n.RunningLen)}}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range n.Params {
		for i := range f.memory.Params[p.Offset:][:p.Len()] {
			f.memory.Params[p.Offset+i] = float32(rng.NormFloat64() / 2)
			if p.Kind == Scale || p.Kind == Branch {
				f.memory.Params[p.Offset+i] += 1
			}
		}
	}
	pool := NewPool(workers)
	t.Cleanup(pool.Close)
	if f.program, err = compile(n, f.memory, pool, how, 0); err != nil {
		t.Fatal(err)
	}
	f.batch = Batch{N: spec.Batch, X: make([]float32, spec.Batch*spec.Input*spec.Input*3), Decay: 0.9}
	for i := range f.batch.X {
		f.batch.X[i] = float32(rng.NormFloat64())
	}
	for range spec.Batch {
		f.batch.Labels = append(f.batch.Labels, rng.Int32N(int32(spec.Classes)))
	}
	return f
}

var ordinary = Spec{Width: 1, Input: 11, Batch: 3, Classes: 5, Epsilon: 1e-3}

// tape runs one training step on Gorgonia's own machine, and returns the cost and the gradients.
func (f *fixture) tape(t *testing.T) (cost float32, grads [][]float32) {
	t.Helper()
	frame := f.net.frame
	frame.n, frame.labels, frame.mode, frame.decay = f.batch.N, f.batch.Labels, Train, f.batch.Decay
	copy(f.program.images, f.batch.X)
	machine := G.NewTapeMachine(f.net.graph)
	defer machine.Close()
	if err := machine.RunAll(); err != nil {
		t.Fatal(err)
	}
	for _, g := range f.net.grads {
		grads = append(grads, g.Value().(*tensor.Dense).Float32s())
	}
	return float32(*f.net.loss.Value().(*G.F32)), grads
}

// TestExecutorAgainstTapeMachine demands the same bits of our executor, without fusion, and of Gorgonia's.
func TestExecutorAgainstTapeMachine(t *testing.T) {
	for name, model := range nets() {
		t.Run(name, func(t *testing.T) {
			f := fitted(t, model, ordinary, 2, fusion{})
			got, err := f.program.Run(f.batch, Train)
			if err != nil {
				t.Fatal(err)
			}
			running := slices.Clone(f.memory.Running)
			clear(f.memory.Running)
			cost, grads := f.tape(t)
			if float32(got.Loss) != cost {
				t.Errorf("loss %v, by the tape machine %v", got.Loss, cost)
			}
			if !slices.Equal(running, f.memory.Running) {
				t.Error("running statistics differ")
			}
			for i, want := range grads {
				at := f.net.offsets[i]
				if !slices.Equal(f.memory.Grads[at:at+len(want)], want) {
					t.Errorf("gradient of %v differs", f.net.params[i])
				}
			}
		})
	}
}

// TestGradientsAgainstDifferences moves each parameter alone along a random direction and compares the change of the
// loss, as the same kernels compute it, with what the gradients say. Differences of float32 are rough; the learner's
// tests compare exactly.
func TestGradientsAgainstDifferences(t *testing.T) {
	for name, model := range nets() {
		t.Run(name, func(t *testing.T) {
			f := fit(t, model, ordinary, 1)
			if _, err := f.program.Run(f.batch, Train); err != nil {
				t.Fatal(err)
			}
			grads := slices.Clone(f.memory.Grads)
			rng := rand.New(rand.NewPCG(3, 4))
			for i, node := range f.net.params {
				lo := f.net.offsets[i]
				hi := lo + node.Shape().TotalSize()
				f.checkDirection(t, node.Name(), grads[lo:hi], f.memory.Params[lo:hi], rng)
			}
		})
	}
}

// checkDirection compares at several distances, of which one must agree: far steps are bent, near ones rounded.
func (f *fixture) checkDirection(t *testing.T, name string, grads, params []float32, rng *rand.Rand) {
	t.Helper()
	before := slices.Clone(params)
	direction := make([]float64, len(params))
	var norm, want float64
	for _, g := range grads {
		norm += float64(g) * float64(g)
	}
	for i, g := range grads { // mostly along the gradient, so that there is something to see
		direction[i] = float64(g)/math.Sqrt(norm+1e-30) + rng.NormFloat64()/math.Sqrt(float64(len(grads)))
		want += direction[i] * float64(g)
	}
	best := math.Inf(1)
	var report []string
	for _, step := range []float64{0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001} {
		var losses [2]float64
		for side := range losses {
			for i := range params {
				params[i] = float32(float64(before[i]) + step*direction[i]*float64(1-2*side))
			}
			got, err := f.program.Run(f.batch, Estimate)
			if err != nil {
				t.Fatal(err)
			}
			losses[side] = got.Loss
		}
		got := (losses[0] - losses[1]) / (2 * step)
		report = append(report, fmt.Sprintf("%.6f at %v", got, step))
		best = min(best, math.Abs(got-want)/(math.Abs(want)+1e-3))
	}
	copy(params, before)
	if best > 0.01 {
		t.Errorf("%s: the loss changes by %s; gradients say %.6f", name, strings.Join(report, ", "), want)
	}
}

// TestGradientsLeaveNothingBehind runs a step twice in the same memory, filled with NaN in between.
func TestGradientsLeaveNothingBehind(t *testing.T) {
	for name, model := range nets() {
		f := fit(t, model, ordinary, 3)
		want, err := f.program.Run(f.batch, Train)
		if err != nil {
			t.Fatal(err)
		}
		grads := slices.Clone(f.memory.Grads)
		for _, block := range [][]float32{f.program.arena, f.memory.Grads, f.program.logits} {
			for i := range block {
				block[i] = float32(math.NaN())
			}
		}
		got, err := f.program.Run(f.batch, Train)
		if err != nil || got != want || !slices.Equal(grads, f.memory.Grads) {
			t.Errorf("%s: a step reads what the one before left: %v, then %v, %v", name, want, got, err)
		}
	}
}

func TestFewerImagesThanPlanned(t *testing.T) {
	for name, model := range nets() {
		large, small := ordinary, ordinary
		large.Batch, small.Batch = 5, 2
		a, b := fit(t, model, large, 2), fit(t, model, small, 1)
		if _, err := a.program.Run(a.batch, Train); err != nil {
			t.Fatal(err)
		}
		clear(a.memory.Running)
		got, err := a.program.Run(b.batch, Train)
		if err != nil {
			t.Fatal(err)
		}
		want, err := b.program.Run(b.batch, Train)
		if err != nil {
			t.Fatal(err)
		}
		if got != want || !slices.Equal(a.memory.Grads, b.memory.Grads) || !slices.Equal(a.memory.Running, b.memory.Running) {
			t.Errorf("%s: 2 images of 5 give %v, 2 of 2 %v", name, got, want)
		}
	}
}

func TestOneImageOneClassOnePixel(t *testing.T) {
	spec := Spec{Width: 1, Input: 1, Batch: 1, Classes: 1, Epsilon: 1e-5}
	f := fit(t, nets()["norms"], spec, 2)
	f.batch.Labels = []int32{0}
	if got, err := f.program.Run(f.batch, Train); err != nil || got.N != 1 {
		t.Fatal(got, err)
	}
	for i, v := range append(f.memory.Running, f.memory.Grads...) {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			t.Fatalf("value %d is %v where a variance has one sample", i, v)
		}
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	f := fit(t, nets()["residual"], ordinary, 1)
	bad := func(change func(b *Batch)) Batch { b := f.batch; change(&b); return b }
	for _, c := range []struct {
		b    Batch
		mode Mode
		want string
	}{
		{bad(func(b *Batch) { b.N = 0 }), Train, "0 images"},
		{bad(func(b *Batch) { b.N = 4 }), Train, "1..3"},
		{bad(func(b *Batch) { b.X = b.X[1:] }), Train, "1088 values, want 1089"},
		{bad(func(b *Batch) { b.Labels = nil }), Train, "0 labels"},
		{bad(func(b *Batch) { b.Labels = b.Labels[1:] }), Evaluate, "2 labels"},
		{bad(func(b *Batch) { b.Labels = []int32{0, 5, 0} }), Train, "label 5 of image 1 is outside 0..4"},
		{bad(func(b *Batch) { b.Labels = []int32{0, 0, -1} }), Evaluate, "label -1"},
	} {
		if _, err := f.program.Run(c.b, c.mode); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want an error with %q", err, c.want)
		}
	}
	if _, err := Compile(f.net, Memory{}, f.net.frame.pool); err == nil {
		t.Error("compiled into no memory")
	}
	if _, err := MobileNetV2(Spec{Input: 32, Batch: 1, Classes: 2}); err == nil {
		t.Error("built a net of no width")
	}
	if _, err := SqueezeNet11(Spec{}); err == nil {
		t.Error("built a net for nothing")
	}
}

// TestPanicsAreErrors breaks a kernel, in a worker and in Gorgonia's machine.
func TestPanicsAreErrors(t *testing.T) {
	f := fit(t, nets()["pointwise"], ordinary, 2)
	for i := range f.program.steps {
		if s := &f.program.steps[i]; s.String() == "b conv" {
			whole := s.out
			s.out = s.out[:3]
			if _, err := f.program.Run(f.batch, Train); err == nil || !strings.Contains(err.Error(), "b conv") {
				t.Errorf("a kernel that panics gives %v", err)
			}
			s.out = whole
		}
	}
	if _, err := f.program.Run(f.batch, Train); err != nil {
		t.Errorf("after a panic: %v", err)
	}
	o := f.net.logits.Op().(*op)
	if _, err := o.Do(tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(1, 1)), tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(1))); err == nil {
		t.Error("an operation on too little gives no error")
	}
}

func TestOperationsAreUnlikeEachOther(t *testing.T) {
	n, err := MobileNetV2(Spec{Width: 0.1, Input: 32, Batch: 1, Classes: 2, Epsilon: 1e-5})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.checkHashes(); err != nil {
		t.Error(err)
	}
	ours := 0
	for _, node := range n.graph.AllNodes() {
		if o, ok := node.Op().(*op); ok {
			ours++
			if len(o.DiffWRT(o.Arity())) != o.Arity() {
				t.Errorf("%v does not say of each input whether it has a gradient", o)
			}
		}
	}
	if ours < 300 {
		t.Errorf("%d operations in a MobileNetV2", ours)
	}
}

func TestNetsBuildAtOnce(t *testing.T) {
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			_, err := SqueezeNet11(Spec{Input: 32, Batch: 1, Classes: 2})
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
