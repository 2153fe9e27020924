package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// shoal runs one command line in this process.
func shoal(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return out.String(), errs.String(), code
}

// written puts text to a file of its own and returns its path.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLines(t *testing.T) {
	good := written(t, "good.yaml", "name: pi-1\nlearner:\n  width: 0.25\n")
	bad := written(t, "bad.yaml", "learner:\n  widht: 0.25\n")
	impossible := written(t, "impossible.yaml", "keep: 0\n")
	for name, v := range map[string]struct {
		args   string
		code   int
		stdout string // part of it; empty: nothing at all
		stderr string // all of it
	}{
		"help":              {"", 0, "Exit codes:\n  0  done", ""},
		"unknown command":   {"trian", 2, "", "shoal: unknown command \"trian\" for \"shoal\"\nSee shoal --help\n"},
		"unknown flag":      {"version --jsno", 2, "", "shoal: unknown flag: --jsno\nSee shoal version --help\n"},
		"flag's value":      {"version --config", 2, "", "shoal: flag needs an argument: --config\nSee shoal version --help\n"},
		"group":             {"config", 0, "presets     List the presets", ""},
		"unknown in group":  {"config shwo", 2, "", "shoal: unknown command \"shwo\" for \"shoal config\"\nSee shoal config --help\n"},
		"too many":          {"data info a b", 2, "", "shoal: accepts at most 1 arg(s), received 2\nSee shoal data info --help\n"},
		"set without value": {"config show --set seed", 2, "", "shoal: read --set \"seed\": no =; give path=value, such as learner.sgd.rate=0.1\n"},
		"set unknown":       {"config show --set sed=1", 3, "", "shoal: bad configuration\n--set sed: unknown key; did you mean seed?\n"},
		"no such file":      {"config show -c absent.yaml", 3, "", "shoal: bad configuration\nopen configuration: open absent.yaml: no such file or directory\n"},
		"show": {
			"config show -c " + good + " --set seed=3 --set seed=4 --log-level debug", 0,
			"# --set log.level\n", "",
		},
		"show impossible": {
			"config show -c " + impossible, 3, "keep: 0 ",
			"shoal: bad configuration\n" + impossible + ":1:7: keep: 0 checkpoints; keep at least 1, to start again from\n",
		},
		"validate": {"config validate " + good, 0, good + ": valid\n", ""},
		"validate bad": {
			"config validate " + good + " " + bad, 3, good + ": valid\n",
			"shoal: bad configuration\n" + bad + ":2:3: learner.widht: unknown key; did you mean learner.width?\n    2 |   widht: 0.25\n      |   ^\n",
		},
		"validate nothing": {"config validate", 2, "", "shoal: requires at least 1 arg(s), only received 0\nSee shoal config validate --help\n"},
		"presets":          {"config presets", 0, "\nquickstart ", ""},
		"preset":           {"config presets quickstart", 0, "\nlearner:\n", ""},
		"preset unknown":   {"config presets quikstart", 3, "", "shoal: unknown preset \"quikstart\"; did you mean quickstart?\n"},
		"version":          {"version", 0, "shoal ", ""},
		"version flag":     {"--version", 0, "shoal ", ""},
		"fetch nothing":    {"data fetch", 2, "", "shoal: fetch \"\": no such data set; run: shoal data fetch cifar10\nSee shoal data fetch --help\n"},
		"fetch unknown":    {"data fetch mnist", 2, "", "shoal: fetch \"mnist\": no such data set; run: shoal data fetch cifar10\nSee shoal data fetch --help\n"},
		"completion":       {"completion bash", 0, "__start_shoal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := shoal(t, strings.Fields(v.args)...)
			if code != v.code || stderr != v.stderr {
				t.Errorf("exit code %d, want %d; stderr:\n%s\nwant:\n%s", code, v.code, stderr, v.stderr)
			}
			if !strings.Contains(stdout, v.stdout) || v.stdout == "" && stdout != "" {
				t.Errorf("no %q in stdout:\n%s", v.stdout, stdout)
			}
		})
	}
}

// With --json a command prints one JSON value and nothing else.
func TestJSON(t *testing.T) {
	bad := written(t, "bad.yaml", "learner: {widht: 1, batch: x}\n")
	for name, v := range map[string]struct {
		args string
		code int
		into any
		want string // of the decoded value, printed
	}{
		"version": {"version --json", 0, &struct{ Go string }{}, "&{go"},
		"show": {
			"config show --json --set seed=7", 0,
			&[]struct {
				Path   string
				Value  any
				Origin string
			}{},
			"{seed 7 --set seed}",
		},
		"presets": {"config presets --json", 0, &[]presetLine{}, "{quickstart A first run"},
		"preset":  {"config presets pi4 --json", 0, &map[string]string{}, "name:pi4"},
		"validate": {
			"config validate --json " + bad, 3, &[]verdict{}, "false [" + bad + ":1:11: learner.widht: unknown key; did you mean learner.width?",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := shoal(t, strings.Fields(v.args)...)
			if code != v.code {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			if err := json.Unmarshal([]byte(stdout), v.into); err != nil {
				t.Fatalf("%v in\n%s", err, stdout)
			}
			if got := fmt.Sprint(v.into); !strings.Contains(got, v.want) {
				t.Errorf("no %q in %s", v.want, got)
			}
		})
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	t.Setenv("SHOAL_CONFIG", written(t, "a.yaml", "seed: 5\nkeep: 6\n"))
	t.Setenv("SHOAL_KEEP", "7")
	stdout, stderr, code := shoal(t, "config", "show")
	if code != 0 || !strings.Contains(stdout, "\nseed: 5 ") || !strings.Contains(stdout, "\nkeep: 7 ") || !strings.Contains(stdout, "# $SHOAL_KEEP\n") {
		t.Errorf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	t.Setenv("SHOAL_KEPP", "7")
	if _, stderr, code = shoal(t, "config", "show"); code != 3 || !strings.Contains(stderr, "did you mean SHOAL_KEEP?") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// What config show prints can be loaded again, to the same.
func TestShowReadsBack(t *testing.T) {
	args := []string{"config", "show", "--json", "--preset", "papakyriakou-squeezenet", "--set", "gossip.seeds=a:1,b:2", "--set", "name=pi #1"}
	before, _, _ := shoal(t, args...)
	text, stderr, code := shoal(t, append([]string{"config", "show"}, args[3:]...)...)
	if code != 0 {
		t.Fatal(stderr)
	}
	after, stderr, code := shoal(t, "config", "show", "--json", "-c", written(t, "a.yaml", text))
	values := func(text string) string {
		var lines []string
		for line := range strings.Lines(text) {
			if !strings.Contains(line, `"origin"`) {
				lines = append(lines, strings.TrimRight(line, ",\n"))
			}
		}
		return strings.Join(lines, "\n")
	}
	if code != 0 || values(before) != values(after) || values(before) == "" {
		t.Errorf("%s: got\n%s\nwant\n%s", stderr, values(after), values(before))
	}
}

func TestExitCodes(t *testing.T) {
	busy := &os.PathError{Op: "listen", Path: "x", Err: syscall.EADDRINUSE}
	full := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for name, v := range map[string]struct {
		err  error
		code int
	}{
		"none":       {nil, 0},
		"any":        {errors.New("x"), 1},
		"coded":      {fmt.Errorf("y: %w", fail(exitRefused, errors.New("x"))), 5},
		"fail none":  {fail(exitRefused, nil), 0},
		"busy":       {fmt.Errorf("y: %w", busy), 6},
		"full":       {fail(exitData, full), 7},
		"interrupt":  {signalError{syscall.SIGINT}, 130},
		"terminated": {fmt.Errorf("y: %w", signalError{syscall.SIGTERM}), 143},
	} {
		if got := codeOf(v.err); got != v.code {
			t.Errorf("%s: exit code %d, want %d", name, got, v.code)
		}
	}
}

// A command that was cancelled by a signal ends with the signal's code, and one that left in order with its own.
func TestFinishAfterSignal(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(signalError{syscall.SIGTERM})
	for name, v := range map[string]struct {
		err  error
		code int
		text string
	}{
		"cancelled":     {fmt.Errorf("download: %w", ctx.Err()), 143, "shoal: stopped by signal: terminated\n"},
		"left in order": {nil, 0, ""},
		"failed":        {errors.New("disk on fire"), 1, "shoal: disk on fire\n"},
	} {
		var errs bytes.Buffer
		if code := finish(ctx, &errs, v.err); code != v.code || errs.String() != v.text {
			t.Errorf("%s: exit code %d, %q", name, code, errs.String())
		}
	}
	var errs bytes.Buffer
	if code := finish(context.Background(), &errs, context.Canceled); code != 1 || errs.String() != "shoal: context canceled\n" {
		t.Errorf("cancelled without a signal: exit code %d, %q", code, errs.String())
	}
}

// The first signal cancels, and whoever gets it may finish.
func TestFirstSignalCancels(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signals <- syscall.SIGINT
	ended := make(chan struct{})
	go func() { defer close(ended); obey(signals, done, cancel) }()
	<-ctx.Done()
	var stopped signalError
	if !errors.As(context.Cause(ctx), &stopped) || stopped.signal != syscall.SIGINT {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	close(done)
	<-ended
}

// Every command has a line of help, and none hides execute's mark.
func TestEveryCommand(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.PersistentPreRun != nil || c.PersistentPreRunE != nil {
			t.Errorf("%s: short help %q, or a PersistentPreRun of its own", c.CommandPath(), c.Short)
		}
		for _, below := range c.Commands() {
			walk(below)
		}
	}
	walk(newRoot(nil, nil))
}

func TestMeter(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(1000, 0)
	m := newMeter(&b, "x.tar.gz", func() time.Time { return now })
	for _, v := range []struct {
		wait        time.Duration
		done, total int64
	}{
		{0, 1 << 20, 4 << 20}, {time.Second, 2 << 20, 4 << 20}, {4 * time.Second, 3 << 20, 4 << 20}, {time.Second, 4 << 20, 4 << 20},
	} {
		now = now.Add(v.wait)
		m.update(v.done, v.total)
	}
	m.end()
	if want := "x.tar.gz  25% of 4.0 MiB\nx.tar.gz  75% of 4.0 MiB, 409.6 KiB/s\nx.tar.gz 100% of 4.0 MiB, 512.0 KiB/s\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	m = newMeter(&b, "x", func() time.Time { return now })
	m.terminal, m.every = true, meterOnTerminal
	m.update(5, -1)
	m.end()
	m.end()
	if want := "\rx 5 B\x1b[K\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
