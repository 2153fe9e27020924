package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"shoal/configs"
)

// Limits of what a benchmark may be asked for.
const (
	maxBenchSteps  = 1 << 16
	maxBenchRuns   = 99
	maxBenchSweep  = 64               // configurations, each a process
	benchRunWithin = 15 * time.Minute // for one configuration's process, or one run of a peer
)

// benchFlags are what bench is asked for.
type benchFlags struct {
	own           map[string]*string // path of the configuration → value, or empty
	steps, warmup int
	least         time.Duration
	runs          int
	cpu           string
	data          string
	sweep         []string
	compare       string
	plan          bool
	peaks         bool
	gemm          bool
	collectiveFlags
}

// benchPaths are the values of the configuration that decide how fast a step is, by the name that flags, results and
// peers' results have for them.
var benchPaths = [...]struct{ name, path, usage string }{
	{"model", "learner.model", "`name` of the model: mobilenet_v2 or squeezenet1_1"},
	{"width", "learner.width", "MobileNetV2's width `multiplier`"},
	{"input", "learner.input", "`side` of the input in pixels"},
	{"batch", "learner.batch", "`images` per step"},
	{"threads", "learner.threads", "`number` of worker threads; 0: one per CPU"},
}

// newBenchCmd is shoal bench: how fast this machine trains.
func newBenchCmd(o *options) *cobra.Command {
	f := &benchFlags{own: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast this machine trains, and which batch suits it",
		Long: "Train the configured model on random images, or on those of --data, and say how fast that is.\n\n" +
			"  shoal bench --input 128 --batch 12              one configuration, against the machine's own limits\n" +
			"  shoal bench --sweep batch=8,16,24,32            one process each; which batch is best, and why\n" +
			"  shoal bench --plan                              every layer: work, memory traffic, expected and measured time\n" +
			"  shoal bench --gemm                              the machine's limits alone, and how near matrix products come\n" +
			"  shoal bench --compare 'python3 train.py'        alternately with another program, which prints its\n" +
			"                                                  images_per_second in a line of JSON\n\n" +
			"The machine's arithmetic limit is what multiply-adds in registers reach on all threads, its memory bandwidth that\n" +
			"of adding long vectors. Measure while nothing else runs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBench(cmd, o, f) },
	}
	flags := cmd.Flags()
	for _, p := range benchPaths {
		f.own[p.path] = flags.String(p.name, "", p.usage)
	}
	flags.IntVar(&f.steps, "steps", 30, "least `number` of steps that are measured")
	flags.DurationVar(&f.least, "for", time.Second, "least `time` that steps are measured for")
	flags.IntVar(&f.warmup, "warmup", 5, "`number` of steps before them")
	flags.IntVar(&f.runs, "runs", 5, "`number` of runs of each side of --compare")
	flags.StringVar(&f.cpu, "cpu", "", "`set` of kernels: generic, avx2, avx512 or neon (default $"+kernelVariable+", else the best there is)")
	flags.StringVar(&f.data, "data", "", "`path` of images to train on, or builtin (default random ones)")
	flags.StringArrayVar(&f.sweep, "sweep", nil, "`name=values` to try, such as batch=8,16,24,32; repeated: every combination")
	flags.StringVar(&f.compare, "compare", "", "shell `command` to measure alternately with this program")
	flags.BoolVar(&f.plan, "plan", false, "print what a step does, layer by layer")
	flags.BoolVar(&f.peaks, "peaks", true, "measure the machine's limits too")
	flags.BoolVar(&f.gemm, "gemm", false, "measure the machine's limits, and products of matrices, without training")
	f.add(cmd)
	return cmd
}

// bench is a benchmark that was asked for.
type bench struct {
	benchFlags
	options options
	cfg     configs.Config
	given   map[string]string // values of benchPaths that were given by flags, by name
	spawn   spawner           // of this program
}

// runBench carries out one command line.
func runBench(cmd *cobra.Command, o *options, f *benchFlags) error {
	b, err := newBench(o, f)
	if err != nil {
		return err
	}
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	show := func(result interface{ text() string }, err error) error {
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(out, result)
		}
		_, err = fmt.Fprint(out, result.text())
		return err
	}
	switch {
	case len(f.sweep) > 0:
		return show(b.sweepAll(ctx, cmd.ErrOrStderr()))
	case f.compare != "":
		return show(b.compareWith(ctx, cmd.ErrOrStderr()))
	case f.plan:
		return show(b.planned(ctx))
	case f.gemm:
		return show(b.limits(ctx))
	case f.on:
		return show(b.averaging(ctx))
	}
	return show(b.train(ctx))
}

// check says what cannot be asked for.
func (f *benchFlags) check() error {
	for _, v := range []struct {
		flag     string
		n, least int
		most     int
	}{{"steps", f.steps, 1, maxBenchSteps}, {"warmup", f.warmup, 0, maxBenchSteps}, {"runs", f.runs, 1, maxBenchRuns}} {
		if v.n < v.least || v.n > v.most {
			return fmt.Errorf("read --%s %d: outside %d..%d", v.flag, v.n, v.least, v.most)
		}
	}
	kinds := 0
	for _, asked := range []bool{len(f.sweep) > 0, f.compare != "", f.plan, f.gemm, f.on} {
		if asked {
			kinds++
		}
	}
	if kinds > 1 {
		return errors.New("read flags: --sweep, --compare, --plan, --gemm and --collective are benchmarks of their own; ask for one at a time")
	}
	if err := f.collectiveFlags.check(); err != nil {
		return err
	}
	if f.least < 0 || f.least > benchRunWithin/2 {
		return fmt.Errorf("read --for %v: outside 0..%v", f.least, benchRunWithin/2)
	}
	return nil
}

// newBench reads the configuration and checks what was asked for.
func newBench(o *options, f *benchFlags) (*bench, error) {
	if err := f.check(); err != nil {
		return nil, fail(exitUsage, err)
	}
	own, given := map[string]string{}, map[string]string{}
	for _, p := range benchPaths {
		if value := *f.own[p.path]; value != "" {
			own[p.path], given[p.name] = value, value
		}
	}
	if f.data != "" {
		own["data.set"] = f.data
	}
	cfg, _, err := o.load(own)
	if err != nil {
		return nil, err
	}
	if err := chooseKernels(cmp.Or(f.cpu, os.Getenv(kernelVariable))); err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &bench{benchFlags: *f, options: *o, cfg: cfg, given: given, spawn: programSpawner(program)}, nil
}

// arguments are the command line of a process that measures this configuration but for the values of other, by name, and
// prints its result as JSON.
func (b *bench) arguments(other map[string]string) []string {
	args := []string{"bench", "--json", "--peaks=false", "--steps", strconv.Itoa(b.steps), "--warmup", strconv.Itoa(b.warmup),
		"--for", b.least.String()}
	for _, v := range []struct{ flag, value string }{
		{"--config", b.options.config}, {"--preset", b.options.preset}, {"--cpu", b.cpu}, {"--data", b.data},
	} {
		if v.value != "" {
			args = append(args, v.flag, v.value)
		}
	}
	for _, s := range b.options.set {
		args = append(args, "--set", s)
	}
	values := maps.Clone(b.given)
	maps.Copy(values, other)
	for _, p := range benchPaths {
		if value, ok := values[p.name]; ok {
			args = append(args, "--set", p.path+"="+value) // the last word
		}
	}
	return args
}

// median is the middle of values, which are not empty: the mean of two where their number is even.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// errNoRate is what a result lacks that names no speed.
var errNoRate = errors.New("it has no images_per_second above 0")
