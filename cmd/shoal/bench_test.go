package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// quick are the flags of a benchmark that takes no time.
func quick(args ...string) []string {
	return append([]string{"bench", "--for", "0s", "--steps", "2", "--warmup", "1", "--width", "0.1", "--batch", "3", "--threads", "1"}, args...)
}

// inProcess runs this program's command lines here.
func inProcess(t *testing.T) spawner {
	return func(_ context.Context, args ...string) ([]byte, error) {
		stdout, stderr, code := shoal(t, args...)
		if code != exitOK {
			return nil, errors.New(stderr)
		}
		return []byte(stdout), nil
	}
}

func TestBench(t *testing.T) {
	stdout, stderr, code := shoal(t, quick("--json")...)
	var r benchResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	if r.Model != "mobilenet_v2" || r.Width != 0.1 || r.Input != 32 || r.Batch != 3 || r.Threads != 1 || r.Steps != 2 || r.Data != "random" {
		t.Errorf("measured something else: %s", stdout)
	}
	if !(r.StepMin > 0 && r.StepMin <= r.StepMedian && r.StepMedian <= r.StepMax) || r.StepMean < r.StepMin || r.StepMean > r.StepMax {
		t.Errorf("step times %v ≤ %v ≤ %v, mean %v", r.StepMin, r.StepMedian, r.StepMax, r.StepMean)
	}
	if rate := 3 / (r.StepMedian / 1e3); r.ImagesPerSecond < 0.999*rate || r.ImagesPerSecond > 1.001*rate {
		t.Errorf("%v images/s with steps of %v ms", r.ImagesPerSecond, r.StepMedian)
	}
	if r.PeakRSS < 5 || r.ArenaBytes < 1e5 || r.GFLOPs <= 0 || r.StepBytes <= 0 {
		t.Errorf("%v MiB, %d bytes of arena, %v GFLOP/s, %d bytes moved", r.PeakRSS, r.ArenaBytes, r.GFLOPs, r.StepBytes)
	}
	if r.Peaks == nil || r.Peaks.GFLOPS <= 0 || r.Peaks.Bandwidth <= 0 || r.PeakShare <= 0 || r.PeakShare > 1.5 {
		t.Errorf("limits %+v, share %v", r.Peaks, r.PeakShare)
	}
	// The names that other programs have for the same.
	for _, name := range []string{"peer", "images_per_second", "step_ms_median", "step_ms_min", "step_ms_max", "peak_rss_mb"} {
		if !strings.Contains(stdout, `"`+name+`":`) {
			t.Errorf("no %q in %s", name, stdout)
		}
	}
}

func TestBenchData(t *testing.T) {
	stdout, stderr, code := shoal(t, quick("--data", "builtin", "--peaks=false", "--cpu", "generic", "--set", "data.limit=50")...)
	if code != exitOK || !strings.Contains(stdout, "for 50 images (builtin)") || !strings.Contains(stdout, "threads of generic") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if err := chooseKernels(""); err != nil { // for the tests after this one
		t.Fatal(err)
	}
	if _, stderr, code = shoal(t, quick("--data", filepath.Join(t.TempDir(), "none"))...); code != exitData {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestBenchPlan(t *testing.T) {
	stdout, stderr, code := shoal(t, quick("--json", "--plan")...)
	var p planResult
	if err := json.Unmarshal([]byte(stdout), &p); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	if len(p.Lines) < 100 || len(p.Sums) != 3 || p.PeakTensorBytes <= 0 || p.PeakTensorBytes > p.Result.ArenaBytes {
		t.Fatalf("%d lines, sums %v, largest %d bytes", len(p.Lines), p.Sums, p.PeakTensorBytes)
	}
	if got := p.Result.Peaks.Products; len(got) != len(productSides()) || got[0].Side != 256 {
		t.Errorf("products %+v", got)
	}
	for _, l := range p.Lines {
		if l.Layer == "" || l.Op == "" || l.Expected <= 0 || l.Measured <= 0 {
			t.Errorf("%+v", l)
		}
	}
	forward, backward, all := p.Sums[0], p.Sums[1], p.Sums[2]
	if forward.FLOPs+backward.FLOPs != all.FLOPs || forward.FLOPs >= backward.FLOPs || all.Measured <= forward.Measured {
		t.Errorf("sums %+v", p.Sums)
	}
	text := p.text()
	if strings.Count(text, "\n") < len(p.Lines) || !strings.Contains(text, "\nfeatures.0.0 conv ") || !strings.Contains(text, "\nall ") {
		t.Errorf("got\n%s", text)
	}
}

// Without limits nothing is expected, and the plan is the same.
func TestBenchPlanWithoutPeaks(t *testing.T) {
	stdout, stderr, code := shoal(t, quick("--json", "--plan", "--peaks=false")...)
	var p planResult
	if err := json.Unmarshal([]byte(stdout), &p); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	if p.Result.Peaks != nil || len(p.Lines) < 100 || p.Sums[2].Expected != 0 || p.Sums[2].Measured <= 0 {
		t.Errorf("limits %+v, sums %+v", p.Result.Peaks, p.Sums)
	}
	if text := p.text(); strings.Contains(text, "%") && !strings.Contains(text, "       -\n") {
		t.Errorf("got\n%s", text)
	}
}

func TestBenchGemm(t *testing.T) {
	stdout, stderr, code := shoal(t, "bench", "--gemm", "--json", "--threads", "1")
	var r limitsResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	if r.Threads != 1 || r.Peaks.GFLOPS <= 0 || r.Peaks.Bandwidth <= 0 || len(r.Peaks.Products) != len(productSides()) || !strings.Contains(r.Peaks.Of, "registers") {
		t.Errorf("%+v", r)
	}
	for i, p := range r.Peaks.Products {
		if p.Side != productSides()[i] || p.GFLOPS <= 0 || p.Peak <= 0 || p.Share != p.GFLOPS/p.Peak {
			t.Errorf("product %+v of the peak %v", p, r.Peaks.GFLOPS)
		}
	}
	r.Peaks = peaks{GFLOPS: 200, Bandwidth: 10, Products: []peakProduct{{Side: 256, GFLOPS: 150, Peak: 187.5, Share: 0.8}}}
	if text := r.text(); !strings.Contains(text, "150.0 GFLOP/s, 80 % of the 187.5 beside it, products of 256×256 matrices\n") || !strings.Contains(text, " 200.0 GFLOP/s, ") {
		t.Errorf("got\n%s", text)
	}
}

func TestRoofline(t *testing.T) {
	p := peaks{GFLOPS: 10, Bandwidth: 2}
	for _, v := range []struct {
		flops, bytes int64
		want         float64
	}{{0, 0, 0}, {1e7, 0, 1}, {0, 1e7, 5}, {1e8, 1e7, 10}, {5e7, 1e7, 5}} {
		if got := p.roofline(v.flops, v.bytes); got != v.want {
			t.Errorf("%d operations and %d bytes: %v ms, want %v", v.flops, v.bytes, got, v.want)
		}
	}
}

func TestBenchSweep(t *testing.T) {
	b := &bench{
		benchFlags: benchFlags{steps: 1, sweep: []string{"width=0.1", "batch=2,4"}}, spawn: inProcess(t),
		options: options{set: []string{"learner.batch=9"}}, given: map[string]string{"threads": "1"},
	}
	var progress bytes.Buffer
	s, err := b.sweepAll(t.Context(), &progress)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Rows) != 2 || s.Rows[0].Batch != 2 || s.Rows[1].Batch != 4 || s.Rows[1].Width != 0.1 || s.Rows[1].Peaks != nil {
		t.Fatalf("rows %+v", s.Rows)
	}
	if text := s.text(); !strings.Contains(text, "epoch (s)") || strings.Count(text, "  best\n") != 1 || !strings.Contains(text, s.Why) {
		t.Errorf("got\n%s", text)
	}
	if got := progress.String(); !strings.Contains(got, "2 of 2: width 0.1, batch 4: ") {
		t.Errorf("progress %q", got)
	}
	b.sweep = []string{"batch=0"}
	if _, err := b.sweepAll(t.Context(), &progress); err == nil || !strings.Contains(err.Error(), "measure batch 0: ") {
		t.Errorf("a batch of none: %v", err)
	}
}

func TestCombinations(t *testing.T) {
	names, rows, err := combinations([]string{"batch=8,16", "threads= 1 ,2"})
	want := []map[string]string{{"batch": "8", "threads": "1"}, {"batch": "8", "threads": "2"}, {"batch": "16", "threads": "1"}, {"batch": "16", "threads": "2"}}
	if err != nil || !reflect.DeepEqual(rows, want) || !reflect.DeepEqual(names, []string{"batch", "threads"}) {
		t.Errorf("%v, %v, %v", names, rows, err)
	}
	for _, bad := range [][]string{{"batch"}, {"seed=1"}, {"batch=1,,2"}, {"batch=1", "batch=2"}, {"batch=" + strings.Repeat("1,", maxBenchSweep) + "1"}} {
		if _, _, err := combinations(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestBestOfSweep(t *testing.T) {
	row := func(batch int, rate, rss float64) *benchResult {
		return &benchResult{Batch: batch, ImagesPerSecond: rate, PeakRSS: rss}
	}
	for name, v := range map[string]struct {
		rows []*benchResult
		best int
		why  string
	}{
		"alone":          {[]*benchResult{row(8, 100, 50)}, 0, "batch 8 is best: 100.0 images/s, the most, in 50 MiB"},
		"fastest":        {[]*benchResult{row(8, 100, 50), row(16, 110, 70)}, 1, "batch 16 is best: 110.0 images/s, the most, in 70 MiB"},
		"nearly as fast": {[]*benchResult{row(8, 99, 50), row(16, 100, 70)}, 0, "batch 8 is best: 99.0 images/s in 50 MiB; batch 16 is 1.0 % faster, but takes 20 MiB more"},
	} {
		s := &sweepResult{Names: []string{"batch"}, Rows: v.rows}
		if best, why := s.best(); best != v.best || why != v.why {
			t.Errorf("%s: %d, %q", name, best, why)
		}
	}
}

func TestBenchCompare(t *testing.T) {
	peer := `echo warming up; echo '{"peer": "snail 1", "width": 0.1, "batch": 2, "threads": 1, "images_per_second": 0.5, "peak_rss_mb": 1e6}'`
	b := &bench{benchFlags: benchFlags{steps: 1, runs: 3, compare: peer}, spawn: inProcess(t), given: map[string]string{"batch": "2.0"}}
	var progress bytes.Buffer
	c, err := b.compareWith(t.Context(), &progress)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ours) != 3 || c.Ours[0].Batch != 2 || c.Ours[0].Width != 0.1 || c.Ratio < 2 || c.RatioMin > c.RatioMax || c.MemoryRatio <= 0 || c.MemoryRatio > 0.01 {
		t.Errorf("%+v", c)
	}
	if text := c.text(); !strings.Contains(text, "snail 1 ") || !strings.Contains(text, "0.5 images/s median") || !strings.Contains(text, " times as fast (") {
		t.Errorf("got\n%s", text)
	}
	for peer, want := range map[string]string{
		"exit 3":                 "exit status 3",
		"echo hello":             "no line of its output is a JSON object: it has no images_per_second above 0",
		"echo []":                "no line of its output",
		"exec 1>&-":              "no line of its output",
		"echo x >&2; kill -9 $$": "signal: killed: x",
		`echo '{"peer": "p", "images_per_second": 1, "batch": 16}'`: "compare with p: its batch is 16, and --batch 2.0; leave the flag out",
	} {
		b.compare = peer
		if _, err := b.compareWith(t.Context(), &progress); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", peer, err)
		}
	}
}

// A peer that hangs is killed with all that it started, and what ended it is said.
func TestBenchCompareStops(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("enough"))
	defer cancel()
	b := &bench{benchFlags: benchFlags{runs: 1, compare: "sleep 100 & wait"}, spawn: inProcess(t)}
	began := time.Now()
	if _, err := b.compareWith(ctx, &bytes.Buffer{}); err == nil || time.Since(began) > killedWithin {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestBenchRefuses(t *testing.T) {
	for args, v := range map[string]struct {
		code int
		want string
	}{
		"--steps 0":                 {exitUsage, "read --steps 0: outside 1..65536"},
		"--warmup -1":               {exitUsage, "read --warmup -1: outside 0..65536"},
		"--runs 100":                {exitUsage, "read --runs 100: outside 1..99"},
		"--for 1h":                  {exitUsage, "read --for 1h0m0s: outside 0..7m30s"},
		"--cpu sse":                 {exitUsage, `choose instruction set "sse"`},
		"--batch 0":                 {exitConfig, "learner.batch: 0 is outside 1..4096 images"},
		"--model resnet":            {exitConfig, `learner.model: "resnet" is unknown`},
		"--plan --gemm":             {exitUsage, "ask for one at a time"},
		"--plan --sweep batch=1":    {exitUsage, "ask for one at a time"},
		"--sweep batch=":            {exitUsage, "a value is empty"},
		"--compare x --sweep b=1,2": {exitUsage, "ask for one at a time"},
	} {
		if _, stderr, code := shoal(t, append([]string{"bench"}, strings.Fields(args)...)...); code != v.code || !strings.Contains(stderr, v.want) {
			t.Errorf("%s: exit code %d: %s", args, code, stderr)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, v := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(v.of); got != v.want {
			t.Errorf("median of %v: %v, want %v", v.of, got, v.want)
		}
	}
}

// FuzzReadPeer: whatever a peer prints, a result has a rate.
func FuzzReadPeer(f *testing.F) {
	f.Add([]byte("{\"images_per_second\": 3, \"batch\": 12}\n"))
	f.Add([]byte("warm\n{\"peer\":\"x\",\"images_per_second\":1e9,\"peak_rss_mb\":1}\nbye"))
	f.Add([]byte("{\"images_per_second\": -1}\n[]\nnull\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		r, err := readPeer(out)
		if err == nil && !(r.ImagesPerSecond > 0) || err != nil && r != nil {
			t.Errorf("%v, %v", fmt.Sprint(r), err)
		}
	})
}
