package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"shoal/agent"
)

const (
	topEvery   = time.Second      // between two frames
	topLine    = 5 * time.Second  // between two lines where there is no terminal
	topPatient = 30 * time.Second // without an answer, then it ends
)

// topFlags are the flags of shoal top.
type topFlags struct {
	reach reachFlags
	once  bool
	every time.Duration
}

// newTopCmd is shoal top: the whole cluster, live, from any agent.
func newTopCmd(o *options) *cobra.Command {
	f := &topFlags{}
	cmd := &cobra.Command{
		Use: "top", Short: "Watch the whole cluster, from any agent",
		Long: "Watch the whole cluster as one agent sees it: round, phase, loss, accuracy and speed, what each member sends and\n" +
			"receives, its share of its machine's CPUs and its temperature where the system measures one, and who was left out of\n" +
			"the last round and why. Members tell of themselves every few seconds, so that a figure may be that old. q or Ctrl-C\n" +
			"ends it. Without a terminal it prints a line now and then; with --json, one JSON value for each.\n\n" + reachHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, o) },
	}
	f.reach.add(cmd)
	cmd.Flags().BoolVar(&f.once, "once", false, "print one frame, and end")
	cmd.Flags().DurationVar(&f.every, "every", 0, "`pause` between two frames or lines (default 1s on a terminal, 5s elsewhere)")
	return cmd
}

// run shows frame after frame.
func (f *topFlags) run(cmd *cobra.Command, o *options) error {
	if f.every != 0 && f.every < 100*time.Millisecond {
		return fail(exitUsage, fmt.Errorf("read --every %v: less than 100ms would keep the agent from training; give 1s", f.every))
	}
	w := &topWatch{flags: f, options: o}
	out := cmd.OutOrStdout()
	if f.once {
		c, err := w.ask(cmd.Context())
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(out, c)
		}
		columns := columnsOf(out)
		if columns > 1<<10 {
			columns = firstColumns
		}
		return printLines(out, newTopScreen(out, columns).lines(topFrame{cluster: c, at: time.Now()}))
	}
	if file, ok := out.(*os.File); ok && !o.json && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd())) {
		return w.live(cmd.Context(), file)
	}
	return w.print(cmd.Context(), out)
}

// topWatch asks an agent again and again. An agent that was started again may be at another address.
type topWatch struct {
	flags   *topFlags
	options *options
	agent   *reached
}

// ask is one answer.
func (w *topWatch) ask(ctx context.Context) (agent.Cluster, error) {
	var c agent.Cluster
	if w.agent == nil {
		var err error
		if w.agent, err = w.flags.reach.reach(w.options); err != nil {
			return c, err
		}
	}
	err := w.agent.get(ctx, "/v1/cluster", &c)
	if err != nil {
		w.agent = nil
	}
	return c, err
}

// frames asks until ctx ends, and hands each answer or error to show. It returns the error when the agent has not answered
// for too long, or never did.
func (w *topWatch) frames(ctx context.Context, every time.Duration, show func(agent.Cluster, error) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var heard time.Time
	for {
		c, err := w.ask(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			heard = now
		case heard.IsZero() || now.Sub(heard) > topPatient:
			return err
		}
		if err := show(c, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// print writes a line, or a JSON value, for each answer.
func (w *topWatch) print(ctx context.Context, out io.Writer) error {
	every := w.flags.every
	if every == 0 {
		every = topLine
	}
	return w.frames(ctx, every, func(c agent.Cluster, err error) error {
		var text string
		switch {
		case err != nil:
			text = "no answer: " + err.Error()
		case w.options.json:
			b, err := json.Marshal(c)
			if err != nil {
				return fmt.Errorf("print JSON: %w", err)
			}
			text = string(b)
		default:
			text = topInALine(c)
		}
		return printLines(out, []string{text})
	})
}

// errQuit is how a person ends the live view.
var errQuit = errors.New("quit")

// live draws frames on a terminal until a key ends it.
func (w *topWatch) live(ctx context.Context, out *os.File) error {
	every := w.flags.every
	if every == 0 {
		every = topEvery
	}
	ctx, quit := context.WithCancelCause(ctx)
	defer quit(nil)
	options := []tea.ProgramOption{tea.WithOutput(out), tea.WithAltScreen(), tea.WithoutSignalHandler()}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		options = append(options, tea.WithInput(nil))
	}
	screen := newTopScreen(out, firstColumns)
	screen.hint = "q ends  ·  what others say of themselves may be some seconds old"
	program := tea.NewProgram(topProgram{screen: screen}, options...)
	drawn := make(chan error, 1)
	go func() {
		_, err := program.Run()
		quit(errQuit)
		drawn <- err
	}()
	last := topFrame{}
	err := w.frames(ctx, every, func(c agent.Cluster, err error) error {
		if last.trouble = ""; err != nil {
			last.trouble = err.Error()
		} else {
			last.cluster, last.at = c, time.Now()
		}
		program.Send(last)
		return nil
	})
	program.Quit()
	if drawError := <-drawn; drawError != nil {
		return fmt.Errorf("draw on the terminal: %w", drawError)
	}
	if errors.Is(err, errQuit) {
		return nil
	}
	return err
}

// topProgram is the bubbletea model of the live view.
type topProgram struct {
	screen topScreen
	frame  topFrame
}

// Init does nothing: frames are sent to the program.
func (p topProgram) Init() tea.Cmd { return nil }

// Update takes in a frame, a new size, or the key that ends it.
func (p topProgram) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case topFrame:
		p.frame = message
	case tea.WindowSizeMsg:
		p.screen.width, p.screen.rows = max(message.Width, 1), message.Height
	case tea.KeyMsg:
		switch message.String() {
		case "q", "esc", "ctrl+c":
			return p, tea.Quit
		}
	}
	return p, nil
}

// View draws the frame.
func (p topProgram) View() string {
	if p.frame.cluster.Agent == "" {
		return ""
	}
	return strings.Join(p.screen.lines(p.frame), "\n") + "\n"
}
