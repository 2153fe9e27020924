package figure

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// fewPoints is up to how many points of a series each gets its marker and its own range; longer ones are curves with a
// band, and a marker here and there.
const (
	fewPoints = 12
	fewLines  = 4 // with so many lines their last values are written beside them
)

// painter is a gonum Plotter made of a function.
type painter func(c draw.Canvas, p *plot.Plot)

// Plot draws.
func (f painter) Plot(c draw.Canvas, p *plot.Plot) { f(c, p) }

// lines draws the axes and the series into c.
func (l layout) lines(c draw.Canvas) {
	p := l.axes()
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = l.f.span()
	p.Y.Tick.Marker = plot.ConstantTicks(ticks(p.Y.Min, p.Y.Max, 6))
	if l.f.LogX {
		p.X.Scale = plot.LogScale{}
		p.X.Tick.Marker = plot.ConstantTicks(logTicks(l.f.xs(), Width-2*margin-valueRoom-40))
		p.X.Padding, p.Y.Padding = 0, 8 // markers at the first value keep off the axis
	} else {
		p.X.Tick.Marker = plot.ConstantTicks(ticks(p.X.Min, p.X.Max, 6))
	}
	if p.X.Min == p.X.Max {
		p.X.Min, p.X.Max = p.X.Min/2, p.X.Max*2+1e-9
	}
	p.Add(painter(l.grid))
	for i, s := range l.f.Series {
		p.Add(painter(func(c draw.Canvas, p *plot.Plot) { paint(c, p, thin(s.Points, l.f.LogX), l.looks[i]) }))
	}
	if len(l.f.Series) <= fewLines {
		p.Add(painter(l.values))
	}
	p.Draw(draw.Crop(c, 0, -valueRoom, 0, 0))
}

// xs are the values on the X axis.
func (f Figure) xs() []float64 {
	var all []float64
	for _, s := range f.Series {
		for _, p := range s.Points {
			if finite(p) && p.X > 0 {
				all = append(all, p.X)
			}
		}
	}
	return all
}

// thin is the points that can be drawn, with every k-th of more than there are pixels. The last stays.
func thin(points []Point, positive bool) []Point {
	k := (len(points) + maxPoints - 1) / maxPoints
	var kept []Point
	for i, p := range points {
		if positive && p.X <= 0 {
			continue
		}
		if k <= 1 || i%k == 0 || i == len(points)-1 {
			kept = append(kept, p)
		}
	}
	return kept
}

// grid draws faint lines at the Y axis' ticks.
func (l layout) grid(c draw.Canvas, p *plot.Plot) {
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		y := c.Y(p.Y.Norm(t.Value))
		c.StrokeLine2(draw.LineStyle{Color: grid().light, Width: 0.8}, c.Min.X, y, c.Max.X, y)
	}
}

// paint draws one series: what it ranged over, its line, its markers. A value that is not finite parts the line.
func paint(c draw.Canvas, p *plot.Plot, points []Point, k look) {
	at := func(x, y float64) vg.Point { return vg.Point{X: c.X(p.X.Norm(x)), Y: c.Y(p.Y.Norm(y))} }
	for _, part := range parts(points) {
		var line, low, high []vg.Point
		for _, q := range part {
			line = append(line, at(q.X, q.Y))
			low, high = append(low, at(q.X, q.Low)), append(high, at(q.X, q.High))
		}
		switch {
		case len(points) > fewPoints:
			slices.Reverse(low)
			c.FillPolygon(k.band, append(high, low...))
		default:
			for i := range line {
				whisker(c, k, low[i], high[i])
			}
		}
		c.StrokeLines(k.line, line)
		every := max(1, len(line)/6)
		for i, at := range line {
			if len(points) <= fewPoints || i%every == every/2 {
				c.DrawGlyphNoClip(k.marker, at)
			}
		}
	}
}

// whisker draws the range of one point.
func whisker(c draw.Canvas, k look, low, high vg.Point) {
	if high.Y-low.Y < 0.5 {
		return
	}
	sty := draw.LineStyle{Color: k.line.Color, Width: 1}
	c.StrokeLine2(sty, low.X, low.Y, high.X, high.Y)
	c.StrokeLine2(sty, low.X-3, low.Y, low.X+3, low.Y)
	c.StrokeLine2(sty, high.X-3, high.Y, high.X+3, high.Y)
}

// parts cuts points where one is not finite.
func parts(points []Point) [][]Point {
	var all [][]Point
	open := false
	for _, p := range points {
		if !finite(p) {
			open = false
			continue
		}
		if !open {
			all, open = append(all, nil), true
		}
		all[len(all)-1] = append(all[len(all)-1], p)
	}
	return all
}

// values writes the last value of each series on the right, where no two would overlap.
func (l layout) values(c draw.Canvas, p *plot.Plot) {
	type end struct {
		y    vg.Length
		text string
		sty  text.Style
	}
	var ends []end
	for i, s := range l.f.Series {
		n := len(s.Points)
		if s.Style == Ideal || n == 0 || !finite(s.Points[n-1]) || s.Points[n-1].X < p.X.Max-0.03*(p.X.Max-p.X.Min) {
			continue
		}
		sty := style(tickSize, true, l.looks[i].line.Color)
		sty.YAlign = text.YCenter
		ends = append(ends, end{c.Y(p.Y.Norm(s.Points[n-1].Y)), short(s.Points[n-1].Y), sty})
	}
	slices.SortStableFunc(ends, func(a, b end) int { return cmp.Compare(a.y, b.y) })
	for i, e := range ends { // those too close are moved up
		if i > 0 {
			e.y = max(e.y, ends[i-1].y+tickSize+1)
			ends[i].y = e.y
		}
		c.FillText(e.sty, vg.Point{X: c.Max.X + 7, Y: e.y}, e.text)
	}
}

// short is a value in at most five characters.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e4:
		return label(v, 0)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.01 || a == 0:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'e', 0, 64)
}
