package collective

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// dumbCombine sorts each coordinate's values and averages the middle ones.
func dumbCombine(name string, trim float64, weights []float64, vecs [][]float32) []float64 {
	combined := make([]float64, len(vecs[0]))
	for i := range combined {
		var column []float64
		for r, w := range weights {
			if w > 0 {
				column = append(column, float64(vecs[r][i]))
			}
		}
		slices.Sort(column)
		out := int(math.Ceil(trim*float64(len(column)) - 1e-9))
		if name == "median" {
			out = len(column)
		}
		for ; out > 0 && len(column) > 2; out-- {
			column = column[1 : len(column)-1]
		}
		for _, x := range column {
			combined[i] += x / float64(len(column))
		}
	}
	return combined
}

func TestCombinationsAreThoseOfSortedColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	for _, combine := range []string{"trimmed", "median"} {
		for n := 1; n <= 9; n++ {
			for _, planName := range []string{"mesh", "star"} {
				cfg := Defaults()
				cfg.Combine, cfg.Plan, cfg.Trim, cfg.Segment = combine, planName, []float64{0, 0.2, 0.25, 0.49}[rng.IntN(4)], 1+rng.IntN(9)
				plan, _ := New(planName, n)
				weights := make([]float64, n)
				for r := range weights {
					weights[r] = float64(rng.IntN(3))
				}
				weights[rng.IntN(n)] = 1
				vecs := random(rng, n, 31)
				want := dumbCombine(combine, cfg.Trim, weights, vecs)
				got := newCrew(n, cfg).mean(t, plan, weights, ones(n), 0, vecs)
				for i := range want {
					if math.Abs(float64(got[0][i])-want[i]) > 1e-6 {
						t.Fatalf("%s of %d, trim %v, weights %v: element %d is %v, want %v", combine, n, cfg.Trim, weights, i, got[0][i], want[i])
					}
				}
			}
		}
	}
}

// TestCombinationsWithstandLiars: as many as the comment of combiner says, with any values, and not one more.
func TestCombinationsWithstandLiars(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 18))
	for n := 1; n <= 11; n++ {
		for _, c := range []struct {
			combine string
			trim    float64
			liars   int
		}{{"median", 0, (n - 1) / 2}, {"trimmed", 0.2, min(int(math.Ceil(0.2*float64(n))), (n-1)/2)}} {
			for extra := range 2 {
				liars := c.liars + extra
				if liars > n {
					continue
				}
				cfg := Defaults()
				cfg.Combine, cfg.Trim = c.combine, c.trim
				vecs := random(rng, n, 9)
				for _, r := range rng.Perm(n)[:liars] {
					for i := range vecs[r] {
						vecs[r][i] = 1e30
					}
				}
				got := newCrew(n, cfg).mean(t, Mesh(n), ones(n), ones(n), 0, vecs)
				for i, x := range got[0] {
					if honest := x >= -1 && x < 1; honest != (extra == 0) {
						t.Fatalf("%s of %d with %d liars: element %d is %v", c.combine, n, liars, i, x)
					}
				}
			}
		}
	}
}

func TestCombiningNeedsOnePlace(t *testing.T) {
	for _, name := range []string{"ring", "tree"} {
		cfg := Defaults()
		cfg.Combine = "median"
		plan, _ := New(name, 5)
		vecs := random(rand.New(rand.NewPCG(1, 2)), 5, 9)
		_, errs := meanAll(t.Context(), plan, ones(5), vecs, plugs(5, 1), cfg)
		if err := errors.Join(errs...); err == nil || !strings.Contains(err.Error(), "use plan mesh or star") {
			t.Errorf("%s: %v", name, err)
		}
		cfg.Plan = name
		if cfg.Validate() == nil {
			t.Errorf("median by %s is a valid configuration", name)
		}
		cfg.Plan = "mesh"
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
	}
}
