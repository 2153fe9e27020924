package eval

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"shoal/gossip/roster"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with the file in testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test ./eval -update rewrites it. Got:\n%s", path, got)
	}
}

const ida, idb, idc = "12D3KooWAAAAAAAAalpha111", "12D3KooWBBBBBBBBbravo222", "12D3KooWCCCCCCCCchar3333"

// partitioned is a run of three agents with a partition in round 2: the final model is of lineage main, c went its own
// way and came back. Nobody scored round 2; round 3 was scored twice.
func partitioned() ([]Commit, []Score, []AgentSummary) {
	const main, side = "5f2e9a11c0de", "aa00bb11cc22"
	commit := func(round int, lineage, hash string, agent roster.ID, members ...roster.ID) Commit {
		c := commitOf(lineage, round, agent)
		c.StateHash, c.Roster, c.Contributors, c.Missing = hash, members, nil, nil
		for i, id := range members {
			c.Contributors = append(c.Contributors, Contribution{ID: id, Samples: int64(1000 + i)})
		}
		c.TrainLoss, c.TrainRight = 3/float64(round), 0.1*float64(round)
		c.Seconds = PhaseSeconds{Train: 71.4 * float64(round), Wait: 0.25, Average: 0.0354, Evaluate: 1.5}
		c.Sent, c.Received = 4_202_940, 4_202_944
		return c
	}
	first, second, third := commit(1, main, "h1", ida, ida, idb, idc), commit(2, main, "h2", ida, ida, idb), commit(3, main, "9f86d081884c7d65", ida, ida, idb, idc)
	second.Missing = []Absence{{idc, "no answer to the poll"}}
	second.Attempts = 2
	third.TrainLoss = Diverged
	score := func(round int, hash string, by roster.ID, accuracy float64, at string) Score {
		return Score{Round: round, Lineage: main, StateHash: hash, Evaluator: by, TestAccuracy: accuracy, TestLoss: 2 - accuracy, Images: 1000, Time: at}
	}
	return []Commit{first, second, third, commit(2, side, "s2", idc, idc)},
		[]Score{
			score(1, "h1", idb, 0.3, "2026-01-02T03:04:05Z"), score(3, "9f86d081884c7d65", idc, 0.8125, "2026-01-02T03:09:06Z"),
			score(3, "9f86d081884c7d65", ida, 0.8125, "2026-01-02T03:09:05Z"), score(3, "other", idb, 0.99, "2026-01-02T03:00:00Z"),
		},
		[]AgentSummary{
			{ID: idb, Name: "pi-2", ModelHash: "9f86d081884c7d65", ImagesPerSecond: 312.4, PeakRSSMB: 81.5},
			{ID: ida, Name: "pi-1", ModelHash: "9f86d081884c7d65", ImagesPerSecond: 298.6, PeakRSSMB: 80.25},
			{ID: idc, Name: "pi-2", ModelHash: "9f86d081884c7d65", ImagesPerSecond: 301, PeakRSSMB: 79},
		}
}

func assembled() Report {
	r := Assemble(partitioned())
	r.Model = "run/model.safetensors"
	r.Files = []File{{"report", "run/report.json"}, {"rounds", "run/rounds.csv"}}
	return r
}

func TestAssembleFollowsTheFinalLineage(t *testing.T) {
	r := assembled()
	if r.Rounds != 3 || r.Lineage != "5f2e9a11c0de" || r.Ranks != 3 || r.Nodes != 3 || r.StateHash != "9f86d081884c7d65" {
		t.Errorf("%+v", r)
	}
	if *r.TestAccuracy != 0.8125 || *r.TestLoss != 1.1875 || !r.ModelsEqual {
		t.Errorf("test accuracy %v, loss %v, equal %v", *r.TestAccuracy, *r.TestLoss, r.ModelsEqual)
	}
	if want := int64(3003 + 2001 + 3003); r.Images != want || r.Sent != 3*4_202_940 {
		t.Errorf("%d images, want %d; %d bytes", r.Images, want, r.Sent)
	}
	var rows []string
	for _, row := range r.Rows {
		s := row.StateHash
		if row.Aside {
			s += " aside"
		}
		if row.TestAccuracy != nil {
			s += " by " + short(row.Evaluator)
		}
		rows = append(rows, s)
	}
	if got, want := strings.Join(rows, ", "), "h1 by bravo222, h2, s2 aside, 9f86d081884c7d65 by alpha111"; got != want {
		t.Errorf("rows %s\nwant %s", got, want)
	}
}

func TestAssembleDoesNotDependOnOrder(t *testing.T) {
	commits, scores, agents := partitioned()
	want := Assemble(commits, scores, agents)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		rng.Shuffle(len(commits), func(i, j int) { commits[i], commits[j] = commits[j], commits[i] })
		rng.Shuffle(len(scores), func(i, j int) { scores[i], scores[j] = scores[j], scores[i] })
		rng.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
		if got := Assemble(commits, scores, agents); !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestFinalIsWhatMostAgentsHold(t *testing.T) {
	commits := []Commit{commitOf("a", 1, "x"), commitOf("a", 2, "x"), commitOf("b", 2, "x"), commitOf("c", 2, "x")}
	agents := []AgentSummary{{ID: "1", ModelHash: "b-2"}, {ID: "2", ModelHash: "c-2"}, {ID: "3", ModelHash: "b-2"}, {ID: "4", ModelHash: "a-1"}}
	r := Assemble(commits, nil, agents)
	if r.Lineage != "b" || r.ModelsEqual || r.Rows[0].Aside || !r.Rows[1].Aside || r.Rows[2].Aside || !r.Rows[3].Aside {
		t.Errorf("%+v", r)
	}
	if r := Assemble(commits, nil, nil); r.Lineage != "a" || r.TestAccuracy != nil {
		t.Errorf("without agents: %+v", r)
	}
}

func TestEmptyRunHasNullsAndLists(t *testing.T) {
	var b bytes.Buffer
	must(t, WriteJSON(&b, Assemble(nil, nil, nil)))
	for _, want := range []string{`"test_accuracy": null`, `"test_loss": null`, `"agents": []`, `"rows": []`, `"rounds": 0`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
	b.Reset()
	must(t, WriteText(&b, Assemble(nil, nil, nil)))
	if !strings.HasPrefix(b.String(), "0 rounds, 0 agents") {
		t.Errorf("got %s", b.String())
	}
}

func TestReportFiles(t *testing.T) {
	r := assembled()
	for file, write := range map[string]func(b *bytes.Buffer) error{
		"report.txt":  func(b *bytes.Buffer) error { return WriteText(b, r) },
		"report.json": func(b *bytes.Buffer) error { return WriteJSON(b, r) },
		"rounds.csv":  func(b *bytes.Buffer) error { return WriteRounds(b, r) },
	} {
		var b bytes.Buffer
		must(t, write(&b))
		golden(t, file, b.Bytes())
	}
	var b bytes.Buffer
	must(t, WriteJSON(&b, r))
	var back Report
	must(t, json.Unmarshal(b.Bytes(), &back))
	if !reflect.DeepEqual(back, r) {
		t.Errorf("got  %+v\nwant %+v", back, r)
	}
}

func TestSummaryComparesWithTheFewestRanks(t *testing.T) {
	run := func(ranks int, seconds float64) Report {
		accuracy := 0.5
		return Report{Ranks: ranks, Nodes: ranks / 2, Epochs: 10, Seconds: seconds, TestAccuracy: &accuracy, TestLoss: &accuracy}
	}
	unscored := run(48, 100)
	unscored.TestAccuracy, unscored.TestLoss = nil, nil
	var b bytes.Buffer
	must(t, WriteSummary(&b, []Report{unscored, run(2, 1000), run(4, 600)}))
	rows, err := csv.NewReader(&b).ReadAll()
	must(t, err)
	want := [][]string{
		{"ranks", "nodes", "epochs", "total_time_s", "train_accuracy", "train_loss", "test_accuracy", "test_loss", "images_per_second", "speedup", "efficiency"},
		{"2", "1", "10", "1000", "0", "0", "0.5", "0.5", "0", "1", "1"},
		{"4", "2", "10", "600", "0", "0", "0.5", "0.5", "0", "1.66667", "0.833333"},
		{"48", "24", "10", "100", "0", "0", "", "", "0", "10", "0.416667"},
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got  %v\nwant %v", rows, want)
	}
	b.Reset()
	must(t, WriteSummary(&b, []Report{run(4, 1)}))
	if !strings.HasSuffix(b.String(), ",0.5,0.5,0,,\n") {
		t.Errorf("a single run: %s", b.String())
	}
}

func TestTextIsSafeForATerminal(t *testing.T) {
	commits, scores, agents := partitioned()
	agents[0].Name = "evil\x1b[2J" + strings.Repeat("é", 100)
	commits[1].Missing[0].Reason = "a\nb\u202e"
	var b bytes.Buffer
	must(t, WriteText(&b, Assemble(commits, scores, agents)))
	for _, r := range b.String() {
		if r != '\n' && (r < ' ' || r == '\u202e') {
			t.Fatalf("rune %q in %s", r, b.String())
		}
	}
	if !strings.Contains(b.String(), "evil?[2J"+strings.Repeat("é", 16)+" ") || !strings.Contains(b.String(), "(a?b?)") {
		t.Errorf("got %s", b.String())
	}
}

func TestManyContributorsAreCounted(t *testing.T) {
	c := commitOf("x", 1, "a")
	for len(c.Contributors) < 24 {
		c.Contributors = append(c.Contributors, Contribution{ID: "someone", Samples: 1})
	}
	var b bytes.Buffer
	must(t, WriteText(&b, Assemble([]Commit{c}, nil, []AgentSummary{{ID: "a", ModelHash: "1"}, {ID: "b", ModelHash: "2"}})))
	if !strings.Contains(b.String(), "24 agents") || strings.Contains(b.String(), "someone") || !strings.Contains(b.String(), "THE MODELS DIFFER") {
		t.Errorf("got %s", b.String())
	}
}

func TestWriteErrorsAreReturned(t *testing.T) {
	r := assembled()
	for name, err := range map[string]error{
		"text": WriteText(full{}, r), "json": WriteJSON(full{}, r), "rounds": WriteRounds(full{}, r), "summary": WriteSummary(full{}, []Report{r}),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestUnits(t *testing.T) {
	for got, want := range map[string]string{
		span(0): "0 s", span(0.0354): "35 ms", span(0.9999): "1.0 s", span(59.94): "59.9 s", span(59.96): "1m0s", span(3723.4): "1h2m3s",
		size(0): "0 B", size(1023): "1023 B", size(1024): "1 kiB", size(1 << 20): "1 MiB", size(4_202_944): "4.01 MiB", size(1 << 60): "1.05e+06 TiB",
		thousands(0): "0", thousands(999): "999", thousands(25000): "25 000", thousands(-1234567): "-1 234 567",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestEvaluatorMovesAndSkipsTheDead(t *testing.T) {
	ids := []roster.ID{"a", "b", "c", "d"}
	everyone := func(roster.ID) bool { return true }
	count := map[roster.ID]int{}
	for round := range 400 {
		first, ok := Evaluator("x", round, ids, everyone)
		if !ok {
			t.Fatal("nobody")
		}
		count[first]++
		shuffled := []roster.ID{"c", "a", "d", "b"}
		if again, _ := Evaluator("x", round, shuffled, everyone); again != first {
			t.Fatalf("round %d: %s or %s, by the order of contributors", round, first, again)
		}
		second, _ := Evaluator("x", round, ids, func(id roster.ID) bool { return id != first })
		rest := slices.DeleteFunc(slices.Clone(ids), func(id roster.ID) bool { return id == first })
		if next, _ := Evaluator("x", round, rest, everyone); second == first || second != next {
			t.Fatalf("round %d: after %s comes %s or %s", round, first, second, next)
		}
	}
	for _, id := range ids {
		if count[id] < 60 || count[id] > 140 {
			t.Errorf("%s scored %d of 400 rounds", id, count[id])
		}
	}
	if id, ok := Evaluator("x", 1, ids, func(roster.ID) bool { return false }); ok || id != "" {
		t.Errorf("the dead %s is elected", id)
	}
	if _, ok := Evaluator("x", 1, nil, everyone); ok {
		t.Error("nobody is elected")
	}
}

func TestValidateSaysValueAndRemedy(t *testing.T) {
	must(t, Defaults().Validate())
	err := Config{Every: 0, Reestimate: -1}.Validate()
	want := `every: 0 rounds; give 1 to score after each
reestimate: -1 batches is outside 0..10000; give 0 for the running statistics, or 20`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
