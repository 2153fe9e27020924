package papers

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"shoal/eval/lab/row"
)

// Table is one to be printed. Every line has a cell for each column.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Lines   [][]string `json:"lines"`
	Notes   []string   `json:"notes"`
}

// unknown is what a cell prints that is not known.
const unknown = "–"

// ScalingTable sets the runs of a model beside the paper's strong scaling, a line of theirs and one of ours for each
// number of ranks that either has. Without a paper of the model there are ours alone.
func ScalingTable(f row.File, model string) Table {
	theirs, _ := Published(model)
	t := Table{
		Title: "Strong scaling, " + model,
		Columns: []string{
			"ranks", "nodes", "whose", "total time, s", "speed-up", "efficiency, %", "train loss", "train accuracy, %",
			"test loss", "test accuracy, %", "re-estimated, %",
		},
		Notes: []string{
			"Times of ours are virtual: those of the machines and the network that the experiment describes, by its assumptions.",
			"Test figures are with running statistics; re-estimated is the accuracy of the same weights with batch-norm statistics made anew.",
			repetitions(f, model, func(r row.Run) int { return r.Agents }),
		},
	}
	ours := ScalingOf(f, model)
	for _, ranks := range union(theirs.Scaling, ours, func(s Scaling) int { return s.Ranks }) {
		for _, side := range []struct {
			whose string
			all   []Scaling
		}{{"paper", theirs.Scaling}, {"ours", ours}} {
			for _, s := range side.all {
				if s.Ranks == ranks {
					t.Lines = append(t.Lines, s.line(side.whose))
				}
			}
		}
	}
	return t.sourced(theirs)
}

func (s Scaling) line(whose string) []string {
	return []string{
		strconv.Itoa(s.Ranks), strconv.Itoa(s.Nodes), whose, cell(s.Seconds, 1, 1), cell(s.Speedup, 1, 2), cell(s.Efficiency, 100, 1),
		cell(s.TrainLoss, 1, 4), cell(s.TrainAccuracy, 100, 2), cell(s.TestLoss, 1, 4), cell(s.TestAccuracy, 100, 2), cell(s.Reestimated, 100, 2),
	}
}

// BatchTable sets the runs of a model beside the paper's batch sweep.
func BatchTable(f row.File, model string) Table {
	theirs, _ := Published(model)
	t := Table{
		Title:   "Batch sweep, " + model,
		Columns: []string{"batch", "whose", "average epoch, s", "mean step, s", "images/s", "peak RSS, MB", "CPU, %"},
		Notes: []string{
			"Times of ours are virtual; memory and CPU time of a virtual agent are not known, and measured by shoal bench --sweep.",
			repetitions(f, model, func(r row.Run) int { return r.Batch }),
		},
	}
	ours := BatchesOf(f, model)
	for _, batch := range union(theirs.Batches, ours, func(b Batch) int { return b.Batch }) {
		for _, side := range []struct {
			whose string
			all   []Batch
		}{{"paper", theirs.Batches}, {"ours", ours}} {
			for _, b := range side.all {
				if b.Batch == batch {
					t.Lines = append(t.Lines, b.line(side.whose))
				}
			}
		}
	}
	return t.sourced(theirs)
}

func (b Batch) line(whose string) []string {
	return []string{
		strconv.Itoa(b.Batch), whose, cell(b.EpochSeconds, 1, 1), cell(b.StepSeconds, 1, 4), cell(b.ImagesPerSecond, 1, 1),
		cell(b.PeakRSSMB, 1, 0), cell(b.CPUPercent, 1, 0),
	}
}

// sourced is t with where the paper's numbers are from.
func (t Table) sourced(s Study) Table {
	if s.Title != "" {
		t.Notes = append(append(t.Notes, fmt.Sprintf("Paper: %s. %s. A cell with %s is not known.", s.Title, s.Source, unknown)), s.Notes...)
	}
	return t
}

// union are the numbers that either side has, in order.
func union[T any](a, b []T, number func(T) int) []int {
	var all []int
	for _, x := range slices.Concat(a, b) {
		all = append(all, number(x))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// cell prints a value times a factor with so many digits.
func cell(v *float64, factor float64, digits int) string {
	if v == nil {
		return unknown
	}
	return strconv.FormatFloat(*v*factor, 'f', digits, 64)
}

// Text is the table in columns of equal width.
func (t Table) Text() string {
	width := make([]int, len(t.Columns))
	for _, line := range append([][]string{t.Columns}, t.Lines...) {
		for i, c := range line {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n\n", t.Title)
	for _, line := range append([][]string{t.Columns}, t.Lines...) {
		for i, c := range line {
			s.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)) + c)
			if i < len(line)-1 {
				s.WriteString("  ")
			}
		}
		s.WriteByte('\n')
	}
	for _, n := range t.Notes {
		s.WriteString("\n" + n)
	}
	return s.String() + "\n"
}

// Markdown is the table for a document, its notes below it.
func (t Table) Markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "### %s\n\n| %s |\n|%s\n", t.Title, strings.Join(t.Columns, " | "), strings.Repeat(" ---: |", len(t.Columns)))
	for _, line := range t.Lines {
		fmt.Fprintf(&s, "| %s |\n", strings.Join(line, " | "))
	}
	for _, n := range t.Notes {
		fmt.Fprintf(&s, "\n- %s", n)
	}
	return s.String() + "\n"
}

// CSV is the table without title and notes; a cell that is not known is empty.
func (t Table) CSV() string {
	var s strings.Builder
	w := csv.NewWriter(&s)
	for _, line := range append([][]string{t.Columns}, t.Lines...) {
		cells := slices.Clone(line)
		for i, c := range cells {
			if c == unknown {
				cells[i] = ""
			}
		}
		_ = w.Write(cells) // to memory, and its error is that of Flush
	}
	w.Flush()
	return s.String()
}
