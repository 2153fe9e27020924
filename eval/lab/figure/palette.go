package figure

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of text in units, of which one is a pixel of the page: none under 11.
const (
	titleSize = 14
	textSize  = 12
	tickSize  = 11.5
)

// bold is the weight's number in golang.org/x/image/font.
const bold = 3

// shade is a colour's name on a page, and what it is on light and on dark ground.
type shade struct {
	name        string
	light, dark color.NRGBA
}

func rgb(hex uint32) color.NRGBA {
	return color.NRGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 255}
}

// bandAlpha is how much of a series' colour its range has.
const bandAlpha = 46

func faint(c color.NRGBA) color.NRGBA { c.A = bandAlpha; return c }

// The neutral shades.
func paper() shade { return shade{"paper", rgb(0xFFFFFF), rgb(0x14181D)} }
func ink() shade   { return shade{"ink", rgb(0x1B1F24), rgb(0xE6E9ED)} }
func muted() shade { return shade{"muted", rgb(0x59626D), rgb(0xA3ADB8)} }
func grid() shade  { return shade{"grid", rgb(0xE1E5EA), rgb(0x2E353D)} }

// hues are told apart in all common kinds of colour blindness (after Okabe and Ito, "Color universal design", 2008),
// darkened on white and lightened on black until a thin line has a contrast of 3:1.
func hues() [MaxSeries]shade {
	return [MaxSeries]shade{
		{"c0", rgb(0x0072B2), rgb(0x56B4E9)},
		{"c1", rgb(0xD55E00), rgb(0xFF9048)},
		{"c2", rgb(0x007D5B), rgb(0x35C79B)},
		{"c3", rgb(0xA8458A), rgb(0xE493C5)},
		{"c4", rgb(0x8C6800), rgb(0xE8C547)},
		{"c5", rgb(0x3F4A56), rgb(0xC9D1DA)},
	}
}

// shades are all that a figure can have.
func shades() []shade {
	all := []shade{paper(), ink(), muted(), grid()}
	for _, h := range hues() {
		all = append(all, h)
	}
	return all
}

// markers go with the hues, place by place.
func markers() [MaxSeries]draw.GlyphDrawer {
	return [MaxSeries]draw.GlyphDrawer{disc{}, square{}, wedge{}, diamond{}, cross{}, ring{}}
}

// Marks of equal weight, which gonum's own are not; what lies below a ring does not show through it.
type (
	disc    struct{}
	square  struct{}
	wedge   struct{}
	diamond struct{}
	cross   struct{}
	ring    struct{}
)

// DrawGlyph draws a filled circle.
func (disc) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	draw.CircleGlyph{}.DrawGlyph(c, sty, at)
}

// DrawGlyph draws a filled square.
func (square) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	polygon(c, sty, at, 0.9, [][2]float64{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}})
}

// DrawGlyph draws a filled triangle.
func (wedge) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	polygon(c, sty, at, 1.25, [][2]float64{{-0.87, -0.5}, {0.87, -0.5}, {0, 1}})
}

// DrawGlyph draws a filled square on its corner.
func (diamond) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	polygon(c, sty, at, 1.3, [][2]float64{{-1, 0}, {0, -1}, {1, 0}, {0, 1}})
}

// DrawGlyph draws a cross.
func (cross) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	line, r := draw.LineStyle{Color: sty.Color, Width: 1.8}, sty.Radius
	c.StrokeLine2(line, at.X-r, at.Y-r, at.X+r, at.Y+r)
	c.StrokeLine2(line, at.X-r, at.Y+r, at.X+r, at.Y-r)
}

// DrawGlyph draws a circle around paper.
func (ring) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	draw.CircleGlyph{}.DrawGlyph(c, sty, at)
	c.SetColor(paper().light)
	sty.Radius -= 1.4
	draw.CircleGlyph{}.DrawGlyph(c, sty, at)
}

func polygon(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point, scale float64, corners [][2]float64) {
	var path vg.Path
	for i, corner := range corners {
		p := vg.Point{X: at.X + sty.Radius*vg.Length(scale*corner[0]), Y: at.Y + sty.Radius*vg.Length(scale*corner[1])}
		if i == 0 {
			path.Move(p)
		} else {
			path.Line(p)
		}
	}
	path.Close()
	c.SetColor(sty.Color)
	c.Fill(path)
}

// look is how one series is drawn.
type look struct {
	line   draw.LineStyle
	marker draw.GlyphStyle // no shape: none
	band   color.NRGBA
}

// looks are those of the figure's series, in order.
func (f Figure) looks() []look {
	all := make([]look, len(f.Series))
	measured := 0
	for i, s := range f.Series {
		c := muted().light
		switch s.Style {
		case Measured:
			c = hues()[measured].light
			all[i].line = draw.LineStyle{Color: c, Width: 1.8}
			all[i].marker = draw.GlyphStyle{Color: c, Radius: 3.4, Shape: markers()[measured]}
			measured++
		case Published:
			all[i].line = draw.LineStyle{Color: c, Width: 1.4, Dashes: []vg.Length{5, 3}}
			all[i].marker = draw.GlyphStyle{Color: c, Radius: 3.2, Shape: ring{}}
		case Ideal:
			all[i].line = draw.LineStyle{Color: c, Width: 1.2, Dashes: []vg.Length{1.5, 3}}
		}
		all[i].band = faint(c)
	}
	return all
}

// style is that of text of a size.
func style(size float64, heavy bool, c color.Color) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans"}
	if heavy {
		f.Weight = bold
	}
	return text.Style{
		Color: c, Font: font.From(f, font.Length(size)), XAlign: text.XLeft, YAlign: text.YBottom,
		Handler: text.Plain{Fonts: font.DefaultCache},
	}
}

// hex is a colour as vgsvg writes it: it truncates after a division, so that its digits must be found in the same way.
func hex(c color.Color) string {
	r, g, b, alpha := c.RGBA()
	a := 255.0 / float64(alpha)
	return fmt.Sprintf("#%02X%02X%02X", int(float64(r)*a), int(float64(g)*a), int(float64(b)*a))
}
