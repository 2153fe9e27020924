package collective

import "time"

// Config says how models are averaged.
type Config struct {
	Plan     string        `yaml:"plan"`     // ring | tree | star
	Weights  string        `yaml:"weights"`  // samples: by samples seen | equal
	Momentum bool          `yaml:"momentum"` // average the momentum with the parameters
	Segment  int           `yaml:"segment"`  // elements per segment on the wire
	Deadline time.Duration `yaml:"deadline"` // longest wait for one segment
}

// Defaults are the values of an absent configuration.
func Defaults() Config {
	return Config{Plan: "ring", Weights: "samples", Segment: 16 << 10, Deadline: 10 * time.Second}
}
