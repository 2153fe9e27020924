package figure

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bars draws the bars into c, each with its name above it, and its sum or the value of each part behind it.
func (l layout) bars(c draw.Canvas) {
	p := l.axes()
	longest := 0.0
	for _, b := range l.f.Bars {
		if l.f.Apart {
			longest = max(longest, b.reach())
		} else {
			longest = max(longest, b.sum())
		}
	}
	p.X.Min, p.X.Max = 0, max(longest, 1e-9)
	p.Y.Min, p.Y.Max = 0, float64(len(l.f.Bars))
	p.X.Tick.Marker = plot.ConstantTicks(ticks(0, p.X.Max, 5))
	p.Y.Tick.Marker = plot.ConstantTicks(nil)
	p.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		for i, b := range l.f.Bars {
			top := c.Max.Y - vg.Length(i)*(c.Max.Y-c.Min.Y)/vg.Length(len(l.f.Bars))
			sty := style(textSize, false, ink().light)
			c.FillText(sty, vg.Point{X: c.Min.X + 4, Y: top - 15}, cut(b.Name, sty, c.Max.X-c.Min.X+valueRoom-8))
			if l.f.Apart {
				b.side(c, p, top-18)
			} else {
				b.paint(c, p, top-18)
			}
		}
	}))
	p.Draw(draw.Crop(c, 0, -valueRoom, 0, 0))
}

// sum is the length of a bar, without what is not finite.
func (b Bar) sum() float64 {
	total := 0.0
	for _, v := range b.Values {
		if v > 0 && !math.IsInf(v, 0) {
			total += v
		}
	}
	return total
}

// reach is the greatest value of a bar whose parts are apart, with their ranges.
func (b Bar) reach() float64 {
	most := 0.0
	for _, v := range slices.Concat(b.Values, b.High) {
		if v > 0 && !math.IsInf(v, 0) {
			most = max(most, v)
		}
	}
	return most
}

// side draws the parts of one bar below each other, from top, each with its range and its value.
func (b Bar) side(c draw.Canvas, p *plot.Plot, top vg.Length) {
	at := func(v float64) vg.Length { return c.X(p.X.Norm(max(v, 0))) }
	for i, v := range b.Values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		y, end := top-vg.Length(i)*partRoom, v
		box(c, hues()[i].light, vg.Rectangle{Min: vg.Point{X: at(0), Y: y - partRoom + 2}, Max: vg.Point{X: at(v), Y: y}})
		middle := y - partRoom/2 + 1
		if len(b.Low) > 0 && b.High[i] > b.Low[i] && !math.IsInf(b.High[i]-b.Low[i], 0) {
			sty := draw.LineStyle{Color: ink().light, Width: 1}
			low, high := at(b.Low[i]), at(b.High[i])
			c.StrokeLine2(sty, low, middle, high, middle)
			c.StrokeLine2(sty, low, middle-3, low, middle+3)
			c.StrokeLine2(sty, high, middle-3, high, middle+3)
			end = b.High[i]
		}
		sty := style(tickSize, true, ink().light)
		sty.YAlign = text.YCenter
		c.FillText(sty, vg.Point{X: at(end) + 5, Y: middle}, short(v))
	}
}

// paint draws one bar below top.
func (b Bar) paint(c draw.Canvas, p *plot.Plot, top vg.Length) {
	from := 0.0
	for i, v := range b.Values {
		if !(v > 0) || math.IsInf(v, 0) {
			continue
		}
		box(c, hues()[i].light, vg.Rectangle{
			Min: vg.Point{X: c.X(p.X.Norm(from)), Y: top - 13}, Max: vg.Point{X: c.X(p.X.Norm(from + v)), Y: top},
		})
		from += v
	}
	sty := style(tickSize, true, ink().light)
	sty.YAlign = text.YCenter
	c.FillText(sty, vg.Point{X: c.X(p.X.Norm(from)) + 5, Y: top - 6.5}, short(from))
}

func box(c draw.Canvas, fill color.Color, r vg.Rectangle) {
	c.SetColor(fill)
	c.Fill(r.Path())
}
