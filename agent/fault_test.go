package agent_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/gossip/roster"
)

// Members divide an evaluation, and all of them do their part.
func TestEvaluationIsShared(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 3, strings.Replace(small, "test_limit: 60", "test_limit: 600", 1)+"rounds: {count: 3, steps: 2, expect: 3, min_members: 3}\n")
	s.startAll()
	shared := false
	for i := range s.agents {
		s.wait(i, 60*time.Second)
	}
	for i := range s.agents {
		log := s.agents[i].out.String()
		shared = shared || strings.Contains(log, `"event":"evaluation_begun"`) && strings.Contains(log, `"helpers":2`)
		if strings.Contains(log, `"event":"part_not_scored"`) {
			t.Errorf("%s did parts that others were asked for: %s", s.name(i), log)
		}
	}
	if !shared {
		t.Error("no evaluator had two helpers")
	}
}

// The evaluator dies at its work, or one who helps: the round gets its score all the same.
func TestEvaluatorIsKilled(t *testing.T) { killWhileEvaluating(t, 0) }

func TestHelperIsKilled(t *testing.T) { killWhileEvaluating(t, 1) }

// killWhileEvaluating kills the agent that is so many after the evaluator.
func killWhileEvaluating(t *testing.T, after int) {
	t.Parallel()
	s := newShelf(t, 3, strings.Replace(small, "test_limit: 60", "test_limit: 6000", 1)+"rounds: {count: 1, steps: 2, expect: 3, min_members: 3}\n")
	s.startAll()
	victim := -1
	s.until("somebody evaluates", 60*time.Second, func() bool {
		for i := range s.agents {
			if st, ok := s.status(i); ok && st.Role == "evaluator" {
				victim = (i + after) % len(s.agents)
				return true
			}
		}
		return false
	})
	s.agents[victim].kill()
	for i := range s.agents {
		if i == victim {
			continue
		}
		s.wait(i, 60*time.Second)
		if r := s.report(i); r.TestAccuracy == nil {
			t.Errorf("%s knows no score of the round", s.name(i))
		}
	}
}

// A checkpoint that was cut short is fetched again from the others.
func TestDamagedCheckpointIsFetched(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 3, small+"rounds: {count: 6, steps: 10, expect: 3, min_members: 3, gather: 1s}\n")
	s.startAll()
	s.until("round 3 begins", 60*time.Second, func() bool { st, ok := s.status(1); return ok && st.Round >= 3 })
	s.agents[1].kill()
	s.damageCheckpoint(1)
	s.start(1, "")
	for i := range s.agents {
		s.wait(i, 60*time.Second)
	}
	s.alike(6)
	log := s.agents[1].out.String()
	if !strings.Contains(log, `"event":"state_damaged"`) {
		t.Error("no word of the damage in the log")
	}
	if _, after, _ := strings.Cut(log, `"event":"state_damaged"`); !strings.Contains(after, `"event":"state_restored"`) && !strings.Contains(after, `"took_part":false`) {
		t.Error("it neither got the state back nor caught up")
	}
}

// What an agent finds in its state directory when it starts again: it goes on where that is safe, and else says what is
// wrong and what to do.
func TestDamagedStateDirectory(t *testing.T) {
	t.Parallel()
	const rounds = 30
	s := newShelf(t, 1, small+"rounds: {count: 30, steps: 20, expect: 1, form: 1s}\n")
	s.start(0, "")
	s.until("round 3 begins", 60*time.Second, func() bool { st, ok := s.status(0); return ok && st.Round >= 3 })
	s.agents[0].kill()
	path := filepath.Join(s.home(0), "stable.json")
	stable, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	s.write(path, stable[:len(stable)/2])
	s.refuses(0, "stable.json", "move the state directory away")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.refuses(0, "stable.json", "is missing")
	s.write(path, stable)

	journal := filepath.Join(s.home(0), "journal.jsonl")
	lines, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	s.write(journal, lines[:len(lines)-10])
	s.start(0, "")
	s.until("it goes on", 30*time.Second, func() bool { st, ok := s.status(0); return ok && st.Round >= 5 })
	s.agents[0].kill()
	if log := s.agents[0].out.String(); !strings.Contains(log, `"event":"journal_repaired"`) {
		t.Error("no word of the torn journal in the log")
	}

	whole := s.damageCheckpoint(0)
	s.refuses(0, "truncated", "no member here has this state")
	s.write(s.checkpoint(0), whole)
	s.start(0, "")
	s.wait(0, 60*time.Second)
	s.alike(rounds)
}

// refuses expects agent i to end with an error that says all of want.
func (s *shelf) refuses(i int, want ...string) {
	s.t.Helper()
	p := s.start(i, "")
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		s.t.Fatalf("%s still runs", s.name(i))
	}
	last := tail(p.out.String(), 1)
	for _, w := range want {
		if p.err == nil || !strings.Contains(last, w) {
			s.t.Errorf("%s ended with %v and does not say %q: %s", s.name(i), p.err, w, last)
		}
	}
}

// damageCheckpoint cuts the last checkpoint of agent i short, and returns what it was.
func (s *shelf) damageCheckpoint(i int) []byte {
	s.t.Helper()
	path := s.checkpoint(i)
	whole, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(path, whole[:len(whole)/2])
	return whole
}

// checkpoint is the file of agent i's last committed state.
func (s *shelf) checkpoint(i int) string {
	s.t.Helper()
	var st roster.Stable
	b, err := os.ReadFile(filepath.Join(s.home(i), "stable.json"))
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return filepath.Join(s.home(i), fmt.Sprintf("checkpoint-%s.safetensors", st.Last.Hash))
}

func (s *shelf) write(path string, b []byte) {
	s.t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Every way of averaging ends with one model, with everybody's work in every round.
func TestWaysOfAveraging(t *testing.T) {
	for name, averaging := range map[string]string{
		"ring":    "plan: ring, momentum: true",
		"tree":    "plan: tree, outer: {kind: nesterov, rate: 0.7, momentum: 0.9}",
		"star":    "plan: star, momentum: true, outer: {kind: slowmo, rate: 1, momentum: 0.5}",
		"delayed": "plan: ring, delayed: true, momentum: true",
		"half":    "plan: tree, wire: fp16",
		"int8":    "plan: ring, wire: int8, momentum: true",
		"median":  "plan: mesh, combine: median, delayed: true, wire: int8",
		"beside":  "plan: ring, delayed: true, bound: 0, outer: {kind: nesterov, rate: 0.7, momentum: 0.9}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t, 3, small+fmt.Sprintf("rounds: {count: 3, steps: 4, expect: 3, min_members: 3}\naveraging: {%s}\n", averaging))
			s.startAll()
			for i := range s.agents {
				s.wait(i, 60*time.Second)
			}
			s.alike(3)
			for _, row := range s.report(0).Rows {
				if len(row.Contributors) != 3 {
					t.Errorf("round %d: contributors %v, missing %v", row.Round, row.Contributors, row.Missing)
				}
			}
		})
	}
}

// Where plans are chosen, members measure their ways, the coordinators choose by them, and the record says what; three
// agents of one machine are one node.
func TestChosenPlans(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 3, small+"rounds: {count: 40, steps: 30, expect: 3, min_members: 3}\naveraging: {plan: auto}\n")
	s.startAll()
	for i := range s.agents {
		s.wait(i, 90*time.Second)
	}
	s.alike(40)
	for _, event := range []string{"way_measured", "plan_chosen"} {
		if !strings.Contains(s.agents[0].out.String(), `"event":"`+event) {
			t.Errorf("no word of %s in the log", event)
		}
	}
	journal, err := os.ReadFile(filepath.Join(s.home(0), "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(journal), `"chosen":"{\"plan\":`) {
		t.Error("no round was averaged by a plan that its coordinator chose")
	}
}

// An agent told to stop while it evaluates does not finish that first.
func TestLeaveWhileEvaluating(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 1, strings.Replace(small, "test_limit: 60", "test_limit: 10000", 1)+"rounds: {count: 1, steps: 2, expect: 1}\n")
	s.start(0, "")
	s.until("it evaluates", 60*time.Second, func() bool { st, ok := s.status(0); return ok && st.Role == "evaluator" })
	if err := s.agents[0].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.wait(0, 20*time.Second)
	if r := s.report(0); len(r.Rows) != 1 || r.TestAccuracy != nil {
		t.Errorf("it reports %d rounds and the score %v, want one round and none", len(r.Rows), r.TestAccuracy)
	}
}

// Agents whose local steps lead nowhere, round after round, say so and end together, with what to do; the last good state
// stays.
func TestDivergedRunEnds(t *testing.T) {
	t.Parallel()
	common := strings.Replace(small, "rate: 0.01", "rate: 100, weight_decay: 0.9", 1) + "rounds: {count: 1000, steps: 30, expect: 3, min_members: 2}\n"
	s := newShelf(t, 3, common)
	s.startAll()
	for i, p := range s.agents {
		select {
		case <-p.done:
		case <-time.After(60 * time.Second):
			t.Fatalf("%s trains on", s.name(i))
		}
		log := p.out.String()
		if p.err == nil || !strings.Contains(tail(log, 1), "diverged: in rounds 1 to 3") || !strings.Contains(tail(log, 1), "lower learner.sgd.rate") {
			t.Errorf("%s ended with %v: %s", s.name(i), p.err, tail(log, 1))
		}
		if n := strings.Count(log, `"event":"round_diverged"`); n != 3 {
			t.Errorf("%s says %d times that a round diverged, want 3", s.name(i), n)
		}
		last := s.report(i).Rows
		if len(last) != 3 || len(last[2].Contributors) != 0 || len(last[2].Missing) != 3 || !strings.Contains(last[2].Missing[0].Reason, "finite") {
			t.Errorf("the report of %s says %+v", s.name(i), last)
		}
	}
}
