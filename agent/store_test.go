package agent

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/eval"
	"shoal/gossip/roster"
)

func hashLike(digit string) string { return strings.Repeat(digit, 64) }

func TestPruneKeepsTheNewestAndTheNeeded(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	for i, digit := range []string{"1", "2", "3", "4", "5"} {
		path := s.statePath(hashLike(digit))
		at := time.Unix(int64(1000+i), 0)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.prune(2, hashLike("1"), hashLike("9")); err != nil {
		t.Fatal(err)
	}
	for digit, want := range map[string]bool{"1": true, "2": false, "3": false, "4": true, "5": true} {
		if got := s.has(hashLike(digit)); got != want {
			t.Errorf("state %s… is there: %v, want %v", digit, got, want)
		}
	}
	if s.has("../identity") || s.has("") {
		t.Error("a name that is no hash is a state")
	}
}

// A relaxed store writes a state over one that it dropped, longer or shorter, and never over one that is kept.
func TestStatesAreWrittenOverDroppedOnes(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	if err := s.settle(true, "boot"); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"first", "the second is longer", "3rd", "", "the fifth"} {
		hash := hashLike(string(rune('a' + i)))
		err := s.replaceState(stateName(hash), func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
		if err == nil {
			err = os.Chtimes(s.statePath(hash), time.Time{}, time.Unix(int64(1000+i), 0))
		}
		if err = errors.Join(err, s.prune(1)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(s.statePath(hash)); err != nil || string(got) != text {
			t.Errorf("state %d holds %q, %v", i, got, err)
		}
		if i > 0 && (s.has(hashLike(string(rune('a'+i-1)))) || !s.exists(recycled)) {
			t.Errorf("state %d: the one before is still there, or nothing of it", i)
		}
	}
	s.recycling.Lock() // a write is at work
	if err := s.drop(s.statePath(hashLike("e"))); err != nil || s.has(hashLike("e")) {
		t.Errorf("while one is written another cannot be dropped: %v", err)
	}
	s.recycling.Unlock()
	failed := errors.New("disk is full")
	if err := s.replaceState(stateName(hashLike("f")), func(io.Writer) error { return failed }); !errors.Is(err, failed) || s.has(hashLike("f")) {
		t.Errorf("a state that could not be written: %v", err)
	}
}

// A crash leaves halves behind. The next start removes them, and nothing else.
func TestOpenStoreRemovesHalves(t *testing.T) {
	dir := t.TempDir()
	halves := []string{incoming + hashLike("1") + stateSuffix, ".checkpoint-" + hashLike("2") + stateSuffix + "123", ".stable.json99"}
	whole := []string{"checkpoint-" + hashLike("1") + stateSuffix, stableFile, localFile, "identity.key", "journal.jsonl"}
	for _, name := range append(halves, whole...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openTestStore(t, dir)
	for _, name := range halves {
		if s.exists(name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range whole {
		if !s.exists(name) {
			t.Errorf("%s is gone", name)
		}
	}
	if err := errors.Join(s.remove(localFile), s.remove(localFile)); err != nil || s.exists(localFile) {
		t.Errorf("remove twice: %v", err)
	}
	if _, err := openStore(dir); !errors.Is(err, ErrBusy) {
		t.Errorf("a second agent in the same directory: %v", err)
	}
}

func openTestStore(t *testing.T, dir string) *store {
	t.Helper()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func FuzzStable(f *testing.F) {
	f.Add([]byte(`{"next":1,"last":{"round":0,"hash":"x","roster":{"generation":1,"members":["a"]}}}`))
	f.Add([]byte(`{"prepared":null}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &store{dir: t.TempDir()}
		if err := os.WriteFile(s.path(stableFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := s.stable()
		if err != nil {
			if !errors.Is(err, ErrState) {
				t.Errorf("%v is no ErrState", err)
			}
			return
		}
		if err := s.keepStable(st); err != nil {
			t.Errorf("what was read cannot be kept: %v", err)
		}
	})
}

// A page that goes with a request fits in a message however long the run was, and has the newest rounds.
func TestLastPageFits(t *testing.T) {
	journal, _, err := eval.OpenJournal(filepath.Join(t.TempDir(), "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	const rounds = 150
	var commits []eval.Commit
	for round := 1; round <= rounds; round++ {
		c := eval.Commit{Round: round, Lineage: "x", StateHash: "h", Agent: "a"}
		for range 200 {
			c.Roster = append(c.Roster, roster.ID(strings.Repeat("m", 52)))
		}
		commits = append(commits, c)
	}
	if err := journal.Merge(commits, nil); err != nil {
		t.Fatal(err)
	}
	a := &Agent{journal: journal}
	p := a.lastPage(rounds)
	b, err := encode(p)
	if n := len(p.Commits); err != nil || n == 0 || n == rounds || p.Commits[n-1].Round != rounds || len(b) > 2*maxPageBytes {
		t.Errorf("%d of %d rounds in %d bytes: %v", n, rounds, len(b), err)
	}
	if p := a.lastPage(rounds); len(p.Commits)+p.Commits[0].Round != rounds+1 {
		t.Errorf("%d rounds from %d on: some are left out", len(p.Commits), p.Commits[0].Round)
	}
}

// A long record is caught up with in pages of a bounded size.
func TestJournalComesInPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	full, _, err := eval.OpenJournal(filepath.Join(dir, "full.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	behind, _, err := eval.OpenJournal(filepath.Join(dir, "behind.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	const rounds = 2000
	var commits []eval.Commit
	for round := 1; round <= rounds; round++ {
		commits = append(commits, eval.Commit{Round: round, Lineage: "x", StateHash: "h", Agent: "a", Roster: []roster.ID{roster.ID(strings.Repeat("m", 1000))}})
	}
	if err := errors.Join(full.Merge(commits, nil), behind.Merge(commits[:500], nil)); err != nil {
		t.Fatal(err)
	}
	a := &Agent{journal: full}
	ask := pageRequest{From: 1, Digests: behind.Digests()}
	pages, most := 0, 0
	for ask.From > 0 {
		request, err := json.Marshal(ask)
		if err != nil {
			t.Fatal(err)
		}
		body, err := a.serveJournal("b", request)
		if err != nil {
			t.Fatal(err)
		}
		var p page
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatal(err)
		}
		if err := behind.Merge(p.Commits, p.Scores); err != nil {
			t.Fatal(err)
		}
		if p.Next > 0 && p.Next <= ask.From {
			t.Fatalf("page from round %d is followed by one from round %d", ask.From, p.Next)
		}
		ask.From = p.Next
		pages, most = pages+1, max(most, len(body))
	}
	if got, err := behind.Commits(); err != nil || len(got) != rounds {
		t.Errorf("%d rounds of %d: %v", len(got), rounds, err)
	}
	if pages < 2 || most > 3*maxPageBytes/2 {
		t.Errorf("%d pages, of up to %d bytes", pages, most)
	}
	if _, err := a.serveJournal("b", []byte(`{"from":"x"}`)); err == nil {
		t.Error("a request that is none passed")
	}
}

// FuzzServeJournal: whatever a peer asks or brings, the journal stays one that opens, and an answer has an end.
func FuzzServeJournal(f *testing.F) {
	good := eval.Commit{Round: 1, Lineage: "x", StateHash: "h", Agent: "b"}
	for _, ask := range []pageRequest{
		{From: 1, Digests: map[int]uint64{0: 7, 3: 1 << 63}},
		{From: -1, Page: &page{Commits: []eval.Commit{good}, Scores: []eval.Score{{Round: 1, Lineage: "x", StateHash: "h", Evaluator: "b"}}}},
		{From: 1 << 40, Page: &page{Commits: []eval.Commit{{}}, Next: 9}},
	} {
		text, err := json.Marshal(ask)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		path := filepath.Join(t.TempDir(), "journal.jsonl")
		journal, _, err := eval.OpenJournal(path)
		if err == nil {
			err = journal.AppendCommit(eval.Commit{Round: 200, Lineage: "x", StateHash: "h", Agent: "a"})
		}
		if err != nil {
			t.Fatal(err)
		}
		journal.Relax()
		a := &Agent{journal: journal, events: make(chan any, 1)}
		if answer, err := a.serveJournal("b", body); err == nil {
			var p page
			if err := json.Unmarshal(answer, &p); err != nil || p.Next != 0 || len(p.Commits) > 1 {
				t.Errorf("answer %s: %v", answer, err)
			}
		}
		select {
		case e := <-a.events:
			a.merge(e.(lines))
		default:
		}
		if err := journal.Close(); err != nil {
			t.Fatal(err)
		}
		again, dropped, err := eval.OpenJournal(path)
		if err != nil || dropped != 0 {
			t.Fatalf("%d bytes dropped: %v", dropped, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
