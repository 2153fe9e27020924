package cluster

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"shoal/agent/part"
	"shoal/eval"
	"shoal/eval/lab/row"
	"shoal/gossip/collective"
	"shoal/gossip/roster"
	"shoal/learner"
	"shoal/shards"
)

// tiny is a configuration whose rounds take milliseconds.
func tiny() Config {
	r := part.Recipe{
		Seed: 1, Data: shards.Defaults(), Learner: learner.Defaults(), Rounds: roster.Defaults(), Averaging: collective.Defaults(),
	}
	r.Data.Limit, r.Data.TestLimit = 60, 20
	r.Learner.Width, r.Learner.Batch = 0.1, 5
	r.Rounds.Count, r.Rounds.Steps = 4, 3
	return Config{Recipe: r, Eval: eval.Defaults(), Clock: Still{}, Agents: 3}
}

// build makes a cluster, with its set.
func build(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	set, err := shards.Open(context.Background(), cfg.Recipe.Data, cfg.Recipe.Learner.Input, cfg.Recipe.Seed)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(cfg, set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// play runs rounds and returns their lines.
func play(t testing.TB, c *Cluster, rounds int) []row.Round {
	t.Helper()
	var lines []row.Round
	for range rounds {
		line, err := c.Round(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// What is computed does not depend on how many members train side by side, nor on the threads of each.
func TestThreadsChangeNothing(t *testing.T) {
	for _, pairs := range []bool{false, true} {
		var want []row.Round
		for _, threads := range []int{1, 2, 3, 7} {
			cfg := tiny()
			cfg.Threads, cfg.Schedule.Pairs = threads, pairs
			got := play(t, build(t, cfg), 2)
			if want == nil {
				want = got
			}
			for i := range got {
				if got[i].Hash != want[i].Hash || got[i].TrainLoss != want[i].TrainLoss || got[i].Distance != want[i].Distance {
					t.Errorf("pairs %v, %d threads: round %d is %+v, with one thread %+v", pairs, threads, i+1, got[i], want[i])
				}
			}
		}
	}
}

// A cluster that goes on from a snapshot computes what it would have without the interruption.
func TestSnapshot(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"plain":           func(*Config) {},
		"shared momentum": func(c *Config) { c.Recipe.Averaging.Momentum = true },
		"all that is kept": func(c *Config) {
			c.Recipe.Averaging.Wire, c.Recipe.Averaging.Outer.Kind = "int8", "slowmo"
			c.Schedule = Schedule{Participation: 0.7, Churn: []Churn{{Member: 1, From: 3, To: 3, Is: "absent"}}}
		},
		"pairs": func(c *Config) {
			c.Recipe.Averaging.Wire, c.Recipe.Averaging.Momentum, c.Clock = "int8", true, between{}
			c.Schedule = Schedule{Pairs: true, Participation: 0.7, Churn: []Churn{{Member: 1, From: 2, To: 3, Is: "slow", Factor: 3}}}
		},
		"pairs with momentum of their own": func(c *Config) { c.Schedule.Pairs = true },
	} {
		cfg := tiny()
		change(&cfg)
		whole := play(t, build(t, cfg), 4)
		for stop := 1; stop < 4; stop++ {
			first := build(t, cfg)
			play(t, first, stop)
			var file bytes.Buffer
			if err := first.Save(&file, "x"); err != nil {
				t.Fatal(err)
			}
			second := build(t, cfg)
			if err := second.Load(bytes.NewReader(file.Bytes()), "y", 4); err == nil {
				t.Error("a snapshot of something else is loaded")
			}
			if err := second.Load(&file, "x", 4); err != nil {
				t.Fatal(err)
			}
			for i, line := range play(t, second, 4-stop) {
				want := whole[stop+i]
				if line.Hash != want.Hash || line.Images != want.Images || !slices.Equal(line.Missing, want.Missing) ||
					line.Clock != want.Clock || line.Seconds != want.Seconds || line.Distance != want.Distance {
					t.Errorf("%s, interrupted after round %d: round %d is %+v, want %+v", name, stop, line.Round, line, want)
				}
			}
		}
	}
}

// A damaged snapshot is refused, and the cluster goes on as it was.
func TestDamagedSnapshot(t *testing.T) {
	c := build(t, tiny())
	play(t, c, 1)
	var file bytes.Buffer
	if err := c.Save(&file, "x"); err != nil {
		t.Fatal(err)
	}
	hash := c.Hash()
	for _, at := range []int{0, 5, 40, file.Len() / 2, file.Len() - 1} {
		bad := slices.Clone(file.Bytes())
		bad[at] ^= 1
		if err := c.Load(bytes.NewReader(bad), "x", 4); err == nil {
			t.Errorf("byte %d changed: it is loaded", at)
		}
		if err := c.Load(bytes.NewReader(file.Bytes()[:at]), "x", 4); err == nil {
			t.Errorf("cut at %d: it is loaded", at)
		}
	}
	if c.Hash() != hash {
		t.Error("a snapshot that was refused changed the cluster")
	}
}
