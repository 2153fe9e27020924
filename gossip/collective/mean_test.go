package collective

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// meanAll runs Mean at every rank over links and returns each rank's result and error.
func meanAll(ctx context.Context, plan Plan, weights []float64, vecs [][]float32, links []Link, cfg Config) ([]Result, []error) {
	results, errs := make([]Result, plan.Size), make([]error, plan.Size)
	var wg sync.WaitGroup
	for r := range plan.Size {
		wg.Go(func() {
			results[r], errs[r] = NewAverager(cfg).Mean(ctx, plan, r, weights, ones(plan.Size), 0, vecs[r], links[r])
		})
	}
	wg.Wait()
	return results, errs
}

// ones are scales that change nothing.
func ones(n int) []float64 {
	scales := make([]float64, n)
	for r := range scales {
		scales[r] = 1
	}
	return scales
}

// plugs are the ends of a new cable.
func plugs(n, capacity int) []Link {
	c := newCable(n, capacity)
	links := make([]Link, n)
	for r := range links {
		links[r] = &plug{cable: c, rank: r}
	}
	return links
}

func clone(vecs [][]float32) [][]float32 {
	out := make([][]float32, len(vecs))
	for r := range vecs {
		out[r] = append([]float32(nil), vecs[r]...)
	}
	return out
}

// reference is the dumb weighted mean in float64, and Σ w·|x| / Σ w, which its error is measured against.
func reference(weights []float64, vecs [][]float32) (mean, size []float64) {
	mean, size = make([]float64, len(vecs[0])), make([]float64, len(vecs[0]))
	total := 0.0
	for _, w := range weights {
		total += w
	}
	for r, vec := range vecs {
		if weights[r] == 0 {
			continue
		}
		for i, x := range vec {
			mean[i] += weights[r] * float64(x) / total
			size[i] += weights[r] * math.Abs(float64(x)) / total
		}
	}
	return mean, size
}

// compare reports the largest error by element, and the error's L2 norm, both relative.
func compare(got []float32, mean, size []float64) (worst, l2 float64) {
	var sumError, sumMean float64
	for i, x := range got {
		d := math.Abs(float64(x) - mean[i])
		if size[i] > 0 {
			worst = max(worst, d/size[i])
		} else if d > 0 {
			worst = math.Inf(1)
		}
		sumError += d * d
		sumMean += mean[i] * mean[i]
	}
	if sumMean > 0 {
		l2 = math.Sqrt(sumError / sumMean)
	}
	return worst, l2
}

// checkSame fails unless every rank holds rank 0's bits.
func checkSame(t *testing.T, vecs [][]float32) {
	t.Helper()
	for r := range vecs {
		for i := range vecs[r] {
			if math.Float32bits(vecs[r][i]) != math.Float32bits(vecs[0][i]) {
				t.Fatalf("element %d: rank %d has %v, rank 0 %v", i, r, vecs[r][i], vecs[0][i])
			}
		}
	}
}

const long = 1<<17 + 3

func TestMeanIsTheWeightedMeanEverywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pool := make([]float32, 1<<18) // ranks' vectors are windows of it
	for i := range pool {
		pool[i] = float32(rng.NormFloat64() * math.Exp(3*rng.NormFloat64()))
	}
	cfg := Defaults()
	var worst, worstL2 float64
	for n := 1; n <= 17; n++ {
		weights := make([]float64, n)
		for r := range weights {
			weights[r] = float64(rng.IntN(4) * rng.IntN(1000)) // a third of them 0
		}
		weights[rng.IntN(n)] = 41
		for _, length := range []int{0, 1, n - 1, n, n + 1, long} {
			vecs := make([][]float32, n)
			for r := range vecs {
				at := rng.IntN(len(pool) - length)
				vecs[r] = pool[at : at+length]
			}
			mean, size := reference(weights, vecs)
			for _, name := range Names() {
				cfg.Segment = 1 + rng.IntN(5)
				if length == long {
					cfg.Segment = 10_000
				}
				plan, _ := New(name, n)
				if rng.IntN(3) == 0 { // in another order, and some ranks on one node
					nodes := make([]int, n)
					for r := range nodes {
						nodes[r] = rng.IntN(n)
					}
					plan, _ = Arrange(name, n, rng.Perm(n), nodes)
				}
				got := clone(vecs)
				results, errs := meanAll(t.Context(), plan, weights, got, plugs(n, rng.IntN(3)), cfg)
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				checkSame(t, got)
				checkBytes(t, plan, length, results)
				w, l2 := compare(got[0], mean, size)
				if w > 1e-6 || length == long && l2 > 1e-6 { // of few elements the mean may be near 0
					t.Errorf("%s of %d, %d elements: relative error %.2g, L2 %.2g", name, n, length, w, l2)
				}
				if worst = max(worst, w); length == long {
					worstL2 = max(worstL2, l2)
				}
			}
		}
	}
	t.Logf("largest relative error %.2g by element, %.2g in L2", worst, worstL2)
}

// checkBytes: what is sent is received, and no plan moves more or less than 2(n−1) vectors.
func checkBytes(t *testing.T, plan Plan, length int, results []Result) {
	t.Helper()
	var sent, received int64
	for r, result := range results {
		sent, received = sent+result.Sent, received+result.Received
		if most := int64(8 * (length + plan.Size)); plan.Name == "ring" && plan.Nodes == nil && result.Sent > most {
			t.Errorf("ring of %d: rank %d sent %d bytes, at most %d are needed", plan.Size, r, result.Sent, most)
		}
	}
	if want := int64(8 * length * (plan.Size - 1)); sent != want || received != want {
		t.Errorf("%s of %d: sent %d and received %d bytes, want %d", plan.Name, plan.Size, sent, received, want)
	}
}

func TestWeightlessValuesHaveNoInfluence(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, name := range Names() {
		plan, _ := New(name, 3)
		vecs := [][]float32{{nan, inf, -inf, 1}, {1, 2, math.MaxFloat32, 4}, {3, 2, math.MaxFloat32, 8}}
		_, errs := meanAll(t.Context(), plan, []float64{0, 1, 3}, vecs, plugs(3, 0), Defaults())
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		checkSame(t, vecs)
		for i, want := range []float32{2.5, 2, math.MaxFloat32, 7} {
			if vecs[0][i] != want {
				t.Errorf("%s: element %d is %v, want %v", name, i, vecs[0][i], want)
			}
		}
	}
}

func TestMeanRefuses(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		want    string
		rank    int
		weights []float64
		cfg     Config
	}{
		{"no such rank", -1, []float64{1, 1}, Defaults()},
		{"no such rank", 2, []float64{1, 1}, Defaults()},
		{"1 weights", 0, []float64{1}, Defaults()},
		{"weight -1", 0, []float64{1, -1}, Defaults()},
		{"weight NaN", 0, []float64{1, nan}, Defaults()},
		{"weight +Inf", 0, []float64{1, inf}, Defaults()},
		{"sum to 0", 0, []float64{0, 0}, Defaults()},
		{"sum to +Inf", 0, []float64{math.MaxFloat64, math.MaxFloat64}, Defaults()},
		{"segment: 0", 0, []float64{1, 1}, Config{Wire: "fp32", Combine: "mean", Deadline: time.Second}},
		{"deadline: 0", 0, []float64{1, 1}, Config{Wire: "fp32", Combine: "mean", Segment: 1}},
	} {
		vec := []float32{1}
		_, err := NewAverager(c.cfg).Mean(t.Context(), Ring(2), c.rank, c.weights, ones(2), 0, vec, plugs(2, 0)[0])
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "average by ring at rank") {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if vec[0] != 1 {
			t.Errorf("%s: the vector was changed", c.want)
		}
	}
	if _, err := NewAverager(Defaults()).Mean(t.Context(), Ring(2), 0, []float64{1, 1}, ones(2), 0, nil, nil); err == nil {
		t.Error("no link is allowed")
	}
}

func TestOneRankNeedsNoLink(t *testing.T) {
	for _, name := range Names() {
		plan, _ := New(name, 1)
		vec := []float32{1e-45, -0.1, math.MaxFloat32}
		got, err := NewAverager(Defaults()).Mean(t.Context(), plan, 0, []float64{7}, ones(plan.Size), 0, vec, nil)
		if err != nil || got != (Result{}) || vec[0] != 1e-45 || vec[1] != -0.1 || vec[2] != math.MaxFloat32 {
			t.Errorf("%s: %v, %v, %v", name, vec, got, err)
		}
	}
}

// TestAFaultAnywhereEndsEveryRank lets every operation of every rank fail in turn. The clock is a fake one: it stands
// still while anyone can run, so that "at once" is zero.
func TestAFaultAnywhereEndsEveryRank(t *testing.T) {
	cfg := Defaults()
	cfg.Segment = 2
	const n, length = 4, 9
	for _, name := range Names() {
		plan, _ := New(name, n)
		for faulty := range n {
			for at := int64(1); ; at++ {
				fired := false
				synctest.Test(t, func(t *testing.T) {
					links := plugs(n, 1)
					broken := links[faulty].(*plug)
					broken.failAt = at
					vecs := [][]float32{make([]float32, length), make([]float32, length), make([]float32, length), make([]float32, length)}
					begin := time.Now()
					_, errs := meanAll(t.Context(), plan, []float64{1, 1, 1, 1}, vecs, links, cfg)
					fired = broken.calls.Load() >= at
					if fired && !errors.Is(errs[faulty], errInjected) {
						t.Errorf("%s: operation %d of rank %d failed, and it says %v", name, at, faulty, errs[faulty])
					}
					for r, err := range errs {
						if err == nil && at == 1 {
							t.Errorf("%s: rank %d finished without rank %d", name, r, faulty)
						}
					}
					if took := time.Since(begin); took != 0 {
						t.Errorf("%s: operation %d of rank %d failed, and all ended after %v", name, at, faulty, took)
					}
				})
				if !fired {
					break
				}
			}
		}
	}
}

func TestASilentRankCostsOneDeadline(t *testing.T) {
	for _, name := range Names() {
		for _, abort := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				const n = 5
				plan, _ := New(name, n)
				cfg := Defaults()
				links, begin := plugs(n, 1), time.Now()
				errs := make(chan error, n)
				for r := range n - 1 { // rank n−1 is never heard of
					link := links[r]
					if !abort {
						link = patient{link}
					}
					go func() {
						_, err := NewAverager(cfg).Mean(t.Context(), plan, r, []float64{1, 1, 1, 1, 1}, ones(plan.Size), 0, make([]float32, 100), link)
						errs <- err
					}()
				}
				for range n - 1 {
					if err := <-errs; !errors.Is(err, errDeadline) && !errors.Is(err, errAborted) {
						t.Errorf("%s: %v", name, err)
					}
				}
				if took := time.Since(begin); took != cfg.Deadline {
					t.Errorf("%s: took %v, want %v", name, took, cfg.Deadline)
				}
			})
		}
	}
}

func TestCancelReturnsAtOnce(t *testing.T) {
	for _, name := range Names() {
		synctest.Test(t, func(t *testing.T) {
			plan, _ := New(name, 3)
			why := errors.New("rank 1 left")
			ctx, cancel := context.WithCancelCause(t.Context())
			begin := time.Now()
			go func() {
				time.Sleep(time.Second)
				cancel(why)
			}()
			_, err := NewAverager(Defaults()).Mean(ctx, plan, 0, []float64{1, 1, 1}, ones(plan.Size), 0, make([]float32, 5), plugs(3, 0)[0])
			if !errors.Is(err, why) || time.Since(begin) != time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(begin))
			}
			vec := []float32{1}
			if _, err := NewAverager(Defaults()).Mean(ctx, plan, 0, []float64{1, 1, 1}, ones(plan.Size), 0, vec, plugs(3, 0)[0]); err == nil || vec[0] != 1 {
				t.Errorf("%s: begun after the end: %v, %v", name, vec, err)
			}
		})
	}
}

func TestContextDeadlineBoundsASegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := NewAverager(Defaults()).Mean(ctx, Ring(2), 0, []float64{1, 1}, ones(2), 0, make([]float32, 5), patient{plugs(2, 0)[0]})
		if err == nil || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestValidateSaysValueAndRemedy(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	err := Config{
		Plan: "wheel", Wire: "fp8", Combine: "mode", Trim: 0.5, Bound: 0.5, Weights: "size", Segment: -1, Deadline: -time.Second,
		Outer: Outer{Kind: "adam", Momentum: 1},
	}.Validate()
	want := `plan: "wheel" is unknown; give one of auto, ring, tree, star, mesh
wire: "fp8" is unknown; give one of fp32, fp16, int8
combine: "mode" is unknown; give one of mean, trimmed, median
weights: "size" is unknown; give one of samples, equal
outer.kind: "adam" is unknown; give one of none, slowmo, nesterov
combine: mode needs every member's value of a coordinate in one place, and plan wheel adds on the way; set plan: mesh
trim: 0.5 is outside [0, 0.5); 0.2 drops a fifth at each end
bound: 0.5 median norms; give 0 for none, or 1 to 1e+06; 5 is a good value
outer.rate: 0 is outside (0, 100]; slowmo begins with 1, nesterov with 0.7
outer.momentum: 1 is outside [0, 1); slowmo begins with 0.7, nesterov with 0.9
segment: -1 elements is outside 1..1048576; 16384 is a good value
deadline: -1s; give a positive duration such as 10s`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func BenchmarkMean(b *testing.B) {
	const n, length = 4, 700_490
	for _, name := range Names() {
		for _, wire := range wireNames() {
			b.Run(fmt.Sprintf("%s/%s/ranks=%d", name, wire, n), func(b *testing.B) {
				plan, _ := New(name, n)
				cfg := Defaults()
				cfg.Wire = wire
				vecs := random(rand.New(rand.NewPCG(1, 2)), n, length)
				c, links, errs := newCrew(n, cfg), plugs(n, 4), make([]error, n)
				b.SetBytes(4 * length)
				b.ReportAllocs()
				for b.Loop() {
					var wg sync.WaitGroup
					for r, a := range c {
						wg.Go(func() {
							_, errs[r] = a.Mean(b.Context(), plan, r, []float64{1, 2, 3, 4}, ones(n), 1e6, vecs[r], links[r])
							a.Commit()
						})
					}
					wg.Wait()
					if err := errors.Join(errs...); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
