package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// guarded is a slice within a larger one, beginning at an odd place, whose other floats must not change.
type guarded struct{ all, Data []float32 }

const guard = 19

func newGuarded(n int) guarded {
	all := make([]float32, n+2*guard)
	for i := range all {
		all[i] = float32(math.Inf(-1))
	}
	return guarded{all, all[guard : guard+n : guard+n]}
}

// fill draws from [-1, 1).
func (g guarded) fill(r *rand.Rand) guarded {
	for i := range g.Data {
		g.Data[i] = r.Float32()*2 - 1
	}
	return g
}

// check fails where a guard was written.
func (g guarded) check(t testing.TB) {
	t.Helper()
	for i, v := range g.all {
		if (i < guard || i >= guard+len(g.Data)) && !math.IsInf(float64(v), -1) {
			t.Fatalf("%v was written at %d of %d", v, i-guard, len(g.Data))
		}
	}
}

// vectors are the sets to be compared with the generic one.
func vectors(t testing.TB) []set {
	if len(available) == 1 {
		t.Skip("no vector code in this build or for this CPU")
	}
	return available[:len(available)-1]
}

// near says whether two results agree within rounding: tolerance times the size of what was summed.
func near(x, y float32, size, tolerance float64) bool {
	return x == y || math.Abs(float64(x)-float64(y)) <= tolerance*size || x != x && y != y
}
