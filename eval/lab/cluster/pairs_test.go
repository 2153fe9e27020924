package cluster

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/agent/part"
	"shoal/eval/lab/row"
	"shoal/gossip/collective"
	"shoal/learner"
)

// Partners are a perfect matching, but for one of an odd number: the same every time, and any two as often as any others.
func TestPartners(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 5, 8, 48} {
		alone := 0
		for i, j := range partners(n, 1, 1) {
			if partners(n, 1, 1)[j] != i {
				t.Errorf("of %d: %d goes to %d, which goes elsewhere", n, i, j)
			}
			if i == j {
				alone++
			}
		}
		if alone != n%2 {
			t.Errorf("%d of %d are left over", alone, n)
		}
	}
	const n, rounds = 5, 2000
	var met [n][n]int
	for round := range rounds {
		for i, j := range partners(n, 7, round) {
			met[i][j]++
		}
	}
	for i := range met {
		for j, times := range met[i] {
			if times < rounds/n*8/10 || times > rounds/n*12/10 {
				t.Errorf("%d met %d in %d rounds of %d, want about one of %d", i, j, times, rounds, n)
			}
		}
	}
	if slices.Equal(partners(48, 1, 1), partners(48, 1, 2)) || slices.Equal(partners(48, 1, 1), partners(48, 2, 1)) {
		t.Error("another round, or another seed, has the same pairs")
	}
}

// Two members in pairs are two that average as always: in the first round to the bit, since both count from the untrained
// state, and later but for the rounding of that, which batch norms of few images would soon make much of.
func TestTwoInPairsAreTwo(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"plain":           func(*Config) {},
		"shared momentum": func(c *Config) { c.Recipe.Averaging.Momentum, c.Recipe.Averaging.Plan = true, "star" },
		"unequal":         func(c *Config) { c.Recipe.Data.Limit, c.Recipe.Rounds.Steps = 27, 0 },
		"no batch norm":   func(c *Config) { c.Recipe.Learner.Model, c.Recipe.Rounds.Count = learner.SqueezeNet11, 4 },
	} {
		cfg := tiny()
		cfg.Agents, cfg.Recipe.Rounds.Count, cfg.Recipe.Learner.Optimizer.Rate = 2, 2, 1e-3
		change(&cfg)
		as := cfg
		as.Schedule.Pairs = true
		a, b := build(t, cfg), build(t, as)
		for round := 1; round <= cfg.Recipe.Rounds.Count; round++ {
			x, y := play(t, a, 1)[0], play(t, b, 1)[0]
			if round == 1 && x.Hash != y.Hash {
				t.Errorf("%s: the first round has other bits", name)
			}
			if x.BytesSent != y.BytesSent || x.Images != y.Images || y.Pairs != 1 || y.Distance != 0 {
				t.Errorf("%s: round %d in pairs is %+v, else %+v", name, round, y, x)
			}
			for i, v := range a.state {
				if d := math.Abs(float64(v - b.state[i])); d > 1e-5*max(1, math.Abs(float64(v))) {
					t.Fatalf("%s: round %d: value %d is %v, and %v in pairs", name, round, i, v, b.state[i])
				}
			}
		}
	}
}

// As long as steps are so small that gradients hardly change, the mean of the members in pairs goes where members go that
// all average, whoever met whom: averages are linear.
func TestPairsGoWhereAllGo(t *testing.T) {
	cfg := tiny()
	cfg.Agents, cfg.Recipe.Learner.Model, cfg.Recipe.Learner.Optimizer.Rate = 3, learner.SqueezeNet11, 1e-4
	cfg.Recipe.Averaging.Weights, cfg.Recipe.Averaging.Momentum, cfg.Recipe.Rounds.Steps = "equal", true, 2
	as := cfg
	as.Schedule.Pairs = true
	a, b := build(t, cfg), build(t, as)
	play(t, a, 3)
	play(t, b, 3)
	way, off := part.Norm(a.state[:a.params], b.origin), part.Norm(a.state[:a.params], b.state)
	if off > 0.01*way || off == 0 {
		t.Errorf("all together go %v, and the mean in pairs is %v off", way, off)
	}
}

// scatter gives the first parameters of each member a value of its own, and returns their mean.
func scatter(c *Cluster, rng *rand.Rand) (mean []float64) {
	mean = make([]float64, min(c.params, 500))
	for _, m := range c.members {
		for i := range mean {
			m.state[i] = c.origin[i] + float32(rng.NormFloat64())
			mean[i] += float64(m.state[i]) / float64(len(c.members))
		}
	}
	return mean
}

// spreadOf is the sum of the members' squared distances to the mean of their states.
func spreadOf(c *Cluster, mean []float64) float64 {
	sum := 0.0
	for _, m := range c.members {
		for i, x := range mean {
			sum += (float64(m.state[i]) - x) * (float64(m.state[i]) - x)
		}
	}
	return sum
}

// With a rate of next to nothing a round leaves the mean of the parameters where it is, and who is left over at its own;
// partners end with the same bits, and the distance is what a dumb loop finds. What a small wire type loses comes again.
func TestPairsKeepTheMean(t *testing.T) {
	near := func(most float64) func(a, b float32) bool {
		return func(a, b float32) bool { return math.Abs(float64(a)-float64(b)) <= most }
	}
	for wire, most := range map[string]float64{"fp32": 1e-6, "int8": 0.03} {
		cfg := tiny()
		cfg.Agents, cfg.Schedule.Pairs, cfg.Recipe.Learner.Optimizer.Rate = 5, true, 1e-30
		cfg.Recipe.Averaging.Weights, cfg.Recipe.Averaging.Wire = "equal", wire
		c := build(t, cfg)
		want := scatter(c, rand.New(rand.NewPCG(1, 2)))
		for range 10 {
			before := make([][]float32, len(c.members))
			for i, m := range c.members {
				before[i] = slices.Clone(m.state[:len(want)])
			}
			line := play(t, c, 1)[0]
			for i, j := range partners(5, cfg.Recipe.Seed, line.Round) {
				if !slices.Equal(c.members[i].state, c.members[j].state) {
					t.Errorf("%s, round %d: %d and %d averaged, and differ", wire, line.Round, i, j)
				}
				if i == j && !slices.EqualFunc(c.members[i].state[:len(want)], before[i], near(1e-20)) {
					t.Errorf("%s, round %d: %d is left over, and moved", wire, line.Round, i)
				}
			}
			for i, x := range want {
				if math.Abs(float64(c.state[i])-x) > most {
					t.Fatalf("%s, round %d: the mean of parameter %d went from %v to %v", wire, line.Round, i, x, c.state[i])
				}
				whole := 0.0 // with what was lost of a pair's mean, which both have, and which comes again
				for _, m := range c.members {
					whole += float64(m.state[i]) / 5
					if lost := m.averager.Lost(); lost != nil {
						whole += 2 * float64(lost[i]) / 5
					}
				}
				if math.Abs(whole-x) > 1e-5 {
					t.Fatalf("%s, round %d: the mean of parameter %d was %v, and is %v with what was lost", wire, line.Round, i, x, whole)
				}
			}
			squares, length := 0.0, 0.0
			for i, x := range c.state[:c.params] {
				length += float64(x) * float64(x)
				for _, m := range c.members {
					squares += math.Pow(float64(m.state[i])-float64(x), 2) / 5
				}
			}
			if want := math.Sqrt(squares / length); math.Abs(float64(line.Distance)-want) > 1e-5*want {
				t.Errorf("%s, round %d: distance %v, want %v", wire, line.Round, line.Distance, want)
			}
		}
	}
}

// Without training the members' spread becomes half of what it was in a round, or to be exact: a pair's mean has half of the
// squares of both and their product, which over all matchings of n is −1/(n−1) of a square ([Boyd2006], section II).
func TestPairsAgreeByHalves(t *testing.T) {
	cfg := tiny()
	cfg.Agents, cfg.Schedule.Pairs, cfg.Recipe.Averaging.Segment = 8, true, 1<<20
	c := build(t, cfg)
	rng, sum, count := rand.New(rand.NewPCG(3, 4)), 0.0, 0
	for range 25 {
		mean := scatter(c, rng)
		for range 4 {
			before := spreadOf(c, mean)
			r, err := c.begin()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range c.members {
				m.delta = append(m.delta[:0], m.state...)
			}
			if err := c.averagePairs(t.Context(), r, &row.Round{}); err != nil {
				t.Fatal(err)
			}
			c.number++
			sum, count = sum+spreadOf(c, mean)/before, count+1
		}
	}
	if got, want := sum/float64(count), 0.5-0.5/7; math.Abs(got-want) > 0.03 {
		t.Errorf("a round leaves %v of the spread, want %v", got, want)
	}
}

// Members that all diverge keep their states, and nobody's work is in the mean.
func TestPairsThatDiverge(t *testing.T) {
	cfg := tiny()
	cfg.Schedule.Pairs, cfg.Recipe.Learner.Model, cfg.Recipe.Learner.Optimizer.Rate = true, learner.SqueezeNet11, 100
	cfg.Recipe.Rounds.Steps = 8
	c := build(t, cfg)
	hash := c.Hash()
	if line := play(t, c, 1)[0]; line.Contributors != 0 || line.Hash != hash || line.Distance != 0 {
		t.Errorf("%+v, want the untrained state", line)
	}
}

// A member without samples counts as much as its partner; else the rule decides.
func TestPairShares(t *testing.T) {
	for _, c := range []struct {
		a, b int64
		rule string
		want []float64
	}{
		{3, 1, "samples", []float64{3, 1}}, {3, 1, "equal", []float64{1, 1}}, {3, 0, "samples", []float64{1, 1}},
		{0, 3, "samples", []float64{1, 1}}, {0, 0, "samples", []float64{1, 1}},
	} {
		if got := pairShares(c.a, c.b, c.rule); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// between is pace, but only who exchanges with each other waits for each other.
type between struct{ pace }

func (between) Exchange(plan collective.Plan, _ int, _ string, ready []time.Duration) ([]time.Duration, error) {
	done := slices.Clone(ready)
	for _, moves := range plan.Steps {
		for _, m := range moves {
			done[m.From] = max(ready[m.From], ready[m.To]) + 2*time.Second
		}
	}
	return done, nil
}

// Every member has a clock, and waits for nobody but its partner; the parts of a round are by how much the last one's
// advanced.
func TestPairsHaveTheirOwnClocks(t *testing.T) {
	cfg := tiny()
	cfg.Agents, cfg.Clock = 5, between{}
	cfg.Schedule = Schedule{Pairs: true, Churn: []Churn{{Member: 3, From: 1, To: 3, Is: "slow", Factor: 10}}}
	c := build(t, cfg)
	const tenth = time.Second / 10
	clocks, drifted := slices.Repeat([]time.Duration{100 * tenth}, 5), false
	for round := 1; round <= 8; round++ {
		if round == 5 {
			c.Evaluating(false)
		}
		line := play(t, c, 1)[0]
		took := func(i int) time.Duration {
			steps := 30 * tenth
			if i == 3 && round <= 3 {
				steps *= 10
			}
			if round == 5 {
				steps += 50 * tenth
			}
			return clocks[i] + steps
		}
		before, next := slices.Max(clocks), make([]time.Duration, 5)
		for i, j := range partners(5, cfg.Recipe.Seed, round) {
			next[i] = took(i)
			if i != j {
				next[i] = max(took(i), took(j)) + 21*tenth // a message, and the exchange
			}
		}
		clocks = next
		if !slices.Equal(c.clocks, clocks) {
			t.Errorf("round %d: clocks %v, want %v", round, c.clocks, clocks)
		}
		drifted = drifted || slices.Min(clocks) < before
		s := line.Seconds
		if sum := s.Train + s.Average + s.Wait + s.Evaluate; math.Abs(line.Clock-slices.Max(clocks).Seconds()) > 1e-9 ||
			math.Abs(sum-(slices.Max(clocks)-before).Seconds()) > 1e-9 || min(s.Train, s.Average, s.Wait, s.Evaluate) < 0 {
			t.Errorf("round %d: clock %v and %+v, want %v after %v", round, line.Clock, s, slices.Max(clocks), before)
		}
	}
	if !drifted {
		t.Error("all waited for the slow one")
	}
}

// The plan of all pairs takes as long as one pair's where each has its own links, and longer where they share a switch.
func TestAbreast(t *testing.T) {
	pair := collective.Ring(2)
	all := abreast(pair, []int{3, 2, 1, 0, 4})
	links := collective.Uniform(5, 1e-4, 1e6)
	one := pair.Play(40_000, 1000, collective.Network{Links: links}, nil)
	apart := all.Play(40_000, 1000, collective.Network{Links: links}, nil)
	shared := all.Play(40_000, 1000, collective.Network{Links: links, Fabric: 1e6}, nil)
	for i := range 4 {
		if apart[i] != one[0] || shared[i] < 1.5*one[0] {
			t.Errorf("rank %d: %v, and %v by one switch, want %v and more", i, apart[i], shared[i], one[0])
		}
	}
	if apart[4] != 0 || shared[4] != 0 {
		t.Errorf("who is left over takes %v and %v", apart[4], shared[4])
	}
}

// What has no meaning with pairs is refused by name.
func TestPairsRefuse(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"averaging.outer.kind: slowmo":    func(c *Config) { c.Recipe.Averaging.Outer.Kind = "slowmo" },
		"averaging.combine: median":       func(c *Config) { c.Recipe.Averaging.Combine, c.Recipe.Averaging.Plan = "median", "mesh" },
		"rounds.deadline: 1s":             func(c *Config) { c.Recipe.Rounds.Deadline = time.Second },
		"churn[0].is: absent, and with":   func(c *Config) { c.Schedule.Churn = []Churn{{Member: 1, From: 2, Is: "absent"}} },
		"averaging.delayed: a virtual cl": func(c *Config) { c.Recipe.Averaging.Delayed = true },
	} {
		cfg := tiny()
		cfg.Schedule.Pairs = true
		change(&cfg)
		if _, err := New(cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A state of members that average together is none of members in pairs.
func TestSnapshotOfTheOtherKind(t *testing.T) {
	one, two := tiny(), tiny()
	two.Schedule.Pairs = true
	a, b := build(t, one), build(t, two)
	for _, c := range [][2]*Cluster{{a, b}, {b, a}} {
		play(t, c[0], 1)
		var file bytes.Buffer
		if err := c[0].Save(&file, "x"); err != nil {
			t.Fatal(err)
		}
		if err := c[1].Load(&file, "x", 9); err == nil {
			t.Error("it is loaded")
		}
	}
	b.clocks[1] = b.now + 1
	var file bytes.Buffer
	if err := b.Save(&file, "x"); err != nil {
		t.Fatal(err)
	}
	if err := build(t, two).Load(&file, "x", 9); err == nil || !strings.Contains(err.Error(), "member 1 was done at 1ns") {
		t.Errorf("a member is beyond the cluster's clock: %v", err)
	}
}
