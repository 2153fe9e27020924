package kernel

import "testing"

// TestMulAdds: the work that is timed is really done, in every set, however many calls it takes.
func TestMulAdds(t *testing.T) {
	for _, s := range available {
		use(t, s)
		for _, rounds := range []int{0, 1, 2, 7, peakRounds, 2*peakRounds + 3} {
			var x [PeakLen]float32
			for i := range x {
				x[i] = float32(i)
			}
			MulAdds(&x, 0.5, -0.25, rounds)
			for i, v := range x {
				if want := float32(i) - 0.125*float32(rounds); v != want {
					t.Fatalf("%v: %d rounds of −⅛ made %d into %v, want %v", s, rounds, i, v, want)
				}
			}
		}
	}
}

// BenchmarkMulAdds is each set's peak on one CPU.
func BenchmarkMulAdds(b *testing.B) {
	for _, s := range available {
		b.Run(s.String(), func(b *testing.B) {
			use(b, s)
			var x [PeakLen]float32
			for b.Loop() {
				MulAdds(&x, 1, 1, peakRounds)
			}
			b.ReportMetric(2*PeakLen*peakRounds*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
		})
	}
}
