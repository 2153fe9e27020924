package configs

import (
	"math"
	"strings"
	"testing"
)

// TestChoose pins the choice for CIFAR-10 in ten epochs, which the recorded runs are of.
func TestChoose(t *testing.T) {
	for _, c := range []struct {
		agents, batch int
		batchNorm     bool
		want          Choice
	}{
		{1, 12, true, Choice{Steps: 30, Rounds: 1389, Warmup: 278, Rate: 0.02, InitScale: 0.707, Reestimate: 200, Score: 139}},
		{2, 12, true, Choice{Steps: 20, Rounds: 1042, Warmup: 208, Rate: 0.02, InitScale: 0.5, Reestimate: 200, Score: 105}},
		{24, 12, true, Choice{Steps: 20, Rounds: 87, Warmup: 17.4, Rate: 0.02, InitScale: 0.144, Reestimate: 200, Score: 9}},
		{48, 12, true, Choice{Steps: 5, Rounds: 174, Warmup: 34.8, Rate: 0.02, InitScale: 0.102, Reestimate: 200, Score: 18}},
		{2, 12, false, Choice{Steps: 20, Rounds: 1042, Warmup: 104, Rate: 0.0361, Clip: 1, InitScale: 1, InitBranch: 1, Score: 105}},
		{48, 12, false, Choice{Steps: 3, Rounds: 290, Warmup: 29, Rate: 0.08, Clip: 1, InitScale: 1, InitBranch: 1, Score: 29}},
	} {
		got, err := Task{Agents: c.agents, Images: 50_000, Batch: c.batch, Epochs: 10, BatchNorm: c.batchNorm}.Choose()
		if err != nil || got != c.want {
			t.Errorf("%d agents, batch norm %v: %+v, %v; want %+v", c.agents, c.batchNorm, got, err, c.want)
		}
	}
}

// TestChooseHolds: whatever the task, the run is as long as asked for, to less than a period, averages are not too
// frequent, and the product of the rate and what the filters' scale makes of it grows with the agents.
func TestChooseHolds(t *testing.T) {
	for _, images := range []int{1, 11, 4_000, 50_000, 1_281_167} {
		for _, batch := range []int{1, 4, 12, 96, 97, 1000} {
			for _, epochs := range []float64{0.01, 1, 7.5, 300} {
				turned := 0.0
				for _, agents := range []int{1, 2, 3, 8, 24, 47, 48, 512} {
					task := Task{Agents: agents, Images: images, Batch: batch, Epochs: epochs, BatchNorm: true}
					c, err := task.Choose()
					if err != nil {
						t.Fatalf("%+v: %v", task, err)
					}
					perEpoch := ceilDiv(ceilDiv(images, agents), batch)
					over := float64(c.Steps*c.Rounds) - epochs*float64(perEpoch)
					if over < -1 || over > float64(c.Steps) {
						t.Errorf("%+v: %d rounds of %d steps are %.1f steps too many", task, c.Rounds, c.Steps, over)
					}
					if c.Steps*batch < task.between() && c.Rounds > 1 {
						t.Errorf("%+v: averages after %d steps", task, c.Steps)
					}
					if c.Warmup > float64(c.Rounds) || c.Score < 1 || c.Reestimate < 1 {
						t.Errorf("%+v: %+v", task, c)
					}
					next := c.Rate / (c.InitScale * c.InitScale)
					if next < 0.99*turned {
						t.Errorf("%+v: filters turn as by a rate of %v, with fewer agents %v", task, next, turned)
					}
					turned = next
				}
			}
		}
	}
}

func TestChooseRefuses(t *testing.T) {
	good := Task{Agents: 48, Images: 50_000, Batch: 12, Epochs: 10}
	for path, with := range map[string]func(*Task){
		"scaling.auto":   func(t *Task) { t.Agents = 0 },
		"scaling.images": func(t *Task) { t.Images = 0 },
		"scaling.epochs": func(t *Task) { t.Epochs = math.NaN() },
		"learner.batch":  func(t *Task) { t.Batch = 0 },
	} {
		task := good
		with(&task)
		if _, err := task.Choose(); err == nil || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%+v: %v, want an error of %s", task, err, path)
		}
	}
}

// TestScalingFillsWhatNobodyGave, for the number of agents, says so, and what it wrote reads back as it is.
func TestScalingFillsWhatNobodyGave(t *testing.T) {
	flags := map[string]string{"scaling.auto": "true", "scaling.images": "50000", "rounds.expect": "48", "learner.sgd.rate": "0.007"}
	c, origins, err := Load("", nil, flags)
	if err == nil {
		err = c.Validate(origins)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.Learner.Optimizer.Rate != 0.007 || origins["learner.sgd.rate"] != "--set learner.sgd.rate" {
		t.Errorf("a rate that was given became %v, from %s", c.Learner.Optimizer.Rate, origins["learner.sgd.rate"])
	}
	if c.Rounds.Count != 174 || c.Rounds.Steps != 5 || !c.Averaging.Momentum || !c.Data.Balance || origins["rounds.count"] != fromAuto {
		t.Errorf("%d rounds of %d steps, origin %s", c.Rounds.Count, c.Rounds.Steps, origins["rounds.count"])
	}
	flags["rounds.expect"] = "2"
	two, _, err := Load("", nil, flags)
	if err != nil || two.Rounds.Count != 1042 || two.Learner.InitScale <= c.Learner.InitScale {
		t.Errorf("for 2 agents: %d rounds, filters at %v, %v", two.Rounds.Count, two.Learner.InitScale, err)
	}
	back, _, err := Load(write(t, c.YAML(nil)), nil, map[string]string{"rounds.expect": "2"})
	if err != nil || back.Rounds.Count != 174 || back.Learner.InitScale != c.Learner.InitScale {
		t.Errorf("what was written reads back as %d rounds, filters at %v, %v", back.Rounds.Count, back.Learner.InitScale, err)
	}
}

func TestScalingWantsItsNumbers(t *testing.T) {
	c, origins, err := Load("", nil, map[string]string{"scaling.auto": "true"})
	if err != nil {
		t.Fatal(err)
	}
	text := c.Validate(origins).Error()
	for _, want := range []string{"--set scaling.auto: chooses for rounds.expect agents", "default: scaling.images: 0 is outside"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}
