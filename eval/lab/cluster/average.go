package cluster

import (
	"context"
	"errors"
	"math"
	"sync"

	"shoal/agent/part"
	"shoal/eval/lab/row"
	"shoal/gossip/collective"
)

// average exchanges the deltas of a round by its plan, makes the state that follows, and notes what the exchange tells.
func (c *Cluster) average(ctx context.Context, r *round, line *row.Round) error {
	if c.schedule.Pairs {
		return c.averagePairs(ctx, r, line)
	}
	spread := c.measure(r)
	mean, sent, err := c.exchange(ctx, r)
	if err != nil {
		return err
	}
	line.BytesSent = sent / int64(len(r.present))
	line.Distance, line.GradientNoise = spread.against(mean[:c.params])
	copy(c.next, c.state)
	if err := c.recipe.Follow(c.next, mean, c.params); err != nil {
		return err
	}
	c.state, c.next = c.next, c.state
	for _, at := range r.present {
		m := c.members[at]
		m.averager.Commit()
		m.momentum, m.fresh = m.fresh, m.momentum
	}
	return nil
}

// exchange runs every member's part at once, and returns the mean, which is the memory of the first one's delta.
func (c *Cluster) exchange(ctx context.Context, r *round) (mean []float32, sent int64, err error) {
	weights := part.Weights(r.samples, c.recipe.Averaging.Weights)
	scales, limit := collective.Limits(r.norms, c.recipe.Averaging.Bound)
	links := newCable(len(r.present))
	results, errs := make([]collective.Result, len(r.present)), make([]error, len(r.present))
	var all sync.WaitGroup
	for i, m := range r.present {
		all.Go(func() {
			m := c.members[m]
			results[i], errs[i] = m.averager.Mean(ctx, r.plan, i, weights, scales, limit, m.delta, plug{links, i})
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, 0, err
	}
	for i := range errs {
		sent += results[i].Sent
	}
	return c.members[r.present[0]].delta, sent, firstOf(errs)
}

// firstOf is the error that broke an exchange, rather than one of those that came of it.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, errBroken) {
			return err
		}
	}
	return errors.Join(errs...)
}

// spread is what the members' deltas of the parameters tell about their mean.
type spread struct {
	count   int       // members with work
	images  float64   // of one of them, on average
	squares float64   // sum of |delta|²
	sum     []float64 // of the deltas; nil: not measured
}

// measure looks at the deltas before the exchange takes their memory.
func (c *Cluster) measure(r *round) spread {
	s := spread{sum: make([]float64, c.params)}
	squares := make([]float64, len(r.present))
	var all sync.WaitGroup
	for w := range c.workers { // each has a part of the parameters, so that sums have one order
		lo, hi := w*c.params/len(c.workers), (w+1)*c.params/len(c.workers)
		all.Go(func() {
			for i, m := range r.present {
				if r.samples[i] > 0 {
					addTo(s.sum[lo:hi], c.members[m].delta[lo:hi])
				}
			}
		})
	}
	all.Wait()
	for i, m := range r.present {
		if r.samples[i] > 0 {
			s.count++
			s.images += float64(r.samples[i])
			squares[i] = squaresOf(c.members[m].delta[:c.params])
			s.squares += squares[i]
		}
	}
	s.images /= math.Max(float64(s.count), 1)
	return s
}

func addTo(sum []float64, v []float32) {
	for i, x := range v {
		sum[i] += float64(x)
	}
}

func squaresOf(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return sum
}

// against compares the deltas with their mean: the distance of a row, and the gradient noise scale in images, trace of the
// covariance of one image's gradient over the squared gradient (McCandlish et al. 2018, appendix A.1), with members as
// large batches: E|delta|² = |G|² + noise/images of one, E|mean|² = |G|² + noise/images of all. It is nil where members
// are fewer than two, or the gradient is lost in the noise.
func (s spread) against(mean []float32) (distance row.Number, noise *row.Number) {
	size := squaresOf(mean)
	if s.count == 0 || size == 0 {
		return row.Number(math.NaN()), nil
	}
	product := 0.0
	for i, x := range mean {
		product += float64(x) * s.sum[i]
	}
	n := float64(s.count)
	each := s.squares / n
	distance = row.Number(math.Sqrt(math.Max(each-2*product/n+size, 0) / size))
	gradient := (n*size - each) / (n - 1)
	if s.count < 2 || !(gradient > 0) {
		return distance, nil
	}
	scale := row.Number((each - size) / (1 - 1/n) * s.images / gradient)
	return distance, &scale
}
