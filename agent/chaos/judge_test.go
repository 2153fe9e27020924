package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/eval"
	"shoal/gossip/roster"
)

// history is what agents a and b leave of a run of three rounds in which nothing went wrong.
func history() []Ledger {
	var all []Ledger
	for _, name := range []string{"a", "b"} {
		l := Ledger{Name: name, Last: roster.Record{Round: 3, Hash: "h3", Lineage: "x", Samples: map[roster.ID]int64{"a": 30, "b": 20}}}
		for round := 1; round <= 3; round++ {
			c := eval.Commit{Round: round, Lineage: "x", StateHash: fmt.Sprintf("h%d", round), Contributors: []eval.Contribution{{ID: "a", Samples: 10}}}
			if round == 2 {
				c.Missing = []eval.Absence{{ID: "b", Reason: "deadline"}}
			} else {
				c.Contributors = append(c.Contributors, eval.Contribution{ID: "b", Samples: 10})
			}
			l.Commits = append(l.Commits, c)
		}
		all = append(all, l)
	}
	return all
}

// A judge that finds nothing wrong with a good run, and each fault in a bad one.
func TestJudge(t *testing.T) {
	if err := Judge(3, history()...); err != nil {
		t.Fatalf("nothing is wrong, and yet: %v", err)
	}
	for _, c := range []struct {
		want  string
		spoil func(l []Ledger)
	}{
		{"lineage x is h2", func(l []Ledger) { l[1].Commits[1].StateHash = "other" }},
		{"no reason why b", func(l []Ledger) { l[0].Commits[1].Missing[0].Reason = "" }},
		{"does not know of round 2", func(l []Ledger) { l[1].Commits = slices.Delete(l[1].Commits, 1, 2) }},
		{"ended with state h9", func(l []Ledger) { l[1].Last.Hash = "h9" }},
		{"round 2 of 3", func(l []Ledger) { l[1].Last.Round = 2 }},
		{"29 samples of a", func(l []Ledger) { l[0].Last.Samples = map[roster.ID]int64{"a": 29, "b": 20} }},
		{"its contributions are 10", func(l []Ledger) { l[0].Commits[0].Contributors = l[0].Commits[0].Contributors[:1] }},
	} {
		bad := history()
		c.spoil(bad)
		if err := Judge(3, bad...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %q, got: %v", c.want, err)
		}
	}
}

// After a partition the rounds of the side that gave way do not count, and are no forks.
func TestJudgeKnowsTwoLineages(t *testing.T) {
	l := history()
	for i := range l {
		aside := l[i].Commits[2]
		aside.Lineage, aside.StateHash = "aside", "g3"
		l[i].Commits = append(l[i].Commits, aside)
	}
	if err := Judge(3, l...); err != nil {
		t.Error(err)
	}
	if got := Lineages(l...); !slices.Equal(got, []string{"x", "aside"}) {
		t.Errorf("lineages %q", got)
	}
}

func TestShrunk(t *testing.T) {
	record := func(lineage string, round uint64, a, b int64) roster.Record {
		return roster.Record{Hash: "h", Lineage: lineage, Round: round, Samples: map[roster.ID]int64{"a": a, "b": b}}
	}
	for _, c := range []struct {
		name          string
		before, after roster.Record
		ok            bool
	}{
		{"nothing yet", roster.Record{}, record("x", 1, 1, 1), true},
		{"the same", record("x", 1, 1, 1), record("x", 1, 1, 1), true},
		{"on", record("x", 1, 1, 1), record("x", 2, 5, 1), true},
		{"back", record("x", 2, 1, 1), record("x", 1, 1, 1), false},
		{"one lost samples", record("x", 1, 5, 1), record("x", 2, 4, 9), false},
		{"to a lineage with more", record("x", 5, 5, 1), record("y", 4, 1, 9), true},
		{"to a lineage with less", record("x", 5, 5, 1), record("y", 9, 1, 4), false},
	} {
		if err := Shrunk(c.before, c.after); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Whatever Tear does, the journal opens, and at most the last line is gone.
func TestTearLeavesWhatWasOnTheDisk(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(40) {
		rng, dir := rand.New(rand.NewPCG(seed, 0)), t.TempDir()
		var text []byte
		for _, c := range history()[0].Commits {
			c.Agent = "a"
			b, err := json.Marshal(map[string]eval.Commit{"commit": c})
			if err != nil {
				t.Fatal(err)
			}
			text = append(append(text, b...), '\n')
		}
		for name, b := range map[string][]byte{"journal.jsonl": text, "stable.json": []byte(`{"next":3}`), "http.addr": []byte("x")} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		done, err := Tear(dir, rng)
		if err != nil {
			t.Fatal(err)
		}
		seen[done[0]] = true
		j, _, err := eval.OpenJournal(filepath.Join(dir, "journal.jsonl"))
		if err != nil {
			t.Fatalf("%q: %v", done, err)
		}
		if commits, err := j.Commits(); err != nil || len(commits) < 2 || len(commits) > 3 {
			t.Errorf("%q leave %d of 3 lines: %v", done, len(commits), err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "stable.json")); err != nil || string(b) != `{"next":3}` {
			t.Errorf("stable.json, which was synced, is %q: %v", b, err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(seen) != 4 {
		t.Errorf("did %v, want four things", seen)
	}
}
