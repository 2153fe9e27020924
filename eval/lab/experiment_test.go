package lab

import (
	"slices"
	"strings"
	"testing"

	"shoal/eval/lab/row"
	"shoal/shards"
)

// Every mistake is answered by its place, the value and what to do.
func TestMistakesAreNamed(t *testing.T) {
	const head = "name: x\n"
	for text, want := range map[string]string{
		"":                                      "x.yaml: not one YAML document",
		"- 1":                                   "x.yaml: 1:1: not keys with values",
		"name: [":                               "x.yaml:1:7:",
		"name: ../x":                            `name: "../x"; give one of letters`,
		head + "tempo: 1":                       "2:1: tempo: unknown key; the keys are name, about, base",
		head + "agents: x":                      "x.yaml:2:9:",
		head + "agents: 0":                      "agents: 0 is outside 1..512",
		head + "repetitions: 0":                 "repetitions: 0 is outside 1..1000",
		head + "base: {learner: {wdth: 1}}":     "x.yaml:2:18: learner.wdth: unknown key; did you mean learner.width?",
		head + "base:\n  learner: {width: x}":   `x.yaml:3:20: learner.width: "x" is not a number`,
		head + "base: {preset: quickstat}":      "did you mean quickstart?",
		head + "base: {learner: {width: -1}}":   "x.yaml:2:25: learner.width: -1",
		head + "axes: {agents: 3}":              "2:16: axes.agents: not a list of values; give such as [1, 2, 4]",
		head + "axes: {learner.wdth: [1]}":      "2:8: axes.learner.wdth: unknown path",
		head + "axes: {seed: [1, 2]}":           "repetitions vary the seed",
		head + "axes: {learner.width: [1, {}]}": "neither a value nor a list of values",
		head + "axes: {learner.width: [1, x]}":  `run "width=x": x.yaml:2:23: learner.width: "x" is not a number`,
		head + "axes: {agents: [2, x]}":         "x.yaml:2:16: agents:",
		head + "axes: {agents: [2, 2]}":         "run agents=2,seed=1 comes twice",
		head + "axes: {time.network.rte: [1]}":  `time.network.rte: unknown field "rte"`,
		head + "axes: {agents: [1, 2, 3, 4]}\nrepetitions: 1000\nvariants: [{name: a}, {name: b}, {name: c}]": "more than 10000 runs",
		head + "variants: [{set: {agents: 1}}]":                                                     "variants: name \"\"",
		head + "variants: [{name: a, st: {}}]":                                                      "unknown key st; a variant has name and set",
		head + "epochs: -1":                                                                         "epochs: -1 is outside",
		head + "score: {evry: 1}":                                                                   `unknown field "evry"`,
		head + "score: {statistics: [mean]}":                                                        `score.statistics: "mean" is unknown; give running or reestimated`,
		head + "agents: 2\nschedule: {shares: [1]}":                                                 "schedule.shares: 1 for 2 agents; give one for each, or none",
		head + "agents: 2\nschedule: {shares: [1, 0]}":                                              "schedule.shares[1]: 0; give one above 0",
		head + "schedule: {participation: 2}":                                                       "schedule.participation: 2 is outside [0, 1]",
		head + "schedule: {churn: [{member: 1, from: 1, is: absent}]}":                              "schedule.churn[0].member: 1, of 1 agents give 0 to 0",
		head + "schedule: {churn: [{from: 1, is: late}]}":                                           `schedule.churn[0].is: "late" is unknown; give absent or slow`,
		head + "schedule: {pairs: 2}":                                                               "x.yaml:2:19: ",
		head + "agents: 2\nschedule: {pairs: true, churn: [{member: 1, from: 2, is: absent}]}":      "schedule.churn[0].is: absent, and with pairs",
		head + "schedule: {pairs: true}\naxes: {averaging.outer.kind: [none, slowmo]}":              `run "kind=slowmo": averaging.outer.kind: slowmo moves a common state`,
		head + "base: {averaging: {combine: median, plan: mesh}}\naxes: {schedule.pairs: [true]}":   `run "pairs=true": averaging.combine: median`,
		head + "base: {rounds: {deadline: 1s}}\nvariants: [{name: a, set: {schedule.pairs: true}}]": `run "a": rounds.deadline: 1s, and with schedule.pairs`,
		head + "base: {averaging: {delayed: true}}":                                                 "averaging.delayed: a virtual cluster runs in lock-step",
		head + "time: {device: abacus}":                                                             "abacus",
		head + "about: " + strings.Repeat("x", maxFileBytes):                                        "x.yaml: larger than",
	} {
		if _, err := Read("x.yaml", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

// Runs are all combinations in their order, each with what it changes.
func TestRuns(t *testing.T) {
	e, err := Read("x.yaml", `
name: x
base: {preset: quickstart, seed: 5}
agents: 3
time: {device: {profile: raspberry-pi-4, images_per_second: 100}}
axes:
  averaging.plan: [ring, star]
  time.network.rate: [100Mbit, 1Gbit]
variants:
- {name: plain}
- {name: other, set: {preset: quickstart-squeezenet, agents: 2, learner.sgd.rate: 0.5, data.mean: [0.1, 0.2, 0.3]}}
repetitions: 2
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range e.Runs {
		got = append(got, r.Run)
	}
	want := []string{}
	for _, v := range []string{"plain", "other"} {
		for _, p := range []string{"ring", "star"} {
			for _, n := range []string{"100Mbit", "1Gbit"} {
				want = append(want, v+",plan="+p+",rate="+n+",seed=5", v+",plan="+p+",rate="+n+",seed=6")
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("runs are %q, want %q", got, want)
	}
	c, err := Read("x.yaml", "name: x\nagents: 4\nvariants:\n- name: a\n  set:\n    schedule.churn:\n    - {member: 3, from: 2, is: absent}\n    - member: 1\n      from: 1\n      is: slow\n      factor: 2\n- {name: b}\n")
	if err != nil || len(c.Runs[0].own.Schedule.Churn) != 2 || c.Runs[0].own.Schedule.Churn[1].Factor != 2 || c.Runs[1].own.Schedule.Churn != nil {
		t.Errorf("churn of variants: %+v, %v", c.Runs, err)
	}
	first, end := e.Runs[0], e.Runs[15]
	if first.Agents != 3 || first.Model != "mobilenet_v2" || first.own.Time.Network.Rate != 1e8 || first.base.Averaging.Plan != "ring" {
		t.Errorf("the first run is %+v", first)
	}
	if end.Agents != 2 || end.Model != "squeezenet1_1" || end.base.Learner.Optimizer.Rate != 0.5 || end.own.Time.Network.Rate != 1e9 ||
		end.base.Averaging.Plan != "star" || end.Seed != 6 || end.Repetition != 1 || len(end.base.Data.Mean) != 3 {
		t.Errorf("the last run is %+v", end)
	}
}

// Epochs are images seen, whatever the agents, steps or share that takes part; warm-up and scores follow them.
func TestLength(t *testing.T) {
	set := &shards.Set{Train: shards.Images{N: 50_000}}
	for _, c := range []struct {
		agents, steps int
		share         float64
		rounds        int
	}{
		{1, 0, 0, 10}, {48, 0, 0, 10}, {48, 8, 0, 109}, {7, 100, 0, 60}, {4, 0, 0.5, 20}, {1, 1, 0, 41_670},
	} {
		r := Run{own: ownDefaults()}
		r.Agents, r.own.Epochs, r.own.Warmup, r.own.Schedule.Participation = c.agents, 10, 2, c.share
		r.base.Learner.Batch, r.base.Rounds.Steps = 12, c.steps
		rounds, images, perRound := r.length(set)
		if rounds != c.rounds || images < 500_000 || float64(images) > 500_000+perRound*50_000 {
			t.Errorf("%+v: %d rounds, %d images", c, rounds, images)
		}
		if warm := r.base.Learner.Schedule.Warmup * perRound; warm < 1.99 || warm > 2.01 {
			t.Errorf("%+v: warms up for %v epochs, want 2", c, warm)
		}
		scores := 0
		for n := 1; n <= rounds; n++ {
			if r.scored(n, perRound) {
				scores++
			}
		}
		if scores != 10 {
			t.Errorf("%+v: %d scores, want one an epoch", c, scores)
		}
	}
}

// What is built in can be read, and says what it is about.
func TestBuiltin(t *testing.T) {
	if len(Names()) == 0 {
		t.Fatal("nothing is built in")
	}
	for _, name := range Names() {
		e, err := Find(name)
		if err != nil || e.Name != name || e.About == "" || len(e.Runs) == 0 {
			t.Errorf("%s is %q about %q with %d runs: %v", name, e.Name, e.About, len(e.Runs), err)
		}
		for _, r := range e.Runs {
			for _, s := range r.own.Score.Statistics {
				if s != row.Running && s != row.Reestimated {
					t.Errorf("%s: statistics %q", r.Run, s)
				}
			}
		}
	}
	if _, err := Find("quikstart"); err == nil || !strings.Contains(err.Error(), "quickstart") {
		t.Errorf("a name that is not built in: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range Names() {
		text, err := Builtin(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{"name: x\naxes: {agents: [1]}\n", "name: x\nvariants: [{name: a, set: {score.statistics: [running]}}]", "a: &a [*a]", "time: {device: {}}", "name: x\nbase: {data: }"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "repetitions") || strings.Count(text, ",") > 20 {
			return // thousands of runs take their time
		}
		e, err := Read("x.yaml", text)
		if err == nil && (e.Name == "" || len(e.Runs) == 0) {
			t.Errorf("read, but empty: %+v", e)
		}
	})
}
