package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// countWithin bounds one count: the emulator writes a line for each block of instructions.
const countWithin = 30 * time.Minute

// emulator runs a program of arm64 and writes its log where -D says.
const emulator = "qemu-aarch64-static"

// counting is one training step whose instructions are counted.
type counting struct {
	name string // of the file
	args []string
}

// countings are those that the document uses: alone, and the papers' batch; of SqueezeNet where the papers' numbers fit.
func countings() []counting {
	of := func(model, input, batch string) counting {
		c := counting{"count-" + input + "-" + batch, []string{
			"--plan", "--peaks=false", "--width=0.5", "--threads=1", "--warmup=1", "--steps=2", "--for=0s", "--input=" + input, "--batch=" + batch,
		}}
		if model != "" {
			c.name, c.args = "count-squeezenet-"+input+"-"+batch, append([]string{"--model=" + model}, c.args...)
		}
		return c
	}
	const squeezeNet = "squeezenet1_1"
	return []counting{
		of("", "32", "1"), of("", "128", "1"), of("", "32", "12"), of("", "128", "12"),
		of(squeezeNet, "32", "1"), of(squeezeNet, "32", "12"),
	}
}

// counted is a plan with the instructions of each of its steps.
type counted struct {
	Emulator string        `json:"emulator"`
	Result   result        `json:"result"`
	Lines    []countedLine `json:"lines"`
}

// countedLine is one step of a plan. The last line is the update of the parameters, which a plan does not have; its bytes
// are those that its instructions load and store.
type countedLine struct {
	Layer    string  `json:"layer"`
	Op       string  `json:"op"`
	Backward bool    `json:"backward"`
	FLOPs    float64 `json:"flops"`
	Bytes    float64 `json:"bytes"`
	Kernels  tally   `json:"kernels"`
}

// countAll runs countings, those that are named or all, and keeps their results in dir, which is in docs of the repository.
func countAll(ctx context.Context, dir, program string, names []string) error {
	kernels, err := readAssembly(filepath.Join(dir, "../../learner/kernel/neon_arm64.s"))
	if err != nil {
		return err
	}
	step, err := locate(program, kernels)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(countings(), func(c counting) bool { return c.name == name }) {
			return fmt.Errorf("count %q: there is no such record", name)
		}
	}
	for _, c := range countings() {
		if len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "counting", c.name)
		kept, err := c.run(ctx, program, newTracer(kernels, step))
		if err != nil {
			return fmt.Errorf("count %s: %w", c.name, err)
		}
		if err := kept.write(dir, c.name); err != nil {
			return err
		}
	}
	return nil
}

// run counts one training step: the second of two, which must be as the first.
func (c counting) run(ctx context.Context, program string, t *tracer) (*record, error) {
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	version, err := exec.CommandContext(ctx, emulator, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w; Debian has it in qemu-user-static", emulator, err)
	}
	first, last := t.kernels[0], t.kernels[len(t.kernels)-1]
	args := append([]string{"-d", "exec,nochain", "-D", "/proc/self/fd/3", "-dfilter",
		fmt.Sprintf("%#x+%#x,%#x+4", first.at, last.at+4*uint64(len(last.words))-first.at, t.step), program, "bench", "--json"}, c.args...)
	out, err := traced(exec.CommandContext(ctx, emulator, args...), t)
	if err != nil {
		return nil, err
	}
	kept := counted{}
	kept.Emulator, _, _ = strings.Cut(string(version), "\n")
	if err := json.Unmarshal(out, &kept); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if err := kept.take(t.steps); err != nil {
		return nil, err
	}
	kept.Result = kept.Result.untimed()
	r := &record{Date: time.Now().UTC().Format(time.RFC3339), Command: "shoal bench " + strings.Join(c.args, " ")}
	r.Result, err = json.Marshal(kept)
	return r, err
}

// traced runs a command whose third file is a log for t.
func traced(cmd *exec.Cmd, t *tracer) ([]byte, error) {
	log, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.ExtraFiles, cmd.Stderr = []*os.File{write}, os.Stderr
	read := make(chan error, 1)
	go func() {
		err := t.read(log)
		_, _ = io.Copy(io.Discard, log) // or the command would wait
		read <- err
	}()
	out, err := cmd.Output()
	write.Close()
	if failed := <-read; err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", strings.Join(cmd.Args, " "), err)
	}
	return out, nil
}

// take gives each line of the plan its instructions in the second of two runs of it.
func (c *counted) take(steps []tally) error {
	n := len(c.Lines)
	if n == 0 || len(steps) != 2*n {
		return fmt.Errorf("%d steps began in two runs of a plan of %d", len(steps), n)
	}
	const update = "descend"
	c.Lines = append(c.Lines, countedLine{Layer: "update", Op: update, Backward: true, Kernels: tally{}})
	last := steps[2*n-1]
	if last[update] == nil {
		return fmt.Errorf("no %s after the last step", update)
	}
	for i := range n {
		c.Lines[i].Kernels = steps[n+i]
		for name, k := range steps[n+i] {
			if one := steps[i][name]; one == nil || *one != *k {
				return fmt.Errorf("%s %s: %s ran %+v and then %+v; the two runs must be the same", c.Lines[i].Layer, c.Lines[i].Op, name, one, *k)
			}
		}
	}
	c.Lines[n].Kernels[update] = last[update]
	c.Lines[n].Bytes = 16 * float64(last[update].Loads+last[update].Stores)
	delete(last, update)
	return nil
}

// untimed is a result without what an emulator's time and memory decide.
func (r result) untimed() result {
	r.ImagesPerSecond, r.StepMedian, r.StepMean, r.StepMin, r.StepMax, r.EpochSeconds = 0, 0, 0, 0, 0, 0
	r.PeakRSS, r.CPUPercent, r.GFLOPs, r.Allocations = 0, 0, 0, 0
	r.Machine.CPU, r.Machine.CPUs = "", 0
	return r
}

// byKernel adds up what each kernel does in a step.
func (c *counted) byKernel() tally {
	all := tally{}
	for _, l := range c.Lines {
		for name, k := range l.Kernels {
			all.kernel(name).add(*k, 1)
		}
	}
	return all
}

// sum is all of a tally, in the order of names.
func (t tally) sum() count {
	var all count
	for _, name := range slices.Sorted(maps.Keys(t)) {
		all.add(*t[name], 1)
	}
	return all
}
