package configs

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"shoal/learner"
)

// Scaling lets values be chosen for the number of agents, so that one file suits two of them and forty-eight.
type Scaling struct {
	Auto   bool    `yaml:"auto"`   // what nobody gives is chosen by Task.Choose for rounds.expect agents
	Epochs float64 `yaml:"epochs"` // passes over the training images by all agents together
	Images int     `yaml:"images"` // training images of a pass, known before they are opened: 50000 for CIFAR-10
}

// fromAuto is the origin of a value that was chosen.
const fromAuto Origin = "auto"

// Task is what a choice depends on, and all that it depends on.
type Task struct {
	Agents    int     // that share each pass
	Images    int     // of a pass
	Batch     int     // images of an agent's step
	Epochs    float64 // passes
	BatchNorm bool    // whether the model normalises by batches
}

// Choice is how a Task is trained.
type Choice struct {
	Steps      int     // local steps between two averages
	Rounds     int     // averages in all
	Warmup     float64 // rounds
	Rate       float64
	Clip       float64 // greatest norm of a gradient; 0: any
	InitScale  float64
	InitBranch float64
	Reestimate int // batches
	Score      int // rounds between two scores: an epoch
}

const (
	// between is how many images an agent sees between two averages, at least, where up to manyAgents share the work; with
	// more of them the number falls with their square. Fewer make better averages and dearer ones. plainBetween is that of
	// models without batch norm.
	between, plainBetween, manyAgents = 240, 144, 24
	// warmShare is the share of the run in which the rate rises, plainWarm that of models without batch norm.
	warmShare, plainWarm = 0.2, 0.1
	// calmRate is the rate for batches of calmBatch of a model with batch norm, whatever the number of agents: what the
	// classifier stands in a step of one agent's small batch. plainRate is that of a model without, for plainAgents, with
	// gradients no longer than plainClip: unclipped, 48 agents learnt less by such a rate. The noise of a batch falls as the
	// root of its size, so the rate grows as that.
	calmRate, plainRate, plainAgents, plainClip, calmBatch = 0.02, 0.08, 48, 1, 12
	// calmAgents is how many agents want filters at the scale that they are drawn with; each doubling halves their square,
	// until the rate turns them as one of maxTurn would turn those of scale 1.
	calmAgents, maxTurn = 0.5, 2
	// statistics is how many images batch norm's statistics are taken from anew before a score.
	statistics = 2400
)

// Choose is the rule.
//
//   - Steps: as many as make at least 240 images between two averages, for more than 24 agents fewer: filters turn the
//     further in a step the more agents there are, and more of them turn apart, so 48 average after 60. Without batch norm, 144
//     and 36. If one is near, it is a number that divides the run, so that it ends after exactly Epochs passes.
//   - Rate and InitScale: n agents average n batches, whose mean is less noisy, so the filters may turn n times as far in a
//     step (linear scaling, Goyal et al. 2017, arXiv 1706.02677). The classifier may not: between averages it feels the
//     noise of one agent's batch. With filters drawn smaller by √n the same rate turns them n times as far (see
//     learner.init_scale), so the rate stays and the filters shrink. Without batch norm nothing shrinks, and the rate falls
//     with the fourth root of the agents below 48: what they stand, two do not, whose mean is noisier.
//   - InitBranch: with batch norm, residual branches begin at 0. Over one small batch, statistics of deep layers are of few
//     values, and the noise of seventeen blocks on top of each other drowns what the first epoch could teach.
//   - Clip: without batch norm, gradients no longer than 1, so that the rate that gets a model off the plateau where all
//     classes are alike does not throw it back there.
//   - Warmup: a fifth of the run, in rounds; without batch norm a tenth.
//   - Reestimate: batch norm's statistics of 2400 images; none without batch norm.
//
// Values that cannot be give no choice but an error, each line as "path: value, and what to do".
func (t Task) Choose() (Choice, error) {
	if err := t.check(); err != nil {
		return Choice{}, err
	}
	perEpoch := ceilDiv(ceilDiv(t.Images, t.Agents), t.Batch)
	total := max(1, int(math.Round(float64(perEpoch)*t.Epochs)))
	steps := min(periodOf(total, ceilDiv(t.between(), t.Batch)), total)
	c := Choice{Steps: steps, Rounds: ceilDiv(total, steps), InitScale: 1, InitBranch: 1}
	c.Warmup = round3(plainWarm * float64(c.Rounds))
	c.Score = max(1, ceilDiv(perEpoch, steps))
	noise := math.Sqrt(float64(t.Batch) / calmBatch)
	c.Rate, c.Clip = round3(plainRate*noise*math.Sqrt(math.Sqrt(min(1, float64(t.Agents)/plainAgents)))), plainClip
	if t.BatchNorm {
		c.Rate, c.Clip = round3(calmRate*noise), 0
		c.Warmup = round3(warmShare * float64(c.Rounds))
		c.InitBranch = 0
		c.InitScale = round3(math.Sqrt(max(calmAgents/float64(t.Agents), c.Rate/maxTurn)))
		c.Reestimate = ceilDiv(statistics, t.Batch)
	}
	return c, nil
}

// between is how many images an agent is to see between two averages.
func (t Task) between() int {
	few := float64(plainBetween)
	if t.BatchNorm {
		few = between
	}
	crowd := max(1, float64(t.Agents)/manyAgents)
	return int(math.Ceil(few / (crowd * crowd)))
}

// periodOf is the least divisor of total in [least, 2·least], or least.
func periodOf(total, least int) int {
	for steps := least; steps <= 2*least; steps++ {
		if total%steps == 0 {
			return steps
		}
	}
	return least
}

// round3 is x to three digits, so that people can read and repeat it.
func round3(x float64) float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil {
		panic("configs: round a number: " + err.Error())
	}
	return short
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// check refuses what no choice can be made for.
func (t Task) check() error {
	var errs []error
	if t.Agents < 1 {
		errs = append(errs, fmt.Errorf("scaling.auto: chooses for rounds.expect agents, and that is %d; give their number", t.Agents))
	}
	if t.Images < 1 || t.Images > maxScaledImages {
		errs = append(errs, fmt.Errorf("scaling.images: %d is outside 1..%d; give the number of training images, 50000 for CIFAR-10", t.Images, maxScaledImages))
	}
	if !(t.Epochs > 0 && t.Epochs <= maxScaledEpochs) {
		errs = append(errs, fmt.Errorf("scaling.epochs: %v is not in (0, %d]; give the passes over the images, such as 10", t.Epochs, maxScaledEpochs))
	}
	if t.Batch < 1 {
		errs = append(errs, fmt.Errorf("learner.batch: %d; scaling.auto needs at least 1", t.Batch))
	}
	return errors.Join(errs...)
}

// The most that a task may have: far beyond what small machines train on.
const (
	maxScaledImages = 1 << 30
	maxScaledEpochs = 100_000
)

// task is what c asks to choose for.
func (c Config) task() Task {
	images := c.Scaling.Images
	if c.Data.Limit > 0 {
		images = min(images, c.Data.Limit)
	}
	return Task{
		Agents: c.Rounds.Expect, Images: images, Batch: c.Learner.Batch, Epochs: c.Scaling.Epochs,
		BatchNorm: c.Learner.Model == learner.MobileNetV2,
	}
}

// scale gives the values that are still the default those chosen, if that is asked for. What cannot be chosen for stays as
// it is, and Validate says so.
func (c *Config) scale(origins Origins) {
	if !c.Scaling.Auto {
		return
	}
	chosen, err := c.task().Choose()
	if err != nil {
		return
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	for _, s := range []struct{ path, text string }{
		{"data.balance", "true"},
		{"learner.init_scale", number(chosen.InitScale)},
		{"learner.init_branch", number(chosen.InitBranch)},
		{"learner.sgd.rate", number(chosen.Rate)},
		{"learner.sgd.clip", number(chosen.Clip)},
		{"learner.schedule.warmup", number(chosen.Warmup)},
		{"rounds.count", strconv.Itoa(chosen.Rounds)},
		{"rounds.steps", strconv.Itoa(chosen.Steps)},
		{"averaging.momentum", "true"},
		{"eval.every", strconv.Itoa(chosen.Score)},
		{"eval.reestimate", strconv.Itoa(chosen.Reestimate)},
	} {
		if origins[s.path] != fromDefault {
			continue
		}
		if err := textSetting(s.path, s.text, fromAuto).apply(c, origins); err != nil {
			panic("configs: apply a chosen value: " + err.Error())
		}
	}
}

// validateScaling checks what a choice rests on.
func (c Config) validateScaling() error {
	if !c.Scaling.Auto {
		return nil
	}
	return c.task().check()
}
