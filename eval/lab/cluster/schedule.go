package cluster

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"shoal/agent/part"
	"shoal/eval/lab/row"
	"shoal/gossip/roster"
)

// Schedule says who is there in which round, and how fast. The zero value: all are, at their device's speed.
type Schedule struct {
	Participation float64   `yaml:"participation"` // share of the members that train in a round, drawn anew each time; 0: all
	Churn         []Churn   `yaml:"churn"`
	Shares        []float64 `yaml:"shares"` // of the images, by member, in proportion; none: equal ones
	Pairs         bool      `yaml:"pairs"`  // members average in pairs drawn anew each round, and never all together (gossip)
}

// Churn is what becomes of one member for some rounds.
type Churn struct {
	Member int     `yaml:"member"` // from 0
	From   int     `yaml:"from"`   // the first round, from 1
	To     int     `yaml:"to"`     // the last round; 0: to the end
	Is     string  `yaml:"is"`     // absent: not in the roster | slow: its local steps take Factor times as long
	Factor float64 `yaml:"factor"`
}

// Validate reports what cannot be of a schedule for so many agents, each error as "key: value, and what to do".
func (s Schedule) Validate(agents int) error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!(s.Participation >= 0 && s.Participation <= 1), "participation: %v is outside [0, 1]; 0.5 draws half of the members", s.Participation)
	bad(len(s.Shares) != 0 && len(s.Shares) != agents, "shares: %d for %d agents; give one for each, or none", len(s.Shares), agents)
	for i, share := range s.Shares {
		bad(!(share > 0 && !math.IsInf(share, 0)), "shares[%d]: %v; give one above 0 such as 0.5", i, share)
	}
	for i, c := range s.Churn {
		at := fmt.Sprintf("churn[%d]", i)
		bad(c.Member < 0 || c.Member >= agents, "%s.member: %d, of %d agents give 0 to %d", at, c.Member, agents, agents-1)
		bad(c.From < 1 || c.To != 0 && c.To < c.From, "%s: rounds %d to %d; they count from 1, and 0 as the last is the end", at, c.From, c.To)
		bad(c.Is != "absent" && c.Is != "slow", "%s.is: %q is unknown; give absent or slow", at, c.Is)
		bad(c.Is == "slow" && !(c.Factor > 0 && !math.IsInf(c.Factor, 0)), "%s.factor: %v; give one such as 3", at, c.Factor)
		bad(c.Is == "absent" && s.Pairs, "%s.is: absent, and with pairs there is no common state for who returns to begin from; give slow, or set schedule.pairs: false", at)
	}
	return errors.Join(errs...)
}

// Suits reports what of a recipe has no meaning with the schedule, each error as "key: value, and what to do".
func (s Schedule) Suits(r part.Recipe) error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	a := r.Averaging
	bad(a.Delayed, "averaging.delayed: a virtual cluster runs in lock-step, and what is trained beside an exchange depends on time; set it to false")
	bad(s.Pairs && a.Outer.HasVelocity(), "averaging.outer.kind: %s moves a common state, and schedule.pairs has none; set it to none", a.Outer.Kind)
	bad(s.Pairs && a.Combine != "mean", "averaging.combine: %s of two values is no defence, and schedule.pairs knows the mean alone; set it to mean", a.Combine)
	bad(s.Pairs && r.Rounds.Deadline > 0, "rounds.deadline: %v, and with schedule.pairs nobody is cut, since only a partner waits; set it to 0s", r.Rounds.Deadline)
	return errors.Join(errs...)
}

func (c Churn) covers(member, round int) bool {
	return c.Member == member && round >= c.From && (c.To == 0 || round <= c.To)
}

// SharesOf are the shares of the training set of that many members that are all there.
func (s Schedule) SharesOf(agents int) []float64 {
	if len(s.Shares) > 0 {
		return s.Shares
	}
	return part.Equal(agents)
}

// sharesAmong are those of the present members: they divide the whole set.
func (s Schedule) sharesAmong(present []int) []float64 {
	shares := part.Equal(len(present))
	for i, m := range present {
		if len(s.Shares) > 0 {
			shares[i] = s.Shares[m]
		}
	}
	return shares
}

// present are the members of a round's roster, in order of their ranks.
func (s Schedule) present(agents, round int) []int {
	var list []int
	for m := range agents {
		if !slices.ContainsFunc(s.Churn, func(c Churn) bool { return c.Is == "absent" && c.covers(m, round) }) {
			list = append(list, m)
		}
	}
	return list
}

// slow is how many times as long as usual a member takes.
func (s Schedule) slow(member, round int) float64 {
	factor := 1.0
	for _, c := range s.Churn {
		if c.Is == "slow" && c.covers(member, round) {
			factor *= c.Factor
		}
	}
	return factor
}

// drawStream tells the draw of participants from the other uses of a seed.
const drawStream = 0x6c61622e64726177

// drawn says which of the present members train in a round: a pure function of seed and round, and one of them at least.
func (s Schedule) drawn(present []int, seed uint64, round int) []bool {
	taken := make([]bool, len(present))
	count := len(present)
	if s.Participation > 0 {
		count = min(max(int(math.Round(s.Participation*float64(len(present)))), 1), len(present))
	}
	rng := rand.New(rand.NewPCG(seed^drawStream, uint64(round)))
	for _, i := range rng.Perm(len(present))[:count] {
		taken[i] = true
	}
	return taken
}

// missing are the members without work in a round's mean, by rank of the whole cluster.
func missing(agents int, present []int, drawn []bool, samples []int64) []row.Missing {
	list := []row.Missing{}
	for m := range agents {
		i, there := slices.BinarySearch(present, m)
		switch {
		case !there:
			list = append(list, row.Missing{Rank: m, Reason: "absent"})
		case !drawn[i]:
			list = append(list, row.Missing{Rank: m, Reason: "not drawn"})
		case samples[i] == 0:
			list = append(list, row.Missing{Rank: m, Reason: "no work"})
		}
	}
	return list
}

// historyLen is how many durations of local steps are remembered, as the machines of agents do.
const historyLen = 256

// deadline is when members that still train are told to stop, given how long each would take: the first that is done
// polls, and as each answers, the longest of those that answered counts (roster.Patience). longest is the configured
// deadline; 0: adaptive.
func deadline(took []time.Duration, history []time.Duration, longest, gather time.Duration) time.Duration {
	if longest > 0 {
		return longest
	}
	order := slices.Sorted(slices.Values(took))
	var until time.Duration
	for i, own := range order {
		if i > 0 && own > until {
			break
		}
		until = order[0] + roster.Patience(own, history) + gather
	}
	return until
}
