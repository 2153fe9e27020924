package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shoal/agent"
	"shoal/eval"
)

// newExplainCmd is shoal explain: one round, told by one agent's journal.
func newExplainCmd(o *options) *cobra.Command {
	f := &reachFlags{}
	cmd := &cobra.Command{
		Use: "explain ROUND", Short: "Tell how a round came about: who contributed, who was left out and why",
		Long: "Tell how a round came about, by the journal of one agent: who contributed how much, who was left out by which rule,\n" +
			"how the average was made and how long it took, and what that agent cannot know. ROUND is a number, or last.\n\n" + reachHelp,
		Example: "  shoal explain last\n  shoal explain 12 --agent 127.0.0.1:7948 --json",
		Args:    oneRound, ValidArgs: []string{"last"},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.reach(o)
			if err != nil {
				return err
			}
			var e agent.Explanation
			if err := r.get(cmd.Context(), "/v1/rounds/"+url.PathEscape(args[0]), &e); err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), e)
			}
			return printLines(cmd.OutOrStdout(), explainLines(e))
		},
	}
	f.add(cmd)
	return cmd
}

// oneRound wants one argument, a round.
func oneRound(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("read the round: got %d arguments, want one, such as: shoal explain last", len(args))
	}
	if n, err := strconv.Atoi(args[0]); args[0] != "last" && (err != nil || n < 1) {
		return fmt.Errorf("read the round: %q is neither a number from 1 on nor last", args[0])
	}
	return nil
}

// explainLines is an explanation for people.
func explainLines(e agent.Explanation) []string {
	var lines []string
	for i, a := range e.Accounts {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, accountLines(e, a, len(e.Accounts) > 1)...)
	}
	return lines
}

// accountLines is one lineage's account; several says that there are others.
func accountLines(e agent.Explanation, a agent.Account, several bool) []string {
	c := a.Commit
	head := fmt.Sprintf("round %d, committed %s", e.Round, printable(c.Time))
	if several && a.Current {
		head += ", of the lineage that " + printable(e.Agent) + " follows"
	} else if !a.Current {
		head += ", of another lineage than " + printable(e.Agent) + " follows"
	}
	who := names(e.Names)
	t := table{}
	t.add("told by", who.of(string(c.Agent)))
	t.add("model", fmt.Sprintf("%s, lineage %s, generation %d", shortHash(c.StateHash), shortHash(c.Lineage), c.Generation))
	score := "not scored, or not heard of here"
	if s := a.Score; s != nil {
		score = fmt.Sprintf("accuracy %.2f %%, loss %.4f on %s images, by %s in %s", 100*s.TestAccuracy, s.TestLoss,
			thousands(int64(s.Images)), who.of(string(s.Evaluator)), inSeconds(s.Seconds))
	}
	t.add("test", score)
	t.add("average", averageInWords(c, who))
	t.add("ballot", ballotInWords(c, who))
	if c.Seconds.Total() > 0 || c.Sent+c.Received > 0 {
		t.add("time", timeInWords(c))
		t.add("bytes", fmt.Sprintf("%s sent, %s received", humanBytes(c.Sent), humanBytes(c.Received)))
	}
	if c.Images > 0 {
		t.add("training", fmt.Sprintf("loss %.4f, accuracy %.2f %% on %s images", c.TrainLoss, 100*c.TrainRight, thousands(int64(c.Images))))
	}
	lines := append([]string{head}, t.lines()...)
	lines = append(lines, contributionLines(c, who)...)
	for _, u := range a.Unknown {
		lines = append(lines, "", "not known: "+who.in(u))
	}
	return lines
}

// ballotInWords is the attempt that the round was reduced under.
func ballotInWords(c eval.Commit, who names) string {
	number, coordinator, _ := strings.Cut(c.Ballot, "@")
	text := fmt.Sprintf("%s, coordinated by %s", printable(number), who.of(coordinator))
	switch {
	case c.Attempts == 1:
		text += ", at the first attempt"
	case c.Attempts > 1:
		text += fmt.Sprintf(", after %d attempts at the exchange", c.Attempts)
	}
	return text
}

// averageInWords is how the mean was made: by which plan, in which order, with which numbers on the wire.
func averageInWords(c eval.Commit, who names) string {
	var chosen struct {
		Plan  string `json:"plan"`
		Order []int  `json:"order"` // ranks
	}
	text := "plan " + cmp.Or(printable(c.Plan), "unknown")
	if json.Unmarshal([]byte(c.Plan), &chosen) == nil && chosen.Plan != "" {
		text = "plan " + printable(chosen.Plan)
		var order []string
		for _, rank := range chosen.Order {
			if rank >= 0 && rank < len(c.Roster) {
				order = append(order, who.of(string(c.Roster[rank])))
			}
		}
		if len(order) > 0 {
			text += ", in the order " + strings.Join(order, " ")
		}
	}
	if c.Wire != "" {
		text += ", sent as " + printable(c.Wire)
	}
	return text
}

// timeInWords is where the time of the round went.
func timeInWords(c eval.Commit) string {
	text := fmt.Sprintf("train %s, wait %s, average %s", inSeconds(c.Seconds.Train), inSeconds(c.Seconds.Wait), inSeconds(c.Seconds.Average))
	if c.Exchange > 0 || c.Store > 0 {
		text += fmt.Sprintf(" (exchange %s, store %s)", inSeconds(c.Exchange), inSeconds(c.Store))
	}
	return text
}

// contributionLines are who is in the mean, who only took part in the exchange, and who is not in it and why.
func contributionLines(c eval.Commit, who names) []string {
	var total int64
	for _, x := range c.Contributors {
		total += x.Samples
	}
	t := table{right: []int{1, 2, 3}}
	t.add("contributor", "samples", "share", "norm", "")
	contributed := map[string]bool{}
	for _, x := range c.Contributors {
		contributed[string(x.ID)] = true
		norm, clipping := "-", ""
		if x.Norm > 0 {
			norm = fmt.Sprintf("%.3g", x.Norm)
		}
		if x.Scale != nil {
			clipping = fmt.Sprintf("clipped: scaled by %.3g, its norm was over the bound", *x.Scale)
		}
		t.add(who.of(string(x.ID)), thousands(x.Samples), fmt.Sprintf("%.1f %%", 100*float64(x.Samples)/float64(max(total, 1))), norm, clipping)
	}
	lines := append([]string{""}, t.lines()...)
	if len(c.Contributors) == 0 {
		lines = []string{"", "nobody contributed samples"}
	}
	missing := table{}
	for _, m := range c.Missing {
		contributed[string(m.ID)] = true
		missing.add("left out", who.of(string(m.ID)), who.in(m.Reason))
	}
	var idle []string
	for _, id := range c.Roster {
		if !contributed[string(id)] {
			idle = append(idle, who.of(string(id)))
		}
	}
	if len(idle) > 0 {
		slices.Sort(idle)
		lines = append(lines, "in the exchange without samples of their own: "+strings.Join(idle, ", "))
	}
	if len(c.Missing) > 0 {
		lines = append(append(lines, ""), missing.lines()...)
	}
	return lines
}

// names maps the IDs of members to what they call themselves.
type names map[string]string

// of is a member's name, or the end of its ID where the name is not known or two have the same.
func (n names) of(id string) string {
	name, twice := n[id], 0
	for _, other := range n {
		if other == name {
			twice++
		}
	}
	switch {
	case name == "":
		return "…" + shortID(id)
	case twice > 1:
		return clipped(name, 24) + "-" + shortID(id)
	}
	return clipped(name, 24)
}

// in is text with the IDs in it replaced by names.
func (n names) in(text string) string {
	for id := range n {
		if id != "" {
			text = strings.ReplaceAll(text, id, n.of(id))
		}
	}
	return printable(text)
}

// inSeconds is a time for people: 12 ms, 3.4 s, 2m05s.
func inSeconds(s float64) string {
	switch {
	case s < 0.9995:
		return fmt.Sprintf("%.0f ms", 1000*s)
	case s < 59.95:
		return fmt.Sprintf("%.1f s", s)
	}
	return roughly(time.Duration(min(s, 1e9) * float64(time.Second)))
}
