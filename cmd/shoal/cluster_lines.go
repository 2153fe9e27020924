package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// clusterView shows a running cluster. It is used by one goroutine.
type clusterView interface {
	show(s *clusterState, now time.Time) // as often as anything may have changed
	say(line string)                     // an event, to stay on the screen
	close()
}

const (
	phaseSpacing = 2 * time.Second  // between two lines of one round
	lineSpacing  = 15 * time.Second // a line at least this often, so that a log shows life
)

// lineView is the view where there is no terminal: a line for each round, phase and score.
type lineView struct {
	out   io.Writer
	said  string // round, phase and scores of the last line
	round int
	count int // scores in the last line
	last  time.Time
}

func (v *lineView) show(s *clusterState, now time.Time) {
	o := s.overview(now)
	if o.round == 0 && o.phase == "start" {
		return
	}
	key := fmt.Sprint(o.round, o.phase, o.present)
	due := o.round != v.round || len(s.scores) != v.count ||
		key != v.said && now.Sub(v.last) >= phaseSpacing || now.Sub(v.last) >= lineSpacing
	if !due {
		return
	}
	v.said, v.round, v.count, v.last = key, o.round, len(s.scores), now
	fmt.Fprintln(v.out, overviewLine(s, o))
}

func (v *lineView) say(line string) { fmt.Fprintln(v.out, line) }

func (v *lineView) close() {}

// overviewLine is the cluster in one line, as
// "round 2 of 6: train 45 %, 4 of 4 agents, 812 images/s, loss 1.234, test accuracy 61.4 % (round 1), about 1m20s left".
func overviewLine(s *clusterState, o overview) string {
	parts := []string{fmt.Sprintf("round %d of %d: %s %.0f %%", o.round, o.rounds, o.phase, 100*roundShare(s, o))}
	switch {
	case o.round == 0:
		parts[0] = fmt.Sprintf("before round 1 of %d: %s", o.rounds, o.phase)
	case o.phase != "train":
		parts[0] = fmt.Sprintf("round %d of %d: %s", o.round, o.rounds, o.phase)
	}
	parts = append(parts, fmt.Sprintf("%d of %d agents", o.present, o.size))
	if o.speed > 0 {
		parts = append(parts, fmt.Sprintf("%.0f images/s", o.speed))
	}
	if o.loss > 0 {
		parts = append(parts, fmt.Sprintf("loss %.3f", o.loss))
	}
	if text := lastScore(s); text != "" {
		parts = append(parts, text)
	}
	if o.left > 0 {
		parts = append(parts, "about "+roughly(o.left)+" left")
	}
	return strings.Join(parts, ", ")
}

// roundShare is the share of the round that the cluster has trained.
func roundShare(s *clusterState, o overview) float64 {
	var sum float64
	n := 0
	for _, a := range s.agents {
		if !a.gone() && a.status.Round == o.round {
			sum, n = sum+stepShare(a.status), n+1
		}
	}
	return sum / float64(max(n, 1))
}

// lastScore is the newest test accuracy in words, or empty before the first.
func lastScore(s *clusterState) string {
	if len(s.scores) == 0 {
		return ""
	}
	last := s.scores[len(s.scores)-1]
	return fmt.Sprintf("test accuracy %.1f %% (round %d)", 100*last.TestAccuracy, last.Round)
}

// roughly is a duration as a person would say it: two units at most, no fractions.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Round(time.Second)/time.Second))
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}
