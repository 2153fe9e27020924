package lab

import (
	"context"
	"fmt"
	"math"
	"time"

	"shoal/eval/lab/cluster"
	"shoal/eval/lab/row"
)

// turn is one run at work.
type turn struct {
	*work
	run      Run
	cluster  *cluster.Cluster
	perRound float64     // epochs
	rounds   []row.Round // of this run so far
	start    float64     // virtual seconds
	saved    time.Time
	p        Progress
}

// play runs the rounds that are left.
func (t *turn) play(ctx context.Context) (row.Run, error) {
	keep := t.keep
	for _, line := range t.rounds {
		keep = append(keep, line)
	}
	if err := t.out.begin(keep); err != nil {
		return row.Run{}, err
	}
	t.saved = time.Now()
	failed := ""
	for t.cluster.Number() < t.run.base.Rounds.Count {
		err := t.round(ctx)
		if ctx.Err() != nil {
			return row.Run{}, t.interrupted(ctx)
		}
		if err != nil {
			failed = err.Error()
			break
		}
		if time.Since(t.saved) >= t.SaveEvery {
			if err := t.out.save(t.cluster, t.tag(t.run)); err != nil {
				return row.Run{}, err
			}
			t.saved = time.Now()
		}
	}
	end := t.end(failed)
	return end, t.out.add(end)
}

// interrupted saves what there is, and says why it ends.
func (t *turn) interrupted(ctx context.Context) error {
	if t.cluster.Number() > 0 {
		if err := t.out.save(t.cluster, t.tag(t.run)); err != nil {
			return err
		}
	}
	return fmt.Errorf("run %s after round %d: %w", t.run.Run, t.cluster.Number(), context.Cause(ctx))
}

// round runs a round and writes its row. A score is not interrupted, so that there is a row for every round.
func (t *turn) round(ctx context.Context) error {
	begun := time.Now()
	line, err := t.cluster.Round(ctx)
	if err != nil {
		return err
	}
	line.Kind, line.Place = row.KindRound, t.run.Place
	if t.run.scored(line.Round, t.perRound) {
		if line.Scores, err = t.cluster.Score(context.WithoutCancel(ctx), t.run.own.Score.Statistics); err != nil {
			return err
		}
		waited := t.cluster.Evaluating(line.Round == t.run.base.Rounds.Count)
		line.Seconds.Evaluate += waited
		line.Clock += waited
	}
	line.WallSeconds = time.Since(begun).Seconds()
	if err := t.out.add(line); err != nil {
		return err
	}
	t.rounds = append(t.rounds, line)
	p := t.p
	p.Round, p.Images, p.Total, p.Line = line.Round, t.done+line.Images, t.total, &line
	t.tell(p)
	return nil
}

// end is the run's own row.
func (t *turn) end(failed string) row.Run {
	e := row.Run{Kind: row.KindRun, Place: t.run.Place, Rounds: len(t.rounds), Hash: t.cluster.Hash(), Failed: failed, Scores: []row.Score{}, WallPeakRSSMB: peakMB()}
	s := &e.Seconds
	s.Start = t.start
	var seen float64                                           // images of the last epoch
	first := len(t.rounds) - int(math.Ceil(1/t.perRound-1e-9)) // round of it, or the last one if that is more than an epoch
	for i, line := range t.rounds {
		s.Train += line.Seconds.Train
		s.Average += line.Seconds.Average
		s.Wait += line.Seconds.Wait
		s.Evaluate += line.Seconds.Evaluate
		e.WallSeconds += line.WallSeconds
		e.Images = line.Images
		if len(line.Scores) > 0 {
			e.Scores = line.Scores
		}
		images := float64(line.Images)
		if i > 0 {
			images -= float64(t.rounds[i-1].Images)
		}
		if i >= first && images > 0 {
			e.TrainLoss += line.TrainLoss * row.Number(images)
			e.TrainAccuracy += line.TrainAccuracy * row.Number(images)
			seen += images
		}
	}
	e.TrainLoss, e.TrainAccuracy = e.TrainLoss/row.Number(seen), e.TrainAccuracy/row.Number(seen)
	s.Total = s.Start + s.Train + s.Average + s.Wait + s.Evaluate
	if busy := s.Train + s.Average + s.Wait; busy > 0 {
		e.ImagesPerSecond = float64(e.Images) / busy
	}
	return e
}
