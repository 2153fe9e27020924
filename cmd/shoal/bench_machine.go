package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"shoal/learner/kernel"
)

// What the machine's limits are measured with. Vectors together are far longer than any cache that the small machines
// have; the matrices fit in the second one.
const (
	peakSide      = 256
	peakVectorLen = 3 << 22 // elements of the three vectors on all threads: 48 MiB each
	peakTrials    = 7
	peakTrialTime = 15 * time.Millisecond
)

// peaks are the machine's limits on so many threads, as our own kernels reach them: the best of several trials.
type peaks struct {
	GFLOPS    float64 `json:"peak_gflops"`    // products of square matrices
	Bandwidth float64 `json:"bandwidth_gb_s"` // x + y to a third vector; bytes read and written
	Of        string  `json:"peak_of"`
}

// measurePeaks measures the limits with the kernels in use.
func measurePeaks(ctx context.Context, threads int) (peaks, error) {
	p := peaks{Of: fmt.Sprintf("gemm %d×%d×%d, sum of vectors of %d MiB", peakSide, peakSide, peakSide, 4*peakVectorLen>>20)}
	product := func() func() float64 {
		c, a, b := make([]float32, peakSide*peakSide), ones(peakSide*peakSide), ones(peakSide*peakSide)
		return func() float64 {
			kernel.Gemm(kernel.Rows(c, peakSide), kernel.Rows(a, peakSide), kernel.Rows(b, peakSide), peakSide, peakSide, peakSide, false)
			return 2 * peakSide * peakSide * peakSide
		}
	}
	sum := func() func() float64 {
		n := peakVectorLen / threads
		z, x, y := ones(n), ones(n), ones(n) // each page touched before the first trial
		return func() float64 {
			kernel.Sum(z, x, y)
			return 12 * float64(n)
		}
	}
	var err error
	if p.GFLOPS, err = fastest(ctx, threads, product); err != nil {
		return p, err
	}
	p.Bandwidth, err = fastest(ctx, threads, sum)
	return p, err
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
	each := make([]func() float64, threads)
	for i := range each {
		each[i] = work()
	}
	best := 0.0
	for range peakTrials {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		done := make([]float64, threads)
		began := time.Now()
		var all sync.WaitGroup
		for i := range threads {
			all.Go(func() {
				for time.Since(began) < peakTrialTime {
					done[i] += each[i]()
				}
			})
		}
		all.Wait()
		total := 0.0
		for _, d := range done {
			total += d
		}
		best = max(best, total/time.Since(began).Seconds()/1e9)
	}
	return best, nil
}

// cpuTime is how long this process has kept CPUs busy.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakRSS is the most memory in bytes that this process has had. Linux tells it of this program alone; getrusage's number
// begins with that of the process that started it.
func peakRSS() int64 {
	if text, ok := procField("/proc/self/status", "VmHWM"); ok {
		if kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 64); err == nil {
			return kb << 10
		}
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) << 10
}

// procField is what stands behind "name:" in a file of /proc.
func procField(path, name string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// machine is what a measurement was made on.
type machine struct {
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus"`
	Platform string `json:"platform"`
}

// thisMachine asks the system what it is: boards such as the Raspberry Pi have a model, others a processor.
func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if text, err := os.ReadFile("/proc/device-tree/model"); err == nil {
		m.CPU = strings.TrimRight(string(text), "\x00\n")
	} else if text, ok := procField("/proc/cpuinfo", "model name"); ok {
		m.CPU = text
	}
	return m
}

// String is the machine in a few words.
func (m machine) String() string {
	name := m.CPU
	if name == "" {
		name = m.Platform
	}
	return fmt.Sprintf("%s with %d CPUs", name, m.CPUs)
}
