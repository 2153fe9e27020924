package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/agent"
	"shoal/configs"
)

// programVariable makes this test binary the program itself.
const programVariable = "SHOAL_TEST_PROGRAM"

// smallRun is a run that takes a core some milliseconds a round, and goes on for as long as a test wants.
const smallRun = `
data: {set: builtin, limit: 240, test_limit: 60, partition: shuffled}
learner: {model: mobilenet_v2, width: 0.1, input: 32, batch: 10, threads: 1, sgd: {rate: 0.01, momentum: 0.9}}
rounds: {count: 5000, steps: 20, expect: 3, min_members: 1, gather: 1s}
eval: {every: 5, reestimate: 0}
`

// realCluster starts n real agents, and returns their plans. They are gone when the test ends.
func realCluster(t *testing.T, n int) []agentPlan {
	t.Helper()
	cfg, origins, err := configs.Load(written(t, "small.yaml", smallRun), nil, nil)
	if err == nil {
		err = cfg.Validate(origins)
	}
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planCluster(t.TempDir(), n, cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	procs, err := startAgents([]string{os.Args[0]}, append(os.Environ(), programVariable+"=1", "GOMAXPROCS=2"), plan.agents)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		procs.stop(leaveGrace, nil)
		if t.Failed() {
			for _, a := range plan.agents {
				t.Logf("the last of %s's log:\n%s", a.name, strings.Join(lastWords(a.file(agentLogFile)), "\n"))
			}
		}
	})
	return plan.agents
}

// within waits for something that real agents do.
func within(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// asked runs a command with --json and --state for an agent, and reads what it prints.
func asked[T any](t *testing.T, a agentPlan, args ...string) (v T, ok bool) {
	t.Helper()
	stdout, _, code := shoal(t, append(args, "--json", "--state", a.dir)...)
	return v, code == 0 && json.Unmarshal([]byte(stdout), &v) == nil
}

// The whole way: three real agents are watched, paused, resumed and told to leave, by the commands.
func TestWatchAndSteer(t *testing.T) {
	t.Parallel()
	agents := realCluster(t, 3)
	round := func(i int) int {
		s, _ := asked[agent.Status](t, agents[i], "status")
		return s.Round
	}
	within(t, 30*time.Second, "three rounds and everybody's news", func() bool {
		members, ok := asked[[]agent.ClusterMember](t, agents[0], "members")
		heard := 0
		for _, m := range members {
			if m.Progress != nil && m.Samples > 0 && m.InRoster {
				heard++
			}
		}
		return ok && heard == 3 && round(0) > 3
	})
	e, ok := asked[agent.Explanation](t, agents[1], "explain", "2")
	if !ok || len(e.Accounts) != 1 || len(e.Accounts[0].Commit.Contributors) != 3 || e.Agent != "agent-2" {
		t.Errorf("round 2: %+v", e)
	}
	pausedOne(t, agents)
	pausedAll(t, agents, round)
	leftOne(t, agents)
	top, stderr, code := shoal(t, "top", "--once", "--state", agents[0].dir)
	if code != 0 || !strings.Contains(top, "agent-1*") || !strings.Contains(top, "sees 2 of 3 members alive") {
		t.Errorf("top: exit code %d, %s\n%s", code, stderr, top)
	}
	if stdout, stderr, code := shoal(t, "leave", "--all", "--state", agents[1].dir); code != 0 {
		t.Errorf("leave --all: exit code %d, %s%s", code, stderr, stdout)
	}
	within(t, 20*time.Second, "the last agents leave", func() bool {
		_, one := asked[agent.Status](t, agents[0], "status")
		_, two := asked[agent.Status](t, agents[1], "status")
		return !one && !two
	})
	for _, a := range agents {
		if _, err := os.Stat(a.file(agentHTTPFile)); err == nil {
			t.Errorf("%s left its address behind", a.name)
		}
	}
}

// pausedOne pauses one agent: the others go on without its samples, and it comes back.
func pausedOne(t *testing.T, agents []agentPlan) {
	t.Helper()
	stdout, stderr, code := shoal(t, "pause", "--state", agents[2].dir)
	if code != 0 || stdout != "agent-3 rests\n" {
		t.Fatalf("pause: exit code %d, %s%s", code, stderr, stdout)
	}
	within(t, 20*time.Second, "a round without the paused agent", func() bool {
		e, _ := asked[agent.Explanation](t, agents[0], "explain", "last")
		return len(e.Accounts) > 0 && len(e.Accounts[0].Commit.Missing) == 1 && e.Accounts[0].Commit.Missing[0].Reason == "paused"
	})
	text, _, _ := shoal(t, "explain", "last", "--state", agents[0].dir)
	if !strings.Contains(text, "left out  agent-3  paused") {
		t.Errorf("explain last:\n%s", text)
	}
	if stdout, stderr, code = shoal(t, "resume", "--state", agents[2].dir); code != 0 || stdout != "agent-3 trains again\n" {
		t.Fatalf("resume: exit code %d, %s%s", code, stderr, stdout)
	}
	within(t, 20*time.Second, "a round with it", func() bool {
		e, _ := asked[agent.Explanation](t, agents[0], "explain", "last")
		return len(e.Accounts) > 0 && len(e.Accounts[0].Commit.Contributors) == 3
	})
}

// pausedAll pauses everybody through one agent: no round passes until all are resumed through another.
func pausedAll(t *testing.T, agents []agentPlan, round func(int) int) {
	t.Helper()
	if stdout, stderr, code := shoal(t, "pause", "--all", "--state", agents[0].dir); code != 0 || strings.Count(stdout, "took the request") != 3 {
		t.Fatalf("pause --all: exit code %d, %s%s", code, stderr, stdout)
	}
	within(t, 20*time.Second, "all rest", func() bool {
		for _, a := range agents {
			if s, ok := asked[agent.Status](t, a, "status"); !ok || !s.Paused || s.Phase != "pause" {
				return false
			}
		}
		return true
	})
	before := round(1)
	time.Sleep(1500 * time.Millisecond) // rounds take some tenths of that
	if after := round(1); after > before+1 {
		t.Errorf("round %d and then %d while everybody rests", before, after)
	}
	if stdout, stderr, code := shoal(t, "resume", "--all", "--state", agents[1].dir); code != 0 {
		t.Fatalf("resume --all: exit code %d, %s%s", code, stderr, stdout)
	}
	within(t, 20*time.Second, "rounds pass again", func() bool { return round(1) > before+2 })
}

// leftOne makes the last agent leave, and sees that the others know that it did so on purpose.
func leftOne(t *testing.T, agents []agentPlan) {
	t.Helper()
	stdout, stderr, code := shoal(t, "leave", "--state", agents[2].dir)
	if code != 0 || stdout != "agent-3 has left\n" {
		t.Fatalf("leave: exit code %d, %s%s", code, stderr, stdout)
	}
	within(t, 20*time.Second, "the others see it leave", func() bool {
		members, _ := asked[[]agent.ClusterMember](t, agents[0], "members")
		for _, m := range members {
			if m.Name == "agent-3" {
				return m.State == "left"
			}
		}
		return false
	})
	if _, stderr, code = shoal(t, "status", "--state", agents[2].dir); code != exitAbsent || !strings.Contains(stderr, "no agent runs with state directory") {
		t.Errorf("status of one that left: exit code %d, %s", code, stderr)
	}
}

// Requests that steer are refused without the token, whoever asks.
func TestSteerNeedsTheToken(t *testing.T) {
	agents := realCluster(t, 1)
	within(t, 30*time.Second, "it answers", func() bool { _, ok := asked[agent.Status](t, agents[0], "status"); return ok })
	address, err := readWord(agents[0].file(agentHTTPFile))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	t.Setenv("SHOAL_STATE", elsewhere)
	if _, stderr, code := shoal(t, "leave", "--agent", address); code != exitRefused || !strings.Contains(stderr, "its token is not known") {
		t.Errorf("without a token: exit code %d, %s", code, stderr)
	}
	wrong := strings.Repeat("0", 64)
	if err := os.WriteFile(filepath.Join(elsewhere, agentTokenFile), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := shoal(t, "leave", "--agent", address); code != exitRefused || !strings.Contains(stderr, "missing or wrong") {
		t.Errorf("with a wrong token: exit code %d, %s", code, stderr)
	}
	// Whoever answers at the address of this directory is not the agent that wrote the token.
	if err := os.WriteFile(filepath.Join(elsewhere, agentHTTPFile), []byte(address), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := shoal(t, "status"); code != exitAbsent || !strings.Contains(stderr, "another agent answers") {
		t.Errorf("with another's address: exit code %d, %s", code, stderr)
	}
	if stdout, stderr, code := shoal(t, "status", "--agent", address); code != 0 || !strings.Contains(stdout, "agent-1") {
		t.Errorf("to look needs no token: exit code %d, %s", code, stderr)
	}
	info, err := os.Stat(agents[0].file(agentTokenFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token file: %v, %v; want mode %s", info, err, strconv.FormatInt(0o600, 8))
	}
}
