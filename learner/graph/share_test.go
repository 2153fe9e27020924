package graph

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Whether steps are shared changes no bit; small ones are left to one worker, large ones are not.
func TestStepsAreSharedWhereItPays(t *testing.T) {
	spec := Spec{Width: 0.25, Input: 32, Batch: 4, Classes: 10, Epsilon: 1e-5}
	const never = 1 << 62
	var want []float32
	for _, cost := range []int64{0, handover(), never} {
		n, err := MobileNetV2(spec)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(3, 4))
		memory := Memory{make([]float32, n.ParamsLen), make([]float32, n.ParamsLen), make([]float32, n.RunningLen)}
		for i := range memory.Params {
			memory.Params[i] = float32(rng.NormFloat64() / 4)
		}
		batch := Batch{N: spec.Batch, X: make([]float32, spec.Batch*spec.Input*spec.Input*3), Labels: []int32{1, 2, 3, 4}, Decay: 0.9}
		for i := range batch.X {
			batch.X[i] = float32(rng.NormFloat64())
		}
		pool := NewPool(3)
		t.Cleanup(pool.Close)
		p, err := compile(n, memory, pool, fusion{}, cost)
		if err != nil {
			t.Fatal(err)
		}
		shared := 0
		for i := range p.steps {
			if p.steps[i].pool == pool {
				shared++
			}
		}
		switch all := len(p.steps); {
		case cost == 0 && shared != all, cost == never && shared != 0, cost == handover() && (shared == 0 || shared == all):
			t.Errorf("cost %d: %d of %d steps are shared", cost, shared, all)
		}
		if _, err := p.Run(batch, Train); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = memory.Grads
		}
		if !slices.Equal(memory.Grads, want) {
			t.Errorf("cost %d: other gradients than with every step shared", cost)
		}
	}
}
