package agent

import (
	"time"

	"shoal/eval"
	"shoal/eval/tensorboard"
)

// curvesDir is the directory in the state directory with the run's curves, as TensorBoard reads them.
const curvesDir = "tensorboard"

// curves are the rounds of a report as scalars, by round: train values and seconds are this agent's own, test values those
// of the round's score. Rounds of another side of a partition are left out. The time is that of the line in the journal;
// a line of which it cannot be read has that of the line before.
func curves(r eval.Report, commits []eval.Commit, scores []eval.Score) []tensorboard.Scalar {
	type key struct {
		lineage string
		round   int
	}
	times, scored := map[key]string{}, map[string]eval.Score{}
	for _, c := range commits {
		times[key{c.Lineage, c.Round}] = c.Time
	}
	for _, s := range scores {
		if _, ok := scored[s.StateHash]; !ok {
			scored[s.StateHash] = s
		}
	}
	var all []tensorboard.Scalar
	at := 0.0
	for _, row := range r.Rows {
		if row.Aside {
			continue
		}
		if t, err := time.Parse(time.RFC3339, times[key{row.Lineage, row.Round}]); err == nil {
			at = float64(t.UnixMilli()) / 1000
		}
		add := func(tag string, v float64) {
			all = append(all, tensorboard.Scalar{Tag: tag, Step: int64(row.Round), Time: at, Value: v})
		}
		add("train/loss", row.TrainLoss)
		add("train/accuracy", row.TrainAccuracy)
		add("seconds/train", row.Seconds.Train)
		add("seconds/average", row.Seconds.Average)
		add("seconds/wait", row.Seconds.Wait)
		if s, ok := scored[row.StateHash]; ok && s.Round == row.Round {
			statistics := "running"
			if s.Reestimated > 0 {
				statistics = "reestimated"
			}
			add("test/accuracy_"+statistics, s.TestAccuracy)
			add("test/loss_"+statistics, s.TestLoss)
			add("seconds/evaluate", s.Seconds)
		}
	}
	return all
}
