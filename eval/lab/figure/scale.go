package figure

import (
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
)

// ticks are round values from lo to hi, about n of them; steps are 1, 2, 2.5 or 5 times a power of ten.
func ticks(lo, hi float64, n int) []plot.Tick {
	step := roundUp((hi - lo) / float64(n))
	decimals := 0
	for s := step; decimals < 9 && math.Abs(s-math.Round(s)) > 1e-6*s; s *= 10 {
		decimals++
	}
	var all []plot.Tick
	for i := math.Ceil(lo/step - 1e-9); i*step <= hi+1e-9*step; i++ {
		all = append(all, plot.Tick{Value: i*step + 0, Label: label(i*step+0, decimals)}) // + 0: minus zero is zero
	}
	return all
}

// roundUp is the least round step that is no smaller than x.
func roundUp(x float64) float64 {
	if x <= 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, f := range []float64{1, 2, 2.5, 5} {
		if x <= f*power*(1+1e-9) {
			return f * power
		}
	}
	return 10 * power
}

// label writes a tick, with a suffix for thousands and millions.
func label(v float64, decimals int) string {
	switch {
	case math.Abs(v) >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	case math.Abs(v) >= 1e4:
		return strconv.FormatFloat(v/1e3, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// tickRoom is the least distance of the centres of two ticks' labels on the X axis, in units.
const tickRoom = 24

// logTicks are ticks at the values themselves, which are above 0, on an axis of so many units. Where labels would
// collide, the first, the last and as many between as have room keep theirs.
func logTicks(values []float64, units float64) []plot.Tick {
	slices.Sort(values)
	values = slices.Compact(values)
	lo, hi := values[0], values[len(values)-1]
	at := func(v float64) float64 {
		if hi == lo {
			return units / 2
		}
		return units * math.Log(v/lo) / math.Log(hi/lo)
	}
	var all []plot.Tick
	taken := math.Inf(-1)
	for i, v := range values {
		t := plot.Tick{Value: v}
		if i == len(values)-1 || at(v)-taken >= tickRoom && at(hi)-at(v) >= tickRoom {
			t.Label, taken = strconv.FormatFloat(v, 'g', 4, 64), at(v)
		}
		all = append(all, t)
	}
	return all
}

// span is the range of the axes over all that is drawn.
func (f Figure) span() (xlo, xhi, ylo, yhi float64) {
	xlo, xhi, ylo, yhi = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, s := range f.Series {
		for _, p := range s.Points {
			if finite(p) && (!f.LogX || p.X > 0) {
				xlo, xhi = min(xlo, p.X), max(xhi, p.X)
				ylo, yhi = min(ylo, p.Y, p.Low), max(yhi, p.Y, p.High)
			}
		}
	}
	if f.Zero {
		ylo = min(0, ylo)
	}
	if yhi == ylo {
		ylo, yhi = ylo-0.5*max(1e-3, math.Abs(ylo)), yhi+0.5*max(1e-3, math.Abs(yhi))
		if f.Zero {
			ylo = min(0, ylo+0.5)
		}
	}
	if f.Zero && ylo == 0 {
		return xlo, xhi, 0, yhi * 1.04
	}
	pad := 0.06 * (yhi - ylo)
	return xlo, xhi, ylo - pad, yhi + pad
}
