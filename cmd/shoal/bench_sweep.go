package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// nearlyBest is how much slower than the fastest a configuration may be, to be preferred for its memory: less than what
// two runs of the same differ by.
const nearlyBest = 0.02

// sweepResult is one table of configurations.
type sweepResult struct {
	Names []string       `json:"names"` // of what was varied
	Rows  []*benchResult `json:"rows"`
	Best  int            `json:"best"` // index of the row that is recommended
	Why   string         `json:"why"`
}

// sweepAll measures every combination of the values that were asked for, each in a process of its own, so that the
// memory of one is not that of another.
func (b *bench) sweepAll(ctx context.Context, progress io.Writer) (*sweepResult, error) {
	names, rows, err := combinations(b.sweep)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	s := &sweepResult{Names: names}
	for i, row := range rows {
		r, err := b.measured(ctx, row)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", describe(names, row), err)
		}
		s.Rows = append(s.Rows, r)
		fmt.Fprintf(progress, "%d of %d: %s: %.1f images/s\n", i+1, len(rows), describe(names, row), r.ImagesPerSecond)
	}
	s.Best, s.Why = s.best()
	return s, nil
}

// combinations reads "name=value,value" for each name and lists every combination, the last name's values changing
// fastest.
func combinations(sweeps []string) (names []string, rows []map[string]string, err error) {
	rows = []map[string]string{{}}
	for _, text := range sweeps {
		name, values, ok := strings.Cut(text, "=")
		known := slices.ContainsFunc(benchPaths[:], func(p struct{ name, path, usage string }) bool { return p.name == name })
		if !ok || !known || slices.Contains(names, name) {
			return nil, nil, fmt.Errorf("read --sweep %q: give one of model, width, input, batch and threads once, such as batch=8,16", text)
		}
		names = append(names, name)
		var wider []map[string]string
		for _, row := range rows {
			for v := range strings.SplitSeq(values, ",") {
				if v = strings.TrimSpace(v); v == "" {
					return nil, nil, fmt.Errorf("read --sweep %q: a value is empty", text)
				}
				next := maps.Clone(row)
				next[name] = v
				wider = append(wider, next)
			}
		}
		if rows = wider; len(rows) > maxBenchSweep {
			return nil, nil, fmt.Errorf("sweep %d configurations: at most %d", len(rows), maxBenchSweep)
		}
	}
	return names, rows, nil
}

// describe is a row's values: "batch 8, threads 2".
func describe(names []string, row map[string]string) string {
	var parts []string
	for _, name := range names {
		parts = append(parts, name+" "+row[name])
	}
	return strings.Join(parts, ", ")
}

// values are a result's, by the names of benchPaths.
func (r *benchResult) values() map[string]string {
	return map[string]string{
		"model": r.Model, "width": fmt.Sprint(r.Width), "input": fmt.Sprint(r.Input), "batch": fmt.Sprint(r.Batch),
		"threads": fmt.Sprint(r.Threads),
	}
}

// best is the row with the most images per second; or, of rows that are as fast within nearlyBest, the one that takes the
// least memory.
func (s *sweepResult) best() (row int, why string) {
	fastest := 0
	for i, r := range s.Rows {
		if r.ImagesPerSecond > s.Rows[fastest].ImagesPerSecond {
			fastest = i
		}
	}
	row = fastest
	for i, r := range s.Rows {
		if r.ImagesPerSecond >= (1-nearlyBest)*s.Rows[fastest].ImagesPerSecond && r.PeakRSS < s.Rows[row].PeakRSS {
			row = i
		}
	}
	r, f := s.Rows[row], s.Rows[fastest]
	name := describe(s.Names, r.values())
	if row == fastest {
		return row, fmt.Sprintf("%s is best: %.1f images/s, the most, in %.0f MiB", name, r.ImagesPerSecond, r.PeakRSS)
	}
	return row, fmt.Sprintf("%s is best: %.1f images/s in %.0f MiB; %s is %.1f %% faster, but takes %.0f MiB more",
		name, r.ImagesPerSecond, r.PeakRSS, describe(s.Names, f.values()), 100*(f.ImagesPerSecond/r.ImagesPerSecond-1), f.PeakRSS-r.PeakRSS)
}

// text is the papers' table of batches.
func (s *sweepResult) text() string {
	var t strings.Builder
	first := s.Rows[0]
	fmt.Fprintf(&t, "%s on %s, %d images an epoch (%s)\n\n", first.Model, first.Machine, first.EpochImages, first.Data)
	for _, name := range s.Names {
		fmt.Fprintf(&t, "%-13s  ", name)
	}
	fmt.Fprintf(&t, "%12s  %12s  %12s  %12s  %8s\n", "epoch (s)", "step (ms)", "images/s", "RSS (MiB)", "CPU (%)")
	for i, r := range s.Rows {
		for _, name := range s.Names {
			fmt.Fprintf(&t, "%-13s  ", r.values()[name])
		}
		fmt.Fprintf(&t, "%12.1f  %12.2f  %12.1f  %12.1f  %8.0f", r.EpochSeconds, r.StepMean, r.ImagesPerSecond, r.PeakRSS, r.CPUPercent)
		if i == s.Best {
			t.WriteString("  best")
		}
		t.WriteString("\n")
	}
	fmt.Fprintf(&t, "\n%s\n", s.Why)
	return t.String()
}
