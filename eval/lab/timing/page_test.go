package timing

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/configs"
	"shoal/eval"
	"shoal/learner"
	"shoal/shards"
)

var update = flag.Bool("update", false, "rewrite what docs/lab.md prints of the model and of the record")

const (
	pagePath   = "../../../docs/lab.md"
	recordPath = "../../../docs/lab/validation.json"
)

// TestPagePrintsTheModel compares docs/lab.md with what the record of the validation and the model itself say.
func TestPagePrintsTheModel(t *testing.T) {
	text, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, part := range []struct {
		name  string
		print func(*testing.T) string
	}{{"assumptions", assumptionsText}, {"validation", validationTable}, {"scaling", scalingTable}, {"remedies", remediesTable}, {"profiles", profilesTable}} {
		begin, end := "<!-- "+part.name+" -->\n", "<!-- end -->\n"
		head, rest, ok := strings.Cut(page, begin)
		was, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("docs/lab.md has no part %q", part.name)
		}
		want := part.print(t)
		if was != want && !*update {
			t.Errorf("docs/lab.md, part %s: run go test ./eval/lab/timing -run Page -update; it should be\n%s", part.name, want)
		}
		page = head + begin + want + end + tail
	}
	if *update {
		if err := os.WriteFile(pagePath, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func assumptionsText(t *testing.T) string {
	var s strings.Builder
	for _, a := range model(t, Defaults(), papersWork(24)).Assumptions() {
		s.WriteString("- " + a + "\n")
	}
	return s.String()
}

func profilesTable(*testing.T) string {
	s := "| profile | what it is | rates from |\n| --- | --- | --- |\n"
	for _, p := range Profiles() {
		from := "measured"
		if p.Estimate {
			from = "estimate"
		}
		s += fmt.Sprintf("| `%s` | %s | %s |\n", p.Name, p.About, from)
	}
	return s
}

// recorded is a row of the record, as make validate writes it.
type recorded struct {
	What, Rate, Plan, Wire, Why string
	Agents, Count               int
	Predicted                   float64 `json:"predicted_ms"`
	Measured                    float64 `json:"measured_ms"`
	Least                       float64 `json:"measured_ms_min"`
	Most                        float64 `json:"measured_ms_max"`
	Bound                       float64
}

func validationTable(t *testing.T) string {
	text, err := os.ReadFile(recordPath)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Machine, Commit, Date string
		Rows                  []recorded
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	s := "| what | agents | cable | plan, wire | predicted, ms | measured, ms | predicted is off by | held to |\n" +
		"| --- | ---: | --- | --- | ---: | ---: | ---: | --- |\n"
	for _, x := range r.Rows {
		off := x.Predicted/x.Measured - 1
		held := fmt.Sprintf("%.0f %%", 100*x.Bound)
		if x.Bound == 0 {
			held = "– (" + x.Why + ")"
		} else if math.Abs(off) > x.Bound {
			t.Errorf("the record has %s of %d agents at %s off by %.1f %%", x.What, x.Agents, x.Rate, 100*off)
		}
		s += fmt.Sprintf("| %s | %d | %s | %s, %s | %.1f | %.1f (%.1f to %.1f, %d) | %+.1f %% | %s |\n",
			x.What, x.Agents, x.Rate, x.Plan, x.Wire, x.Predicted, x.Measured, x.Least, x.Most, x.Count, 100*off, held)
	}
	return s + fmt.Sprintf("\nRecorded %s at commit %s on %s.\n", r.Date, r.Commit, r.Machine)
}

// course is 500,000 images as the preset shoal-48 has agents train on them: fp16, momentum averaged, scored each epoch after
// 200 batches for statistics by all agents together.
func course(t *testing.T, agents, steps int, momentum bool) Course {
	t.Helper()
	cfg := learner.Defaults()
	cfg.Batch = 12
	l, err := learner.New(cfg, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	set := &shards.Set{Train: shards.Images{N: 50_000}, Test: shards.Images{N: 10_000}}
	s := eval.Scorer{Model: l, Set: set, Config: eval.Config{Every: 1, Reestimate: 200}, Learner: cfg}
	return Course{Images: 500_000, Steps: steps, Elements: len(l.Shared(momentum)), Plan: "ring", Wire: "fp16", Scores: 10, Scored: s.Share(agents)}
}

func predict(t *testing.T, nodes int, durable bool, c Course) Phases {
	t.Helper()
	w := papersWork(nodes)
	w.Durable = durable
	p, err := model(t, Defaults(), w).Predict(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// epochSteps are the local steps of one agent's epoch, and oftener those of rounds half as long as the preset's at 24 nodes.
const epochSteps, oftener = 4167, 10

// presetSteps are the local steps of a round that the preset chooses for so many agents.
func presetSteps(t *testing.T, agents int) int {
	t.Helper()
	c, err := configs.Task{Agents: agents, Images: 50_000, Batch: 12, Epochs: 10, BatchNorm: true}.Choose()
	if err != nil {
		t.Fatal(err)
	}
	return c.Steps
}

// scalingTable is over one node that trains the same images and is scored as often, in rounds of an epoch, since it has
// nobody to average with.
func scalingTable(t *testing.T) string {
	s := "| rounds.steps | nodes | steps a round | rounds | start, s | train, s | average, s | wait, s | evaluate, s | first step to last score, s | speed-up | efficiency | of training alone |\n" +
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
	for _, given := range []int{0, oftener} {
		var base Phases
		for _, nodes := range []int{1, 2, 4, 8, 16, 24} {
			steps := presetSteps(t, nodes)
			if given > 0 {
				steps = given
			}
			if nodes == 1 {
				steps = epochSteps
			}
			p := predict(t, nodes, false, course(t, nodes, steps, true))
			if nodes == 1 {
				base = p
			}
			speedup := base.Trained().Seconds() / p.Trained().Seconds()
			alone := (base.Trained() - base.Evaluate).Seconds() / (p.Trained() - p.Evaluate).Seconds()
			s += fmt.Sprintf("| %s | %d | %d | %d | %.0f | %.1f | %.1f | %.1f | %.1f | %.1f | %.2f | %.0f %% | %.0f %% |\n", map[bool]string{true: "as the preset", false: strconv.Itoa(given)}[given == 0], nodes, steps, p.Rounds,
				p.Start.Seconds(), p.Train.Seconds(), p.Average.Seconds(), p.Wait.Seconds(), p.Evaluate.Seconds(), p.Trained().Seconds(), speedup, 100*speedup/float64(nodes), 100*alone/float64(nodes))
		}
	}
	return s
}

// remediesTable is what changes at 24 nodes, each row by itself.
func remediesTable(t *testing.T) string {
	s := "| at 24 nodes | rounds, s | of that training | evaluation, s | first step to last score, s | efficiency |\n| --- | ---: | ---: | ---: | ---: | ---: |\n"
	preset := presetSteps(t, 24)
	base := predict(t, 1, false, course(t, 1, epochSteps, true)).Trained().Seconds() / 24
	for _, r := range []struct {
		name    string
		steps   int
		durable bool
		change  func(c *Course)
	}{
		{"the preset", preset, false, func(*Course) {}},
		{"rounds.durable: round", preset, true, func(*Course) {}},
		{"every 10 steps", oftener, false, func(*Course) {}},
		{"every 15 steps", 15, false, func(*Course) {}},
		{"every 40 steps", 40, false, func(*Course) {}},
		{"fp32", preset, false, func(c *Course) { c.Wire = "fp32" }},
		{"int8", preset, false, func(c *Course) { c.Wire = "int8" }},
		{"momentum not averaged", preset, false, func(c *Course) { c.Elements = course(t, 24, preset, false).Elements }},
		{"averaging.delayed", preset, false, func(c *Course) { c.Delayed = true }},
		{"averaging.delayed, every 10 steps", oftener, false, func(c *Course) { c.Delayed = true }},
		{"int8, every 10 steps", oftener, false, func(c *Course) { c.Wire = "int8" }},
		{"scored by one agent while all wait", preset, false, func(c *Course) { c.Scored = course(t, 1, preset, true).Scored }},
		{"scored once, at the end", preset, false, func(c *Course) { c.Scores = 1 }},
	} {
		c := course(t, 24, r.steps, true)
		r.change(&c)
		p := predict(t, 24, r.durable, c)
		rounds := p.Train + p.Average + p.Wait
		s += fmt.Sprintf("| %s | %.1f | %.0f %% | %.1f | %.1f | %.0f %% |\n", r.name, rounds.Seconds(), 100*p.Train.Seconds()/rounds.Seconds(),
			p.Evaluate.Seconds(), p.Trained().Seconds(), 100*base/p.Trained().Seconds())
	}
	return s
}

func TestPredictAddsUpRounds(t *testing.T) {
	c := Course{Images: 100_000, Steps: 8, Elements: 700_490, Plan: "ring", Wire: "fp32", Scores: 2, Scored: 1000}
	m := model(t, Defaults(), papersWork(8))
	p, err := m.Predict(c)
	if err != nil {
		t.Fatal(err)
	}
	if p.Rounds != 131 || p.Evaluate != 2*m.Evaluate(1000) || p.Total() != p.Start+p.Train+p.Average+p.Wait+p.Evaluate || p.Wait <= 0 {
		t.Errorf("%+v", p)
	}
	even, jittery := Defaults(), Defaults()
	jittery.Network.Jitter = 1 // a nanosecond, so that rounds are played one by one
	one, err := model(t, even, papersWork(8)).Predict(c)
	each, err2 := model(t, jittery, papersWork(8)).Predict(c)
	if err != nil || err2 != nil || !near(one.Total().Seconds(), each.Total().Seconds(), 1e-3) {
		t.Errorf("all rounds alike %+v, one by one %+v, %v %v", one, each, err, err2)
	}
	delayed := c
	delayed.Delayed = true
	kept := time.Duration(p.Rounds) * m.Keep(c.Elements)
	if q, err := m.Predict(delayed); err != nil || q.Average >= p.Average || q.Average <= kept || q.Train != p.Train {
		t.Errorf("delayed %+v, %v; else %+v; its cores take over states for %v", q, err, p, kept)
	}
	for _, bad := range []Course{{}, {Images: 1, Steps: 1, Plan: "line"}, {Images: 1, Steps: 1, Plan: "ring", Wire: "fp8", Elements: 1}} {
		if _, err := m.Predict(bad); err == nil {
			t.Errorf("no error for %+v", bad)
		}
	}
}
