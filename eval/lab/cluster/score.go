package cluster

import (
	"context"
	"fmt"
	"sync"

	"shoal/eval"
	"shoal/eval/lab/row"
)

// Score evaluates the shared state with each of the statistics (row.Running, row.Reestimated), side by side. What a score has
// does not depend on who did which part of it.
func (c *Cluster) Score(ctx context.Context, statistics []string) ([]row.Score, error) {
	scores, errs := make([]row.Score, len(statistics)), make([]error, len(statistics))
	for lo := 0; lo < len(statistics); lo += len(c.workers) {
		var all sync.WaitGroup
		for i := lo; i < min(lo+len(c.workers), len(statistics)); i++ {
			all.Go(func() { scores[i], errs[i] = c.score(ctx, c.workers[i-lo], statistics[i]) })
		}
		all.Wait()
	}
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("score round %d: %w", c.number, err)
		}
	}
	return scores, nil
}

// Evaluating says that the state of the last round was scored, by all of its members together: each begins the next round
// with its share of that, and at the end everybody waits for it. It returns the virtual time of that wait, 0 before the end.
func (c *Cluster) Evaluating(last bool) float64 {
	present := c.schedule.present(c.agents, max(c.number, 1))
	if len(present) == 0 {
		return 0
	}
	scorer := eval.Scorer{Model: c.workers[0].learner, Set: c.set, Config: c.eval, Learner: c.recipe.Learner}
	took := c.clock.Evaluate(scorer.Share(len(present)))
	if last {
		c.now += took
		return took.Seconds()
	}
	for _, m := range present {
		c.busy[m] += took
	}
	return 0
}

func (c *Cluster) score(ctx context.Context, w *worker, statistics string) (row.Score, error) {
	cfg := c.eval
	switch {
	case statistics == row.Running:
		cfg.Reestimate = 0
	case cfg.Reestimate == 0:
		cfg.Reestimate = eval.Defaults().Reestimate
	}
	copy(w.local(c.recipe.Averaging.Momentum), c.state)
	got, err := eval.ScoreModel(ctx, w.learner, w.loader, c.set, cfg, c.recipe.Learner)
	return row.Score{Statistics: statistics, TestLoss: row.Number(got.Loss), TestAccuracy: row.Number(got.Accuracy)}, err
}
