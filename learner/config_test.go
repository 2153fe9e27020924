package learner

import (
	"math"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		key  string
		with func(*Config)
	}{
		{"model", func(c *Config) { c.Model = "resnet" }},
		{"width", func(c *Config) { c.Width = 0.05 }},
		{"width", func(c *Config) { c.Width = nan }},
		{"input", func(c *Config) { c.Input = 31 }},
		{"input", func(c *Config) { c.Input = 513 }},
		{"batch", func(c *Config) { c.Batch = 0 }},
		{"threads", func(c *Config) { c.Threads = -1 }},
		{"init", func(c *Config) { c.Init = "zeros" }},
		{"init_scale", func(c *Config) { c.InitScale = 0 }},
		{"init_scale", func(c *Config) { c.InitScale = nan }},
		{"init_branch", func(c *Config) { c.InitBranch = 1.5 }},
		{"init_branch", func(c *Config) { c.InitBranch = nan }},
		{"sgd.rate", func(c *Config) { c.Optimizer.Rate = 0 }},
		{"sgd.rate", func(c *Config) { c.Optimizer.Rate = math.Inf(1) }},
		{"sgd.momentum", func(c *Config) { c.Optimizer.Momentum = 1 }},
		{"sgd.nesterov", func(c *Config) { c.Optimizer.Momentum, c.Optimizer.Nesterov = 0, true }},
		{"sgd.weight_decay", func(c *Config) { c.Optimizer.WeightDecay = -1 }},
		{"sgd.clip", func(c *Config) { c.Optimizer.Clip = -1 }},
		{"schedule.kind", func(c *Config) { c.Schedule.Kind = "linear" }},
		{"schedule.warmup", func(c *Config) { c.Schedule.Warmup = nan }},
		{"schedule.every", func(c *Config) { c.Schedule.Kind, c.Schedule.Every = "step", 0 }},
		{"schedule.gamma", func(c *Config) { c.Schedule.Kind, c.Schedule.Gamma = "step", 0 }},
		{"schedule.floor", func(c *Config) { c.Schedule.Floor = 2 }},
		{"batch_norm.decay", func(c *Config) { c.BatchNorm.Decay = 1 }},
		{"batch_norm.epsilon", func(c *Config) { c.BatchNorm.Epsilon = 0 }},
	} {
		cfg := Defaults()
		c.with(&cfg)
		err := cfg.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), c.key+": ") || !strings.Contains(err.Error(), "give ") {
			t.Errorf("%s: got %v; want an error of that key with its remedy", c.key, err)
		}
	}
	cfg := Defaults()
	cfg.Batch, cfg.Optimizer.Rate = 0, 0
	if lines := strings.Split(cfg.Validate().Error(), "\n"); len(lines) != 2 {
		t.Errorf("two faults give %d lines: %q", len(lines), lines)
	}
}

func TestScheduleFactor(t *testing.T) {
	cosine := Schedule{Kind: "cosine", Warmup: 2, Floor: 0.1}
	step := Schedule{Kind: "step", Every: 3, Gamma: 0.1}
	for _, c := range []struct {
		name   string
		s      Schedule
		at     float64
		rounds int
		want   float64
	}{
		{"constant", Schedule{Kind: "constant"}, 7, 10, 1},
		{"constant warming up", Schedule{Kind: "constant", Warmup: 4}, 1, 10, 0.25},
		{"before the start", Schedule{Kind: "constant", Warmup: 4}, -1, 10, 0},
		{"step before the drop", step, 2.99, 10, 1},
		{"step at the drop", step, 3, 10, 0.1},
		{"step after two", step, 6.5, 10, 0.01},
		{"cosine half warm", cosine, 1, 10, 0.5},
		{"cosine at its top", cosine, 2, 10, 1},
		{"cosine in the middle", cosine, 6, 10, 0.55},
		{"cosine at the end", cosine, 10, 10, 0.1},
		{"cosine past the end", cosine, 11, 10, 0.1},
		{"cosine without end", cosine, 50, 0, 1},
		{"cosine of warm-up only", cosine, 1.5, 2, 0.75},
	} {
		if got := c.s.Factor(c.at, c.rounds); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: Factor(%v, %d) = %v, want %v", c.name, c.at, c.rounds, got, c.want)
		}
	}
}
