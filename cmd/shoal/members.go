package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"shoal/agent"
)

// newMembersCmd is shoal members: the list of members as one agent sees it.
func newMembersCmd(o *options) *cobra.Command {
	f := &reachFlags{}
	cmd := &cobra.Command{
		Use: "members", Short: "List the members as one agent sees them",
		Long: "List the members as one agent sees them, with what each said of itself last. State is membership's: alive, suspect,\n" +
			"dead or left; roster says who shares the round at work. Samples are those of the member that are in the shared model.\n" +
			"On a terminal that is too narrow, columns are left out.\n\n" + reachHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.reach(o)
			if err != nil {
				return err
			}
			var members []agent.ClusterMember
			if err := r.get(cmd.Context(), "/v1/members", &members); err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), members)
			}
			return printLines(cmd.OutOrStdout(), memberLines(members, columnsOf(cmd.OutOrStdout())))
		},
	}
	f.add(cmd)
	return cmd
}

// memberColumn is one column of the list; those with a rank are left out first where there is no room, the highest rank
// before the others.
type memberColumn struct {
	head  string
	cell  func(m agent.ClusterMember) string
	right bool
	rank  int
}

func memberColumns() []memberColumn {
	told := func(f func(p agent.Progress) string) func(agent.ClusterMember) string {
		return func(m agent.ClusterMember) string {
			if m.Progress == nil || m.State != "alive" && m.State != "suspect" {
				return "-"
			}
			return f(*m.Progress)
		}
	}
	return []memberColumn{
		{"member", func(m agent.ClusterMember) string { return memberName(m) }, false, 0},
		{"id", func(m agent.ClusterMember) string { return shortID(m.ID) }, false, 4},
		{"address", func(m agent.ClusterMember) string { return printable(m.Addr) }, false, 3},
		{"state", func(m agent.ClusterMember) string { return printable(m.State) }, false, 0},
		{"roster", func(m agent.ClusterMember) string { return map[bool]string{true: "yes", false: "no"}[m.InRoster] }, false, 1},
		{"phase", told(func(p agent.Progress) string { return clipped(p.Phase, 8) }), false, 2},
		{"round", told(func(p agent.Progress) string { return strconv.Itoa(p.Round) }), true, 0},
		{"images/s", told(func(p agent.Progress) string { return fmt.Sprintf("%.0f", p.ImagesPerSecond) }), true, 0},
		{"samples", func(m agent.ClusterMember) string { return thousands(m.Samples) }, true, 0},
		{"last seen", func(m agent.ClusterMember) string { return seen(m) }, true, 0},
	}
}

// memberLines is the list, no wider than so many columns if that can be.
func memberLines(members []agent.ClusterMember, columns int) []string {
	shown := memberColumns()
	for {
		t := table{}
		var head []string
		last := -1 // to leave out next
		for c, column := range shown {
			head = append(head, column.head)
			if column.right {
				t.right = append(t.right, c)
			}
			if column.rank > 0 && (last < 0 || column.rank > shown[last].rank) {
				last = c
			}
		}
		t.add(head...)
		for _, m := range members {
			var cells []string
			for _, column := range shown {
				cells = append(cells, column.cell(m))
			}
			t.add(cells...)
		}
		if t.width() <= columns || last < 0 {
			return append(t.lines(), refusals(members)...)
		}
		shown = append(shown[:last], shown[last+1:]...)
	}
}

// refusals says of members that are left out for their configuration in what they differ.
func refusals(members []agent.ClusterMember) []string {
	var lines []string
	for _, m := range members {
		if m.Refused != "" {
			lines = append(lines, fmt.Sprintf("%s is left out, it differs: %s", printable(m.Name), printable(m.Refused)))
		}
	}
	return lines
}

// memberName is a member's name with a star where it is the agent that was asked.
func memberName(m agent.ClusterMember) string {
	name := clipped(cmp.Or(m.Name, "(unnamed)"), 20)
	if m.Self {
		name += "*"
	}
	return name
}

// seen is how long ago a member's last news came.
func seen(m agent.ClusterMember) string {
	switch {
	case m.Self:
		return "now"
	case m.SecondsSince == nil:
		return "never"
	}
	return ago(*m.SecondsSince)
}

// ago is a time in the past in words.
func ago(seconds float64) string {
	if seconds < 1 {
		return "now"
	}
	return roughly(time.Duration(min(seconds, 1e9)*float64(time.Second))) + " ago"
}

// columnsOf is how wide the terminal is that w writes to; anything else has no edge.
func columnsOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return math.MaxInt
}
