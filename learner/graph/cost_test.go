package graph

import (
	"math"
	"testing"
)

// TestPlanCosts holds what is known of MobileNetV2 of half width at 128×128: millions of multiply-adds by kind.
func TestPlanCosts(t *testing.T) {
	const batch = 2
	n, err := MobileNetV2(Spec{Width: 0.5, Input: 128, Batch: batch, Classes: 10, Epsilon: 1e-5})
	if err != nil {
		t.Fatal(err)
	}
	pool := NewPool(1)
	defer pool.Close()
	p, err := CompilePlain(n, Memory{make([]float32, n.ParamsLen), make([]float32, n.ParamsLen), make([]float32, n.RunningLen)}, pool)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	plan := p.Plan()
	if plan.PeakTensorBytes > plan.ArenaBytes || plan.PeakTensorBytes < batch*64*64*48*4 || plan.PeakTensor == "" {
		t.Errorf("%q takes %d of %d bytes", plan.PeakTensor, plan.PeakTensorBytes, plan.ArenaBytes)
	}
	for _, s := range plan.Steps {
		if s.Bytes <= 0 || s.Seconds != 0 || s.Layer == "" {
			t.Errorf("%s %s moves %d bytes in %v s", s.Layer, s.Op, s.Bytes, s.Seconds)
		}
		kind := s.Op
		if s.Layer == "features.0.0" && s.Op == "conv" {
			kind = "stem"
		}
		got[kind] += float64(s.FLOPs) / 2 / batch / 1e6
	}
	for kind, want := range map[string]float64{"conv": 25.9, "depthwise": 3.7, "stem": 1.8, "conv dx": 25.9, "depthwise dw": 3.7} {
		if math.Abs(got[kind]-want) > 0.06 {
			t.Errorf("%s takes %.2f million multiply-adds an image, want %v", kind, got[kind], want)
		}
	}
}

// TestProfile measures while it is asked to, what of the steps runs in each mode.
func TestProfile(t *testing.T) {
	f := fit(t, nets()["residual"], ordinary, 2)
	run := func(mode Mode) []PlannedStep {
		if _, err := f.program.Run(f.batch, mode); err != nil {
			t.Fatal(err)
		}
		return f.program.Plan().Steps
	}
	f.program.Profile(true)
	for _, s := range run(Estimate) {
		if s.Backward == (s.Seconds > 0) {
			t.Errorf("%s %s (backward %v) took %v s of a run forward", s.Layer, s.Op, s.Backward, s.Seconds)
		}
	}
	measured := run(Train)
	f.program.Profile(false)
	for i, s := range run(Train) {
		if s != measured[i] || s.Seconds <= 0 {
			t.Errorf("%s %s: %v s, after the end %v s", s.Layer, s.Op, measured[i].Seconds, s.Seconds)
		}
	}
}
