package figure

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/quick"
)

// scaling is a figure as the papers have it: two series over agents with ranges, one published, one ideal.
func scaling() Figure {
	f := Figure{Name: "speed-up", Title: "Speed-up against agents", X: "agents", Y: "speed-up (×)", LogX: true, Zero: true}
	for i, name := range []string{"strided, once an epoch", "shuffled, every 8 steps"} {
		s := Series{Name: name}
		for _, n := range []float64{1, 2, 4, 8, 12, 24, 48} {
			y := math.Pow(n, 0.7+0.15*float64(i))
			s.Points = append(s.Points, Point{n, y, 0.93 * y, 1.05 * y})
		}
		f.Series = append(f.Series, s)
	}
	f.Series = append(f.Series,
		Series{Name: "published", Style: Published, Points: []Point{{2, 1, 1, 1}, {24, 6.2, 6.2, 6.2}, {48, 9.99, 9.99, 9.99}}},
		Series{Name: "ideal", Style: Ideal, Points: []Point{{1, 1, 1, 1}, {2, 2, 2, 2}, {4, 4, 4, 4}, {8, 8, 8, 8}, {16, 16, 16, 16}}})
	return f
}

// curves has six series of many points, one with a hole.
func curves() Figure {
	f := Figure{Name: "train-loss", Title: "Train loss over epochs, mean and range of all repetitions of each configuration", X: "epoch", Y: "train loss (nats)"}
	for i := range MaxSeries {
		s := Series{Name: fmt.Sprintf("learner.sgd.rate=%g, averaging.every=%d", 0.01*float64(i+1), 1<<i)}
		for e := range 500 {
			y := 2.3*math.Exp(-float64(e)/float64(60+30*i)) + 0.1*float64(i)
			s.Points = append(s.Points, Point{float64(e) / 50, y, y - 0.05, y + 0.05})
		}
		f.Series = append(f.Series, s)
	}
	f.Series[2].Points[250].Y = math.NaN()
	return f
}

// phases is a figure of bars.
func phases() Figure {
	f := Figure{Name: "phases", Title: "Virtual time by phase", X: "seconds", Y: "mean of all repetitions", Parts: []string{"start", "train", "average", "wait", "evaluate"}}
	for n := 1.0; n <= 48; n *= 2 {
		f.Bars = append(f.Bars, Bar{
			Name: fmt.Sprintf("agents=%g, partition=dirichlet, learner.sgd.rate=0.0005, averaging.every=16", n), Values: []float64{2, 900 / n, 4 * n, math.NaN(), 10},
		})
	}
	return f
}

func all() []Figure { return []Figure{scaling(), curves(), phases(), apart()} }

// apart is a figure of bars whose parts are below each other, with ranges, of which one is not known.
func apart() Figure {
	f := Figure{Name: "test-accuracy", Title: "Test accuracy", X: "test accuracy (%)", Y: "by configuration", Parts: []string{"re-estimated", "running"}, Apart: true}
	for i := range 4 {
		v := 61.5 - 10*float64(i)
		f.Bars = append(f.Bars, Bar{fmt.Sprintf("variant %d", i), []float64{v, v / 2}, []float64{v - 3, math.NaN()}, []float64{v + 2, math.NaN()}})
	}
	return f
}

// TestDrawn draws each figure twice; with SHOAL_FIGURES naming a directory, it leaves them there to be looked at.
func TestDrawn(t *testing.T) {
	for _, f := range all() {
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := f.SVG(); err != nil || !bytes.Equal(svg, again) {
			t.Errorf("%s: drawn twice, the SVG differs (%v)", f.Name, err)
		}
		picture, err := f.PNG()
		if err != nil {
			t.Fatal(err)
		}
		config, err := png.DecodeConfig(bytes.NewReader(picture))
		if err != nil || config.Width != 1013 {
			t.Errorf("%s: PNG is %d wide, want 1013 (%v)", f.Name, config.Width, err)
		}
		if dir := os.Getenv("SHOAL_FIGURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, f.Name+".png"), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// texts are what an SVG says, in order. It must be well-formed.
func texts(t *testing.T, svg []byte) string {
	t.Helper()
	var said []string
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return strings.Join(said, "\n")
		}
		if err != nil {
			t.Fatalf("the SVG is not well-formed: %v", err)
		}
		if s, ok := token.(xml.CharData); ok && strings.TrimSpace(string(s)) != "" {
			said = append(said, string(s))
		}
	}
}

func TestEverythingIsSaidInText(t *testing.T) {
	f := scaling()
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	said := "\n" + texts(t, svg) + "\n"
	for _, want := range []string{f.Title, f.X, f.Y, "1", "48", f.Series[0].Name, f.Series[1].Name, "published", "ideal"} {
		if !strings.Contains(said, "\n"+want+"\n") {
			t.Errorf("the figure does not say %q; it says:%s", want, said)
		}
	}
}

func TestNoTextIsSmall(t *testing.T) {
	for _, f := range all() {
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		sizes := regexp.MustCompile(`font-size:([0-9.]+)px`).FindAllSubmatch(svg, -1)
		if len(sizes) == 0 {
			t.Errorf("%s has no text", f.Name)
		}
		for _, m := range sizes {
			if size, err := strconv.ParseFloat(string(m[1]), 64); err != nil || size < 11 {
				t.Errorf("%s has a text of size %s", f.Name, m[1])
			}
		}
	}
}

// TestNothingLeavesTheFigure looks for a coordinate outside of the view, texts at their widths included.
func TestNothingLeavesTheFigure(t *testing.T) {
	place := regexp.MustCompile(`<text (?:textLength[^>]*"spacingAndGlyphs" )?x="([-0-9.e+]+)" y="([-0-9.e+]+)"[^>]*font-size:([0-9.]+)px[^>]*>([^<]*)<`)
	for _, f := range all() {
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range place.FindAllStringSubmatch(string(svg), -1) {
			x, _ := strconv.ParseFloat(m[1], 64)
			size, _ := strconv.ParseFloat(m[3], 64)
			if w := style(size, strings.Contains(m[0], "font-weight:bold"), nil).Width(html.UnescapeString(m[4])); x < 0 || x+w.Points() > Width {
				t.Errorf("%s: %q from %.0f to %.0f of %d", f.Name, m[4], x, x+w.Points(), Width)
			}
		}
	}
}

func TestColoursBecomeVariables(t *testing.T) {
	for _, f := range all() {
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		if left := regexp.MustCompile(`(fill|stroke):#\w+`).FindString(Inline(svg)); left != "" {
			t.Errorf("%s: inline, %s stays as it is on dark ground", f.Name, left)
		}
	}
}

// TestAdaptiveIsDarkOnDarkGround finds a rule for each colour that a figure has, and the colours as they were for programs that
// read none.
func TestAdaptiveIsDarkOnDarkGround(t *testing.T) {
	for _, f := range all() {
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		file := string(Adaptive(svg))
		texts(t, []byte(file))
		_, rest, _ := strings.Cut(file, "<style>")
		rules, body, _ := strings.Cut(rest, "</style>")
		if !strings.HasSuffix(string(svg), body) || !strings.HasPrefix(rules, "@media (prefers-color-scheme:dark){") {
			t.Errorf("%s: the figure itself changed, or is dark in the light", f.Name)
		}
		for _, colour := range regexp.MustCompile(`(fill|stroke):#\w+`).FindAllString(body, -1) {
			if !strings.Contains(rules, `[style*="`+colour+`"]`) {
				t.Errorf("%s: %s has no rule for dark ground", f.Name, colour)
			}
		}
	}
}

// TestNamesAreOnlyText gives a figure names that would be markup.
func TestNamesAreOnlyText(t *testing.T) {
	f := scaling()
	f.Title, f.Series[0].Name = `<script>alert("1")</script>`, `"><b>&`
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	if said := texts(t, svg); !strings.Contains(said, f.Title) || strings.Contains(string(svg), "<script") || strings.Contains(string(svg), "<b>") {
		t.Errorf("markup in a name was not escaped: %s", svg)
	}
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	none := scaling()
	none.Series = []Series{{Name: "lost", Points: []Point{{1, math.NaN(), 0, 0}, {0, 1, 1, 1}}}}
	many := curves()
	many.Series = append(many.Series, many.Series[0])
	ragged := phases()
	ragged.Bars[1].Values = ragged.Bars[1].Values[:2]
	half := apart()
	half.Bars[0].High = nil
	for want, f := range map[string]Figure{"2 and 0 ends of ranges": half, "no finite value": none, "7 series": many, "2 values for 5 parts": ragged, "no bars": {Parts: []string{"a"}}} {
		if _, err := f.SVG(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("SVG: error %v, want one with %q", err, want)
		}
		if _, err := f.PNG(); err == nil {
			t.Errorf("PNG: no error, want one with %q", want)
		}
	}
}

// TestAnyNumbersAreDrawn: gonum panics on some ranges; no measurement may lead there.
func TestAnyNumbersAreDrawn(t *testing.T) {
	law := func(xs, ys [4]float32, log, zero bool) bool {
		f := Figure{Title: "t", LogX: log, Zero: zero, Series: []Series{{Name: "s"}}}
		for i := range xs {
			y := float64(ys[i])
			f.Series[0].Points = append(f.Series[0].Points, Point{float64(xs[i]), y, y, y})
		}
		_, err := f.SVG()
		return err == nil || strings.Contains(err.Error(), "no finite value")
	}
	for _, c := range [][2][4]float32{{{1, 1, 1, 1}, {0, 0, 0, 0}}, {{0, 0, 0, 0}, {1, 1, 1, 1}}, {{5, 5, 5, 5}, {-3, -3, -3, -3}}} {
		for _, log := range []bool{false, true} {
			if !law(c[0], c[1], log, true) || !law(c[0], c[1], log, false) {
				t.Errorf("%v: not drawn", c)
			}
		}
	}
	if err := quick.Check(law, &quick.Config{MaxCount: 60}); err != nil {
		t.Error(err)
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{{0, 10, "0 2 4 6 8 10"}, {0, 1.04, "0.00 0.25 0.50 0.75 1.00"}, {2.1, 2.4, "2.1 2.2 2.3 2.4"}, {0, 47000, "0 10k 20k 30k 40k"}} {
		var got []string
		for _, tick := range ticks(c.lo, c.hi, 5) {
			got = append(got, tick.Label)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("ticks from %g to %g are %v, want %s", c.lo, c.hi, got, c.want)
		}
	}
}
