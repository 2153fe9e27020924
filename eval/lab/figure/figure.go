// Package figure draws what an experiment measured: a Figure is data, and its SVG and PNG are drawn from it by gonum's
// plot. Figures are 380 units wide, so that they are read as they are on a telephone and side by side on a desk; no text
// in them is smaller than 11 units. Legends stand above the data and never cover it, each series has a colour that the
// colour-blind can tell apart and a marker of its own, and what was measured more than once shows its range.
//
// The drawing is a pure function of the Figure: the same figure gives the same bytes.
package figure

import (
	"bytes"
	"fmt"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Width is that of every figure, in SVG units: CSS pixels when shown at its own size.
const Width = 380

// pixelsPerInch makes a PNG of 1013 pixels: sharp on screens of twice the density, and in print at half a page's width.
const pixelsPerInch = 192

// Limits of what is drawn: more lines than colours and markers cannot be told apart, and more points than pixels cost
// bytes and show nothing.
const (
	MaxSeries = 6
	maxPoints = 360
)

// Point is one measurement: its mean, and the least and most that repetitions gave. Low and High equal to Y: one value,
// or no spread.
type Point struct{ X, Y, Low, High float64 }

// Style is how a series is drawn.
type Style int

// The styles: what was measured here gets a colour and a marker; what others published, a grey dashed line; what could
// be at best, a dotted one without markers.
const (
	Measured Style = iota
	Published
	Ideal
)

// Series is one line. Points go by rising X; those with a value that is not finite leave a gap.
type Series struct {
	Name   string
	Style  Style
	Points []Point
}

// Bar is one row of parts, as many as the figure has Parts. Low and High are their ranges, drawn where parts stand apart;
// nil: no spread is known.
type Bar struct {
	Name      string
	Values    []float64
	Low, High []float64
}

// Figure is a diagram of series over X, or of stacked bars if it has Parts.
type Figure struct {
	Name    string // of its files, without suffix: "speed-up"
	Title   string
	X, Y    string // what the axes show, with the unit: "test accuracy (%)"
	Caption string // for the page: what is seen, and of how many runs
	LogX    bool   // X is over a logarithmic scale, with a tick at each value: for numbers of agents
	Zero    bool   // the Y axis starts at 0
	Series  []Series
	Parts   []string // of a stacked bar, in order
	Apart   bool     // the parts of a bar are below each other from the same beginning, and not stacked
	Bars    []Bar
}

// check refuses a figure that has nothing to draw, or more than can be told apart.
func (f Figure) check() error {
	n := 0
	measured := 0
	for _, s := range f.Series {
		for _, p := range s.Points {
			if finite(p) && (!f.LogX || p.X > 0) {
				n++
			}
		}
		if s.Style == Measured {
			measured++
		}
	}
	switch {
	case len(f.Parts) == 0 && n == 0:
		return fmt.Errorf("draw figure %q: no finite value", f.Name)
	case len(f.Parts) > 0 && len(f.Bars) == 0:
		return fmt.Errorf("draw figure %q: no bars", f.Name)
	case measured > MaxSeries || len(f.Parts) > MaxSeries:
		return fmt.Errorf("draw figure %q: %d series and %d parts, at most %d of each can be told apart", f.Name, measured, len(f.Parts), MaxSeries)
	}
	for _, b := range f.Bars {
		if len(b.Values) != len(f.Parts) || len(b.Low) != len(b.High) || len(b.Low) != 0 && len(b.Low) != len(b.Values) {
			return fmt.Errorf("draw figure %q: bar %q has %d values for %d parts, and %d and %d ends of ranges", f.Name, b.Name, len(b.Values), len(f.Parts), len(b.Low), len(b.High))
		}
	}
	return nil
}

func finite(p Point) bool {
	sum := p.X + p.Y + p.Low + p.High
	return !math.IsNaN(sum) && !math.IsInf(sum, 0)
}

// SVG is the figure as a file of its own, with a white ground.
func (f Figure) SVG() ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	l := newLayout(f)
	canvas := vgsvg.New(Width, vg.Length(l.height))
	l.draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw figure %q: %w", f.Name, err)
	}
	return clean(b.Bytes(), f, l.height), nil
}

// PNG is the figure as an image of 1013 pixels' width.
func (f Figure) PNG() ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	l := newLayout(f)
	canvas := vgimg.NewWith(vgimg.UseWH(Width, vg.Length(l.height)), vgimg.UseDPI(pixelsPerInch))
	l.draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw figure %q: %w", f.Name, err)
	}
	return b.Bytes(), nil
}
