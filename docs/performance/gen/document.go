package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// result is what shoal bench says of one configuration.
type result struct {
	Peer            string  `json:"peer"`
	Model           string  `json:"model"`
	Width           float64 `json:"width"`
	Input           int     `json:"input"`
	Batch           int     `json:"batch"`
	Threads         int     `json:"threads"`
	Set             string  `json:"cpu"`
	ImagesPerSecond float64 `json:"images_per_second"`
	StepMedian      float64 `json:"step_ms_median"`
	StepMean        float64 `json:"step_ms_mean"`
	StepMin         float64 `json:"step_ms_min"`
	StepMax         float64 `json:"step_ms_max"`
	EpochSeconds    float64 `json:"epoch_s"`
	PeakRSS         float64 `json:"peak_rss_mb"`
	CPUPercent      float64 `json:"cpu_percent"`
	Allocations     float64 `json:"allocations_per_step"`
	ArenaBytes      float64 `json:"arena_bytes"`
	GFLOPs          float64 `json:"gflops"`
	StepGFLOP       float64 `json:"step_gflop"`
	StepBytes       float64 `json:"step_bytes"`
	Peaks           *peaks  `json:"peaks"`
	Machine         struct {
		CPU      string `json:"cpu"`
		CPUs     int    `json:"cpus"`
		Platform string `json:"platform"`
	} `json:"machine"`
	Build struct {
		Version  string `json:"version"`
		Revision string `json:"revision"`
		Modified bool   `json:"modified"`
		Go       string `json:"go"`
	} `json:"build"`
}

// peaks are a machine's limits. Records from before multiply-adds in registers were measured have the products of 256×256
// matrices for GFLOPS, say so in Of, and have no Products.
type peaks struct {
	GFLOPS    float64       `json:"peak_gflops"`
	Bandwidth float64       `json:"bandwidth_gb_s"`
	Of        string        `json:"peak_of"`
	Products  []peakProduct `json:"gemm"`
}

// peakProduct is what products of square matrices reach.
type peakProduct struct {
	Side   int     `json:"side"`
	GFLOPS float64 `json:"gflops"`
	Peak   float64 `json:"peak_gflops"` // of multiply-adds in registers, in turns with the products
	Share  float64 `json:"of_peak"`
}

// comparison is the result of --compare.
type comparison struct {
	Peer        string    `json:"peer"`
	Ours        []result  `json:"ours"`
	Theirs      []float64 `json:"theirs"`
	TheirRSS    []float64 `json:"theirs_peak_rss_mb"`
	Ratio       float64   `json:"ratio"`
	RatioMin    float64   `json:"ratio_min"`
	RatioMax    float64   `json:"ratio_max"`
	MemoryRatio float64   `json:"memory_ratio"`
}

// sweep is the result of --sweep.
type sweep struct {
	Rows []result `json:"rows"`
	Best int      `json:"best"`
	Why  string   `json:"why"`
}

// plan is the result of --plan.
type plan struct {
	Result          result  `json:"result"`
	PeakTensor      string  `json:"peak_tensor"`
	PeakTensorBytes float64 `json:"peak_tensor_bytes"`
	Lines           []line  `json:"lines"`
}

// line is one step of a plan.
type line struct {
	Layer    string  `json:"layer"`
	Op       string  `json:"op"`
	Backward bool    `json:"backward"`
	FLOPs    float64 `json:"flops"`
	Bytes    float64 `json:"bytes"`
	Expected float64 `json:"expected_ms"`
	Measured float64 `json:"measured_ms"`
}

// records reads them by name. The first error is kept.
type records struct {
	dir    string
	rows   []string // of the table of records
	others float64  // of the record read last
	err    error
}

// read decodes a record's result into v, and one of its measured configurations is made known by pick.
func (r *records) read(name string, v any, pick func() result) {
	if r.err != nil {
		return
	}
	var kept record
	text, err := os.ReadFile(filepath.Join(r.dir, name+".json"))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err == nil {
		err = json.Unmarshal(kept.Result, v)
	}
	if err != nil {
		r.err = fmt.Errorf("read record %s: %w", name, err)
		return
	}
	one := pick()
	r.others = kept.Others
	where, others := fmt.Sprintf("%s, %d CPUs", one.Machine.CPU, one.Machine.CPUs), fmt.Sprintf("%.1f %%", 100*kept.Others)
	if kept.Others < 0 {
		others = "–"
	}
	if one.Machine.CPUs == 0 { // nothing was timed
		where, others = one.Machine.CPU, "-"
	}
	r.rows = append(r.rows, fmt.Sprintf("| [%s](performance/%s.json) | `%s` | %s | %s | %s | %s, %s |",
		name, name, strings.ReplaceAll(kept.Command, "|", "\\|"), one.commit(), kept.Date, others, where, one.Build.Go))
}

func (r *records) comparison(name string) comparison {
	var c comparison
	r.read(name, &c, func() result { return first(c.Ours) })
	return c
}

func (r *records) sweep(name string) sweep {
	var s sweep
	r.read(name, &s, func() result { return first(s.Rows) })
	return s
}

func (r *records) single(name string) result {
	var one result
	r.read(name, &one, func() result { return one })
	return one
}

func (r *records) plan(name string) plan {
	var p plan
	r.read(name, &p, func() result { return p.Result })
	return p
}

func (r *records) counted(name string) counted {
	var c counted
	r.read(name, &c, func() result {
		one := c.Result
		one.Machine.CPU = c.Emulator
		return one
	})
	return c
}

func first(list []result) result {
	if len(list) == 0 {
		return result{}
	}
	return list[0]
}

// median is the middle of values; 0 if there are none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// spread is a median with its least and greatest value.
func spread(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s to %s)", short(median(values)), short(slices.Min(values)), short(slices.Max(values)))
}

// short is a number with three digits that matter, or all before the point.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// commit is what the program was built from: what the build says, or what its maker called it.
func (r result) commit() string {
	commit := r.Build.Revision
	if commit == "" {
		return r.Build.Version
	}
	if commit = commit[:min(len(commit), 12)]; r.Build.Modified {
		commit += "+"
	}
	return commit
}

// net is a model's name for people.
func (r result) net() string {
	if r.Model == "mobilenet_v2" {
		return fmt.Sprintf("MobileNetV2 α %g", r.Width)
	}
	return "SqueezeNet 1.1"
}
