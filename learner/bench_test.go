package learner

import (
	"fmt"
	"testing"
)

func BenchmarkStep(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("mobilenet_v2/32/threads=%d", threads), func(b *testing.B) {
			cfg := Defaults()
			cfg.Threads = threads
			l, err := New(cfg, 10, 1)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			x, labels := batch(cfg, 10, 1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Step(x, labels, 0.01); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*cfg.Batch)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
