package agent

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"shoal/gossip/roster"
)

// A member may steer this agent only if it is of this run, asks for something known, and the configuration lets it.
func TestMembersSteer(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		obey string
		from roster.ID
		body string
		want string // of the error; empty: it is taken
	}{
		"pause":    {"members", "b", `{"what":"pause"}`, ""},
		"resume":   {"members", "b", `{"what":"resume"}`, ""},
		"leave":    {"members", "b", `{"what":"leave"}`, ""},
		"self":     {"self", "b", `{"what":"pause"}`, "http.obey: members"},
		"unset":    {"", "b", `{"what":"pause"}`, "http.obey: members"},
		"stranger": {"members", "c", `{"what":"pause"}`, "c is no member"},
		"unknown":  {"members", "b", `{"what":"format the disk"}`, `"format the disk"`},
		"nothing":  {"members", "b", `{}`, `asked to ""`},
		"garbage":  {"members", "b", `x`, "read the request"},
	} {
		a := &Agent{log: zerolog.Nop(), events: make(chan any, 1), quit: make(chan struct{})}
		a.cfg.HTTP.Obey = v.obey
		a.shown.alive = []roster.ID{"b"}
		err := a.serveSteerCall(v.from, []byte(v.body))
		if (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v, want %q", name, err, v.want)
		}
		if taken := len(a.events) == 1; taken != (v.want == "") {
			t.Errorf("%s: taken: %v", name, taken)
		}
	}
}
