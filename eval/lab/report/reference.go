package report

import (
	"strings"

	"shoal/eval/lab/papers"
	"shoal/eval/lab/row"
)

// Reference is what others published of an experiment like this one, to be drawn beside it.
type Reference struct {
	Name   string // for legends: "Papakyriakou 2025"
	Points []ReferencePoint
}

// ReferencePoint is one row of a published table. A nil value was not published.
type ReferencePoint struct {
	Agents        int
	Seconds       *float64 // in total
	Speedup       *float64
	Efficiency    *float64 // 0 to 1, of the nodes or ranks the source divides by
	TrainLoss     *float64
	TrainAccuracy *float64 // 0 to 1
	TestAccuracy  *float64 // 0 to 1
}

// Published are what the papers published of the models of rows that start from their configuration, nil for all others:
// another's figures would only look as if they could be compared.
func Published(rows row.File) []Reference {
	if !strings.Contains(rows.Header.Experiment, "papakyriakou") {
		return nil
	}
	var all []Reference
	seen := map[string]bool{}
	for _, r := range rows.Runs {
		study, ok := papers.Published(r.Model)
		if seen[r.Model] || !ok {
			continue
		}
		seen[r.Model] = true
		ref := Reference{Name: "published, " + r.Model}
		for _, s := range study.Scaling {
			ref.Points = append(ref.Points, ReferencePoint{
				Agents: s.Ranks, Seconds: s.Seconds, Speedup: s.Speedup, Efficiency: s.Efficiency,
				TrainLoss: s.TrainLoss, TrainAccuracy: s.TrainAccuracy, TestAccuracy: s.TestAccuracy,
			})
		}
		all = append(all, ref)
	}
	return all
}
