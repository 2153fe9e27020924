package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/eval/lab/row"
)

// A small experiment from its file to its rows, and what is answered to mistakes.
func TestLab(t *testing.T) {
	file := written(t, "small.yaml", "name: small\nbase:\n  data: {limit: 40, test_limit: 10}\n  learner: {width: 0.1, batch: 10}\n"+
		"  rounds: {steps: 1}\nepochs: 1\naxes: {agents: [1, 2]}\n")
	stdout, stderr, code := shoal(t, "lab", file, "--plan")
	if code != exitOK || stdout != "agents=1,seed=1\nagents=2,seed=1\n" {
		t.Fatalf("--plan: %d, %q, %q", code, stdout, stderr)
	}
	out := filepath.Join(t.TempDir(), "out")
	stdout, stderr, code = shoal(t, "lab", file, "--out", out, "--json")
	var ends []row.Run
	if err := json.Unmarshal([]byte(stdout), &ends); err != nil || code != exitOK || len(ends) != 2 || ends[1].Images != 40 || ends[1].Rounds != 2 {
		t.Fatalf("%d, %s, %s: %v", code, stdout, stderr, err)
	}
	if !strings.Contains(stderr, "2/2 agents=2,seed=1:") {
		t.Errorf("progress is %q", stderr)
	}
	page := filepath.Join(out, "report.html")
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "<h1>small</h1>") {
		t.Errorf("no report after the runs: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if stdout, stderr, code := shoal(t, "lab", "plot", out, "--out", other); code != exitOK || stdout != filepath.Join(other, "report.html")+"\n" {
		t.Errorf("plot: %d, %q, %q", code, stdout, stderr)
	}
	if stdout, stderr, code := shoal(t, "lab", "compare", out, filepath.Join(out, "rows.jsonl")); code != exitOK ||
		!strings.Contains(stdout, "agents=2") || !strings.Contains(stdout, "equal") || !strings.Contains(stdout, "0 of ") {
		t.Errorf("compare with itself: %d, %q, %q", code, stdout, stderr)
	}
	again, _, code := shoal(t, "lab", file, "--out", out, "--json")
	if code != exitOK || again != stdout {
		t.Errorf("run again: %d, %s", code, again)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"lab"}, exitUsage, "accepts 1 arg(s), received 0"},
		{[]string{"lab", "quikstart"}, exitConfig, "no experiment \"quikstart\" is built in; there are"},
		{[]string{"lab", "plot", t.TempDir()}, exitUsage, "rows.jsonl is not there; give a directory that shoal lab wrote to"},
		{[]string{"lab", "absent.yaml"}, exitConfig, "open experiment: open absent.yaml"},
		{[]string{"lab", written(t, "bad.yaml", "name: x\ntempo: 1\n")}, exitConfig, "tempo: unknown key"},
		{[]string{"lab", written(t, "small.yaml", "name: small\n"), "--out", out}, exitFailure, "results of another experiment"},
	} {
		if _, stderr, code := shoal(t, c.args...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: %d, %q; want %d, %q", c.args, code, stderr, c.code, c.want)
		}
	}
	if stdout, _, code := shoal(t, "lab", "list"); code != exitOK || !strings.Contains(stdout, "quickstart ") {
		t.Errorf("list: %d, %q", code, stdout)
	}
}
