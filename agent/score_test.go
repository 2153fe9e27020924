package agent

import (
	"math"
	"testing"
	"time"

	"shoal/eval"
)

// The next in line takes over after several times what evaluations take, whatever single members say of theirs.
func TestEvaluatorPatience(t *testing.T) {
	scores := func(seconds ...float64) (all []eval.Score) {
		for _, s := range seconds {
			all = append(all, eval.Score{Seconds: s})
		}
		return all
	}
	tests := []struct {
		name  string
		known []eval.Score
		want  time.Duration
	}{
		{"none is known", nil, evaluatorAtMost},
		{"they take no time", scores(0.1, 0.2, 0.1), evaluatorAtLeast},
		{"they take a while", scores(10, 10, 10), time.Minute},
		{"longer than anybody waits", scores(600), evaluatorAtMost},
		{"one says a year", scores(10, 3e7, 10), time.Minute},
		{"one says less than nothing", scores(10, -1e300, 10), time.Minute},
		{"all say what is no number of seconds", scores(math.Inf(1), math.Inf(1)), evaluatorAtMost},
		{"only the last count", append(scores(100, 100, 100, 100, 100, 100, 100, 100, 100, 100), scores(10, 10, 10, 10, 10, 10, 10, 10, 10)...), time.Minute},
	}
	for _, test := range tests {
		if got := evaluatorPatience(test.known); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
