package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"shoal/learner/kernel"
)

// What the machine's limits are measured with. A processor that runs wide instructions for a while lowers its clock: what is
// compared is measured in turns of the same length. Vectors together are far longer than any cache that the small machines have.
const (
	peakRounds    = 1 << 10 // of multiply-adds between two looks at the clock
	peakVectorLen = 3 << 22 // elements of the three vectors on all threads: 48 MiB each
	peakTrials    = 7
	peakTrialTime = 15 * time.Millisecond
	peakWithin    = time.Second // for all trials of one limit, the first of which always ends

	productTurns    = 9
	productTurnTime = 40 * time.Millisecond
	productWithin   = 3 * time.Second // for all turns of one size, the first of which always ends
)

// productSides are the sizes of the square matrices whose products are compared with the peak: operands from those that
// the second cache holds to those that no cache does.
func productSides() []int { return []int{256, 512, 1024, 2048} }

// peaks are the machine's limits on so many threads, as our own kernels reach them: the best of several trials.
type peaks struct {
	GFLOPS    float64       `json:"peak_gflops"`    // multiply-adds in registers
	Bandwidth float64       `json:"bandwidth_gb_s"` // x + y to a third vector; bytes read and written
	Of        string        `json:"peak_of"`
	Products  []peakProduct `json:"gemm,omitempty"` // where they were asked for
}

// peakProduct is what products of square matrices reach, one on each thread, and what multiply-adds in registers do in turns
// with them: medians over the turns.
type peakProduct struct {
	Side   int     `json:"side"`
	GFLOPS float64 `json:"gflops"`
	Peak   float64 `json:"peak_gflops"`
	Share  float64 `json:"of_peak"` // GFLOPS of Peak
}

// measurePeaks measures the limits with the kernels in use, and with products what matrices of productSides reach.
func measurePeaks(ctx context.Context, threads int, products bool) (peaks, error) {
	p := peaks{Of: fmt.Sprintf("multiply-adds in registers, sum of vectors of %d MiB", 4*peakVectorLen>>20)}
	var err error
	if p.GFLOPS, err = fastest(ctx, threads, mulAdds); err != nil {
		return p, err
	}
	sum := func() func() float64 {
		n := peakVectorLen / threads
		z, x, y := ones(n), ones(n), ones(n) // each page touched before the first trial
		return func() float64 {
			kernel.Sum(z, x, y)
			return 12 * float64(n)
		}
	}
	if p.Bandwidth, err = fastest(ctx, threads, sum); err != nil || !products {
		return p, err
	}
	for _, side := range productSides() {
		product, err := measureProduct(ctx, threads, side)
		if err != nil {
			return p, err
		}
		p.Products = append(p.Products, product)
	}
	return p, nil
}

// measureProduct measures products of one size in turns with the peak.
func measureProduct(ctx context.Context, threads, side int) (peakProduct, error) {
	p := peakProduct{Side: side}
	multiply, peak := onEach(threads, func() func() float64 { return square(side) }), onEach(threads, mulAdds)
	var rates, peaks []float64
	for first := time.Now(); len(rates) < productTurns && (len(rates) == 0 || time.Since(first) < productWithin); {
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		peaks = append(peaks, rateOf(peak, productTurnTime))
		rates = append(rates, rateOf(multiply, productTurnTime))
	}
	p.GFLOPS, p.Peak = median(rates), median(peaks)
	p.Share = p.GFLOPS / p.Peak
	return p, nil
}

// mulAdds is the work whose rate is the arithmetic peak.
func mulAdds() func() float64 {
	x := new([kernel.PeakLen]float32)
	return func() float64 {
		kernel.MulAdds(x, 1, 1, peakRounds)
		return 2 * kernel.PeakLen * peakRounds
	}
}

// square is the product of matrices of side rows and columns.
func square(side int) func() float64 {
	c, a, b := make([]float32, side*side), ones(side*side), ones(side*side)
	return func() float64 {
		kernel.Gemm(kernel.Rows(c, side), kernel.Rows(a, side), kernel.Rows(b, side), side, side, side, false)
		return 2 * float64(side*side*side)
	}
}

func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// fastest is the best rate, in billions a second, of work on all threads at once; each call of it says what it did.
func fastest(ctx context.Context, threads int, work func() func() float64) (float64, error) {
	each := onEach(threads, work)
	best, first := 0.0, time.Now()
	for trial := 0; trial < peakTrials && (trial == 0 || time.Since(first) < peakWithin); trial++ {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		best = max(best, rateOf(each, peakTrialTime))
	}
	return best, nil
}

// onEach prepares the work of each thread.
func onEach(threads int, work func() func() float64) []func() float64 {
	each := make([]func() float64, threads)
	for i := range each {
		each[i] = work()
	}
	return each
}

// rateOf runs the threads' work side by side for so long, and returns what they did together, in billions a second.
func rateOf(each []func() float64, long time.Duration) float64 {
	done := make([]float64, len(each))
	began := time.Now()
	var all sync.WaitGroup
	for i := range each {
		all.Go(func() {
			for time.Since(began) < long {
				done[i] += each[i]()
			}
		})
	}
	all.Wait()
	total := 0.0
	for _, d := range done {
		total += d
	}
	return total / time.Since(began).Seconds() / 1e9
}

// limitsResult is what the machine can do, without any training.
type limitsResult struct {
	Set     string  `json:"cpu"` // of kernels
	Threads int     `json:"threads"`
	Peaks   peaks   `json:"peaks"`
	Machine machine `json:"machine"`
	Build   build   `json:"build"`
}

// limits measures the machine alone.
func (b *bench) limits(ctx context.Context) (*limitsResult, error) {
	r := &limitsResult{Set: kernel.Chosen(), Threads: b.cfg.Learner.Threads, Machine: thisMachine(), Build: thisBuild(version)}
	if r.Threads == 0 {
		r.Threads = runtime.GOMAXPROCS(0)
	}
	var err error
	r.Peaks, err = measurePeaks(ctx, r.Threads, true)
	return r, err
}

// text is the limits for people.
func (r *limitsResult) text() string {
	return fmt.Sprintf("%d threads of %s, %s\n\n", r.Threads, r.Set, r.Machine) +
		fmt.Sprintf("peak         %.1f GFLOP/s, multiply-adds in registers\n", r.Peaks.GFLOPS) + r.Peaks.products() +
		fmt.Sprintf("memory       %.1f GB/s, sums of long vectors\n", r.Peaks.Bandwidth)
}

// products are the lines on products of matrices; none where they were not measured.
func (p peaks) products() string {
	var t strings.Builder
	for _, m := range p.Products {
		fmt.Fprintf(&t, "%-11s  %.1f GFLOP/s, %.0f %% of the %.1f beside it, products of %d×%d matrices\n", "gemm", m.GFLOPS, 100*m.Share, m.Peak, m.Side, m.Side)
	}
	return t.String()
}
