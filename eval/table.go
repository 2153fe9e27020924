package eval

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// WriteJSON writes the report as one indented JSON object.
func WriteJSON(w io.Writer, r Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// WriteSummary writes a CSV table with a row for each run, in the papers' columns, by ranks. Speedup is the time of the
// run with the fewest ranks over this one's, and efficiency is speedup per rank added; with a single run there is nothing
// to compare with, and both are empty. So is what was never scored.
func WriteSummary(w io.Writer, runs []Report) error {
	runs = slices.SortedStableFunc(slices.Values(runs), func(a, b Report) int { return a.Ranks - b.Ranks })
	rows := [][]string{{"ranks", "nodes", "epochs", "total_time_s", "train_accuracy", "train_loss", "test_accuracy", "test_loss",
		"images_per_second", "speedup", "efficiency"}}
	for _, r := range runs {
		speedup, efficiency := "", ""
		if base := runs[0]; len(runs) > 1 && r.Seconds > 0 && r.Ranks > 0 {
			s := base.Seconds / r.Seconds
			speedup, efficiency = decimal(s), decimal(s*float64(base.Ranks)/float64(r.Ranks))
		}
		rows = append(rows, []string{
			strconv.Itoa(r.Ranks), strconv.Itoa(r.Nodes), decimal(r.Epochs), decimal(r.Seconds),
			decimal(r.TrainAccuracy), decimal(r.TrainLoss), optional(r.TestAccuracy), optional(r.TestLoss),
			decimal(r.ImagesPerSecond), speedup, efficiency,
		})
	}
	return writeCSV(w, rows)
}

// WriteRounds writes a CSV table with a row for each round of a run. Contributors are "ID:samples" and missing members
// "ID: reason", separated by "; ".
func WriteRounds(w io.Writer, r Report) error {
	rows := [][]string{{"round", "lineage", "aside", "test_accuracy", "test_loss", "train_accuracy", "train_loss", "evaluator",
		"members", "contributors", "missing", "train_s", "wait_s", "average_s", "evaluate_s", "bytes_sent", "bytes_received",
		"images", "plan", "attempts", "state_hash"}}
	for _, x := range r.Rows {
		var contributors, missing []string
		for _, c := range x.Contributors {
			contributors = append(contributors, fmt.Sprintf("%s:%d", c.ID, c.Samples))
		}
		for _, m := range x.Missing {
			missing = append(missing, fmt.Sprintf("%s: %s", m.ID, m.Reason))
		}
		rows = append(rows, []string{
			strconv.Itoa(x.Round), x.Lineage, strconv.FormatBool(x.Aside), optional(x.TestAccuracy), optional(x.TestLoss),
			decimal(x.TrainAccuracy), decimal(x.TrainLoss), string(x.Evaluator),
			strconv.Itoa(len(x.Contributors)), strings.Join(contributors, "; "), strings.Join(missing, "; "),
			decimal(x.Seconds.Train), decimal(x.Seconds.Wait), decimal(x.Seconds.Average), decimal(x.Seconds.Evaluate),
			strconv.FormatInt(x.Sent, 10), strconv.FormatInt(x.Received, 10), strconv.FormatInt(x.Images, 10),
			x.Plan, strconv.Itoa(x.Attempts), x.StateHash,
		})
	}
	return writeCSV(w, rows)
}

func writeCSV(w io.Writer, rows [][]string) error {
	if err := csv.NewWriter(w).WriteAll(rows); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// decimal is x with up to six digits that matter.
func decimal(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

func optional(x *float64) string {
	if x == nil {
		return ""
	}
	return decimal(*x)
}
