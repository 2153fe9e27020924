package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"shoal/agent"
)

// settleWithin is how long a command waits for the agent to do what it was asked for: an exchange at work is finished
// before an agent leaves.
const settleWithin = 15 * time.Second

// steering is one of the commands that steer an agent.
type steering struct {
	what        string // last part of the path
	short, long string
	done        string // in words, once it is
}

// newSteerCmds are shoal pause, resume and leave.
func newSteerCmds(o *options) []*cobra.Command {
	all := []steering{
		{
			"pause", "Let an agent rest: it trains no more until it is resumed",
			"Let an agent rest until shoal resume, or until it is started again. It stays a member and keeps what it trained, and\n" +
				"the others go on without waiting for it; if all rest, no round runs.", "rests",
		},
		{"resume", "Let an agent that rests train again", "Let an agent train again that shoal pause let rest.", "trains again"},
		{
			"leave", "Make an agent leave in good order, and end",
			"Make an agent leave in good order: it finishes an exchange at work, keeps unfinished work for its next start, says\n" +
				"goodbye, and its process ends with exit code 0. It is what the first SIGTERM does, too.", "has left",
		},
	}
	var cmds []*cobra.Command
	for _, s := range all {
		cmds = append(cmds, newSteerCmd(o, s))
	}
	return cmds
}

func newSteerCmd(o *options, s steering) *cobra.Command {
	f, all := &reachFlags{}, false
	cmd := &cobra.Command{
		Use: s.what, Short: s.short,
		Long: s.long + "\n\nIt needs the file http.token of the agent's state directory, and works on the agent's machine only. With --all the agent\n" +
			"passes it on to every member, who refuse it if their configuration says http.obey: self.\n\n" + reachHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.reach(o)
			if err != nil {
				return err
			}
			var taken agent.Steered
			if err := r.post(cmd.Context(), "/v1/"+s.what, map[string]bool{"all": all}, &taken); err != nil {
				return err
			}
			settled := r.settled(cmd.Context(), s.what)
			if o.json {
				err = printJSON(cmd.OutOrStdout(), taken)
			} else {
				err = printLines(cmd.OutOrStdout(), steeredLines(taken, s, settled))
			}
			if err != nil {
				return err
			}
			return refusedBy(taken)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "pass it on to every member of the cluster")
	return cmd
}

// settled waits until the agent asked does what it was asked for, and reports whether it does. It was told, so that it
// does not answer any more only means that it has left.
func (r *reached) settled(ctx context.Context, what string) bool {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	again := time.NewTicker(pollEvery / 5)
	defer again.Stop()
	for {
		var s agent.Status
		err := r.get(ctx, "/v1/status", &s)
		switch {
		case ctx.Err() != nil:
			return false
		case what == "leave" && err != nil:
			return true
		case err == nil && (what == "pause") == s.Paused && what != "leave":
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
		}
	}
}

// steeredLines is what came of a request. Only of the agent asked is known that it did it.
func steeredLines(taken agent.Steered, s steering, settled bool) []string {
	var lines []string
	for _, m := range taken.Members {
		name := printable(m.Name)
		switch {
		case m.Error != "":
			lines = append(lines, fmt.Sprintf("%s refuses: %s", name, printable(m.Error)))
		case len(taken.Members) == 1 && settled:
			lines = append(lines, name+" "+s.done)
		case len(taken.Members) == 1:
			lines = append(lines, fmt.Sprintf("%s took the request, and is not there yet after %v; shoal status shows how far it is", name, settleWithin))
		default:
			lines = append(lines, name+" took the request")
		}
	}
	return lines
}

// refusedBy is an error if a member did not take the request.
func refusedBy(taken agent.Steered) error {
	refused := slices.DeleteFunc(slices.Clone(taken.Members), func(m agent.SteeredMember) bool { return m.Error == "" })
	if len(refused) == 0 {
		return nil
	}
	return fail(exitRefused, fmt.Errorf("%s: %d of %d members did not take it", taken.Asked, len(refused), len(taken.Members)))
}
