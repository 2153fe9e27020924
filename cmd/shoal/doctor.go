package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"shoal/configs"
)

// Verdicts on one check.
const (
	verdictOK   = "ok"
	verdictWarn = "warn" // it works, worse than it could
	verdictBad  = "bad"  // an agent would fail
)

// finding is what one check found.
type finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"` // ok | warn | bad
	Found   string `json:"found"`
	Remedy  string `json:"remedy,omitempty"`
}

func ok(format string, args ...any) finding {
	return finding{Verdict: verdictOK, Found: fmt.Sprintf(format, args...)}
}

// warn and bad take the remedy before what was found.
func warn(remedy, format string, args ...any) finding {
	return finding{Verdict: verdictWarn, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func bad(remedy, format string, args ...any) finding {
	return finding{Verdict: verdictBad, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

// doctor checks whether this machine can run an agent of a configuration.
type doctor struct {
	cfg     configs.Config
	origins configs.Origins
	kernels string // the set that the environment asks for
	root    string // of /proc and /sys
	running string // name of the agent that runs with the state directory; empty: none
	need    needs
}

// newDoctorCmd is shoal doctor.
func newDoctorCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check whether this machine can run an agent, and what would slow it down",
		Long: "Check whether this machine can run an agent of the configuration, and what would slow it down: the configuration\n" +
			"itself, kernels, data set, memory, disk, clock, temperature, ports, cluster key, identity, network and seeds. It trains\n" +
			"nothing and joins nothing, and takes some seconds. What is wrong comes with its remedy; exit code 1 says that an agent\n" +
			"would fail, while warnings alone leave it at 0.",
		Example: "  shoal doctor --preset pi4 --set gossip.key_file=shoal.key --set gossip.seeds=192.168.1.11:7946",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, origins, err := o.read(nil)
			if err != nil {
				return err
			}
			d := &doctor{cfg: cfg, origins: origins, kernels: os.Getenv(kernelVariable), root: "/"}
			d.running = runningAgent(cmd.Context(), cfg.State)
			findings := d.examine(cmd.Context())
			if cmd.Context().Err() != nil {
				return context.Cause(cmd.Context())
			}
			if o.json {
				err = printJSON(cmd.OutOrStdout(), findings)
			} else {
				err = printLines(cmd.OutOrStdout(), findingLines(findings))
			}
			return errors.Join(err, diagnosis(findings))
		},
	}
}

// examine makes every check, in the order in which an agent would stumble.
func (d *doctor) examine(ctx context.Context) []finding {
	var all []finding
	for _, check := range []struct {
		name string
		make func(context.Context) finding
	}{
		{"configuration", d.configuration}, {"agent", d.agent}, {"kernels", d.kernelSet}, {"CPUs", d.cpus}, {"data set", d.dataSet},
		{"memory", d.memory}, {"disk space", d.diskSpace}, {"disk speed", d.diskSpeed}, {"clock", d.clock},
		{"temperature", d.temperature}, {"power", d.power}, {"cluster key", d.clusterKey}, {"identity", d.identity},
		{"ports", d.ports}, {"network", d.network}, {"seeds", d.seeds}, {"open files", d.openFiles},
	} {
		if ctx.Err() != nil {
			break
		}
		f := check.make(ctx)
		f.Check = check.name
		all = append(all, f)
	}
	return all
}

// findingLines are the findings for people, each remedy below what it is for.
func findingLines(findings []finding) []string {
	var lines []string
	for _, f := range findings {
		lines = append(lines, fmt.Sprintf("%-4s  %-13s  %s", f.Verdict, f.Check, strings.ReplaceAll(f.Found, "\n", "\n"+strings.Repeat(" ", 21))))
		if f.Remedy != "" {
			lines = append(lines, strings.Repeat(" ", 21)+"→ "+f.Remedy)
		}
	}
	return lines
}

// diagnosis is an error if an agent would fail.
func diagnosis(findings []finding) error {
	var names []string
	for _, f := range findings {
		if f.Verdict == verdictBad {
			names = append(names, f.Check)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("an agent would fail here: %s", strings.Join(names, ", "))
}

// configuration checks the values together.
func (d *doctor) configuration(context.Context) finding {
	if err := d.cfg.Validate(d.origins); err != nil {
		return bad("change these values; shoal config show says where each comes from", "%v", err)
	}
	return ok("valid: %s at %d×%d, batch %d, state in %s", d.cfg.Learner.Model, d.cfg.Learner.Input, d.cfg.Learner.Input, d.cfg.Learner.Batch, d.cfg.State)
}

// agent says whether one runs here already: its ports and files are in use then.
func (d *doctor) agent(context.Context) finding {
	if d.running == "" {
		return ok("none runs with this state directory")
	}
	return ok("%s runs with this state directory; its ports are its own", d.running)
}

// runningAgent is the name of the agent that answers for a state directory, or empty.
func runningAgent(ctx context.Context, state string) string {
	f := reachFlags{state: state}
	r, err := f.reach(&options{})
	if err != nil {
		return ""
	}
	var s struct{ Name string }
	if r.get(ctx, "/v1/status", &s) != nil {
		return ""
	}
	return printable(s.Name)
}

// file reads a file of /proc or /sys, trimmed; empty where there is none.
func (d *doctor) file(path string) string {
	f, err := os.Open(filepath.Join(d.root, path))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxWordBytes))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
