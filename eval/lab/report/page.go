package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"

	"shoal/eval/lab/figure"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

//go:embed page.html.tmpl
var pageText string

// view is what the page's template reads.
type view struct {
	Header      row.Header
	About       string
	Headline    []string
	Figures     []shownFigure
	Table       table
	Rounds      int
	Ended, Open int
	Failed      []row.Run
	Light, Dark template.CSS
	Wall        string
}

// shownFigure is a figure on the page.
type shownFigure struct {
	Name, Title, Caption string
	SVG                  template.HTML
}

// table is text by columns. Numbers stand to the right.
type table struct {
	Head []string
	Text int // how many columns are text
	Rows [][]string
}

// page is the report as HTML.
func (e *experiment) page(drawn []drawing) ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"less": func(a, b int) bool { return a < b }}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	v := view{
		Header: e.Header, About: strings.TrimSpace(e.Header.About), Headline: e.headline(), Table: e.table(), Rounds: len(e.Rounds), Ended: len(e.Runs),
		Light: template.CSS(figure.Palette(false)), Dark: template.CSS(figure.Palette(true)),
	}
	if v.Header.Name == "" {
		v.Header.Name = "experiment"
	}
	wall := 0.0
	for _, r := range e.Runs {
		wall += r.WallSeconds
		if r.Failed != "" {
			v.Failed = append(v.Failed, r)
		}
	}
	v.Wall = Seconds(wall)
	for run := range e.rounds {
		if !e.ended(run) {
			v.Open++
		}
	}
	for _, d := range drawn {
		// The drawing escaped all texts that came with the rows.
		v.Figures = append(v.Figures, shownFigure{d.Name, d.Title, d.Caption, template.HTML(figure.Inline(d.svg))})
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	return b.Bytes(), nil
}

func (e *experiment) ended(run string) bool {
	for _, r := range e.Runs {
		if r.Run == run {
			return true
		}
	}
	return false
}

// table has a row for each group.
func (e *experiment) table() table {
	t := table{Head: []string{"configuration"}, Text: 1}
	statistics := e.statistics()
	for _, name := range statistics {
		t.Head = append(t.Head, "test accuracy, "+worded(name))
	}
	t.Head = append(t.Head, "train accuracy", "train loss", "virtual time", "images/s")
	if e.x.agents {
		t.Head = append(t.Head, "speed-up", "efficiency")
	}
	in := map[string]series{}
	for _, s := range e.series {
		for _, g := range s.groups {
			in[g.Name] = s
		}
	}
	for _, g := range e.groups {
		cells := []string{g.Name}
		for _, name := range statistics {
			cells = append(cells, g.Of(scoreOf(name)).Text(percent))
		}
		cells = append(cells,
			g.Of(func(r row.Run) float64 { return float64(r.TrainAccuracy) }).Text(percent),
			g.Of(func(r row.Run) float64 { return float64(r.TrainLoss) }).Text(func(v float64) string { return fmt.Sprintf("%.4f", v) }),
			g.Of(func(r row.Run) float64 { return r.Seconds.Total }).Text(Seconds),
			g.Of(func(r row.Run) float64 { return r.ImagesPerSecond }).Text(func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }))
		if e.x.agents {
			times, base := speedup(in[g.Name], g)
			cells = append(cells, times.Text(func(v float64) string { return fmt.Sprintf("%.2f×", v) }),
				percent(times.Mean*float64(base)/float64(g.Agents)))
		}
		for i, c := range cells[1:] {
			cells[1+i] = strings.ReplaceAll(c, " (", "\n(") // the range below the mean: the page keeps line ends in numbers
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// headline says what came out, a sentence for each series, or for the best group where nothing is a number.
func (e *experiment) headline() []string {
	if len(e.groups) == 0 {
		return []string{"No run has ended yet: the curves show how far they are."}
	}
	if e.x.path == "" {
		return []string{e.best()}
	}
	var said []string
	for _, s := range e.series[:min(len(e.series), figure.MaxSeries)] {
		first, last := s.groups[0], s.groups[len(s.groups)-1]
		name := ""
		if s.name != "" {
			name = s.name + ": "
		}
		a, _ := e.x.of(first)
		b, _ := e.x.of(last)
		line := fmt.Sprintf("%s%s from %g to %g", name, e.x.label, a, b)
		if e.x.agents && last.Agents > first.Agents {
			times, base := speedup(s, last)
			line = fmt.Sprintf("%s%d agents are %.2f times as fast as %d (%s efficient)", name, last.Agents, times.Mean, first.Agents, percent(times.Mean*float64(base)/float64(last.Agents)))
		}
		for _, statistics := range e.statistics() {
			of := scoreOf(statistics)
			line += fmt.Sprintf("; test accuracy %s → %s with %s statistics", percent(first.Of(of).Mean), percent(last.Of(of).Mean), worded(statistics))
		}
		if n := len(last.Runs); n > 1 {
			line += fmt.Sprintf(" (means of %d runs; ranges below)", n)
		}
		said = append(said, line+".")
	}
	return said
}

// best names the group with the best test accuracy, or the least train loss where none was scored.
func (e *experiment) best() string {
	of, text, sign, what := func(r row.Run) float64 { return float64(r.TrainLoss) }, func(v float64) string { return fmt.Sprintf("%.4f", v) }, -1.0, "train loss"
	if names := e.statistics(); len(names) > 0 {
		of, text, sign, what = scoreOf(names[0]), percent, 1, "test accuracy with "+worded(names[0])+" statistics"
	}
	var best spread.Group
	most := math.Inf(-1)
	for _, g := range e.groups {
		if s := g.Of(of); s.Known() && sign*s.Mean > most {
			best, most = g, sign*s.Mean
		}
	}
	if len(best.Runs) == 0 {
		return "No run ended with a finite result."
	}
	if len(e.groups) == 1 {
		return fmt.Sprintf("%s: %s %s.", best.Name, what, best.Of(of).Text(text))
	}
	return fmt.Sprintf("Best of %d configurations is %s: %s %s.", len(e.groups), best.Name, what, best.Of(of).Text(text))
}

func percent(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.2f\u00a0%%", 100*v)
}

// Seconds is a time, given in seconds, in the unit that is read most easily.
func Seconds(v float64) string {
	switch {
	case v >= 3*3600:
		return fmt.Sprintf("%.1f h", v/3600)
	case v >= 300:
		return fmt.Sprintf("%.1f min", v/60)
	}
	return fmt.Sprintf("%.1f s", v)
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
