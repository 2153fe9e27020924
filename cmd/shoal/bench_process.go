package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// maxBenchOutput bounds what is kept of a process's output.
const maxBenchOutput = 4 << 20

// killedWithin is how long a killed process's output is waited for.
const killedWithin = 5 * time.Second

// spawner runs a program with arguments to its end and returns what it printed.
type spawner func(ctx context.Context, args ...string) (stdout []byte, err error)

// programSpawner runs program in a process group that dies when ctx ends, after benchRunWithin, and with us. An error
// has the last line of what the program said on stderr.
func programSpawner(program string) spawner {
	return func(ctx context.Context, args ...string) ([]byte, error) {
		// Linux sends a child its parent-death signal when the thread that started it ends, so this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		ctx, cancel := context.WithTimeout(ctx, benchRunWithin)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.SysProcAttr, cmd.WaitDelay = childAttributes(), killedWithin
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		stdout, stderr := &tail{}, &tail{}
		cmd.Stdout, cmd.Stderr = stdout, stderr
		err := cmd.Run()
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return nil, fmt.Errorf("run %s: not done after %v; take fewer --steps", program, benchRunWithin)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, fmt.Errorf("run %s %s: %w: %s", program, strings.Join(args, " "), err, stderr.last())
		}
		return stdout.text, nil
	}
}

// tail keeps the last maxBenchOutput bytes that are written to it.
type tail struct{ text []byte }

// Write keeps p.
func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - maxBenchOutput; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// last is the last line that is not empty.
func (t *tail) last() string {
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// measured runs this program for the configuration with other values, by name.
func (b *bench) measured(ctx context.Context, other map[string]string) (*benchResult, error) {
	out, err := b.spawn(ctx, b.arguments(other)...)
	if err != nil {
		return nil, err
	}
	r := &benchResult{}
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("read the result of %v: %w", b.arguments(other), err)
	}
	if !(r.ImagesPerSecond > 0) {
		return nil, fmt.Errorf("read the result of %v: %w", b.arguments(other), errNoRate)
	}
	return r, nil
}

// peerResult is what another program says of itself; what it leaves out is nil.
type peerResult struct {
	Peer            string   `json:"peer"`
	ImagesPerSecond float64  `json:"images_per_second"`
	PeakRSS         *float64 `json:"peak_rss_mb"`
	values          map[string]string
}

// readPeer finds the last line of output that is a JSON object with a rate.
func readPeer(out []byte) (*peerResult, error) {
	lines := bytes.Split(out, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		r := &peerResult{values: map[string]string{}}
		var all map[string]json.RawMessage
		if json.Unmarshal(lines[i], r) != nil || json.Unmarshal(lines[i], &all) != nil || !(r.ImagesPerSecond > 0) {
			continue
		}
		for _, p := range benchPaths {
			if v, ok := all[p.name]; ok {
				r.values[p.name] = strings.Trim(string(v), `"`)
			}
		}
		return r, nil
	}
	return nil, fmt.Errorf("no line of its output is a JSON object: %w", errNoRate)
}
