package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"shoal/agent"
)

// topFrame is what the view shows next.
type topFrame struct {
	cluster agent.Cluster
	at      time.Time // of the answer
	trouble string    // why there is no newer one; empty: there is none
}

// topScreen draws frames; it borrows bar, styles and width from the view of shoal cluster.
type topScreen struct {
	screen
	hint string // at the end of the frame; empty: none
}

const (
	topWide    = 72               // columns from which on a member's line has its traffic, CPUs and temperature
	staleAfter = 10 * time.Second // without news, a member's figures say nothing any more
)

func newTopScreen(out io.Writer, columns int) topScreen {
	s := topScreen{screen: newScreen(out)}
	s.width = columns
	return s
}

// lines is a frame, no line wider than the terminal, and no more of them than it has rows.
func (s topScreen) lines(f topFrame) []string {
	c := f.cluster
	state := stateOf(c)
	lines := []string{s.cut(s.strong, topTitle(c)), s.cut(s.strong, topHead(c, state.overview(f.at)))}
	if len(c.Scores) > 0 {
		var accuracies []float64
		for _, score := range c.Scores {
			accuracies = append(accuracies, score.TestAccuracy)
		}
		lines = append(lines, s.clip(lastScore(state)+"  "+sparkline(accuracies, s.width/3)))
	}
	lines = append(lines, s.cut(s.faint, s.columnHeads()))
	var below []string
	if text := missingInWords(c); text != "" {
		below = append(below, s.cut(s.alarm, text))
	}
	if f.trouble != "" {
		below = append(below, s.cut(s.alarm, "no newer answer: "+printable(f.trouble)))
	}
	if s.hint != "" {
		below = append(below, s.cut(s.faint, s.hint))
	}
	return append(append(lines, s.memberLines(c.Members, len(lines)+len(below)+1)...), below...)
}

// memberLines are the members' lines, as many as there is room for beside so many other rows.
func (s topScreen) memberLines(members []agent.ClusterMember, others int) []string {
	var lines []string
	shown := members
	if room := max(s.rows-others, 1); s.rows > 0 && len(shown) > room {
		shown = shown[:max(room-1, 1)]
	}
	for _, m := range shown {
		lines = append(lines, s.memberLine(m))
	}
	if more := len(members) - len(shown); more > 0 {
		lines = append(lines, s.cut(s.faint, fmt.Sprintf("and %d more, with no room for their lines", more)))
	}
	return lines
}

// topTitle is who is asked, and who is there.
func topTitle(c agent.Cluster) string {
	alive := 0
	for _, m := range c.Members {
		if m.State == "alive" {
			alive++
		}
	}
	return fmt.Sprintf("%s sees %d of %d members alive  ·  lineage %s  generation %d",
		printable(c.Agent), alive, len(c.Members), cmp.Or(shortHash(c.Lineage), "none"), c.Generation)
}

// topHead is the cluster in words.
func topHead(c agent.Cluster, o overview) string {
	parts := []string{fmt.Sprintf("round %d of %d", c.Round, c.Rounds), o.phase}
	if o.loss > 0 {
		parts = append(parts, fmt.Sprintf("loss %.3f", o.loss))
	}
	if o.speed > 0 {
		parts = append(parts, fmt.Sprintf("%.0f images/s", o.speed))
	}
	if c.Last != nil {
		parts = append(parts, fmt.Sprintf("last round %s with %d", inSeconds(c.Last.Seconds), c.Last.Contributors))
	}
	return strings.Join(parts, "  ")
}

// columnHeads stand above the members' lines.
func (s topScreen) columnHeads() string {
	left, right := fmt.Sprintf("%-11s %-8s %5s ", "member", "phase", "round"), fmt.Sprintf(" %7s %6s %5s", "step", "loss", "img/s")
	if s.width >= topWide {
		right += fmt.Sprintf(" %6s %6s %4s %4s", "sent", "recvd", "cpu", "temp")
	}
	return left + strings.Repeat(" ", max(s.width-len(left)-len(right), 0)) + right
}

// memberLine is one member: what it does, or why nothing is heard of it.
func (s topScreen) memberLine(m agent.ClusterMember) string {
	name := fmt.Sprintf("%-11s", clipped(memberName(m), 11))
	if why := silence(m); why != "" {
		return s.cut(s.alarm, name+" "+why)
	}
	p := *m.Progress
	left := fmt.Sprintf("%s %-8s %5d ", name, clipped(p.Phase, 8), p.Round)
	right := fmt.Sprintf(" %7s %6.3f %5.0f", fmt.Sprintf("%d/%d", p.Step, p.Steps), p.Loss, p.ImagesPerSecond)
	if s.width >= topWide {
		temp := "-"
		if p.Celsius != nil {
			temp = fmt.Sprintf("%.0f°", *p.Celsius)
		}
		right += fmt.Sprintf(" %6s %6s %3.0f%% %4s", briefBytes(p.Sent), briefBytes(p.Received), 100*p.CPU, temp)
	}
	status := agent.Status{Phase: p.Phase, Step: p.Step, Steps: p.Steps, Round: p.Round}
	share := stepShare(status)
	if p.Phase == "done" {
		share = 1
	}
	return s.clip(left + s.bars(s.width-lipgloss.Width(left)-lipgloss.Width(right), share) + right)
}

// silence is why there is nothing to show of a member, or empty.
func silence(m agent.ClusterMember) string {
	switch {
	case m.Refused != "":
		return "left out, it differs: " + printable(m.Refused)
	case m.State != "alive" && m.State != "suspect":
		return printable(m.State) + ", last heard of " + seen(m)
	case m.Progress == nil:
		return printable(m.State) + ", nothing heard of it yet"
	case *m.SecondsSince > staleAfter.Seconds():
		return printable(m.State) + ", but last heard of " + seen(m)
	}
	return ""
}

// missingInWords is who was left out of the last round, or empty.
func missingInWords(c agent.Cluster) string {
	if c.Last == nil || len(c.Last.Missing) == 0 {
		return ""
	}
	known := names{}
	for _, m := range c.Members {
		known[m.ID] = m.Name
	}
	var parts []string
	for _, m := range c.Last.Missing {
		if m.Name != "" {
			known[m.ID] = m.Name
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", known.of(m.ID), known.in(m.Reason)))
	}
	return fmt.Sprintf("left out of round %d: %s", c.Last.Round, strings.Join(parts, ", "))
}

// topInALine is the cluster in one line.
func topInALine(c agent.Cluster) string {
	state := stateOf(c)
	line := overviewLine(state, state.overview(time.Time{}))
	if text := missingInWords(c); text != "" {
		line += ", " + text
	}
	return line
}

// stateOf is the cluster as the view of shoal cluster knows it: every member that is here.
func stateOf(c agent.Cluster) *clusterState {
	s := &clusterState{plan: clusterPlan{rounds: c.Rounds}, scores: c.Scores}
	for _, m := range c.Members {
		if silence(m) != "" {
			if m.InRoster {
				s.agents = append(s.agents, agentState{name: m.Name, exit: &agentExit{}})
			}
			continue
		}
		p := m.Progress
		s.agents = append(s.agents, agentState{name: m.Name, status: agent.Status{
			Round: p.Round, Rounds: c.Rounds, Phase: p.Phase, Step: p.Step, Steps: p.Steps, Loss: p.Loss, ImagesPerSecond: p.ImagesPerSecond,
		}})
	}
	return s
}

// briefBytes is a number of bytes in at most five columns: 17, 1.2k, 345M.
func briefBytes(n int64) string {
	const units = "kMGTP"
	if n < 1<<10 {
		return fmt.Sprint(n)
	}
	x, unit := float64(n)/(1<<10), 0
	for x >= 999.5 && unit < len(units)-1 {
		x, unit = x/(1<<10), unit+1
	}
	if x < 9.95 {
		return fmt.Sprintf("%.1f%c", x, units[unit])
	}
	return fmt.Sprintf("%.0f%c", x, units[unit])
}
