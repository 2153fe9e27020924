package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shoal/agent"
)

// newStatusCmd is shoal status: one agent.
func newStatusCmd(o *options) *cobra.Command {
	f := &reachFlags{}
	cmd := &cobra.Command{
		Use: "status", Short: "Show how one agent is",
		Long: "Show how one agent is: its round and phase, its speed, what it knows of the model and of the members.\n\n" + reachHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.reach(o)
			if err != nil {
				return err
			}
			var s agent.Status
			if err := r.get(cmd.Context(), "/v1/status", &s); err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return printLines(cmd.OutOrStdout(), statusLines(s, time.Now()))
		},
	}
	f.add(cmd)
	return cmd
}

// statusLines is a status for people.
func statusLines(s agent.Status, now time.Time) []string {
	t := table{}
	t.add("agent", fmt.Sprintf("%s (…%s), version %s", printable(s.Name), shortID(s.ID), printable(s.Version)))
	if started, err := time.Parse(time.RFC3339, s.Started); err == nil {
		t.add("up", "for "+roughly(max(now.Sub(started), 0)))
	}
	t.add("round", fmt.Sprintf("%d of %d", s.Round, s.Rounds))
	phase := printable(s.Phase)
	if s.Steps > 0 && (s.Phase == "train" || s.Phase == "pause") {
		phase += fmt.Sprintf(", step %d of %d", s.Step, s.Steps)
	}
	t.add("phase", phase+", as "+printable(s.Role))
	t.add("training", fmt.Sprintf("loss %.4f, %.0f images/s, %s images so far", s.Loss, s.ImagesPerSecond, thousands(int64(s.Images))))
	if s.Score != nil {
		t.add("test", fmt.Sprintf("accuracy %.2f %%, loss %.4f, after round %d", 100*s.Score.TestAccuracy, s.Score.TestLoss, s.Score.Round))
	}
	model := "none yet"
	if s.StateHash != "" {
		model = fmt.Sprintf("%s, lineage %s, generation %d", shortHash(s.StateHash), shortHash(s.Lineage), s.Generation)
	}
	t.add("model", model)
	t.add("members", membersInWords(s))
	t.add("memory", humanBytes(int64(s.PeakRSSBytes))+" at most")
	t.add("exchanged", fmt.Sprintf("%s sent, %s received", humanBytes(s.Sent), humanBytes(s.Received)))
	t.add("gossip", printable(s.Gossip))
	t.add("streams", printable(strings.Join(s.Streams, " ")))
	return t.lines()
}

// membersInWords counts the members by state and names those that are not alive.
func membersInWords(s agent.Status) string {
	count, names := map[string]int{}, map[string][]string{}
	for _, m := range s.Members {
		state := m.State
		if m.Refused != "" {
			state = "refused"
		}
		count[state]++
		names[state] = append(names[state], printable(m.Name))
	}
	parts := []string{fmt.Sprintf("%d alive", count["alive"])}
	for _, state := range []string{"suspect", "dead", "left", "refused"} {
		if count[state] > 0 {
			slices.Sort(names[state])
			parts = append(parts, fmt.Sprintf("%d %s (%s)", count[state], state, strings.Join(names[state], ", ")))
		}
	}
	return strings.Join(parts, ", ")
}

// printLines writes lines for people.
func printLines(w io.Writer, lines []string) error {
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// thousands groups the digits of a number: 25 000.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + " " + s[at:]
	}
	return s
}
