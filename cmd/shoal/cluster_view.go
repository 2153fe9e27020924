package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/progress"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
)

const (
	wideColumns  = 76 // from here on an agent's line has its role, speed and loss
	firstColumns = 80 // until the terminal has said how wide it is
	otherRows    = 7  // rows that are not agents' lines: the cluster's, the last score's, the hint's, and the cursor's
)

// screenView is the view on a terminal: a line for the cluster and one for each agent, drawn over and over. It takes no
// keys, so that Ctrl-C stays the signal that it is everywhere else.
type screenView struct {
	program *tea.Program
	closed  chan struct{}
}

func newScreenView(out io.Writer) *screenView {
	v := &screenView{closed: make(chan struct{})}
	v.program = tea.NewProgram(newScreen(out), tea.WithOutput(out), tea.WithInput(nil), tea.WithoutSignalHandler())
	go func() {
		defer close(v.closed)
		_, _ = v.program.Run() // a terminal that goes away must not end the training
	}()
	return v
}

// frame is what the screen shows next: values only, as the program draws them in its own goroutine.
type frame struct {
	title  string
	dir    string
	agents []agentState
	scores []float64
	all    overview
	score  string
}

func (v *screenView) show(s *clusterState, now time.Time) {
	f := frame{title: s.plan.title, dir: s.plan.dir, all: s.overview(now), score: lastScore(s)}
	f.agents = append(f.agents, s.agents...)
	for _, score := range s.scores {
		f.scores = append(f.scores, score.TestAccuracy)
	}
	v.program.Send(f)
}

// say puts the line above the frame, from the first column on: a terminal that shows ^C has moved the cursor.
func (v *screenView) say(line string) { v.program.Println("\r" + line) }

func (v *screenView) close() {
	v.program.Quit()
	<-v.closed
}

// screen is the bubbletea model: the last frame and how wide the terminal is.
type screen struct {
	frame  frame
	width  int
	rows   int // of the terminal; 0 until it has said
	bar    progress.Model
	strong lipgloss.Style
	faint  lipgloss.Style
	alarm  lipgloss.Style
}

// newScreen suits its colours to out: none where NO_COLOR is set or out is not a terminal.
func newScreen(out io.Writer) screen {
	renderer := lipgloss.NewRenderer(out)
	bar := progress.New(progress.WithoutPercentage(), progress.WithSolidFill("6"), progress.WithColorProfile(renderer.ColorProfile()))
	bar.EmptyColor = "8"
	return screen{
		width: firstColumns, bar: bar,
		strong: renderer.NewStyle().Bold(true), faint: renderer.NewStyle().Faint(true),
		alarm: renderer.NewStyle().Foreground(lipgloss.Color("1")),
	}
}

// Init does nothing: frames are sent to the program.
func (m screen) Init() tea.Cmd { return nil }

// Update takes in a frame or a new width.
func (m screen) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case frame:
		m.frame = message
	case tea.WindowSizeMsg:
		m.width, m.rows = max(message.Width, 1), message.Height
	}
	return m, nil
}

// View draws the frame; no line is wider than the terminal.
func (m screen) View() string {
	if len(m.frame.agents) == 0 {
		return ""
	}
	done := m.frame.all.done
	lines := []string{
		m.cut(m.strong, m.frame.title),
		m.cut(m.strong, m.head()),
		m.clip(m.bars(m.width-5, done) + fmt.Sprintf("%4.0f%%", 100*done)),
	}
	shown := m.frame.agents
	if room := max(m.rows-otherRows, 1); m.rows > 0 && len(shown) > room {
		shown = shown[:room]
	}
	for _, a := range shown {
		lines = append(lines, m.agentLine(a))
	}
	if more := len(m.frame.agents) - len(shown); more > 0 {
		lines = append(lines, m.cut(m.faint, fmt.Sprintf("and %d more, with no room for their lines", more)))
	}
	if m.frame.score != "" {
		lines = append(lines, m.cut(m.strong, m.frame.score+"  "+sparkline(m.frame.scores, m.width/3)))
	}
	lines = append(lines, m.cut(m.faint, "Ctrl-C stops  ·  "+m.frame.dir))
	return strings.Join(lines, "\n") + "\n"
}

// head is the cluster in words, as many parts as have room.
func (m screen) head() string {
	o := m.frame.all
	head := o.phase
	if o.round > 0 {
		head = fmt.Sprintf("round %d of %d  %s", o.round, o.rounds, o.phase)
	}
	var parts []string
	if o.left > 0 {
		parts = append(parts, "about "+roughly(o.left)+" left")
	}
	if o.speed > 0 {
		parts = append(parts, fmt.Sprintf("%.0f images/s", o.speed))
	}
	for _, part := range parts {
		if lipgloss.Width(head)+2+lipgloss.Width(part) <= m.width {
			head += "  " + part
		}
	}
	return head
}

// agentLine is one agent: "agent-1  train     ████░░  56/84" and, where there is room, its role, speed and loss.
func (m screen) agentLine(a agentState) string {
	phase, count := a.status.Phase, ""
	switch {
	case a.gone():
		return m.cut(m.alarm, fmt.Sprintf("%-9s %s", a.name, a.exit))
	case a.finished():
		phase = "done"
	case phase == "":
		phase = "start"
	case a.status.Steps > 0:
		count = fmt.Sprintf("%d/%d", a.status.Step, a.status.Steps)
	}
	left := fmt.Sprintf("%-9s %-8s ", a.name, phase)
	right := fmt.Sprintf(" %7s", count)
	if m.width >= wideColumns {
		left = fmt.Sprintf("%-9s %-11s round %-4d %-8s ", a.name, a.status.Role, a.status.Round, phase)
		right += fmt.Sprintf(" %6.0f img/s  loss %6.3f", a.status.ImagesPerSecond, a.status.Loss)
	}
	share := stepShare(a.status)
	if phase == "done" {
		share = 1
	}
	return m.clip(left + m.bars(m.width-len(left)-len(right), share) + right)
}

// bars is a progress bar of so many columns, or nothing where there is no room for one.
func (m screen) bars(columns int, share float64) string {
	if columns < 3 {
		return ""
	}
	m.bar.Width = columns
	return m.bar.ViewAs(share)
}

// cut is text in a style, no wider than the terminal.
func (m screen) cut(style lipgloss.Style, text string) string { return m.clip(style.Render(text)) }

// clip is text, styled or not, no wider than the terminal.
func (m screen) clip(text string) string { return lipgloss.NewStyle().MaxWidth(m.width).Render(text) }

// sparkline draws the last values of 0..1 as a row of blocks, at most so many columns wide.
func sparkline(values []float64, columns int) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	values = values[max(0, len(values)-max(columns, 0)):]
	var b strings.Builder
	for _, v := range values {
		b.WriteRune(blocks[min(max(int(v*float64(len(blocks))), 0), len(blocks)-1)])
	}
	return b.String()
}
