package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/gossip"
)

// A clone of a node's whole state directory starts in the middle of the run, and another agent takes a member's name:
// both are refused with both addresses and what to do, each time they start, and cost the members nothing, also after
// the node that was cloned has been restarted. No key shows in any log.
func TestClonesAndNamesakesAreRefused(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 5, small+"rounds: {count: 48, steps: 40, expect: 3, min_members: 3, gather: 1s}\n")
	for i := range 3 {
		s.start(i, "")
	}
	s.until("round 2 begins", 60*time.Second, func() bool { st, ok := s.status(1); return ok && st.Round >= 2 })
	clone := func() {
		if err := os.RemoveAll(s.home(3)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(s.home(3), os.DirFS(s.home(1))); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(s.home(3), "identity.key"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.refuses(3, "cannot join", "identity", s.gossip[1], s.gossip[3], "move the copied state directory")
	}
	time.Sleep(1500 * time.Millisecond) // of two that began within a second either may be the later one
	clone()
	s.until("the cloned one is told", 10*time.Second, func() bool { return strings.Contains(s.agents[1].out.String(), "identity_conflict") })
	s.agents[1].kill()
	s.start(1, "")
	s.until("it is back", 60*time.Second, func() bool {
		st, ok := s.status(1)
		return ok && st.Phase != "" && st.Phase != "form" && alive(st) == 3
	})
	time.Sleep(1500 * time.Millisecond)
	clone()
	s.names[4] = s.name(1)
	s.refuses(4, "cannot join", `the name "agent-1" is in use`, s.gossip[1], s.gossip[4], "--set name=NAME")
	for i := range 3 {
		s.wait(i, 90*time.Second)
	}
	keys, err := gossip.ReadKeys(s.key())
	if err != nil {
		t.Fatal(err)
	}
	identity, err := os.ReadFile(filepath.Join(s.home(1), "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.agents {
		s.hides(i, keys[0].Base64(), strings.TrimSpace(string(identity)), string(keys[0][:]))
	}
	s.agents = s.agents[:3]
	s.alike(48)
}

// hides checks that agent i has logged none of the secrets.
func (s *shelf) hides(i int, secrets ...string) {
	s.t.Helper()
	log := s.agents[i].out.String()
	if log == "" {
		s.t.Errorf("%s has no log", s.name(i))
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) || strings.Contains(log, secret[:len(secret)/2]) {
			s.t.Errorf("%s logs a secret", s.name(i))
		}
	}
}
