package part

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// pieceLen is how many values a core takes at a time, 128 KiB: 43 pieces of a MobileNetV2 of half width with its momentum,
// so that four cores share them evenly and what a piece costs beside is lost in it.
const pieceLen = 32 << 10

// spread calls do for each piece [lo, hi) of [0, n), the k-th for values from k·pieceLen on, side by side on all cores,
// and returns when all are done. Between two rounds a node has nothing else to do, and one core of a Raspberry Pi 4 moves
// half of what its memory gives.
func spread(n int, do func(k, lo, hi int)) {
	pieces := ceilDiv(n, pieceLen)
	var next atomic.Int64
	work := func() {
		for k := int(next.Add(1)) - 1; k < pieces; k = int(next.Add(1)) - 1 {
			do(k, k*pieceLen, min((k+1)*pieceLen, n))
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), pieces) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

// Copy copies values to each of the others, as many as the shortest has: one pass over the first for all of them.
func Copy(from []float32, to ...[]float32) {
	n := len(from)
	for _, v := range to {
		n = min(n, len(v))
	}
	spread(n, func(_, lo, hi int) {
		for _, v := range to {
			copy(v[lo:hi], from[lo:hi])
		}
	})
}

// Swap exchanges the values of a and as many of b.
func Swap(a, b []float32) {
	spread(len(a), func(_, lo, hi int) {
		a, b := a[lo:hi], b[lo:hi]
		for i, x := range a {
			a[i], b[i] = b[i], x
		}
	})
}

// Delta writes what local steps changed, local minus base, which may be longer.
func Delta(delta, local, base []float32) {
	spread(len(local), func(_, lo, hi int) { subtract(delta[lo:hi], local[lo:hi], base[lo:hi]) })
}

// Offer is Delta, and copies base to state, in one pass.
func Offer(delta, state, local, base []float32) {
	n := len(local)
	spread(n, func(_, lo, hi int) {
		subtract(delta[lo:hi], local[lo:hi], base[lo:hi])
		copy(state[lo:hi], base[lo:hi])
	})
	copy(state[n:], base[n:])
}

func subtract(delta, local, base []float32) {
	for i, x := range local {
		delta[i] = x - base[i]
	}
}

// Norm is the L2 norm of local minus base, which may be longer. It is the same whatever the number of cores.
func Norm(local, base []float32) float64 {
	return root(len(local), func(lo, hi int) float64 {
		local, base := local[lo:hi], base[lo:hi]
		var even, odd float64 // an addition waits for the one before it
		for i := 0; i+1 < len(local); i += 2 {
			d, e := float64(local[i]-base[i]), float64(local[i+1]-base[i+1])
			even += d * d
			odd += e * e
		}
		if last := len(local) - 1; last%2 == 0 {
			d := float64(local[last] - base[last])
			even += d * d
		}
		return even + odd
	})
}

// Length is the L2 norm of v.
func Length(v []float32) float64 {
	return root(len(v), func(lo, hi int) float64 {
		v := v[lo:hi]
		var even, odd float64
		for i := 0; i+1 < len(v); i += 2 {
			even += float64(v[i]) * float64(v[i])
			odd += float64(v[i+1]) * float64(v[i+1])
		}
		if last := len(v) - 1; last%2 == 0 {
			even += float64(v[last]) * float64(v[last])
		}
		return even + odd
	})
}

// root is the square root of a sum over the pieces of n values, in their order.
func root(n int, piece func(lo, hi int) float64) float64 {
	sums := make([]float64, ceilDiv(n, pieceLen))
	spread(n, func(k, lo, hi int) { sums[k] = piece(lo, hi) })
	sum := 0.0
	for _, s := range sums {
		sum += s
	}
	return math.Sqrt(sum)
}

// Finite reports whether all of v are numbers.
func Finite(v []float32) bool {
	var not atomic.Bool
	spread(len(v), func(_, lo, hi int) {
		if !finite(v[lo:hi]) {
			not.Store(true)
		}
	})
	return !not.Load()
}

func finite(v []float32) bool {
	for _, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
