package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"shoal/eval"
)

// Rounds of a run that measures the cost of averaging. The first is left out: agents warm up in it.
const (
	costEpochRounds = 4
	costStepRounds  = 24
	costSteps       = 8
)

// averagingShare is where the time of agents went that averaged every so many steps.
type averagingShare struct {
	Every   string  `json:"every"`         // epoch, or a number of steps
	Agents  int     `json:"agents"`        // that ran
	Rounds  int     `json:"rounds"`        // that count
	Train   float64 `json:"train_s"`       // in a round, mean
	Wait    float64 `json:"wait_s"`        // for others to be ready
	Average float64 `json:"average_s"`     // exchange, store, agree and take over the mean
	Share   float64 `json:"average_share"` // of training, waiting and averaging
	Waiting float64 `json:"wait_share"`
	Sent    float64 `json:"bytes_sent"` // by the agent in a round
}

// averagingShares are the results of bench --collective --training.
type averagingShares struct {
	Shares  []averagingShare `json:"shares"`
	Machine machine          `json:"machine"`
	Build   build            `json:"build"`
}

// averagingCost runs clusters of real agents, which average every epoch and every 8 steps, and reads from the report of
// each where the time of a round went, as the agent that reports saw it.
func (b *bench) averagingCost(ctx context.Context) (*averagingShares, error) {
	r := &averagingShares{Machine: thisMachine(), Build: thisBuild(version)}
	for _, run := range []struct {
		every         string
		steps, rounds int
	}{{"epoch", 0, costEpochRounds}, {strconv.Itoa(costSteps) + " steps", costSteps, costStepRounds}} {
		share, err := b.shareOf(ctx, run.steps, run.rounds)
		if err != nil {
			return nil, fmt.Errorf("average every %s: %w", run.every, err)
		}
		share.Every = run.every
		r.Shares = append(r.Shares, *share)
	}
	return r, nil
}

// shareOf runs one cluster.
func (b *bench) shareOf(ctx context.Context, steps, rounds int) (*averagingShare, error) {
	dir, err := os.MkdirTemp("", "shoal-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the agents: %w", err)
	}
	defer os.RemoveAll(dir) // a temporary directory that stays does no harm
	args := []string{"cluster", strconv.Itoa(b.ranks), "--dir", filepath.Join(dir, "cluster"), "--plain", "--json", "--rounds", strconv.Itoa(rounds)}
	for _, v := range []struct{ flag, value string }{{"--config", b.options.config}, {"--preset", b.options.preset}, {"--data", b.data}} {
		if v.value != "" {
			args = append(args, v.flag, v.value)
		}
	}
	for _, s := range b.options.set {
		args = append(args, "--set", s)
	}
	for _, p := range benchPaths {
		if value, ok := b.given[p.name]; ok {
			args = append(args, "--set", p.path+"="+value)
		}
	}
	args = append(args, "--set", "rounds.steps="+strconv.Itoa(steps), "--set", "eval.every="+strconv.Itoa(rounds))
	out, err := b.spawn(ctx, args...)
	if err != nil {
		return nil, err
	}
	var report eval.Report
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("read the report of the agents: %w", err)
	}
	return shareIn(report, b.ranks)
}

// shareIn adds up the rows of a report but the formation's and the first.
func shareIn(report eval.Report, agents int) (*averagingShare, error) {
	s := &averagingShare{Agents: agents}
	for _, row := range report.Rows {
		if row.Round < 2 || len(row.Contributors) != agents {
			continue
		}
		s.Rounds++
		s.Train += row.Seconds.Train
		s.Wait += row.Seconds.Wait
		s.Average += row.Seconds.Average
		s.Sent += float64(row.Sent)
	}
	total := s.Train + s.Wait + s.Average
	if s.Rounds == 0 || total <= 0 {
		return nil, errors.New("no round of the report counts: in none after the first did all agents take part")
	}
	s.Share, s.Waiting = s.Average/total, s.Wait/total
	for _, sum := range []*float64{&s.Train, &s.Wait, &s.Average, &s.Sent} {
		*sum /= float64(s.Rounds)
	}
	return s, nil
}

func (r *averagingShares) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%-8s %7s %9s %8s %11s %8s %8s %14s\n", "every", "rounds", "train s", "wait s", "average s", "average", "wait", "bytes sent")
	for _, x := range r.Shares {
		fmt.Fprintf(&s, "%-8s %7d %9.3f %8.3f %11.3f %7.1f%% %7.1f%% %14.0f\n", x.Every, x.Rounds, x.Train, x.Wait, x.Average, 100*x.Share, 100*x.Waiting, x.Sent)
	}
	return s.String()
}
