package collective

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxSegment bounds the elements of a segment: beyond it nothing overlaps, and a slow link misses every deadline.
const maxSegment = 1 << 20

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

// Validate reports every impossible value, each error as "key: value, and what to do".
func (c Config) Validate() error {
	var errs []error
	if names := Names(); !slices.Contains(names, c.Plan) {
		errs = append(errs, fmt.Errorf("plan: %q is unknown; give one of %s", c.Plan, strings.Join(names, ", ")))
	}
	if c.Weights != "samples" && c.Weights != "equal" {
		errs = append(errs, fmt.Errorf("weights: %q is unknown; give samples or equal", c.Weights))
	}
	return errors.Join(append(errs, c.validateWire())...)
}

// validateWire checks what Mean itself uses.
func (c Config) validateWire() error {
	var errs []error
	if c.Segment < 1 || c.Segment > maxSegment {
		errs = append(errs, fmt.Errorf("segment: %d elements is outside 1..%d; 16384 is a good value", c.Segment, maxSegment))
	}
	if c.Deadline <= 0 {
		errs = append(errs, fmt.Errorf("deadline: %v; give a positive duration such as 10s", c.Deadline))
	}
	return errors.Join(errs...)
}
