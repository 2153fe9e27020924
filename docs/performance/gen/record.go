package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// recordWithin bounds one benchmark.
const recordWithin = 30 * time.Minute

// peer is the other side of comparisons, from the repository root.
const peer = "python3 docs/performance/torch_train.py"

// benchmark is one command whose result is kept.
type benchmark struct {
	name string // of the file
	args []string
}

// benchmarks are all that the document is made of. 12 images a step at 128×128 and a width of ½ are the papers'.
func benchmarks() []benchmark {
	const small, large = "--input=32", "--input=128"
	against := func(name, model, input string) benchmark {
		return benchmark{"torch-" + name, []string{"--compare", peer + " --model " + model + " " + input}}
	}
	return []benchmark{
		against("mobilenet-128", "mobilenet_v2", large),
		against("mobilenet-32", "mobilenet_v2", small),
		against("squeezenet-128", "squeezenet1_1", large),
		against("squeezenet-32", "squeezenet1_1", small),
		{"batch-32", []string{small, "--sweep", "batch=1,4,8,12,16,24,32,64"}},
		{"batch-128", []string{large, "--sweep", "batch=1,4,8,12,16,24,32"}},
		{"threads-32", []string{small, "--for=5s", "--sweep", "threads=1,2"}},
		{"threads-128", []string{large, "--for=5s", "--sweep", "threads=1,2"}},
		{"memory", []string{"--sweep", "model=mobilenet_v2,squeezenet1_1", "--sweep", "input=32,64,96,128,160,224"}},
		{"set-generic", []string{large, "--peaks=false", "--cpu=generic"}},
		{"set-avx2", []string{large, "--peaks=false", "--cpu=avx2"}},
		{"set-avx512", []string{large, "--peaks=false", "--cpu=avx512"}},
		{"gemm-avx512", []string{"--gemm", "--threads=1", "--cpu=avx512"}},
		{"gemm-avx2", []string{"--gemm", "--threads=1", "--cpu=avx2"}},
		{"plan-32", []string{small, "--plan"}},
		{"plan-128", []string{large, "--plan"}},
		{"plan-squeezenet-128", []string{"--model=squeezenet1_1", large, "--plan"}},
	}
}

// record is one result with what it takes to repeat it.
type record struct {
	Command string          `json:"command"`
	Date    string          `json:"date"`   // RFC 3339
	Others  float64         `json:"others"` // share of the CPUs' time that other programs took meanwhile; -1: nothing was timed
	Result  json.RawMessage `json:"result"`
}

// recordAll runs the benchmarks that are named, or all, and keeps their results in dir.
func recordAll(ctx context.Context, dir, program string, patience time.Duration, names []string) error {
	known := benchmarks()
	for _, name := range names {
		if !slices.ContainsFunc(known, func(b benchmark) bool { return b.name == name }) {
			return fmt.Errorf("record %q: there is no such benchmark", name)
		}
	}
	for _, b := range known {
		if len(names) > 0 && !slices.Contains(names, b.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "recording", b.name)
		r, err := b.best(ctx, program, patience)
		if err != nil {
			return fmt.Errorf("record %s: %w", b.name, err)
		}
		if err := r.write(dir, b.name); err != nil {
			return err
		}
	}
	return nil
}

// write keeps a record.
func (r *record) write(dir, name string) error {
	text, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	return nil
}

// best runs the benchmark until it was not disturbed or patience ends, and keeps the attempt that was disturbed the least.
func (b benchmark) best(ctx context.Context, program string, patience time.Duration) (*record, error) {
	var best *record
	deadline := time.Now().Add(patience)
	for best == nil || best.Others > disturbed && time.Now().Before(deadline) {
		if err := quiet(ctx, deadline); err != nil {
			return nil, err
		}
		r, err := b.record(ctx, program)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "others took %.1f %% of the CPUs' time\n", 100*r.Others)
		if best == nil || r.Others < best.Others {
			best = r
		}
	}
	return best, nil
}

// record runs the benchmark once.
func (b benchmark) record(ctx context.Context, program string) (*record, error) {
	ctx, cancel := context.WithTimeout(ctx, recordWithin)
	defer cancel()
	r := &record{Date: time.Now().UTC().Format(time.RFC3339), Command: "shoal bench"}
	for _, a := range b.args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		r.Command += " " + a
	}
	var err error
	r.Others, err = beside(func() (time.Duration, error) {
		cmd := exec.CommandContext(ctx, program, append([]string{"bench", "--json"}, b.args...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return 0, fmt.Errorf("run %s: %w", r.Command, err)
		}
		r.Result = out
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
	})
	return r, err
}
