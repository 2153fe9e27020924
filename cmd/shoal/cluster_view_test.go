package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"shoal/agent"
	"shoal/eval"
)

var dawn = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// midway is a cluster in its third round of six, a minute after the first began, with one agent lost.
func midway() *clusterState {
	plan := clusterPlan{dir: "/runs/shoal-cluster-20260102-030405", title: "3 agents · mobilenet_v2 0.5 at 32×32 on builtin · ring · 6 rounds", rounds: 6}
	for _, name := range []string{"agent-1", "agent-2", "agent-3"} {
		plan.agents = append(plan.agents, agentPlan{name: name})
	}
	s := newClusterState(plan, dawn)
	s.see(sighting{0, agent.Status{Round: 1, Phase: "train"}, nil}, dawn)
	for i, phase := range []string{"train", "wait", "train"} {
		score := &agent.ScoreStatus{Round: i, TestAccuracy: 0.3 * float64(i)}
		if i == 0 {
			score = nil
		}
		s.see(sighting{i, agent.Status{
			Round: 3, Rounds: 6, Phase: phase, Role: "member", Step: 28 + 10*i, Steps: 56, Loss: 1.25, ImagesPerSecond: 210, Score: score,
		}, nil}, dawn.Add(time.Minute))
	}
	s.end(agentExit{2, -1, "killed"}, nil, dawn.Add(time.Minute))
	return s
}

// drawn is the screen at a width, without colours, as NO_COLOR and files have it.
func drawn(s *clusterState, width int) string {
	m := newScreen(&bytes.Buffer{})
	next, _ := m.Update(tea.WindowSizeMsg{Width: width, Height: 24})
	var scores []float64
	for _, score := range s.scores {
		scores = append(scores, score.TestAccuracy)
	}
	next, _ = next.Update(frame{s.plan.title, s.plan.dir, s.agents, scores, s.overview(dawn.Add(time.Minute)), lastScore(s)})
	return next.View()
}

func TestScreen(t *testing.T) {
	for width, want := range map[int]string{
		40: `
3 agents · mobilenet_v2 0.5 at 32×32 on
round 3 of 6  train  about 1m11s left
████████████████░░░░░░░░░░░░░░░░░░░  46%
agent-1   train    ███████░░░░░░   28/56
agent-2   wait     █████████████   38/56
agent-3   ended by signal: killed
test accuracy 60.0 % (round 2)  ▃▅
Ctrl-C stops  ·  /runs/shoal-cluster-202
`,
		90: `
3 agents · mobilenet_v2 0.5 at 32×32 on builtin · ring · 6 rounds
round 3 of 6  train  about 1m11s left  210 images/s
███████████████████████████████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  46%
agent-1   member      round 3    train    ███████░░░░░░░   28/56    210 img/s  loss  1.250
agent-2   member      round 3    wait     ██████████████   38/56    210 img/s  loss  1.250
agent-3   ended by signal: killed
test accuracy 60.0 % (round 2)  ▃▅
Ctrl-C stops  ·  /runs/shoal-cluster-20260102-030405
`,
	} {
		if got := "\n" + strings.ReplaceAll(drawn(midway(), width), " \n", "\n"); got != want {
			t.Errorf("at %d columns:%s\nwant:%s", width, got, want)
		}
	}
}

func TestScreenNeverWrapsNorColours(t *testing.T) {
	for width := 1; width <= 130; width++ {
		for line := range strings.SplitSeq(drawn(midway(), width), "\n") {
			if lipgloss.Width(line) > width {
				t.Errorf("%d columns on a terminal of %d: %q", lipgloss.Width(line), width, line)
			}
			if strings.Contains(line, "\x1b") {
				t.Errorf("an escape sequence without a terminal: %q", line)
			}
		}
	}
	if got := newScreen(&bytes.Buffer{}).View(); got != "" {
		t.Errorf("before the first frame: %q", got)
	}
}

func TestScreenFitsItsRows(t *testing.T) {
	s := midway()
	for i := range 40 {
		s.agents = append(s.agents, agentState{name: fmt.Sprintf("agent-%d", i+4)})
	}
	for rows := 9; rows < 60; rows++ {
		m := newScreen(&bytes.Buffer{})
		next, _ := m.Update(tea.WindowSizeMsg{Width: 80, Height: rows})
		next, _ = next.Update(frame{s.plan.title, s.plan.dir, s.agents, nil, s.overview(dawn), lastScore(s)})
		view := next.View()
		if n := strings.Count(view, "\n") + 1; n > rows {
			t.Errorf("%d rows on a terminal of %d:\n%s", n, rows, view)
		}
		if all := rows >= 43+otherRows; all == strings.Contains(view, " more, ") {
			t.Errorf("on %d rows:\n%s", rows, view)
		}
	}
}

func TestScreenRuns(t *testing.T) {
	var out bytes.Buffer
	v := newScreenView(&out)
	v.show(midway(), dawn.Add(time.Minute))
	v.say("an event")
	v.close()
	for _, want := range []string{"agent-2", "an event"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the screen lacks %q: %q", want, out.String())
		}
	}
}

func TestOverview(t *testing.T) {
	s := midway()
	o := s.overview(dawn.Add(time.Minute))
	want := overview{round: 3, rounds: 6, phase: "train", present: 2, size: 3, speed: 210, loss: 1.25, done: (2.5/6 + 3.0/6) / 2}
	want.left = timeLeft(want.done, time.Minute, true)
	o.done, want.done = float64(int(o.done*1e9)), float64(int(want.done*1e9))
	o.left, want.left = o.left.Round(time.Millisecond), want.left.Round(time.Millisecond)
	if o != want {
		t.Errorf("overview %+v\nwant     %+v", o, want)
	}
	if o := newClusterState(s.plan, dawn).overview(dawn); o.phase != "start" || o.round != 0 || o.left != 0 || o.done != 0 {
		t.Errorf("before the first answer: %+v", o)
	}
	if s.stalled(dawn.Add(stallAfter)) || !s.stalled(dawn.Add(stallAfter+2*time.Minute)) {
		t.Error("stalled is not when nothing has moved for longer than it may")
	}
}

func TestAgentThatIsStartedAgain(t *testing.T) {
	s := midway()
	again := sighting{2, agent.Status{Round: 3, Phase: "train", Step: 3, Steps: 56}, nil}
	s.see(again, dawn) // was on its way
	if !s.agents[2].gone() {
		t.Error("one late answer is no life")
	}
	s.see(again, dawn)
	if o := s.overview(dawn); s.agents[2].gone() || o.present != 3 {
		t.Errorf("an agent that answers again counts: %+v", o)
	}
}

func TestFinished(t *testing.T) {
	for name, v := range map[string]struct {
		exit   agentExit
		report *eval.Report
		want   bool
	}{
		"all rounds":      {agentExit{0, 0, ""}, &eval.Report{Rounds: 6}, true},
		"left before":     {agentExit{0, 0, ""}, &eval.Report{Rounds: 5}, false},
		"no report":       {agentExit{0, 0, ""}, nil, false},
		"failed after":    {agentExit{0, 1, ""}, &eval.Report{Rounds: 6}, false},
		"killed when all": {agentExit{0, -1, "killed"}, &eval.Report{Rounds: 6}, false},
	} {
		s := midway()
		s.end(v.exit, v.report, dawn)
		if a := s.agents[0]; a.finished() != v.want || a.gone() == v.want {
			t.Errorf("%s: finished %v, gone %v", name, a.finished(), a.gone())
		}
	}
}

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	v := &lineView{out: &out}
	s := midway()
	at := dawn.Add(time.Minute)
	lines := func() int { return strings.Count(out.String(), "\n") }
	v.show(s, at)
	want := "round 3 of 6: train 75 %, 2 of 3 agents, 210 images/s, loss 1.250, test accuracy 60.0 % (round 2), about 1m11s left\n"
	if got := out.String(); got != want {
		t.Errorf("first line %q, want %q", got, want)
	}
	for _, step := range []struct {
		what  string
		after time.Duration
		do    func()
		want  int
	}{
		{"nothing new", phaseSpacing / 4, func() {}, 1},
		{"a phase too soon", phaseSpacing / 4, func() { s.agents[0].status.Phase = "wait" }, 1},
		{"the phase in time", phaseSpacing / 2, func() {}, 2},
		{"a score at once", 0, func() { s.learn(agent.ScoreStatus{Round: 3}) }, 3},
		{"a round at once", 0, func() { s.agents[0].status.Round, s.agents[1].status.Round = 4, 4 }, 4},
		{"a sign of life", lineSpacing, func() {}, 5},
	} {
		step.do()
		at = at.Add(step.after)
		if v.show(s, at); lines() != step.want {
			t.Errorf("%s: %d lines, want %d:\n%s", step.what, lines(), step.want, out.String())
		}
	}
	v.show(newClusterState(s.plan, dawn), at)
	if lines() != 5 {
		t.Error("a line before anybody answered")
	}
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59*time.Second + 400*time.Millisecond: "59s", 60 * time.Second: "1m00s", 83*time.Second + 600*time.Millisecond: "1m24s",
		time.Hour: "1h00m", 90*time.Minute + 40*time.Second: "1h31m", 30 * time.Hour: "30h00m",
	} {
		if got := roughly(d); got != want {
			t.Errorf("roughly(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestSparkline(t *testing.T) {
	for _, v := range []struct {
		values  []float64
		columns int
		want    string
	}{
		{nil, 5, ""}, {[]float64{0, 0.5, 1}, 5, "▁▅█"}, {[]float64{-1, 2, 0.99}, 2, "██"}, {[]float64{1}, 0, ""}, {[]float64{1}, -1, ""},
	} {
		if got := sparkline(v.values, v.columns); got != v.want {
			t.Errorf("sparkline(%v, %d) = %s, want %s", v.values, v.columns, got, v.want)
		}
	}
}

// FuzzStatus gives the views what an agent might say: nothing may panic, and no line may wrap.
func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"name":"agent-1","round":2,"rounds":6,"phase":"train","step":3,"steps":5,"score":{"round":1,"test_accuracy":0.5}}`), 80)
	f.Add([]byte(`{"round":-1,"phase":"x","step":-9223372036854775808,"steps":1,"score":{"test_accuracy":-1e308}}`), 1)
	f.Add([]byte(`{"round":9223372036854775807,"phase":"evaluate","images_per_second":1e308,"loss":1e308}`), 40)
	f.Fuzz(func(t *testing.T, answer []byte, width int) {
		var status agent.Status
		if json.Unmarshal(answer, &status) != nil {
			return
		}
		s := midway()
		for i := range s.agents {
			s.see(sighting{i, status, nil}, dawn.Add(time.Hour))
		}
		(&lineView{out: &bytes.Buffer{}}).show(s, dawn.Add(time.Hour))
		width = 1 + int(uint(width)%200)
		for line := range strings.SplitSeq(drawn(s, width), "\n") {
			if lipgloss.Width(line) > width {
				t.Errorf("%d columns on a terminal of %d: %q", lipgloss.Width(line), width, line)
			}
		}
	})
}

// A first sight at the end of a round says nothing of how long a round takes.
func TestTimeLeft(t *testing.T) {
	for name, v := range map[string]struct {
		done    float64
		elapsed time.Duration
		begun   bool
		want    time.Duration
	}{
		"not begun":     {0.5, time.Minute, false, 0},
		"too little":    {0.01, time.Minute, true, 0},
		"too soon":      {0.06, 100 * time.Millisecond, true, 0},
		"a fourth":      {0.25, time.Minute, true, 3 * time.Minute},
		"three seconds": {0.5, 3 * time.Second, true, 3 * time.Second},
		"all":           {1, time.Minute, true, 0},
	} {
		if got := timeLeft(v.done, v.elapsed, v.begun); got != v.want {
			t.Errorf("%s: %v left, want %v", name, got, v.want)
		}
	}
}
