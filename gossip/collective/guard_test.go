package collective

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/learner/kernel"
)

func TestLimits(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		norms  []float64
		bound  float64
		scales []float64
		limit  float64
	}{
		{nil, 5, []float64{}, math.SmallestNonzeroFloat64},
		{[]float64{1, 100}, 0, []float64{1, 1}, 0},
		{[]float64{nan, 100}, 0, []float64{1, 1}, 0},
		{[]float64{0, 0}, 5, []float64{1, 1}, math.SmallestNonzeroFloat64},
		{[]float64{3}, 5, []float64{1}, 3},
		{[]float64{1, 2, 3}, 5, []float64{1, 1, 1}, 3},
		{[]float64{1, 2, 40}, 5, []float64{1, 1, 0.25}, 10},
		{[]float64{1, 1, 1, 1e300}, 2, []float64{1, 1, 1, 2e-300}, 2},
		{[]float64{0, 0, 0, 1, 8}, 1, []float64{1, 1, 1, 1, 1}, 8}, // those without a delta do not count
		{[]float64{nan, 1, -1, inf, 2}, 5, []float64{0, 1, 0, 0, 1}, 2},
	} {
		scales, limit := Limits(c.norms, c.bound)
		if !slices.Equal(scales, c.scales) || limit != c.limit {
			t.Errorf("Limits(%v, %v) = %v, %v, want %v, %v", c.norms, c.bound, scales, limit, c.scales, c.limit)
		}
	}
}

// TestLimitsHoldAgainstAMinority: where less than half lie, an honest limit stands, and nobody counts for more.
func TestLimitsHoldAgainstAMinority(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 1000 {
		n := 1 + rng.IntN(12)
		liars, bound := rng.IntN((n+1)/2), 1+9*rng.Float64()
		norms, most := make([]float64, n), 0.0
		for r := range norms {
			norms[r] = 0.5 + rng.Float64()
			most = max(most, norms[r])
		}
		for r := range liars {
			norms[r] = math.Exp(200 * rng.NormFloat64())
		}
		scales, limit := Limits(norms, bound)
		if limit > bound*most {
			t.Fatalf("limit %v of %v, %d of them lies, bound %v", limit, norms, liars, bound)
		}
		for r, norm := range norms {
			if clipped := norm * scales[r]; clipped > limit*(1+1e-12) || norm <= limit && scales[r] != 1 {
				t.Fatalf("norm %v is scaled by %v, limit %v", norm, scales[r], limit)
			}
		}
	}
}

// TestHonestMembersAreNotAccused: contributions at the limit, all in one direction, with what encodings lost on top, for
// many rounds.
func TestHonestMembersAreNotAccused(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for _, name := range wireNames() {
		for _, planName := range Names() {
			for _, combine := range combineNames() {
				if combine != "mean" && (planName == "ring" || planName == "tree") {
					continue
				}
				const n, length = 6, 40
				cfg := Defaults()
				cfg.Wire, cfg.Combine, cfg.Segment = name, combine, 1+rng.IntN(12)
				plan, _ := Arrange(planName, n, rng.Perm(n), nil)
				if combine == "mean" && rng.IntN(2) == 0 {
					plan, _ = Arrange(planName, n, nil, []int{0, 1, 2, 2, 1, 1})
				}
				c := newCrew(n, cfg)
				same := random(rng, 1, length)[0]
				for range 15 {
					vecs, norms, weights := make([][]float32, n), make([]float64, n), make([]float64, n)
					for r := range vecs {
						vecs[r] = slices.Clone(same)
						kernel.Scale(vecs[r], float32(1+rng.IntN(3)*rng.IntN(30)))
						norms[r] = math.Sqrt(kernel.SumSquares(vecs[r]))
						weights[r] = float64(rng.IntN(4))
					}
					weights[2] = 1
					scales, limit := Limits(norms, 2)
					c.mean(t, plan, weights, scales, limit, vecs)
					for _, a := range c {
						a.Commit()
					}
				}
			}
		}
	}
}

// liar is a link whose owner changes what it sends.
type liar struct {
	*plug
	lie func(segment []byte)
}

func (l *liar) Send(to int, segment []byte, deadline time.Time) error {
	segment = slices.Clone(segment)
	l.lie(segment)
	return l.plug.Send(to, segment, deadline)
}

// lies are what may be sent in place of an honest segment, by wire type.
func lies(wire string) map[string]func([]byte) {
	word := func(at int, x float64) func([]byte) {
		return func(s []byte) { binary.LittleEndian.PutUint32(s[at:], math.Float32bits(float32(x))) }
	}
	all := map[string]func([]byte){"infinite": word(0, math.Inf(1)), "NaN": word(0, math.NaN()), "large": word(0, 1e20)}
	switch wire {
	case "fp32":
		all["somewhat large"] = word(0, 30)
	default:
		all["negative"] = word(0, -1)
		all["somewhat large"] = func(s []byte) {
			for i := range s[headBytes:] {
				s[headBytes+i] = 0x70
			}
			rescale(s, 1000)
		}
	}
	if wire == "fp16" {
		all["an infinite half"] = func(s []byte) { s[4], s[5] = 0, 0x7c }
	}
	return all
}

// TestALiarIsNamed: whoever first receives a lie says whose it was, and nobody's mean has it in.
func TestALiarIsNamed(t *testing.T) {
	const n, length, bad = 4, 24, 2
	for _, wire := range wireNames() {
		for what, lie := range lies(wire) {
			for _, planName := range Names() {
				for _, combine := range []string{"mean", "median"} {
					if combine != "mean" && planName != "mesh" && planName != "star" {
						continue
					}
					cfg := Defaults()
					cfg.Wire, cfg.Combine, cfg.Segment = wire, combine, 4
					plan, _ := New(planName, n)
					links := plugs(n, 1)
					links[bad] = &liar{links[bad].(*plug), lie}
					vecs := make([][]float32, n)
					for r := range vecs {
						vecs[r] = slices.Repeat([]float32{0.1}, length)
					}
					_, errs := limitedAll(t, plan, vecs, links, cfg, 0.1*math.Sqrt(length)*1.0001)
					named := 0
					for r, err := range errs {
						var offence *OffenceError
						if errors.As(err, &offence) {
							named++
							if offence.Rank != bad || r == bad {
								t.Errorf("%s by %s in %s, %s: rank %d says %v", combine, planName, wire, what, r, err)
							}
						} else if err == nil && !slices.Equal(vecs[r], slices.Repeat(vecs[r][:1], length)) {
							t.Errorf("%s by %s in %s, %s: rank %d has %v", combine, planName, wire, what, r, vecs[r])
						}
					}
					if named == 0 {
						t.Errorf("%s by %s in %s, %s: nobody is named: %v", combine, planName, wire, what, errs)
					}
				}
			}
		}
	}
}

func limitedAll(t *testing.T, plan Plan, vecs [][]float32, links []Link, cfg Config, limit float64) ([]Result, []error) {
	t.Helper()
	results, errs, done := make([]Result, plan.Size), make([]error, plan.Size), make(chan struct{})
	for r := range plan.Size {
		go func() {
			results[r], errs[r] = NewAverager(cfg).Mean(t.Context(), plan, r, ones(plan.Size), ones(plan.Size), limit, vecs[r], links[r])
			done <- struct{}{}
		}()
	}
	for range plan.Size {
		<-done
	}
	return results, errs
}

// TestClippingIsInTheMean: scales and weights together, against the formula.
func TestClippingIsInTheMean(t *testing.T) {
	scales, limit := Limits([]float64{5, 5, 500}, 1)
	for _, name := range Names() {
		plan, _ := New(name, 3)
		got := newCrew(3, Defaults()).mean(t, plan, []float64{1, 2, 1}, scales, limit, [][]float32{{3, 4, 0}, {0, 3, 4}, {300, 400, 0}})
		for i, want := range []float32{1.5, 3.5, 2} {
			if math.Abs(float64(got[0][i]-want)) > 1e-6 {
				t.Errorf("%s: element %d is %v, want %v", name, i, got[0][i], want)
			}
		}
	}
}

func TestOwnValuesThatCannotBeSent(t *testing.T) {
	cfg := Defaults()
	cfg.Wire = "int8"
	vecs := [][]float32{{1, 2}, {float32(math.NaN()), 2}}
	_, errs := meanAll(t.Context(), Ring(2), []float64{1, 1}, vecs, plugs(2, 1), cfg)
	if !errors.Is(errs[1], errNotFinite) || !strings.Contains(errs[1].Error(), "own values") || errs[0] == nil {
		t.Errorf("got %v", errs)
	}
}
