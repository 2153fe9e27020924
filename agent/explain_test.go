package agent

import (
	"path/filepath"
	"strings"
	"testing"

	"shoal/eval"
	"shoal/gossip/roster"
)

// told is an agent called a with a journal of rounds 2 to 4, the last on two lineages.
func told(t *testing.T) *Agent {
	t.Helper()
	j, _, err := eval.OpenJournal(filepath.Join(t.TempDir(), "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	a := &Agent{journal: j}
	a.shown.status = Status{ID: "a", Name: "pi-1", Lineage: "main", Phase: "train", Members: []MemberStatus{{ID: "b", Name: "pi-2"}}}
	a.shown.own = eval.AgentSummary{ID: "a", Name: "pi-1"}
	for _, c := range []eval.Commit{
		{Round: 2, Lineage: "main", StateHash: "h2", Agent: "b", Attempts: 1},
		{Round: 3, Lineage: "main", StateHash: "h3", Agent: "a", Attempts: 2, Missing: []eval.Absence{{ID: "b", Reason: "unreachable"}}},
		{Round: 4, Lineage: "aside", StateHash: "x4", Agent: "b", Attempts: 1},
		{Round: 4, Lineage: "main", StateHash: "h4", Agent: "a"},
	} {
		if err := j.AppendCommit(c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.AppendScore(eval.Score{Round: 3, Lineage: "main", StateHash: "h3", Evaluator: "b", TestAccuracy: 0.5}); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestExplain(t *testing.T) {
	t.Parallel()
	a := told(t)
	for text, want := range map[string]struct {
		round    int
		lineages string
		unknown  string // of the first account
		scored   bool
	}{
		"2":    {2, "main", "those of b", false},
		"3":    {3, "main", "", true},
		"4":    {4, "main aside", "fetched the state", false},
		"last": {4, "main aside", "fetched the state", false},
	} {
		e, err := a.explain(text)
		if err != nil {
			t.Fatal(err)
		}
		var lineages []string
		for _, account := range e.Accounts {
			lineages = append(lineages, account.Commit.Lineage)
		}
		first := e.Accounts[0]
		if e.Round != want.round || strings.Join(lineages, " ") != want.lineages || !first.Current || (first.Score != nil) != want.scored {
			t.Errorf("%s: %+v", text, e)
		}
		if got := strings.Join(first.Unknown, "; "); !strings.Contains(got, want.unknown) || want.unknown == "" && got != "" {
			t.Errorf("%s: unknown is %q, want %q in it", text, got, want.unknown)
		}
		if e.Names["a"] != "pi-1" || e.Names["b"] != "pi-2" {
			t.Errorf("names %v", e.Names)
		}
	}
	for text, want := range map[string]string{
		"1": "rounds 2 to 4", "5": "rounds 2 to 4", "first": `"first" is no round`, "-1": "rounds 2 to 4", "": `"" is no round`,
	} {
		if e, err := a.explain(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", text, e, err, want)
		}
	}
	a.journal, _, _ = eval.OpenJournal(filepath.Join(t.TempDir(), "empty.jsonl"))
	defer a.journal.Close()
	if _, err := a.explain("last"); err == nil || !strings.Contains(err.Error(), "no round is committed yet") {
		t.Errorf("before the first round: %v", err)
	}
}

func TestClusterTellsOfTheLastRound(t *testing.T) {
	t.Parallel()
	a := told(t)
	a.shown.status.Members = append(a.shown.status.Members, MemberStatus{ID: "a", Name: "pi-1"}, MemberStatus{ID: "c", Name: "pi-0"})
	a.shown.hear(roster.ID("b"), Progress{ID: "b", Round: 4}, a.started)
	c := a.cluster(a.started)
	if c.Last == nil || c.Last.Round != 4 || len(c.Scores) != 1 || c.Scores[0].Round != 3 {
		t.Errorf("last %+v, scores %+v", c.Last, c.Scores)
	}
	var names []string
	for _, m := range c.Members {
		names = append(names, m.Name)
		if m.Self != (m.ID == "a") || (m.Progress == nil) != (m.ID == "c") || (m.SecondsSince == nil) != (m.ID == "c") {
			t.Errorf("member %+v", m)
		}
	}
	if strings.Join(names, " ") != "pi-0 pi-1 pi-2" {
		t.Errorf("members %v, want them by name", names)
	}
}

func TestLastScores(t *testing.T) {
	t.Parallel()
	var scores []eval.Score
	for _, round := range []int{3, 1, 2, 2, 5} {
		scores = append(scores, eval.Score{Round: round})
	}
	got := lastScores(scores, 3)
	if len(got) != 3 || got[0].Round != 2 || got[2].Round != 5 || len(lastScores(nil, 3)) != 0 {
		t.Errorf("%+v", got)
	}
}
