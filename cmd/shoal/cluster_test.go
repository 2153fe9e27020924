package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/eval"
)

// played is what a fake cluster left.
type played struct {
	dir, stdout, stderr string
	report              eval.Report // of stdout
	err                 error
	pids                []int
}

// play runs a fake cluster to its end, and sees to it that no process is left.
func play(t *testing.T, ctx context.Context, n, rounds int, script string, change func(*cluster)) played {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	p := played{dir: t.TempDir()}
	c, err := fakeCluster(p.dir, n, rounds, script)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	c.view = &lineView{out: &stderr}
	if change != nil {
		change(c)
	}
	p.err = c.runAndReport(ctx, &stdout, &stderr, true)
	p.stdout, p.stderr = stdout.String(), stderr.String()
	for _, m := range regexp.MustCompile(`started, process (\d+)`).FindAllStringSubmatch(p.stderr, -1) {
		pid, _ := strconv.Atoi(m[1])
		p.pids = append(p.pids, pid)
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
	if len(p.pids) != n {
		t.Errorf("%d processes were started, want %d:\n%s", len(p.pids), n, p.stderr)
	}
	if p.stdout != "" {
		decoder := json.NewDecoder(strings.NewReader(p.stdout))
		if err := decoder.Decode(&p.report); err != nil || decoder.More() {
			t.Errorf("stdout is not one JSON object (%v):\n%s", err, p.stdout)
		}
	}
	return p
}

func TestClusterFinishes(t *testing.T) {
	t.Parallel()
	p := play(t, t.Context(), 3, 2, "", nil)
	if p.err != nil {
		t.Fatalf("%v\n%s", p.err, p.stderr)
	}
	if r := p.report; r.Rounds != 2 || *r.TestAccuracy != 0.75 || r.Lineage != "lineage" || len(r.Agents) != 3 || !r.ModelsEqual || r.Nodes != 1 {
		t.Errorf("report %+v", r)
	}
	for i, a := range p.report.Agents {
		if a.Name != fmt.Sprintf("agent-%d", i+1) || a.ModelHash != "5ea5" || a.ImagesPerSecond != 100 || a.PeakRSSMB != 64 {
			t.Errorf("agent %+v", a)
		}
	}
	for _, want := range []string{"round 1 of 2: train", "round 2 of 2: ", "3 of 3 agents", " images/s", "test accuracy 20.0 % (round 1)"} {
		if !strings.Contains(p.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, p.stderr)
		}
	}
	for name, want := range map[string]string{
		"report.json": p.stdout, modelFile: "model 5ea5", "rounds.csv": "round,", "summary.csv": "ranks,nodes,",
		"agent-3/agent.yaml": "name: agent-3\n", "agent-3/log.jsonl": "", "cluster.key": "",
	} {
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %v\n%s\nwant it to begin with\n%s", name, err, text, want)
		}
	}
}

func TestClusterOutlivesItsAgents(t *testing.T) {
	t.Parallel()
	p := play(t, t.Context(), 4, 3, "agent-2=killed agent-4=panics", nil)
	if p.err != nil {
		t.Fatalf("%v\n%s", p.err, p.stderr)
	}
	if len(p.report.Agents) != 2 || p.report.Agents[0].Name != "agent-1" || p.report.Agents[1].Name != "agent-3" {
		t.Errorf("agents %+v, want those that finished", p.report.Agents)
	}
	for _, want := range []string{
		"agent-2 ended by signal: killed in round 2; the last of its log, " + filepath.Join(p.dir, "agent-2", agentLogFile),
		"agent-4 exited with code 2 in round 2;", "\n    panic: a promise was broken",
		"agent-2 ended by signal: killed in round 2; the others finished without it",
	} {
		if !strings.Contains(p.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, p.stderr)
		}
	}
}

func TestClusterStopsForAReason(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		script string
		change func(*cluster)
		code   int
		say    []string
	}{
		"cannot start": {
			"agent-2=refused agent-1=stubborn", func(c *cluster) { c.grace = 50 * time.Millisecond }, exitBusy,
			[]string{"agent-2 exited with code 6 before round 1;", "\n    error port in use port=7946"},
		},
		"must not go on":   {"agent-2=killed", func(c *cluster) { c.keepGoing = false }, exitFailure, []string{"agent-2 ended by signal: killed in round 2"}},
		"nobody finishes":  {"agent-1=killed agent-2=panics", nil, exitFailure, []string{"no agent came to the end", "agent-1 ended by signal", "agent-2 exited with code 2"}},
		"models differ":    {"agent-2=differs", nil, exitFailure, []string{"DIFFERENT MODELS", "\n    agent-1 5ea5\n    agent-2 d1ff"}},
		"report half done": {"agent-2=silent agent-1=killed", nil, exitOK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, t.Context(), 2, 2, v.script, v.change)
			if got := codeOf(p.err); got != v.code {
				t.Errorf("exit code %d, want %d: %v\n%s", got, v.code, p.err, p.stderr)
			}
			for _, want := range v.say {
				if !strings.Contains(fmt.Sprint(p.err), want) {
					t.Errorf("error lacks %q:\n%v", want, p.err)
				}
			}
		})
	}
}

func TestClusterDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	p := play(t, t.Context(), 2, 1, "agent-2=stubborn", func(c *cluster) { c.late, c.grace = 50*time.Millisecond, 50*time.Millisecond })
	if p.err != nil || len(p.report.Agents) != 1 || !strings.Contains(p.stderr, "have not ended 50ms after the first") {
		t.Errorf("error %v, report %+v\n%s", p.err, p.report, p.stderr)
	}
}

func TestClusterStopsWhenTold(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{"all leave": "", "one must be killed": "agent-2=stubborn"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			p := play(t, ctx, 2, 1000, script, func(c *cluster) {
				c.grace = 100 * time.Millisecond
				if script == "" {
					c.grace = time.Minute // they leave by themselves, or the test does not end
				}
				c.view = &cancelView{lineView: c.view.(*lineView), cancel: cancel}
			})
			if !errors.Is(p.err, context.Canceled) || p.stdout != "" {
				t.Errorf("error %v, stdout %q", p.err, p.stdout)
			}
		})
	}
}

// Of a cluster that was stopped before its end, what was done is named; of one that did nothing, nothing.
func TestStoppedClusterNamesItsRows(t *testing.T) {
	s := newClusterState(clusterPlan{dir: "run", rounds: 9, agents: []agentPlan{{name: "agent-1"}, {name: "agent-2"}}}, time.Now())
	var said bytes.Buffer
	if s.sayLeft(&lineView{out: &said}); said.Len() > 0 {
		t.Errorf("nothing was done: %s", &said)
	}
	s.end(agentExit{index: 0}, &eval.Report{Rounds: 3}, time.Now())
	s.end(agentExit{index: 1}, &eval.Report{Rounds: 4}, time.Now())
	s.sayLeft(&lineView{out: &said})
	if want := "rounds finished: 4 of 9; their rows are in run/agent-*/report.json\n"; said.String() != want {
		t.Errorf("got %q, want %q", &said, want)
	}
}

// cancelView cancels in the second round.
type cancelView struct {
	*lineView
	cancel context.CancelFunc
}

func (v *cancelView) show(s *clusterState, now time.Time) {
	v.lineView.show(s, now)
	if s.overview(now).round > 1 {
		v.cancel()
	}
}

// TestClusterDiesWithItsParent kills the cluster itself, which can stop nobody any more.
func TestClusterDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a child's life to its parent's")
	}
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	parent := exec.CommandContext(ctx, os.Args[0])
	parent.Env = append(os.Environ(), clusterVariable+"="+dir, fakeVariable+"=agent-1=stubborn agent-2=stubborn")
	output, err := parent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	pids := regexp.MustCompile(`(?s)process (\d+)\n.*process (\d+)\n.*round 1 of 1`)
	for buffer := make([]byte, 1024); !pids.Match(said); {
		n, err := output.Read(buffer)
		if err != nil {
			t.Fatalf("read the parent's lines: %v\n%s", err, said)
		}
		said = append(said, buffer[:n]...)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // says that it was killed
	for _, m := range pids.FindSubmatch(said)[1:] {
		pid, _ := strconv.Atoi(string(m))
		for alive(pid) && ctx.Err() == nil {
			runtime.Gosched()
		}
		if alive(pid) {
			t.Errorf("process %d outlived its parent", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// alive reports whether a process runs; one that nobody has waited for yet does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func TestClusterCommandLine(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		args []string
		code int
		say  string
	}{
		"no number":      {nil, exitUsage, "got 0 arguments, want one, such as: shoal cluster 4"},
		"none":           {[]string{"0"}, exitUsage, `"0" is not in 1…64`},
		"too many":       {[]string{"65"}, exitUsage, `"65" is not in 1…64`},
		"not a number":   {[]string{"four"}, exitUsage, `"four" is not in 1…64`},
		"bad value":      {[]string{"2", "--width", "wide"}, exitConfig, `learner.width: "wide" is not a number`},
		"unknown preset": {[]string{"2", "--preset", "quikstart"}, exitConfig, "did you mean quickstart?"},
		"full directory": {[]string{"2", "--dir", full}, exitFailure, "is not empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := shoal(t, slices.Concat([]string{"cluster"}, v.args)...)
			if code != v.code || !strings.Contains(stderr, v.say) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q in it", code, v.code, stderr, v.say)
			}
		})
	}
}
