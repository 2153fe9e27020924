package eval

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"shoal/gossip/roster"
)

func commitOf(lineage string, round int, agent roster.ID) Commit {
	return Commit{
		Round: round, Lineage: lineage, Generation: 1, Ballot: "1.1@a", Roster: []roster.ID{"a", "b"},
		Contributors: []Contribution{{ID: "a", Samples: 100, Norm: 1.5}, {ID: "b", Samples: 50, Norm: 9, Scale: new(0.5)}}, Missing: []Absence{{"c", "deadline"}},
		StateHash: fmt.Sprintf("%s-%d", lineage, round), Plan: "ring", Attempts: 1, TrainLoss: 2.5, TrainRight: 0.25, Images: 100,
		Sent: 1000, Received: 2000, Seconds: PhaseSeconds{Train: 2, Wait: 0.5, Average: 0.25, Evaluate: 1}, Agent: agent,
		Time: "2026-01-02T03:04:05Z",
	}
}

func scoreOf(lineage string, round int, evaluator roster.ID) Score {
	return Score{
		Round: round, Lineage: lineage, StateHash: fmt.Sprintf("%s-%d", lineage, round), Evaluator: evaluator,
		TestAccuracy: float64(round) / 10, TestLoss: 3 - float64(round)/10, Images: 1000, Reestimated: 20, Seconds: 1,
		Time: "2026-01-02T03:05:00Z",
	}
}

func open(t testing.TB, path string, wantDropped int64) *Journal {
	t.Helper()
	j, dropped, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if dropped != wantDropped {
		t.Errorf("dropped %d bytes, want %d", dropped, wantDropped)
	}
	t.Cleanup(func() { _ = j.Close() }) // the second close of some tests
	return j
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// held is what a journal holds of rounds.
func held(t testing.TB, j *Journal) []Commit {
	t.Helper()
	commits, err := j.Commits()
	must(t, err)
	return commits
}

func TestJournalIsThereAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	j := open(t, path, 0)
	for round := 1; round <= 3; round++ {
		must(t, j.AppendCommit(commitOf("x", round, "a")))
		known, err := j.AppendScore(scoreOf("x", round, "b"))
		if known || err != nil {
			t.Fatal(known, err)
		}
	}
	if known, err := j.AppendScore(scoreOf("x", 2, "b")); !known || err != nil {
		t.Errorf("the same score again: %v, %v", known, err)
	}
	commits, scores, err := j.Since(1)
	must(t, err)
	if len(commits) != 2 || len(scores) != 2 || commits[0].Round != 2 || scores[1].Round != 3 {
		t.Errorf("since round 1: %v, %v", commits, scores)
	}
	before, err := os.ReadFile(path)
	must(t, err)
	if n := bytes.Count(before, []byte("\n")); n != 6 || !bytes.HasPrefix(before, []byte(`{"commit":{"round":1,`)) {
		t.Errorf("%d lines: %s", n, before)
	}
	commits = held(t, j)
	must(t, j.Close())
	again := open(t, path, 0)
	if !reflect.DeepEqual(held(t, again), commits) || !reflect.DeepEqual(again.Scores(), j.Scores()) {
		t.Errorf("got %v, %v", held(t, again), again.Scores())
	}
}

// What is asked of single rounds is read from the file, and a file that is not what it was is told of.
func TestJournalFindsRounds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	j := open(t, path, 0)
	if _, _, ok := j.Span(); ok || j.Wrote("a") {
		t.Error("an empty journal has rounds")
	}
	must(t, j.Merge([]Commit{commitOf("x", 2, "peer"), commitOf("y", 3, "peer"), commitOf("x", 5, "peer")}, nil))
	must(t, j.AppendCommit(commitOf("x", 3, "a")))
	must(t, j.AppendCommit(commitOf("x", 5, "a")))
	for range 2 {
		if first, last, ok := j.Span(); first != 2 || last != 5 || !ok {
			t.Errorf("span %d to %d, %v", first, last, ok)
		}
		if both, err := j.Round(3); err != nil || len(both) != 2 || both[0].Lineage != "y" || both[1].Lineage != "x" {
			t.Errorf("round 3: %v, %v", both, err)
		}
		if none, err := j.Round(4); err != nil || len(none) != 0 {
			t.Errorf("round 4: %v, %v", none, err)
		}
		for lineage, want := range map[string]Commit{"x": commitOf("x", 5, "a"), "y": commitOf("y", 3, "peer")} {
			if c, ok, err := j.Last(lineage); err != nil || !ok || !reflect.DeepEqual(c, want) {
				t.Errorf("last of %s: %v, %v, %v", lineage, c, ok, err)
			}
		}
		if _, ok, err := j.Last("z"); ok || err != nil {
			t.Errorf("last of z: %v, %v", ok, err)
		}
		if !j.Wrote("a") || !j.Wrote("peer") || j.Wrote("b") {
			t.Error("it does not know who wrote")
		}
		must(t, j.Close())
		j = open(t, path, 0)
	}
	must(t, os.Truncate(path, 10))
	if _, err := j.Round(2); err == nil || !strings.Contains(err.Error(), "round 2 at byte 0 of "+path) {
		t.Errorf("a file that was cut: %v", err)
	}
}

// Two journals that give each other what the other lacks, page by page, hold the same in the end, and what both hold of a
// block costs nothing.
func TestJournalsTellEachOtherWhatTheyLack(t *testing.T) {
	one, two := open(t, filepath.Join(t.TempDir(), "one"), 0), open(t, filepath.Join(t.TempDir(), "two"), 0)
	const rounds = 5 * blockRounds
	for round := 1; round <= rounds; round++ {
		both := []Commit{commitOf("x", round, "a")}
		switch {
		case blockOf(round) == 1 && round%2 == 0: // each has half of the block
			must(t, one.Merge(both, nil))
		case blockOf(round) == 1:
			must(t, two.Merge(both, nil))
		case blockOf(round) == 3: // and another side of a partition
			must(t, one.Merge(both, nil))
			must(t, two.Merge(append(both, commitOf("y", round, "b")), nil))
		default:
			must(t, one.Merge(both, nil))
			must(t, two.Merge(both, nil))
		}
	}
	last := scoreOf("x", 1, "b")
	last.Round = rounds
	must(t, two.Merge(nil, []Score{last}))
	give := func(from, to *Journal, bytes int) (pages, lines int) {
		digests := to.Digests()
		for next := 1; next > 0; pages++ {
			commits, scores, following, err := from.Lacking(digests, next, bytes)
			must(t, err)
			must(t, to.Merge(commits, scores))
			if next = following; next > 0 && (next <= blockRounds*pages || next%blockRounds != 1) {
				t.Fatalf("page %d is followed by round %d", pages, next)
			}
			lines += len(commits) + len(scores)
		}
		return pages, lines
	}
	if pages, lines := give(two, one, 1); pages != 3 || lines != blockRounds/2+2*blockRounds+blockRounds+1 {
		t.Errorf("%d lines in %d pages", lines, pages)
	}
	if pages, lines := give(one, two, 1<<20); pages != 1 || lines != blockRounds {
		t.Errorf("back: %d lines in %d pages", lines, pages)
	}
	if !reflect.DeepEqual(one.Digests(), two.Digests()) || len(held(t, one)) != rounds+blockRounds || len(held(t, two)) != rounds+blockRounds {
		t.Errorf("%d and %d rounds in the end", len(held(t, one)), len(held(t, two)))
	}
	if pages, lines := give(two, one, 1); pages != 1 || lines != 0 {
		t.Errorf("the same again: %d lines in %d pages", lines, pages)
	}
	if c, s, next, err := one.Lacking(nil, rounds-1, 1); err != nil || next != 0 || len(c) != blockRounds || len(s) != 1 {
		t.Errorf("of the last rounds: %d lines, %d scores, then %d, %v", len(c), len(s), next, err)
	}
}

// Rounds stay in the file: memory holds less than a tenth of what they take there.
func TestJournalTakesLittleMemory(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.jsonl"), 0)
	j.Relax()
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	const rounds = 5000
	for round := 1; round <= rounds; round++ {
		c := commitOf("x", round, "a")
		for i := range 8 {
			c.Roster = append(c.Roster, roster.ID(strings.Repeat(fmt.Sprint(i), 52)))
		}
		must(t, j.AppendCommit(c))
	}
	if grown := int64(heap()) - int64(before); grown > j.size/10 {
		t.Errorf("%d rounds of %d bytes in the file take %d of memory", rounds, j.size, grown)
	}
	runtime.KeepAlive(j)
}

// TestATornLineIsDropped cuts the file at every byte, as a power cut may: every line that is whole is there again, and
// the journal goes on.
func TestATornLineIsDropped(t *testing.T) {
	dir := t.TempDir()
	j := open(t, filepath.Join(dir, "whole"), 0)
	must(t, j.AppendCommit(commitOf("x", 1, "a")))
	_, err := j.AppendScore(scoreOf("x", 1, "a"))
	must(t, err)
	whole, err := os.ReadFile(filepath.Join(dir, "whole"))
	must(t, err)
	first := bytes.IndexByte(whole, '\n') + 1
	for _, tail := range []string{"", "\x00\x00\x00\n", "{\"commit\":{}}\n"} {
		for cut := 0; cut <= len(whole); cut++ {
			if tail != "" && cut != first {
				continue
			}
			path := filepath.Join(dir, fmt.Sprint("cut", cut, len(tail)))
			must(t, os.WriteFile(path, append(whole[:cut:cut], tail...), 0o600))
			keep, commits, scores := 0, 0, 0
			if cut >= first {
				keep, commits = first, 1
			}
			if cut == len(whole) {
				keep, scores = cut, 1
			}
			got := open(t, path, int64(cut+len(tail)-keep))
			if len(held(t, got)) != commits || len(got.Scores()) != scores {
				t.Fatalf("cut at %d: %d commits, %d scores", cut, len(held(t, got)), len(got.Scores()))
			}
			if cut%97 == 0 || tail != "" {
				must(t, got.AppendCommit(commitOf("x", 2, "a")))
				must(t, got.Close())
				if again := open(t, path, 0); len(held(t, again)) != commits+1 {
					t.Errorf("cut at %d: %d commits after one more", cut, len(held(t, again)))
				}
			}
			_ = got.Close() // may be closed already
		}
	}
}

func TestABadLineInTheMiddleIsAnError(t *testing.T) {
	good, err := encodeLine(line{Score: new(scoreOf("x", 1, "a"))})
	must(t, err)
	for _, c := range []struct{ want, bad string }{
		{"line 2: ", "{"},
		{"one commit or one score", "{}"},
		{"one commit or one score", `{"commit":{"round":1},"score":{"round":1}}`},
		{"rounds count from 1", `{"commit":{"round":0}}`},
		{"a name of 0 bytes", `{"score":{"round":1}}`},
		{"token too long", strings.Repeat(" ", maxLineBytes+2)},
	} {
		path := filepath.Join(t.TempDir(), "journal")
		before := string(good) + c.bad + "\n" + string(good)
		must(t, os.WriteFile(path, []byte(before), 0o600))
		_, _, err := OpenJournal(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.40s: %v", c.bad, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != before {
			t.Errorf("%.40s: the file was changed: %v", c.bad, err)
		}
	}
}

func TestMergeTakesWhatIsUnknownAndKeepsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path, 0)
	must(t, j.AppendCommit(commitOf("x", 1, "own")))
	_, err := j.AppendScore(scoreOf("x", 1, "b"))
	must(t, err)
	commits := []Commit{commitOf("x", 1, "peer"), commitOf("x", 2, "peer"), commitOf("y", 1, "peer"), commitOf("x", 2, "again")}
	scores := []Score{scoreOf("x", 1, "b"), scoreOf("x", 1, "c"), scoreOf("x", 1, "c")}
	for range 2 {
		must(t, j.Merge(commits, scores))
	}
	check := func(j *Journal, want string) {
		t.Helper()
		var got []string
		for _, c := range held(t, j) {
			got = append(got, fmt.Sprintf("%s%d by %s", c.Lineage, c.Round, c.Agent))
		}
		for _, s := range j.Scores() {
			got = append(got, fmt.Sprintf("%d of %s", s.Round, s.Evaluator))
		}
		if g := strings.Join(got, ", "); g != want {
			t.Errorf("got %s\nwant %s", g, want)
		}
	}
	check(j, "x1 by own, x2 by peer, y1 by peer, 1 of b, 1 of c")
	must(t, j.AppendCommit(commitOf("x", 2, "own"))) // late, but ours
	check(j, "x1 by own, x2 by own, y1 by peer, 1 of b, 1 of c")
	bad := scoreOf("x", 3, "b")
	bad.TestAccuracy = 2
	if err := j.Merge([]Commit{commitOf("x", 3, "peer")}, []Score{bad}); err == nil {
		t.Error("a bad line was merged")
	}
	must(t, j.Close())
	check(open(t, path, 0), "x1 by own, x2 by own, y1 by peer, 1 of b, 1 of c")
}

func TestAppendRefusesWhatCannotBeReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path, 0)
	nan := commitOf("x", 1, "a")
	nan.Seconds.Train = math.NaN()
	crowd := commitOf("x", 1, "a")
	crowd.Roster = make([]roster.ID, maxMembers+1)
	debt := commitOf("x", 1, "a")
	debt.Contributors[0].Samples = -1
	for name, c := range map[string]Commit{
		"no round": commitOf("x", 0, "a"), "no lineage": commitOf("", 1, "a"), "no agent": commitOf("x", 1, ""),
		"NaN": nan, "crowd": crowd, "debt": debt,
	} {
		if err := j.AppendCommit(c); err == nil || !strings.Contains(err.Error(), "append to journal") {
			t.Errorf("%s: %v", name, err)
		}
	}
	diverged := scoreOf("x", 1, "a")
	diverged.TestLoss = math.Inf(1)
	_, err := j.AppendScore(diverged)
	must(t, err)
	if got := open(t, path, 0).Scores(); len(got) != 1 || got[0].TestLoss != Diverged {
		t.Errorf("got %v", got)
	}
}

func FuzzDecodeLine(f *testing.F) {
	for _, l := range []line{{Commit: new(commitOf("x", 1, "a"))}, {Score: new(scoreOf("x", 1, "a"))}} {
		b, err := encodeLine(l)
		must(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"commit":null}`))
	f.Add([]byte(`{"score":{"round":1e9,"test_accuracy":-0}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := decodeLine(b)
		if err != nil {
			return
		}
		text, err := encodeLine(first)
		must(t, err)
		second, err := decodeLine(text)
		must(t, err)
		again, err := encodeLine(second)
		must(t, err)
		if !bytes.Equal(text, again) {
			t.Errorf("%s\nbecame %s", text, again)
		}
	})
}

// FuzzOpenJournal: a journal that opens is whole from then on, and holds the same.
func FuzzOpenJournal(f *testing.F) {
	good, err := encodeLine(line{Score: new(scoreOf("x", 1, "a"))})
	must(f, err)
	f.Add(good)
	f.Add(append(good, good[:20]...))
	f.Add(append(good, "{}\n"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		must(t, os.WriteFile(path, b, 0o600))
		first, _, err := OpenJournal(path)
		if err != nil {
			return
		}
		commits := held(t, first)
		must(t, first.Close())
		second := open(t, path, 0)
		if !reflect.DeepEqual(commits, held(t, second)) || !reflect.DeepEqual(first.Scores(), second.Scores()) {
			t.Error("the second time it holds something else")
		}
		must(t, second.Close())
	})
}

// Lines that were appended at once and not synced may lose their first page to a power cut and keep their last: the hole
// is zeros, and what follows it was promised to nobody. A line that is damaged in another way is not ours to drop.
func TestJournalWithAHole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	j := open(t, path, 0)
	must(t, j.AppendCommit(commitOf("x", 1, "a")))
	kept := j.size
	var more []Commit
	for round := 2; round <= 20; round++ {
		more = append(more, commitOf("x", round, "a"))
	}
	must(t, j.Merge(more, nil))
	must(t, j.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	for _, hole := range [][2]int{{int(kept), 4096}, {int(kept) + 10, 4096}, {4096, 8192}} {
		b := bytes.Clone(whole)
		clear(b[hole[0]:hole[1]])
		must(t, os.WriteFile(path, b, 0o600))
		before := bytes.LastIndexByte(whole[:hole[0]], '\n') + 1
		j := open(t, path, int64(len(b)-before))
		if n, want := len(held(t, j)), bytes.Count(whole[:before], []byte{'\n'}); n != want {
			t.Errorf("hole %v: %d rounds are left, want %d", hole, n, want)
		}
		must(t, j.AppendCommit(commitOf("x", 30, "a")))
		must(t, j.Close())
		open(t, path, 0)
	}
	b := bytes.Clone(whole)
	b[kept+10] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	if _, _, err := OpenJournal(path); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a damaged line in the middle: %v", err)
	}
}
