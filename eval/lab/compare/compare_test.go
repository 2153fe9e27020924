package compare

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"shoal/eval/lab/row"
)

// runs are repetitions of one configuration with these test accuracies.
func runs(agents int, accuracies ...float64) []row.Run {
	var all []row.Run
	for i, a := range accuracies {
		all = append(all, row.Run{
			Place:     row.Place{Run: fmt.Sprintf("agents=%d,seed=%d", agents, i), Axes: [][2]string{{"agents", fmt.Sprint(agents)}}, Agents: agents, Repetition: i, Model: "m"},
			TrainLoss: 1, Scores: []row.Score{{Statistics: row.Running, TestAccuracy: row.Number(a)}},
		})
	}
	return all
}

func verdict(t *testing.T, c Comparison, pair int, value string) Difference {
	t.Helper()
	for _, d := range c.Pairs[pair].Differences {
		if d.Value == value {
			return d
		}
	}
	t.Fatalf("%q is not compared in %+v", value, c.Pairs[pair])
	return Difference{}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want Verdict
	}{
		{[]float64{0.5, 0.6}, []float64{0.7, 0.8}, Beyond},
		{[]float64{0.5, 0.7}, []float64{0.6, 0.8}, Within},
		{[]float64{0.5, 0.6}, []float64{0.6, 0.7}, Within}, // they touch
		{[]float64{0.5, 0.6}, []float64{0.6, 0.5}, Equal},
		{[]float64{0.5, 0.6}, []float64{0.9}, Single},
		{[]float64{0.5, 0.6}, []float64{math.NaN()}, Unknown},
	} {
		got := verdict(t, Rows(row.File{Runs: runs(2, c.a...)}, row.File{Runs: runs(2, c.b...)}), 0, "test accuracy, running")
		if got.Verdict != c.want {
			t.Errorf("%v against %v: %s, want %s", c.a, c.b, got.Verdict, c.want)
		}
	}
}

func TestDifferenceIsTheSecondMinusTheFirst(t *testing.T) {
	c := Rows(row.File{Runs: runs(2, 0.25, 0.75)}, row.File{Runs: runs(2, 0.5, 0.75)})
	if d := verdict(t, c, 0, "test accuracy, running"); d.Difference != 0.125 {
		t.Errorf("difference %v, want 0.125", d.Difference)
	}
}

func TestRunsAreMatchedByAxes(t *testing.T) {
	a := row.File{Runs: slices.Concat(runs(1, 0.5), runs(2, 0.5), runs(4, 0.5))}
	b := row.File{Runs: slices.Concat(runs(8, 0.5), runs(4, 0.5), runs(2, 0.5))}
	c := Rows(a, b)
	if len(c.Pairs) != 2 || c.Pairs[0].Name != "agents=2" || !slices.Equal(c.OnlyA, []string{"agents=1"}) || !slices.Equal(c.OnlyB, []string{"agents=8"}) {
		t.Errorf("matched %+v", c)
	}
	if beyond, of := c.Beyond(); beyond != 0 || of == 0 {
		t.Errorf("%d of %d differ among equal runs", beyond, of)
	}
}

// TestEveryComparisonIsJSON: values that are not finite are null, not an error.
func TestEveryComparisonIsJSON(t *testing.T) {
	c := Rows(row.File{Runs: runs(2, math.NaN())}, row.File{Runs: runs(2, math.Inf(1))})
	text, err := json.Marshal(c)
	var back Comparison
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || !math.IsNaN(float64(verdict(t, back, 0, "test accuracy, running").Difference)) {
		t.Errorf("%s: %v", text, err)
	}
}
