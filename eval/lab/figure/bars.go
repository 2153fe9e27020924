package figure

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bars draws the stacked bars into c, each with its name above it and its sum behind it.
func (l layout) bars(c draw.Canvas) {
	p := l.axes()
	longest := 0.0
	for _, b := range l.f.Bars {
		longest = max(longest, b.sum())
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
			b.paint(c, p, top-18)
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
