package papers

import (
	"encoding/csv"
	"flag"
	"math"
	"os"
	"strings"
	"testing"

	"shoal/eval/lab/row"
)

// update rewrites the golden file.
var update = flag.Bool("update", false, "rewrite the golden file")

// sample are two runs with 2 agents and one with 48, on nodes of two.
func sample() row.File {
	run := func(id string, agents, batch int, total, accuracy float64) row.Run {
		return row.Run{
			Place:  row.Place{Run: id, Agents: agents, Batch: batch, Model: "mobilenet_v2"},
			Images: 500_000, TrainLoss: 1.5, TrainAccuracy: 0.45, ImagesPerSecond: 500_000 / total,
			Scores:  []row.Score{{Statistics: row.Running, TestLoss: 2.3, TestAccuracy: row.Number(accuracy)}, {Statistics: row.Reestimated, TestLoss: 1.4, TestAccuracy: 0.5}},
			Seconds: row.RunSeconds{Train: total, Total: total},
		}
	}
	f := row.File{
		Header: row.Header{Experiment: "name: x\nagents_per_node: 2\n"},
		Runs:   []row.Run{run("c", 48, 12, 100, 0.1), run("a", 2, 12, 2000, 0.4), run("b", 2, 12, 2400, 0.5)},
	}
	for _, r := range f.Runs {
		f.Rounds = append(f.Rounds, row.Round{Place: r.Place, Epoch: 9}, row.Round{Place: r.Place, Epoch: 10})
	}
	diverged := run("d", 4, 24, 1000, math.NaN())
	diverged.Scores = diverged.Scores[:1]
	f.Runs = append(f.Runs, diverged)
	return f
}

func TestScalingIsOverTheFewestRanks(t *testing.T) {
	ours := ScalingOf(sample(), "mobilenet_v2")
	if len(ours) != 3 {
		t.Fatalf("%d lines, want 3: %+v", len(ours), ours)
	}
	two, four, all := ours[0], ours[1], ours[2]
	if two.Ranks != 2 || two.Nodes != 1 || *two.Seconds != 2200 || *two.Speedup != 1 || *two.Efficiency != 1 || math.Abs(*two.TestAccuracy-0.45) > 1e-9 {
		t.Errorf("2 ranks: %+v", two)
	}
	if all.Ranks != 48 || all.Nodes != 24 || *all.Speedup != 22 || math.Abs(*all.Efficiency-22.0/24) > 1e-9 || *all.Reestimated != 0.5 {
		t.Errorf("48 ranks: %+v", all)
	}
	if four.TestAccuracy != nil || four.Reestimated != nil || four.TestLoss == nil {
		t.Errorf("what is no number or not scored has a value: %+v", four)
	}
	if got := ScalingOf(sample(), "squeezenet1_1"); got != nil {
		t.Errorf("lines of a model that was not trained: %+v", got)
	}
}

func TestTheirEfficiencyIsTheirSpeedupOverNodes(t *testing.T) {
	s, ok := Published("mobilenet_v2")
	if !ok {
		t.Fatal("no study of mobilenet_v2")
	}
	last := s.Scaling[len(s.Scaling)-1]
	if got := *last.Speedup / float64(last.Nodes); math.Abs(got-*last.Efficiency) > 0.0005 {
		t.Errorf("9.99 over 24 nodes is %v, the paper says %v", got, *last.Efficiency)
	}
	for _, s := range Studies() {
		if s.Title == "" || s.Source == "" || len(s.Notes) == 0 || len(s.Scaling) == 0 {
			t.Errorf("a study lacks its source: %+v", s)
		}
		for _, l := range s.Scaling {
			if l.Nodes*2 != l.Ranks {
				t.Errorf("%s: %d ranks on %d nodes; they ran two on each", s.Model, l.Ranks, l.Nodes)
			}
		}
	}
	if _, ok := Published("resnet"); ok {
		t.Error("a study of a model that nobody published")
	}
}

func TestBatches(t *testing.T) {
	ours := BatchesOf(sample(), "mobilenet_v2")
	if len(ours) != 2 || ours[0].Batch != 12 || ours[1].Batch != 24 {
		t.Fatalf("lines %+v, want batches 12 and 24", ours)
	}
	if b := ours[0]; b.PeakRSSMB != nil || b.CPUPercent != nil || math.Abs(*b.EpochSeconds-150) > 1e-9 || *b.StepSeconds <= 0 || *b.ImagesPerSecond <= 0 {
		t.Errorf("batch 12: %+v", b)
	}
	if b := ours[1]; b.EpochSeconds != nil {
		t.Errorf("an epoch of a run without rounds takes %v s", *b.EpochSeconds)
	}
}

func TestTablesPrint(t *testing.T) {
	for name, table := range map[string]Table{"scaling": ScalingTable(sample(), "mobilenet_v2"), "batches": BatchTable(sample(), "mobilenet_v2")} {
		for i, line := range table.Lines {
			if len(line) != len(table.Columns) {
				t.Errorf("%s: line %d has %d cells of %d", name, i, len(line), len(table.Columns))
			}
		}
		records, err := csv.NewReader(strings.NewReader(table.CSV())).ReadAll()
		if err != nil || len(records) != len(table.Lines)+1 || strings.Contains(table.CSV(), unknown) {
			t.Errorf("%s: CSV of %d lines has %d, error %v", name, len(table.Lines), len(records), err)
		}
		if got := strings.Count(table.Markdown(), "\n| "); got != len(table.Lines)+2 {
			t.Errorf("%s: Markdown has %d lines, want %d", name, got, len(table.Lines)+2)
		}
	}
	text := ScalingTable(sample(), "mobilenet_v2").Text()
	golden, err := os.ReadFile("testdata/scaling.txt")
	if *update {
		err = os.WriteFile("testdata/scaling.txt", []byte(text), 0o644)
		golden = []byte(text)
	}
	if err != nil || text != string(golden) {
		t.Errorf("error %v, the table is\n%s", err, text)
	}
	if bare := ScalingTable(row.File{}, "resnet"); len(bare.Lines) != 0 {
		t.Errorf("lines of nothing: %v", bare.Lines)
	}
}
