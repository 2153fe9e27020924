package cluster

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"

	"shoal/agent/part"
	"shoal/eval/lab/row"
	"shoal/gossip/collective"
)

// Gossip pairs (Schedule.Pairs) are averaging without a common state: randomized gossip ([Boyd2006], Randomized gossip
// algorithms, IEEE Transactions on Information Theory 52(6)) between local steps, as in AD-PSGD ([Lian2017], arXiv
// 1710.06952) and GoSGD ([Blot2016], arXiv 1611.09726). In a round
//
//  1. partners pairs the members at random; one is left over where their number is odd;
//  2. each takes its local steps from its own state (train.go);
//  3. every pair averages what both have come to, and each of them goes on from that; who is left over keeps what it has;
//  4. the mean of all members' states, which no member knows, becomes the one that is scored and named.
//
// What goes over the wire is how far a member is from the untrained state, the only one that all know: less than the state,
// so that a small wire type errs by less.

// pairStream tells the draw of pairs from the other uses of a seed.
const pairStream = 0x6c61622e70616972

// partners pairs n ranks for a round: the one at i exchanges with partners[i], which is i itself where one is left over. It
// is a pure function of seed and round, and any two ranks are as likely a pair as any others.
func partners(n int, seed uint64, round int) []int {
	list := make([]int, n)
	order := rand.New(rand.NewPCG(seed^pairStream, uint64(round))).Perm(n)
	for k := 0; k < n; k += 2 {
		a, b := order[k], order[min(k+1, n-1)]
		list[a], list[b] = b, a
	}
	return list
}

// abreast is the plan of all pairs at once, each by a plan of two ranks: what the network has to carry in a round.
func abreast(pair collective.Plan, partner []int) collective.Plan {
	all := collective.Plan{Name: "pairs by " + pair.Name, Size: len(partner), Chunks: pair.Chunks}
	for _, moves := range pair.Steps {
		var step []collective.Move
		for i, j := range partner {
			for _, m := range moves {
				if i < j {
					ends := [2]int{i, j}
					step = append(step, collective.Move{From: ends[m.From], To: ends[m.To], Chunk: m.Chunk, Op: m.Op})
				}
			}
		}
		all.Steps = append(all.Steps, step)
	}
	return all
}

// pairShares are the weights of two members in their mean: by their samples as the rule says. Other than in the mean of
// all, a member without samples in this round counts as much as its partner, since its state has what it did before.
func pairShares(a, b int64, rule string) []float64 {
	if a == 0 || b == 0 {
		return []float64{1, 1}
	}
	return part.Weights([]int64{a, b}, rule)
}

// averagePairs lets every pair exchange, makes the mean of all states, and notes what there is to tell.
func (c *Cluster) averagePairs(ctx context.Context, r *round, line *row.Round) error {
	sent, err := c.meet(ctx, r)
	if err != nil {
		return err
	}
	c.meanOf(c.next, func(m *member) []float32 { return m.delta })
	if !part.Finite(c.next) {
		return errors.New("the mean of the members' states is not finite")
	}
	c.state, c.next = c.next, c.state
	for _, m := range c.members {
		m.averager.Commit()
		m.state, m.delta = m.delta, m.state
		m.momentum, m.fresh = m.fresh, m.momentum
	}
	line.Pairs, line.BytesSent, line.Distance = len(r.partner)/2, sent/int64(len(r.partner)), c.apart()
	return nil
}

// meet runs the exchange of every pair at once: both ends up with the same bits in the memory of their delta.
func (c *Cluster) meet(ctx context.Context, r *round) (sent int64, err error) {
	results, errs := make([]collective.Result, len(r.partner)), make([]error, len(r.partner))
	var all sync.WaitGroup
	for i, j := range r.partner {
		if i >= j {
			continue
		}
		links, weights := newCable(2), pairShares(r.samples[i], r.samples[j], c.recipe.Averaging.Weights)
		for rank, at := range [2]int{i, j} {
			all.Go(func() {
				results[at], errs[at] = c.half(ctx, c.members[r.present[at]], r.plan, rank, weights, plug{links, rank})
			})
		}
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	for i := range results {
		sent += results[i].Sent
	}
	return sent, firstOf(errs)
}

// half is one member's part of its pair's exchange. A norm bound would be by the median of two, which is the greater: there
// is none.
func (c *Cluster) half(ctx context.Context, m *member, plan collective.Plan, rank int, weights []float64, link collective.Link) (collective.Result, error) {
	part.Delta(m.delta, m.delta, c.origin)
	result, err := m.averager.Mean(ctx, plan, rank, weights, []float64{1, 1}, 0, m.delta, link)
	for i, x := range c.origin {
		m.delta[i] += x
	}
	return result, err
}

// meanOf writes the mean of a vector of all members, summed in their order.
func (c *Cluster) meanOf(mean []float32, of func(*member) []float32) {
	var all sync.WaitGroup
	for w := range c.workers {
		lo, hi := w*c.shared/len(c.workers), (w+1)*c.shared/len(c.workers)
		all.Go(func() {
			sum := make([]float64, hi-lo)
			for _, m := range c.members {
				addTo(sum, of(m)[lo:hi])
			}
			for i, s := range sum {
				mean[lo+i] = float32(s / float64(len(c.members)))
			}
		})
	}
	all.Wait()
}

// apart is how far the members are from the mean of their states: the root mean square of their parameters' distance to
// it, over its length.
func (c *Cluster) apart() row.Number {
	squares := 0.0
	for _, m := range c.members {
		d := part.Norm(m.state[:c.params], c.state)
		squares += d * d
	}
	return row.Number(math.Sqrt(squares/float64(len(c.members))) / part.Length(c.state[:c.params]))
}
