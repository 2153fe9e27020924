package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"shoal/agent"
	"shoal/gossip"
)

// A fixed roster with fixed threads computes the same model twice: identities fix the order of ranks.
func TestTwoRunsGiveOneModel(t *testing.T) {
	t.Parallel()
	run := func(from *shelf) (*shelf, string) {
		s := newShelf(t, 4, small+"rounds: {count: 1, expect: 4}\n")
		for i := range s.agents {
			if from != nil {
				copyIdentity(t, from.home(i), s.home(i))
			}
		}
		s.startAll()
		for i := range s.agents {
			s.wait(i, 40*time.Second)
		}
		return s, s.alike(1)
	}
	first, a := run(nil)
	second, b := run(first)
	if a != b {
		t.Errorf("two runs of one roster end with %.12s and %.12s", a, b)
	}
	if x, y := first.report(0).Rows[0].Contributors, second.report(0).Rows[0].Contributors; fmt.Sprint(x) != fmt.Sprint(y) {
		t.Errorf("contributors %v and then %v", x, y)
	}
}

func copyIdentity(t *testing.T, from, to string) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(from, "identity.key"))
	if err == nil {
		err = os.MkdirAll(to, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(to, "identity.key"), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An agent killed in the middle of a round costs nobody else a round, and comes back; one that starts late takes part.
func TestKilledAndLateAgents(t *testing.T) {
	for name, averaging := range map[string]string{
		"plain": "{plan: ring}",
		"all":   "{plan: ring, wire: int8, delayed: true, momentum: true, outer: {kind: nesterov, rate: 0.7, momentum: 0.5}}",
	} {
		t.Run(name, func(t *testing.T) { killedAndLate(t, averaging) })
	}
}

func killedAndLate(t *testing.T, averaging string) {
	t.Parallel()
	s := newShelf(t, 4, small+"rounds: {count: 30, steps: 40, expect: 3, min_members: 3, gather: 1s}\naveraging: "+averaging+"\n")
	for i := range 3 {
		s.start(i, "")
	}
	s.until("round 2 begins", 30*time.Second, func() bool { st, ok := s.status(1); return ok && st.Round >= 2 })
	s.agents[1].kill()
	s.start(3, "") // late
	s.until("the others go on", 30*time.Second, func() bool { st, ok := s.status(0); return ok && st.Round >= 5 })
	s.start(1, "")
	for i := range s.agents {
		s.wait(i, 60*time.Second)
	}
	s.alike(30)
	r := s.report(0)
	contributors := map[string]bool{}
	for _, row := range r.Rows {
		for _, c := range row.Contributors {
			contributors[string(c.ID)] = true
		}
	}
	if len(contributors) != 4 {
		t.Errorf("%d agents contributed in some round, want all 4", len(contributors))
	}
	last := r.Rows[len(r.Rows)-1]
	if len(last.Contributors) != 4 {
		t.Errorf("%d contributors to the last round, want 4: %+v missing", len(last.Contributors), last.Missing)
	}
}

// An agent told to stop keeps its work, and goes on from there. The run is much longer than a slow machine takes to stop it:
// the other ends with the last round, and then there would be nothing to come back to.
func TestLeaveAndResume(t *testing.T) {
	t.Parallel()
	const rounds = 30
	s := newShelf(t, 2, small+"rounds: {count: 30, steps: 40, expect: 2, min_members: 2, gather: 1s}\n")
	s.startAll()
	s.until("a round is at work", 30*time.Second, func() bool { st, ok := s.status(1); return ok && st.Round >= 2 && st.Step > 5 })
	if err := s.agents[1].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.wait(1, 20*time.Second)
	if log := s.agents[1].out.String(); !strings.Contains(log, `"event":"leaving"`) {
		t.Error("no word of leaving in the log")
	}
	s.until("the other sees it leave", 10*time.Second, func() bool {
		st, ok := s.status(0)
		for _, m := range st.Members {
			if m.Name == s.name(1) && m.State == "left" {
				return true
			}
		}
		return !ok
	})
	s.start(1, "")
	for i := range s.agents {
		s.wait(i, 60*time.Second)
	}
	s.alike(rounds)
}

// Agents with no key, another key, another configuration or no signed identity get in nowhere, and the members go on.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 6, small+"rounds: {count: 3, steps: 30, expect: 3, form: 10m, gather: 1s}\n")
	s.start(0, "")
	s.start(1, "")
	s.until("two wait for a third", 30*time.Second, func() bool { st, ok := s.status(0); return ok && alive(st) == 2 })

	other := filepath.Join(s.dir, "other.key")
	key, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(other, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	member, _ := s.status(0)
	s.stranger(2, other, "cluster key")
	s.stranger(3, filepath.Join(s.dir, "absent.key"), "shoal keygen")
	s.unsigned(member)
	s.knock(member)
	if st, ok := s.status(0); !ok || alive(st) != 2 {
		t.Errorf("%d members alive before the third, want 2: %+v", alive(st), st.Members)
	}
	right := s.common
	s.common = strings.Replace(right, "width: 0.1", "width: 0.2", 1)
	s.start(4, "")
	s.common = right
	select {
	case <-s.agents[4].done:
	case <-time.After(20 * time.Second):
		t.Errorf("an agent of another configuration still runs")
	}
	if out := s.agents[4].out.String(); !strings.Contains(out, "learner.width") {
		t.Errorf("an agent of another configuration is not told which field differs: %s", tail(out, 3))
	}
	s.start(5, "")
	for _, i := range []int{0, 1, 5} {
		s.wait(i, 40*time.Second)
		for _, row := range s.report(i).Rows {
			if len(row.Contributors) != 3 || len(row.Missing) != 0 {
				t.Errorf("%s round %d: contributors %v, missing %v", s.name(i), row.Round, row.Contributors, row.Missing)
			}
		}
	}
	s.agents = s.agents[:2]
	s.alike(3)
}

// alive counts the members that are alive in the agent's view, its own among them.
func alive(st agent.Status) int {
	n := 0
	for _, m := range st.Members {
		if m.State == "alive" {
			n++
		}
	}
	return n
}

// stranger starts agent i with another key file and expects it to end with an error that says want.
func (s *shelf) stranger(i int, key, want string) {
	s.t.Helper()
	s.keys[i] = key
	p := s.start(i, "")
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		s.t.Errorf("%s still runs", s.name(i))
	}
	if out := p.out.String(); p.err == nil || !strings.Contains(out, want) {
		s.t.Errorf("%s ended with %v and does not say %q: %s", s.name(i), p.err, want, tail(out, 3))
	}
}

// unsigned joins membership with the right key, but with a record that nobody signed: the member must not list it.
func (s *shelf) unsigned(member agent.Status) {
	s.t.Helper()
	keys, err := gossip.ReadKeys(s.key())
	if err != nil {
		s.t.Fatal(err)
	}
	var log output
	self := gossip.Node{ID: "12D3KooWunsigned", Name: "unsigned", Record: []byte("signed by nobody")}
	cfg := gossip.Config{Listen: "127.0.0.1:0", Seeds: []string{member.Gossip}}
	g, err := gossip.Start(s.t.Context(), cfg, gossip.Setup{Self: self, Keys: keys, Admit: func(string, []byte) error { return nil }, Log: &log})
	if err != nil {
		s.t.Fatal(err)
	}
	defer g.Close()
	s.until("the member refuses it", 10*time.Second, func() bool { return strings.Contains(s.agents[0].out.String(), "12D3KooWunsigned") })
	if st, ok := s.status(0); !ok || alive(st) != 2 {
		s.t.Errorf("%d members alive beside one without a signature, want 2: %+v", alive(st), st.Members)
	}
}

// knock opens a libp2p connection to a member from a host that is no member: it must be closed.
func (s *shelf) knock(member agent.Status) {
	s.t.Helper()
	target, err := peer.Decode(member.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	host, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		s.t.Fatal(err)
	}
	defer host.Close()
	addr, err := ma.NewMultiaddr(member.Streams[0])
	if err != nil {
		s.t.Fatal(err)
	}
	err = host.Connect(s.t.Context(), peer.AddrInfo{ID: target, Addrs: []ma.Multiaddr{addr}})
	if err != nil {
		return
	}
	s.until("the member hangs up", 5*time.Second, func() bool { return len(host.Network().ConnsToPeer(target)) == 0 })
}
