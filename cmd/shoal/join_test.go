package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/configs"
	"shoal/gossip"
)

// realVariable makes this test binary shoal itself.
const realVariable = "SHOAL_TEST_REAL"

// keyed is a new key file.
func keyed(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "k")
	key, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(file, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// A token carries all that the new node's configuration must agree in, and nothing that is the inviting node's own.
func TestInvitationBringsTheRun(t *testing.T) {
	file := keyed(t)
	args := []string{
		"invite", "--preset", "pi4", "--set", "gossip.key_file=" + file, "--set", "learner.width=0.25", "--set", "name=mine",
		"--set", "rounds.expect=4", "--set", "gossip.listen=192.168.1.11:7946", "--set", "state=" + t.TempDir(),
	}
	stdout, stderr, code := shoal(t, args...)
	if code != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "192.168.1.11:7946") {
		t.Fatalf("exit code %d, %d bytes: %s", code, len(stdout), stderr)
	}
	token, err := gossip.DecodeToken(stdout, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "home")
	path, err := settle(home, token)
	if err != nil {
		t.Fatal(err)
	}
	mine, _, err := configs.Load("", nil, map[string]string{"preset": "pi4", "learner.width": "0.25", "rounds.expect": "4"})
	if err != nil {
		t.Fatal(err)
	}
	theirs, origins, err := configs.Load(path, nil, nil)
	if err == nil {
		err = theirs.Validate(origins)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := configs.Differences(mine.Agreement(), theirs.Agreement()); len(d) > 0 {
		t.Errorf("the new node differs: %v", d)
	}
	if theirs.Name == "mine" || theirs.State != home || theirs.Rounds.Expect != 4 || !slices.Equal(theirs.Gossip.Seeds, []string{"192.168.1.11:7946"}) {
		t.Errorf("the new node is %q in %s, seeds %v", theirs.Name, theirs.State, theirs.Gossip.Seeds)
	}
	for _, name := range []string{joinedKeyFile, joinedFile} {
		if info, err := os.Stat(filepath.Join(home, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := settle(home, token); err != nil {
		t.Errorf("a second time: %v", err)
	}
	keys, err := gossip.ReadKeys(keyed(t))
	if err != nil {
		t.Fatal(err)
	}
	token.Keys = keys
	if _, err := settle(home, token); codeOf(err) != exitRefused || !strings.Contains(err.Error(), "keys of another cluster") {
		t.Errorf("another cluster: %v", err)
	}
}

func TestInviteAndJoinRefuse(t *testing.T) {
	file := keyed(t)
	short := gossip.Token{Expires: time.Now().Add(-time.Hour), Seeds: []string{"a:1"}}
	var err error
	if short.Keys, err = gossip.ReadKeys(file); err != nil {
		t.Fatal(err)
	}
	expired, err := short.Encode()
	if err != nil {
		t.Fatal(err)
	}
	state := " --state " + t.TempDir()
	for name, v := range map[string]struct {
		args string
		code int
		want string
	}{
		"no key":       {"invite --set gossip.key_file=absent.key", exitFailure, "shoal keygen"},
		"for ever":     {"invite --for 100000h --set gossip.key_file=" + file, exitUsage, "--for 100000h"},
		"no address":   {"invite --set gossip.listen=127.0.0.1:0 --set gossip.key_file=" + file + " --set state=" + t.TempDir(), exitFailure, "--seed HOST:PORT"},
		"bad seed":     {"invite --seed here --set gossip.key_file=" + file, exitFailure, `seed "here" is not host:port`},
		"no token":     {"join" + state, exitUsage, "shoal invite"},
		"two tokens":   {"join x --token-file y" + state, exitUsage, "one of them"},
		"no file":      {"join --token-file absent" + state, exitUsage, "absent"},
		"with config":  {"join x --config y" + state, exitUsage, "the token brings the configuration"},
		"no such":      {"join x" + state, exitRefused, "does not begin with shoal1."},
		"expired":      {"join " + expired + state, exitRefused, "expired at"},
		"cut short":    {"join " + expired[:40] + state, exitRefused, "cut short"},
		"from no file": {"join --token-file " + file + state, exitRefused, "does not begin with shoal1."},
	} {
		stdout, stderr, code := shoal(t, strings.Fields(v.args)...)
		if code != v.code || !strings.Contains(stderr, v.want) || stdout != "" {
			t.Errorf("%s: exit code %d, want %d: %s%s", name, code, v.code, stdout, stderr)
		}
		if strings.Contains(stderr, expired[20:40]) {
			t.Errorf("%s: the token is shown", name)
		}
	}
}

// A member invites, a node joins by the one line, and the two train together; then ps shows no token, and no log a key.
func TestJoinByOneLine(t *testing.T) {
	dir, file := t.TempDir(), keyed(t)
	hold, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := hold.Addr().String()
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	common := []string{"--log-level", "debug", "--log-format", "json", "--set", "http.listen=127.0.0.1:0", "--set", "p2p.listen=/ip4/127.0.0.1/tcp/0", "--set", "learner.threads=1"}
	member := append([]string{
		"--set", "state=" + filepath.Join(dir, "a"), "--set", "name=a", "--set", "gossip.listen=" + at, "--set", "gossip.key_file=" + file,
		"--set", "data.set=builtin", "--set", "data.limit=120", "--set", "data.test_limit=20", "--set", "learner.width=0.1", "--set", "learner.input=32",
		"--set", "learner.batch=10", "--set", "rounds.count=2", "--set", "rounds.expect=2", "--set", "rounds.min_members=2", "--set", "rounds.form=5m",
	}, common...)
	start := func(args ...string) (*exec.Cmd, *bytes.Buffer) {
		cmd, log := exec.Command(os.Args[0], args...), &bytes.Buffer{}
		cmd.Env, cmd.Stderr = append(os.Environ(), realVariable+"=1"), log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, log
	}
	a, logA := start(append([]string{"run"}, member...)...)
	token, stderr, code := shoal(t, append([]string{"invite"}, member...)...)
	if code != 0 {
		t.Fatalf("invite: exit code %d: %s", code, stderr)
	}
	token = strings.TrimSpace(token)
	b, logB := start(append([]string{"join", token, "--state", filepath.Join(dir, "b"), "--set", "name=b", "--set", "gossip.listen=127.0.0.1:0"}, common...)...)
	if shown, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", b.Process.Pid)); err == nil {
		for deadline := time.Now().Add(10 * time.Second); bytes.Contains(shown, []byte(token)); time.Sleep(10 * time.Millisecond) {
			if shown, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", b.Process.Pid)); err != nil || time.Now().After(deadline) {
				t.Fatalf("the token is on the command line: %v", err)
			}
		}
	}
	ended := make(chan error, 2)
	for _, cmd := range []*exec.Cmd{a, b} {
		go func() { ended <- cmd.Wait() }()
	}
	for range 2 {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v; logs:\n%s\n%s", err, logA, logB)
			}
		case <-time.After(60 * time.Second):
			t.Fatal("the run does not end")
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "b", "report.json"))
	var r struct {
		Rows []struct{ Contributors []any }
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || len(r.Rows) != 2 || len(r.Rows[1].Contributors) != 2 {
		t.Errorf("the new node reports %s, %v", text, err)
	}
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []string{logA.String(), logB.String()} {
		if strings.Contains(log, strings.TrimSpace(string(secret))) || strings.Contains(log, token[20:60]) || log == "" {
			t.Error("a log shows the key or the token, or nothing")
		}
	}
}
