package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/agent"
)

// stateOfAgent is a state directory that tells of an agent at address with a token; empty ones are not told.
func stateOfAgent(t *testing.T, address, token string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{agentHTTPFile: address, agentTokenFile: token} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Whoever cannot be asked is told of with the reason and the remedy.
func TestReachSaysWhyNot(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	goneAt := strings.TrimPrefix(gone.URL, "http://")
	gone.Close()
	stranger := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	newer := served(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(agent.APIHeader, "99") })
	full := served(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "more than\x1b[2J enough"})
	})
	broken := served(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	odd := served(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for name, v := range map[string]struct {
		args string
		code int
		want string
	}{
		"nobody":         {"status --state " + t.TempDir(), exitAbsent, "start one with: shoal run --set state="},
		"HTTP off":       {"members --state " + stateOfAgent(t, agent.HTTPOff, ""), exitAbsent, "serves no HTTP, and cannot be asked; start it with --set http.listen="},
		"gone":           {"status --state " + stateOfAgent(t, goneAt, "x"), exitAbsent, "no agent answers at " + goneAt + " (from "},
		"gone, by name":  {"status --agent " + goneAt, exitAbsent, "connection refused; is it running?"},
		"another server": {"status --agent " + strings.TrimPrefix(stranger.URL, "http://"), exitAbsent, "is no agent, or one of an older version"},
		"newer":          {"top --once --agent " + newer, exitAbsent, `speaks interface "99"`},
		"busy":           {"explain 3 --agent " + full, exitBusy, "refuses /v1/rounds/3: more than?[2J enough"},
		"garbage":        {"members --agent " + broken, exitAbsent, "read /v1/members of the agent"},
		"no words":       {"members --agent " + odd, exitFailure, "I'm a teapot"},
		"another agent":  {"status --state " + stateOfAgent(t, broken, "x"), exitAbsent, "another agent answers"},
		"no token":       {"leave --state " + stateOfAgent(t, broken, ""), exitRefused, "its token is not known"},
		"no port":        {"status --agent pi-1", exitUsage, `read --agent "pi-1": not host:port`},
		"port 0":         {"status --agent pi-1:0", exitUsage, `read --agent "pi-1:0": not host:port`},
		"both":           {"status --agent pi-1:1 --state x", exitUsage, "give one of them"},
		"no round":       {"explain", exitUsage, "such as: shoal explain last"},
		"bad round":      {"explain first", exitUsage, `"first" is neither a number`},
		"round 0":        {"explain 0", exitUsage, `"0" is neither a number`},
		"arguments":      {"pause pi-1", exitUsage, "pause"},
	} {
		stdout, stderr, code := shoal(t, strings.Fields(v.args)...)
		if code != v.code || !strings.Contains(stderr, v.want) || stdout != "" {
			t.Errorf("%s: exit code %d, want %d; %q lacks %q; stdout %q", name, code, v.code, stderr, v.want, stdout)
		}
	}
}

// Without a flag it is the agent of the configuration's state directory that is asked, as shoal run would start it.
func TestReachByConfiguration(t *testing.T) {
	address := served(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(agent.Status{Name: "pi-1", Phase: "train"})
	})
	t.Setenv("SHOAL_STATE", stateOfAgent(t, address, ""))
	stdout, stderr, code := shoal(t, "status", "--json")
	var s agent.Status
	if err := json.Unmarshal([]byte(stdout), &s); code != 0 || err != nil || s.Name != "pi-1" {
		t.Errorf("exit code %d, %s, %v\n%s", code, stderr, err, stdout)
	}
}
