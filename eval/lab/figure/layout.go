package figure

import (
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Room in units, from the top: margin, title, legend, the Y axis' label, the plot with its ticks and the X axis' label.
const (
	margin     = 8
	titleRoom  = 19
	legendRoom = 17
	axisRoom   = 20
	plotRoom   = 212
	barRoom    = 36 // a bar with its name above it
	partRoom   = 13 // a part of a bar whose parts are apart
	barAxes    = 48 // ticks and label below the bars
	sampleRoom = 28 // the piece of line before a legend's text
	valueRoom  = 36 // on the right, for the last values
)

// layout knows where everything of one figure goes.
type layout struct {
	f      Figure
	looks  []look
	title  []string
	legend [][]entry // by line
	height float64
}

// entry is one series in the legend.
type entry struct {
	name string
	i    int // of the series or part
	x    vg.Length
}

func newLayout(f Figure) layout {
	l := layout{f: f, looks: f.looks(), title: wrap(f.Title, style(titleSize, true, nil), Width-2*margin)}
	names := f.Parts
	if len(f.Parts) == 0 {
		for _, s := range f.Series {
			names = append(names, s.Name)
		}
	}
	l.legend = flow(names)
	room := float64(plotRoom)
	if len(f.Parts) > 0 {
		bar := barRoom
		if f.Apart {
			bar += partRoom * (len(f.Parts) - 1)
		}
		room = float64(bar*len(f.Bars) + barAxes)
	}
	l.height = 2*margin + titleRoom*float64(len(l.title)) + legendRoom*float64(len(l.legend)) + axisRoom + room
	return l
}

// flow puts the legend's entries into lines, left to right. An entry that is too long for a line is cut.
func flow(names []string) [][]entry {
	sty := style(textSize, false, nil)
	var lines [][]entry
	x := vg.Length(Width) // full: the first begins a line
	for i, name := range names {
		name = cut(name, sty, Width-2*margin-sampleRoom)
		w := sampleRoom + sty.Width(name) + 14
		if x+w-14 > Width-margin {
			lines = append(lines, nil)
			x = margin
		}
		at := len(lines) - 1
		lines[at] = append(lines[at], entry{name, i, x})
		x += w
	}
	return lines
}

// cut shortens a text to a width, at its middle: ends tell apart what beginnings do not.
func cut(s string, sty text.Style, width vg.Length) string {
	r := []rune(s)
	if sty.Width(s) <= width {
		return s
	}
	for n := len(r) - 1; n > 1; n-- {
		short := string(r[:(n+1)/2]) + "…" + string(r[len(r)-n/2:])
		if sty.Width(short) <= width {
			return short
		}
	}
	return "…"
}

// wrap breaks a text between words.
func wrap(s string, sty text.Style, width vg.Length) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && sty.Width(longer) > width {
			lines = append(lines, line)
			longer = word
		}
		line = longer
	}
	return append(lines, cut(line, sty, width))
}

// draw puts the figure on a canvas of Width and the layout's height. Y rises from the bottom, as gonum has it.
func (l layout) draw(c draw.Canvas) {
	c.SetColor(paper().light)
	c.Fill(c.Rectangle.Path())
	y := vg.Length(l.height) - margin
	for _, line := range l.title {
		y -= titleRoom
		c.FillText(style(titleSize, true, ink().light), vg.Point{X: margin, Y: y + 4}, line)
	}
	for _, line := range l.legend {
		y -= legendRoom
		for _, e := range line {
			l.sample(c, e, y+legendRoom/2)
			c.FillText(style(textSize, false, ink().light), vg.Point{X: e.x + sampleRoom, Y: y + 2}, e.name)
		}
	}
	y -= axisRoom
	c.FillText(style(tickSize, false, muted().light), vg.Point{X: margin, Y: y + 2}, l.f.Y)
	c = draw.Crop(c, margin, -margin, margin, y-2-vg.Length(l.height))
	if len(l.f.Parts) > 0 {
		l.bars(c)
		return
	}
	l.lines(c)
}

// sample draws how a series looks, in the legend.
func (l layout) sample(c draw.Canvas, e entry, y vg.Length) {
	if len(l.f.Parts) > 0 {
		box(c, hues()[e.i].light, vg.Rectangle{Min: vg.Point{X: e.x + 6, Y: y - 6}, Max: vg.Point{X: e.x + 20, Y: y + 5}})
		return
	}
	k := l.looks[e.i]
	c.StrokeLine2(k.line, e.x, y, e.x+22, y)
	c.DrawGlyphNoClip(k.marker, vg.Point{X: e.x + 11, Y: y})
}

// axes is a plot without data, in the house's looks.
func (l layout) axes() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Label.Text = l.f.X
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		y := a.Tick.Label
		a.Label.TextStyle = style(tickSize, false, muted().light)
		a.Label.TextStyle.XAlign = text.XCenter
		a.Label.Padding = 4
		a.Tick.Label = style(tickSize, false, muted().light)
		a.Tick.Label.XAlign, a.Tick.Label.YAlign = y.XAlign, y.YAlign
		a.Tick.Length = 4
		a.Tick.Color, a.LineStyle.Color = muted().light, muted().light
		a.Tick.Width, a.LineStyle.Width = 0.8, 0.8
		a.Padding = 0
	}
	return p
}
