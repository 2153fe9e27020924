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

// Auto is the plan of a configuration that leaves the choice to Choose. It is not the name of a Plan.
const Auto = "auto"

// Config says how models are averaged.
type Config struct {
	Plan     string        `yaml:"plan"`     // auto: the cheapest as measured | ring | tree | star | mesh
	Wire     string        `yaml:"wire"`     // what a number is on the wire: fp32 | fp16 | int8
	Combine  string        `yaml:"combine"`  // mean | trimmed | median: of each coordinate
	Trim     float64       `yaml:"trim"`     // trimmed: share of the members left out at each end, in [0, 0.5)
	Bound    float64       `yaml:"bound"`    // largest norm of a delta that counts in full, in median norms; 0: no bound
	Weights  string        `yaml:"weights"`  // samples: by samples seen | equal
	Momentum bool          `yaml:"momentum"` // average the momentum with the parameters
	Delayed  bool          `yaml:"delayed"`  // exchange beside the next round's training; its mean counts one round later
	Segment  int           `yaml:"segment"`  // elements per segment on the wire
	Deadline time.Duration `yaml:"deadline"` // longest wait for one segment
	Outer    Outer         `yaml:"outer"`    // how the mean delta becomes the next state
}

// Defaults are the values of an absent configuration.
func Defaults() Config {
	return Config{
		Plan: "ring", Wire: "fp32", Combine: "mean", Trim: 0.2, Bound: 5, Weights: "samples",
		Segment: 16 << 10, Deadline: 10 * time.Second, Outer: Outer{Kind: "none", Rate: 1, Momentum: 0.9},
	}
}

// Validate reports every impossible value, each error as "key: value, and what to do".
func (c Config) Validate() error {
	var errs []error
	for _, v := range []struct {
		key, value string
		known      []string
	}{
		{"plan", c.Plan, append([]string{Auto}, Names()...)},
		{"wire", c.Wire, wireNames()},
		{"combine", c.Combine, combineNames()},
		{"weights", c.Weights, []string{"samples", "equal"}},
		{"outer.kind", c.Outer.Kind, outerNames()},
	} {
		if !slices.Contains(v.known, v.value) {
			errs = append(errs, fmt.Errorf("%s: %q is unknown; give one of %s", v.key, v.value, strings.Join(v.known, ", ")))
		}
	}
	if c.Combine != "mean" && c.Plan != "mesh" && c.Plan != "star" {
		errs = append(errs, fmt.Errorf("combine: %s needs every member's value of a coordinate in one place, and plan %s adds on the way; "+
			"set plan: mesh", c.Combine, c.Plan))
	}
	if !(c.Trim >= 0 && c.Trim < 0.5) {
		errs = append(errs, fmt.Errorf("trim: %v is outside [0, 0.5); 0.2 drops a fifth at each end", c.Trim))
	}
	if !(c.Bound == 0 || c.Bound >= 1 && c.Bound <= maxBound) {
		errs = append(errs, fmt.Errorf("bound: %v median norms; give 0 for none, or 1 to %.0e; 5 is a good value", c.Bound, maxBound))
	}
	errs = append(errs, c.Outer.validate()...)
	return errors.Join(append(errs, c.validateWire())...)
}

// validateWire checks what an exchange itself uses.
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
