package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"

	"shoal/learner/kernel"
)

// random is a net of random layers with batch norms, residuals and without, between awkward numbers of channels.
func random(seed uint64) func(n *Net, x *G.Node) *G.Node {
	return func(n *Net, x *G.Node) *G.Node {
		rng := rand.New(rand.NewPCG(seed, 0))
		acts := []kernel.Clamp{kernel.None, kernel.ReLU, kernel.ReLU6}
		for i := range 2 + rng.IntN(5) {
			name := fmt.Sprintf("layer%d", i)
			h, _, c := extent(x)
			y, skip := x, (*G.Node)(nil)
			switch rng.IntN(4) {
			case 0:
				y = n.depthwise(name, x, 1+rng.IntN(2))
			case 1:
				y, skip = n.conv(name, x, c, 1, 1, 0), x
			case 2:
				y = n.conv(name, x, 1+rng.IntN(40), 1, 1, 0)
			case 3:
				pad := rng.IntN(2)
				if h < 3 {
					pad = 1
				}
				y = n.conv(name, x, 1+rng.IntN(20), 3, 1+rng.IntN(2), pad)
			}
			act := acts[rng.IntN(3)]
			if skip != nil {
				act = kernel.None
			}
			if rng.IntN(5) == 0 {
				x = n.bias(name+".bias", y, act)
				continue
			}
			x = n.norm(name+".norm", y, act, skip)
		}
		return n.bias("fc", n.linear("fc", n.average("mean", x), 5), kernel.None)
	}
}

// TestFusedAsPlain runs nets both ways. What is forward has the same bits but for sums of blocks.
func TestFusedAsPlain(t *testing.T) {
	models := nets()
	for seed := range uint64(40) {
		models[fmt.Sprint("random ", seed)] = random(seed)
	}
	fused := 0
	for name, model := range models {
		spec := ordinary
		spec.Input, spec.Batch = 12+len(name)%9, 4
		plain, f := fitted(t, model, spec, 1, fusion{}), fit(t, model, spec, 3)
		for _, mode := range []Mode{Train, Estimate, Evaluate} {
			want, err := plain.program.Run(plain.batch, mode)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.program.Run(f.batch, mode)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if math.Abs(got.Loss-want.Loss) > 1e-5*(1+want.Loss) {
				t.Errorf("%s, mode %v: loss %v, plain %v", name, mode, got.Loss, want.Loss)
			}
			alike(t, name+" statistics", f.memory.Running, plain.memory.Running, 1e-5)
		}
		for i, node := range plain.net.params {
			lo := plain.net.offsets[i]
			hi := lo + node.Shape().TotalSize()
			alike(t, name+" gradient of "+node.Name(), f.memory.Grads[lo:hi], plain.memory.Grads[lo:hi], 1e-3)
		}
		for _, s := range f.program.Plan().Steps {
			if strings.HasSuffix(s.Op, "+") {
				fused++
			}
		}
	}
	if fused < 100 {
		t.Errorf("only %d fused steps in all nets", fused)
	}
}

// alike compares by the distance relative to the length, or to the rounding of sums that cancel.
func alike(t *testing.T, what string, got, want []float32, bound float64) {
	t.Helper()
	var diff, norm float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		diff += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	if !(math.Sqrt(diff) <= bound*(math.Sqrt(norm)+1e-3)) {
		t.Errorf("%s: differs by %.2e of %.2e", what, math.Sqrt(diff), math.Sqrt(norm))
	}
}

// TestFusedOnAnyThreads demands the same bits of every number of workers.
func TestFusedOnAnyThreads(t *testing.T) {
	for name, model := range nets() {
		var first *fixture
		for _, workers := range []int{1, 2, 5} {
			spec := ordinary
			spec.Input = 20
			f := fit(t, model, spec, workers)
			if _, err := f.program.Run(f.batch, Train); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = f
			}
			if !slices.Equal(f.memory.Grads, first.memory.Grads) || !slices.Equal(f.memory.Running, first.memory.Running) {
				t.Errorf("%s: %d workers give other bits than one", name, workers)
			}
		}
	}
}
