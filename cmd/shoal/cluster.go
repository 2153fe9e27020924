package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"shoal/configs"
)

// clusterFlags are the flags of shoal cluster.
type clusterFlags struct {
	dir       string
	plain     bool
	keepGoing bool
	own       map[string]*string // values of the configuration that have a flag of their own, by path
}

// newClusterCmd is shoal cluster: real agents on this machine.
func newClusterCmd(o *options) *cobra.Command {
	f := &clusterFlags{own: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "cluster N",
		Short: "Run a cluster of N agents on this machine, and show it",
		Long: "Run N agents as processes of their own on this machine, which find each other over the loopback interface, train\n" +
			"together, and end when the last round is scored. Without --config or --preset they use the preset quickstart,\n" +
			"or images if --data names a set, or quickstart-squeezenet for that model.\n\n" +
			"A directory keeps everything: agent-1/agent.yaml, log.jsonl and state of each agent, and of the run report.json,\n" +
			"rounds.csv, summary.csv and model.safetensors. An agent that is killed may be started again while the others run,\n" +
			"with shoal run --config DIR/agent-1/agent.yaml. Ctrl-C asks all agents to leave; a second one ends them at once.",
		Example: "  shoal cluster 4\n  shoal cluster 2 --data cifar-10-binary.tar.gz --rounds 10 --plan tree\n" +
			"  shoal cluster 4 --preset papakyriakou-mobilenetv2 --set learner.sgd.rate=0.001 --json",
		Args: oneNumber,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := agentCount(args[0])
			if err != nil {
				return fail(exitUsage, err)
			}
			return runCluster(cmd, o, f, n)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "", "new `directory` for the run (default shoal-cluster-DATE-TIME)")
	flags.BoolVar(&f.plain, "plain", false, "print lines even on a terminal")
	flags.BoolVar(&f.keepGoing, "keep-going", true, "go on with the others when an agent dies; =false: stop all")
	for _, v := range []struct{ flag, path, usage string }{
		{"data", "data.set", "`path` of the images, or builtin"},
		{"rounds", "rounds.count", "`number` of rounds"},
		{"model", "learner.model", "`name` of the model: mobilenet_v2 or squeezenet1_1"},
		{"width", "learner.width", "MobileNetV2's width `multiplier`"},
		{"input", "learner.input", "`side` of the input in pixels"},
		{"batch", "learner.batch", "`images` per step"},
		{"plan", "averaging.plan", "`name` of the averaging: auto, ring, tree, star or mesh"},
		{"partition", "data.partition", "`kind` of shards: shuffled, strided, contiguous, dirichlet or by-label"},
		{"seed", "seed", "`number` that all chance comes from"},
	} {
		f.own[v.path] = flags.String(v.flag, "", v.usage)
	}
	return cmd
}

// oneNumber wants one argument, and says which.
func oneNumber(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("read the number of agents: got %d arguments, want one, such as: shoal cluster 4", len(args))
	}
	return nil
}

// agentCount reads the number of agents.
func agentCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxAgents {
		return 0, fmt.Errorf("read the number of agents: %q is not in 1…%d", text, maxAgents)
	}
	return n, nil
}

// runCluster carries out one command line.
func runCluster(cmd *cobra.Command, o *options, f *clusterFlags, n int) error {
	own := f.values(o)
	own["rounds.expect"] = strconv.Itoa(n) // scaling.auto chooses for so many
	cfg, origins, err := o.load(own)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	dir, err := makeClusterDir(f.dir, time.Now())
	if err != nil {
		return err
	}
	plan, err := planCluster(dir, n, cfg, threadsEach(cfg, origins, n, runtime.NumCPU()))
	if err != nil {
		return err
	}
	c := cluster{
		plan: plan, command: []string{program}, env: agentEnvironment(os.Environ(), n, runtime.NumCPU()), keepGoing: f.keepGoing,
		every: pollEvery, grace: leaveGrace, late: lateAfter,
	}
	c.view = newClusterView(cmd.ErrOrStderr(), f.plain)
	return c.runAndReport(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json)
}

// values are what the command's own flags say, path → value, and the preset where nothing names a configuration.
func (f *clusterFlags) values(o *options) map[string]string {
	own := map[string]string{}
	for path, value := range f.own {
		if *value != "" {
			own[path] = *value
		}
	}
	if o.config == "" && o.preset == "" && os.Getenv("SHOAL_CONFIG") == "" && os.Getenv("SHOAL_PRESET") == "" {
		own["preset"] = firstPreset(own, o.set)
	}
	return own
}

// firstPreset is the preset that suits what flags say of the images and the model.
func firstPreset(own map[string]string, set []string) string {
	said := maps.Clone(own)
	for _, s := range set {
		path, value, _ := strings.Cut(s, "=")
		said[path] = value
	}
	switch {
	case said["data.set"] != "" && said["data.set"] != "builtin":
		return "images"
	case said["learner.model"] == "squeezenet1_1":
		return "quickstart-squeezenet"
	}
	return "quickstart"
}

// threadsEach shares the CPUs out among n agents, unless the user has said how many threads an agent gets. A preset's
// number is for a machine with one agent.
func threadsEach(cfg configs.Config, origins configs.Origins, n, cpus int) int {
	from := string(origins["learner.threads"])
	if cfg.Learner.Threads > 0 && from != "" && from != "default" && !strings.HasPrefix(from, "preset ") {
		return cfg.Learner.Threads
	}
	return max(1, cpus/n)
}

// agentEnvironment is env for an agent: without our own variables, whose values are in its file, but for the kernels', and with its share of the
// CPUs, rounded up, and one more so that heartbeats need not wait for a kernel to end.
func agentEnvironment(env []string, n, cpus int) []string {
	var own []string
	for _, v := range env {
		ours := strings.HasPrefix(v, "SHOAL_") && !strings.HasPrefix(v, kernelVariable+"=")
		if !ours && !strings.HasPrefix(v, "GOMAXPROCS=") {
			own = append(own, v)
		}
	}
	return append(own, fmt.Sprintf("GOMAXPROCS=%d", (cpus+n-1)/n+1))
}

// newClusterView shows on a terminal when out is one, and prints lines otherwise.
func newClusterView(out io.Writer, plain bool) clusterView {
	if f, ok := out.(*os.File); ok && !plain && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())) {
		return newScreenView(out)
	}
	return &lineView{out: out}
}
