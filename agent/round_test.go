package agent

import (
	"testing"
	"time"

	"shoal/agent/part"
	"shoal/gossip/roster"
)

// While a score keeps the trainer busy, ballots fail and are tried again, many times over: each new exchange ends the one
// before, and the loop never waits for the trainer.
func TestExchangesWhileTheTrainerIsBusy(t *testing.T) {
	const ballots = 10 * jobQueue
	// Nobody runs this trainer: it is busy for good.
	a := &Agent{trainer: tinyTrainer(t, false), events: make(chan any, eventQueue), quit: make(chan struct{})}
	a.scratch()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for view := range uint64(ballots) {
			a.reduce(t.Context(), roster.Reduce{Tag: roster.Tag{Ballot: roster.Ballot{Round: 1, View: view}}})
		}
		a.round.exchange.cancel()
		a.working.Wait()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the loop waits for the trainer")
	}
	if len(a.trainer.jobs) != 0 {
		t.Errorf("%d jobs are left of exchanges that are over", len(a.trainer.jobs))
	}
	if len(a.events) != ballots {
		t.Errorf("%d exchanges were answered, want %d", len(a.events), ballots)
	}
	for len(a.events) > 0 {
		if _, ok := (<-a.events).(roster.Failed); !ok {
			t.Error("an exchange that was cancelled did not fail")
		}
	}
}

// Images and seconds add up over rounds, also when one ends as far as the one before.
func TestCountedImages(t *testing.T) {
	var s shown
	for _, p := range []progress{{}, {Round: 1, Images: 10}, {Round: 1, Images: 20}, {Round: 2, Images: 20}, {Round: 3, Images: 5}, {Round: 3, Images: 20}} {
		s.count(p)
	}
	if got := s.images + s.part.Images; got != 60 {
		t.Errorf("%d images, want 60", got)
	}
}

func TestWeights(t *testing.T) {
	for _, c := range []struct {
		samples []int64
		rule    string
		want    []float64
	}{
		{[]int64{30, 0, 10}, "samples", []float64{30, 0, 10}},
		{[]int64{30, 0, 10}, "equal", []float64{1, 0, 1}},
		{[]int64{0, 0}, "samples", []float64{1, 1}},
		{[]int64{-1, 4}, "samples", []float64{0, 4}},
		{nil, "samples", []float64{}},
	} {
		got := part.Weights(c.samples, c.rule)
		if len(got) != len(c.want) {
			t.Fatalf("%v by %s: %v", c.samples, c.rule, got)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%v by %s: %v, want %v", c.samples, c.rule, got, c.want)
			}
		}
	}
}
