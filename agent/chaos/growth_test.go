package chaos

import "testing"

func TestGrowth(t *testing.T) {
	var level, rising []float64
	for i := range 400 {
		noise := float64(i * 7919 % 11)
		level = append(level, 100+noise)
		rising = append(rising, 100+noise+float64(i)/4)
	}
	if err := Grew("level", level, 0.2, 0); err != nil {
		t.Error(err)
	}
	if err := Grew("rising", rising, 0.2, 0); err == nil {
		t.Error("a rise by three quarters was not seen")
	}
	if first, last := Growth([]float64{1, 2, 3}); first != 0 || last != 0 {
		t.Errorf("three readings grew from %v to %v", first, last)
	}
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.5, 3}, {0.99, 4}, {1, 4}} {
		if got := Quantile([]float64{4, 2, 3, 1}, c.q); got != c.want {
			t.Errorf("quantile %v is %v, want %v", c.q, got, c.want)
		}
	}
	if Median(nil) != 0 {
		t.Error("the median of nothing is not 0")
	}
}
