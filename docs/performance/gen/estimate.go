package main

import (
	"fmt"
	"strings"
)

// board is a small machine by what is published of it.
type board struct {
	name              string
	cores             int
	gflops            float64 // of a core in float32
	slowest, fastest  float64 // memory bandwidth, GB/s
	arithmetic, where string
}

// boards are the machines that the papers use or would use today.
func boards() []board {
	return []board{
		{"Raspberry Pi 4", 4, 12, 4, 5, "Cortex-A72, 1.5 GHz × 8 operations a cycle", "LPDDR4, as STREAM-like tests report"},
		{"Raspberry Pi 5", 4, 38.4, 9, 15, "Cortex-A76, 2.4 GHz × 16 operations a cycle", "LPDDR4X, as STREAM-like tests report"},
	}
}

// rate is images per second at the limits of arithmetic and memory, each step of the plan at whichever is lower.
func (p plan) rate(gflops, bandwidth float64) float64 {
	ms := 0.0
	for _, l := range p.Lines {
		ms += max(l.FLOPs/gflops, l.Bytes/bandwidth) / 1e6
	}
	return float64(p.Result.Batch) / ms * 1e3
}

// share is how much of its limits the machine of the record reaches.
func (p plan) share() float64 {
	if p.Result.Peaks == nil || p.Result.StepMedian == 0 {
		return 0
	}
	return p.Result.ImagesPerSecond / p.rate(p.Result.Peaks.GFLOPS, p.Result.Peaks.Bandwidth)
}

// writeEstimate is what the plan says of machines that nothing was measured on.
func writeEstimate(t *strings.Builder, plans ...plan) {
	t.WriteString("## Raspberry Pi: an estimate, not a measurement\n\nNothing here was run on a Pi. The work and the traffic of each step of the plan are divided by " +
		"published figures of the boards; the\nlower limit counts for each step. A step does not reach its limit: the estimate takes the same share of it that the\n" +
		"machine above reached, but at most all, though caches of a Pi hold less. Take it as an order of magnitude.\n\n")
	for _, b := range boards() {
		fmt.Fprintf(t, "- %s: %d × %g GFLOP/s (%s), %g to %g GB/s (%s).\n", b.name, b.cores, b.gflops, b.arithmetic, b.slowest, b.fastest, b.where)
	}
	t.WriteString("\n| board | model | input | MFLOP an image | MB an image | limit, images/s | share reached above | estimate, images/s | epoch of 50 000 images, s |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, b := range boards() {
		for _, p := range plans {
			r := p.Result
			if r.Batch == 0 {
				continue
			}
			low, high := p.rate(float64(b.cores)*b.gflops, b.slowest), p.rate(float64(b.cores)*b.gflops, b.fastest)
			share := min(p.share(), 1)
			n := float64(r.Batch)
			fmt.Fprintf(t, "| %s | %s | %d×%d | %s | %s | %s to %s | %.0f %% | %s to %s | %s to %s |\n", b.name, r.net(), r.Input, r.Input,
				short(r.StepGFLOP*1e3/n), short(r.StepBytes/1e6/n), short(low), short(high), 100*share, short(low*share), short(high*share),
				short(50000/(high*share)), short(50000/(low*share)))
		}
	}
	t.WriteString("\n")
}
