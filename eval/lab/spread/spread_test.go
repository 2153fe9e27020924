package spread

import (
	"fmt"
	"math"
	"testing"
	"testing/quick"

	"shoal/eval/lab/row"
)

func TestMeanLiesWithinTheRange(t *testing.T) {
	law := func(values []float64, fill uint8) bool {
		for range fill % 4 {
			values = append(values, 0.1)
		}
		for i := range values { // as large as a measurement may be, and no larger: the mean of huge values overflows
			values[i] = math.Mod(values[i], 1e100)
		}
		s := Of(values...)
		if s.N+s.Lost != len(values) {
			return false
		}
		return s.N == 0 && math.IsNaN(s.Mean) || s.Min <= s.Mean && s.Mean <= s.Max
	}
	if err := quick.Check(law, nil); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotFiniteIsCountedApart(t *testing.T) {
	percent := func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
	for _, c := range []struct {
		values []float64
		want   string
	}{
		{nil, "–"},
		{[]float64{math.NaN()}, "– (1 not finite)"},
		{[]float64{0.5}, "50.0 %"},
		{[]float64{0.5, 0.50001}, "50.0 % (n = 2)"},
		{[]float64{0.5, 0.25, math.Inf(1)}, "37.5 % (25.0 % to 50.0 %, n = 2) (1 not finite)"},
	} {
		if got := Of(c.values...).Text(percent); got != c.want {
			t.Errorf("%v reads %q, want %q", c.values, got, c.want)
		}
	}
}

func TestApart(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want bool
	}{
		{[]float64{1, 2}, []float64{3, 4}, true},
		{[]float64{1, 3}, []float64{3, 4}, false}, // they touch
		{[]float64{1, 5}, []float64{2, 3}, false},
		{[]float64{1}, []float64{math.NaN()}, false},
	} {
		a, b := Of(c.a...), Of(c.b...)
		if a.Apart(b) != c.want || b.Apart(a) != c.want {
			t.Errorf("%v and %v: apart %v and %v, want %v", c.a, c.b, a.Apart(b), b.Apart(a), c.want)
		}
	}
}

func place(variant string, repetition int, axes ...[2]string) row.Run {
	return row.Run{Place: row.Place{Axes: axes, Variant: variant, Repetition: repetition, Seed: uint64(repetition) + 1, Model: "mobilenetv2"}}
}

func TestRunsThatDifferInSeedAreOneGroup(t *testing.T) {
	agents := func(n string) [2]string { return [2]string{"agents", n} }
	rate := func(x string) [2]string { return [2]string{"learner.sgd.rate", x} }
	groups := Groups([]row.Run{
		place("", 1, agents("1"), rate("0.1"), [2]string{"seed", "2"}),
		place("", 0, agents("1"), rate("0.1"), [2]string{"seed", "1"}),
		place("", 0, agents("2"), rate("0.1"), [2]string{"seed", "1"}),
		place("fixed", 0, agents("2"), rate("0.1"), [2]string{"seed", "1"}),
	})
	if len(groups) != 3 {
		t.Fatalf("%d groups, want 3", len(groups))
	}
	if g := groups[0]; len(g.Runs) != 2 || g.Runs[0].Repetition != 0 {
		t.Errorf("group %q has %d runs, the first of repetition %d; want 2 by repetition", g.Name, len(g.Runs), g.Runs[0].Repetition)
	}
	for i, want := range []string{"as given, agents=1", "as given, agents=2", "fixed, agents=2"} {
		if groups[i].Name != want {
			t.Errorf("group %d is %q, want %q", i, groups[i].Name, want)
		}
	}
	if groups[0].Series != groups[1].Series || groups[1].Series == groups[2].Series {
		t.Errorf("series %q, %q, %q: the first two should be one", groups[0].Series, groups[1].Series, groups[2].Series)
	}
}

func TestPathsStayLongWhereShortOnesAreAmbiguous(t *testing.T) {
	axes := func(a, b string) row.Run { return place("", 0, [2]string{"sgd.rate", a}, [2]string{"outer.rate", b}) }
	groups := Groups([]row.Run{axes("1", "1"), axes("2", "1"), axes("2", "2")})
	if want := "sgd.rate=2, outer.rate=1"; groups[1].Name != want {
		t.Errorf("named %q, want %q", groups[1].Name, want)
	}
	if one := Groups([]row.Run{axes("1", "1")}); one[0].Name != "mobilenetv2" || one[0].Series != "" {
		t.Errorf("one group alone is named %q of series %q", one[0].Name, one[0].Series)
	}
}
