package agent

import (
	"testing"

	"shoal/eval"
)

// TestCurves: a round of another side is left out, and a score belongs to the state it was taken of.
func TestCurves(t *testing.T) {
	commits := []eval.Commit{
		{Round: 1, Lineage: "a", StateHash: "h1", TrainLoss: 2, Time: "2025-01-01T00:00:00Z"},
		{Round: 2, Lineage: "a", StateHash: "h2", TrainLoss: 1, Time: "not a time"},
		{Round: 2, Lineage: "b", StateHash: "h3", TrainLoss: 9, Time: "2025-01-01T00:00:09Z"},
	}
	scores := []eval.Score{{Round: 2, StateHash: "h2", TestAccuracy: 0.5, Reestimated: 4}, {Round: 7, StateHash: "h1", TestAccuracy: 0.9}}
	agents := []eval.AgentSummary{{ID: "x", ModelHash: "h2"}}
	got := map[string][]float64{}
	for _, s := range curves(eval.Assemble(commits, scores, agents), commits, scores) {
		got[s.Tag] = append(got[s.Tag], s.Value)
		if s.Time != 1735689600 {
			t.Errorf("%s of round %d is at %.1f", s.Tag, s.Step, s.Time)
		}
	}
	if loss := got["train/loss"]; len(loss) != 2 || loss[0] != 2 || loss[1] != 1 {
		t.Errorf("train loss is %v, want 2 and 1", loss)
	}
	if right := got["test/accuracy_reestimated"]; len(right) != 1 || right[0] != 0.5 || len(got["test/accuracy_running"]) != 0 {
		t.Errorf("test accuracy is %v and %v", right, got["test/accuracy_running"])
	}
}
