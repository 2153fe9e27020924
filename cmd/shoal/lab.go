package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"shoal/eval/lab"
	"shoal/eval/lab/row"
)

// newLabCmd is shoal lab.
func newLabCmd(o *options) *cobra.Command {
	var l labFlags
	cmd := &cobra.Command{
		Use:   "lab FILE|NAME",
		Short: "Run an experiment on a virtual cluster on this machine",
		Long: "Run the experiment of a YAML file, or of a name that shoal lab list tells: every combination of what it varies is\n" +
			"trained on a virtual cluster. What members compute has the bits of real agents; clock and wire are those of the\n" +
			"machines and the network that the file describes.\n\n" +
			"Results are rows, a JSON object per round and per run, in rows.jsonl of the directory, and at the end report.html and its\n" +
			"figures. Interrupted by SIGINT or SIGTERM, or killed, the same command goes on where it was.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runLab(cmd, o, l, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&l.out, "out", "", "`directory` of the results; default lab/NAME")
	flags.BoolVar(&l.fresh, "fresh", false, "begin anew where results are already")
	flags.BoolVar(&l.plan, "plan", false, "list the runs, and run none")
	cmd.AddCommand(newLabListCmd(o), newLabTableCmd(o), newLabDeviceCmd(o), newLabPlotCmd(o), newLabCompareCmd(o))
	return cmd
}

// labFlags are the flags of shoal lab.
type labFlags struct {
	out         string
	fresh, plan bool
}

// runLab is shoal lab FILE.
func runLab(cmd *cobra.Command, o *options, l labFlags, name string) error {
	e, err := lab.Find(name)
	if err != nil {
		return fail(exitConfig, err)
	}
	if l.plan {
		return planLab(cmd.OutOrStdout(), o, e)
	}
	if err := chooseKernels(os.Getenv(kernelVariable)); err != nil {
		return err
	}
	out := l.out
	if out == "" {
		out = filepath.Join("lab", e.Name)
	}
	meter := &labMeter{w: cmd.ErrOrStderr(), begun: time.Now()}
	if f, ok := meter.w.(*os.File); ok {
		meter.terminal = term.IsTerminal(int(f.Fd()))
	}
	var ends []row.Run
	build := thisBuild(version)
	err = lab.Do(cmd.Context(), e, lab.Options{
		Out: out, Fresh: l.fresh, Commit: cmp.Or(build.Revision, "unknown"), Date: time.Now(),
		Machine: fmt.Sprintf("%s, %d CPUs", build.Platform, runtime.NumCPU()),
		Progress: func(p lab.Progress) {
			meter.show(p)
			if p.End != nil {
				ends = append(ends, *p.End)
			}
		},
	})
	meter.end()
	switch {
	case errors.Is(err, lab.ErrBusy):
		return fail(exitBusy, err)
	case err != nil:
		return err
	}
	rows, _, err := openRows(out)
	if err != nil {
		return err
	}
	page, err := writeReport(out, rows)
	switch {
	case err != nil:
		return err
	case o.json:
		return printJSON(cmd.OutOrStdout(), ends)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d runs in %s; report: %s\n", len(ends), filepath.Join(out, lab.RowsFile), page)
	return nil
}

// planLab lists the runs of an experiment.
func planLab(w io.Writer, o *options, e lab.Experiment) error {
	if o.json {
		places := []row.Place{}
		for _, r := range e.Runs {
			places = append(places, r.Place)
		}
		return printJSON(w, places)
	}
	for _, r := range e.Runs {
		if _, err := fmt.Fprintln(w, r.Run); err != nil {
			return err
		}
	}
	return nil
}

// newLabListCmd is shoal lab list.
func newLabListCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the experiments that are built in",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type entry struct {
				Name  string `json:"name"`
				Runs  int    `json:"runs"`
				About string `json:"about"`
			}
			var list []entry
			for _, name := range lab.Names() {
				e, err := lab.Find(name)
				if err != nil {
					return err
				}
				list = append(list, entry{name, len(e.Runs), e.About})
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			for _, e := range list {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-24s %4d runs  %s\n", e.Name, e.Runs, e.About); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// labMeter shows how far an experiment is: a line that is rewritten on a terminal, else a line now and then, and one for
// every run.
type labMeter struct {
	w        io.Writer
	terminal bool
	begun    time.Time
	first    int64 // images that were there when it began
	shown    time.Time
	counting bool
	open     bool
}

func (m *labMeter) show(p lab.Progress) {
	if p.End != nil {
		m.ended(p)
		return
	}
	if !m.counting && p.Line != nil {
		m.counting, m.begun, m.first = true, time.Now(), p.Images
	}
	every := meterElsewhere
	if m.terminal {
		every = meterOnTerminal
	}
	if time.Since(m.shown) < every {
		return
	}
	m.shown = time.Now()
	line := fmt.Sprintf("%d/%d %s: round %d/%d, loss %.4f", p.Number, p.Runs, p.Run.Run, p.Round, p.Rounds, float64(p.Line.TrainLoss))
	if did := p.Images - m.first; did > 0 && p.Total > 0 {
		left := time.Duration(float64(time.Since(m.begun)) * float64(max(p.Total-p.Images, 0)) / float64(did))
		line += fmt.Sprintf(", %d %% of all, %v left", 100*p.Images/p.Total, left.Round(time.Second))
	}
	if !m.terminal {
		fmt.Fprintln(m.w, line)
		return
	}
	fmt.Fprintf(m.w, "\r%s\x1b[K", line)
	m.open = true
}

// ended writes the line of a run.
func (m *labMeter) ended(p lab.Progress) {
	m.end()
	line := fmt.Sprintf("%d/%d %s:", p.Number, p.Runs, p.End.Run)
	for _, s := range p.End.Scores {
		line += fmt.Sprintf(" %.2f %% (%s)", 100*float64(s.TestAccuracy), s.Statistics)
	}
	line += fmt.Sprintf(", train loss %.4f, %.1f s virtual, %.1f s here", float64(p.End.TrainLoss), p.End.Seconds.Total, p.End.WallSeconds)
	if p.End.Failed != "" {
		line += ", failed: " + p.End.Failed
	}
	fmt.Fprintln(m.w, line)
}

// end finishes the line on a terminal.
func (m *labMeter) end() {
	if m.open {
		fmt.Fprintln(m.w)
		m.open = false
	}
}
