package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"shoal/eval"
	"shoal/gossip/roster"
)

// Files of the run, beside the agents' directories.
const (
	clusterReportFile  = "report.json"
	clusterRoundsFile  = "rounds.csv"
	clusterSummaryFile = "summary.csv"
)

// runAndReport runs the cluster, and leaves its report in the plan's directory and on stdout.
func (c *cluster) runAndReport(ctx context.Context, stdout, stderr io.Writer, asJSON bool) error {
	c.view.say(c.plan.title)
	c.view.say("everything is kept in " + c.plan.dir)
	s, err := c.run(ctx)
	if err != nil {
		s.sayLeft(c.view)
		c.view.close()
		return err
	}
	c.view.close()
	report, err := s.report()
	if err != nil {
		return err
	}
	if err := c.keep(&report); err != nil {
		return err
	}
	if asJSON {
		err = eval.WriteJSON(stdout, report)
	} else {
		err = eval.WriteText(stdout, s.named(report))
	}
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return s.verdict(stderr, report)
}

// sayLeft says where to find what the agents of a cluster that was stopped have done.
func (s *clusterState) sayLeft(view clusterView) {
	rounds := 0
	for _, a := range s.agents {
		if a.report != nil {
			rounds = max(rounds, a.report.Rounds)
		}
	}
	if rounds > 0 {
		view.say(fmt.Sprintf("rounds finished: %d of %d; their rows are in %s", rounds, s.plan.rounds, filepath.Join(s.plan.dir, "agent-*", agentReportFile)))
	}
}

// readReport reads the report that an agent left in a file.
func readReport(path string) (*eval.Report, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open report: %w", err)
	}
	defer file.Close()
	var report eval.Report
	if err := json.NewDecoder(io.LimitReader(file, maxReportBytes)).Decode(&report); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	return &report, nil
}

// report makes one report out of those of the agents that finished: the fullest, with what each agent says of itself.
// Agents that did not finish have no part in it but in the rounds that they contributed to.
func (s *clusterState) report() (eval.Report, error) {
	var best *eval.Report
	var agents []eval.AgentSummary
	for _, a := range s.agents {
		if !a.finished() {
			continue
		}
		if best == nil || fuller(a.report, best) > 0 {
			best = a.report
		}
		agents = append(agents, a.summary())
	}
	if best == nil {
		return eval.Report{}, errors.New(s.unfinished())
	}
	report := *best
	report.Agents, report.Nodes = agents, 1
	hash := func(a eval.AgentSummary) bool { return a.ModelHash == "" || a.ModelHash != agents[0].ModelHash }
	report.ModelsEqual = !slices.ContainsFunc(agents, hash)
	return report, nil
}

// named is the report for people: agents that did not finish, which it has no names of, stand in its rows by name. A name
// is an ID that is short enough to be shown whole.
func (s *clusterState) named(report eval.Report) eval.Report {
	names := map[roster.ID]roster.ID{}
	for _, a := range s.agents {
		if !a.finished() && a.status.ID != "" {
			names[roster.ID(a.status.ID)] = roster.ID(a.name)
		}
	}
	named := func(id roster.ID) roster.ID { return cmp.Or(names[id], id) }
	report.Rows = slices.Clone(report.Rows)
	for i := range report.Rows {
		row := &report.Rows[i]
		row.Evaluator = named(row.Evaluator)
		row.Contributors, row.Missing = slices.Clone(row.Contributors), slices.Clone(row.Missing)
		for j := range row.Contributors {
			row.Contributors[j].ID = named(row.Contributors[j].ID)
		}
		for j := range row.Missing {
			row.Missing[j].ID = named(row.Missing[j].ID)
		}
	}
	return report
}

// fuller compares what two agents know of a run: rounds, then scores.
func fuller(a, b *eval.Report) int {
	return cmp.Or(cmp.Compare(a.Rounds, b.Rounds), cmp.Compare(scored(a), scored(b)))
}

// scored counts the rounds that have a score.
func scored(r *eval.Report) int {
	n := 0
	for _, row := range r.Rows {
		if row.TestAccuracy != nil {
			n++
		}
	}
	return n
}

// summary is what the agent says of itself at the end, by the name that the plan gave it.
func (a agentState) summary() eval.AgentSummary {
	for _, own := range a.report.Agents {
		if own.Name == a.name {
			return own
		}
	}
	return eval.AgentSummary{
		Name: a.name, ModelHash: a.status.StateHash,
		ImagesPerSecond: a.status.ImagesPerSecond, PeakRSSMB: float64(a.status.PeakRSSBytes) / (1 << 20),
	}
}

// unfinished says how each agent ended when none finished.
func (s *clusterState) unfinished() string {
	var b strings.Builder
	b.WriteString("run the cluster: no agent came to the end")
	for _, a := range s.agents {
		b.WriteString("\n    " + a.end())
	}
	return b.String()
}

// keep writes the run's files and names them in the report.
func (c *cluster) keep(report *eval.Report) error {
	path := func(name string) string { return filepath.Join(c.plan.dir, name) }
	if err := c.keepModel(path(modelFile)); err == nil {
		report.Model = path(modelFile)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	report.Files = []eval.File{
		{What: "report", Path: path(clusterReportFile)},
		{What: "a line for each round", Path: path(clusterRoundsFile)},
		{What: "a line for the run", Path: path(clusterSummaryFile)},
		{What: "agents' states and logs", Path: path("agent-*")},
	}
	return errors.Join(
		writeTo(path(clusterReportFile), func(w io.Writer) error { return eval.WriteJSON(w, *report) }),
		writeTo(path(clusterRoundsFile), func(w io.Writer) error { return eval.WriteRounds(w, *report) }),
		writeTo(path(clusterSummaryFile), func(w io.Writer) error { return eval.WriteSummary(w, []eval.Report{*report}) }),
	)
}

// keepModel copies the model of the first agent that has one.
func (c *cluster) keepModel(to string) error {
	missing := fmt.Errorf("copy the model: %w", fs.ErrNotExist)
	for _, a := range c.plan.agents {
		from, err := os.Open(a.file(modelFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy the model: %w", err)
		}
		defer from.Close()
		return writeTo(to, func(w io.Writer) error {
			_, err := io.Copy(w, from)
			return err
		})
	}
	return missing
}

// writeTo writes a new file.
func writeTo(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// verdict is nil if the agents that finished hold the same model. Those that did not finish are told of once more.
func (s *clusterState) verdict(stderr io.Writer, report eval.Report) error {
	for _, a := range s.agents {
		if a.gone() {
			fmt.Fprintf(stderr, "%s; the others finished without it\n", a.end())
		}
	}
	if report.ModelsEqual {
		return nil
	}
	var b strings.Builder
	b.WriteString("THE AGENTS HOLD DIFFERENT MODELS; after a round all must be the same to the bit:")
	for _, a := range report.Agents {
		fmt.Fprintf(&b, "\n    %s %s", a.Name, cmp.Or(a.ModelHash, "(none)"))
	}
	return errors.New(b.String())
}
