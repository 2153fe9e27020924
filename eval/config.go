package eval

import (
	"errors"
	"fmt"
)

// maxReestimate bounds the batches of a re-estimation: statistics gain nothing from more, and time is lost.
const maxReestimate = 10_000

// Config says when and how the averaged model is scored.
type Config struct {
	Every      int `yaml:"every"`      // score after every so many rounds, and always after the last
	Reestimate int `yaml:"reestimate"` // batches to re-estimate batch-norm statistics from before scoring; 0: running ones
}

// Defaults are the values of an absent configuration.
func Defaults() Config { return Config{Every: 1, Reestimate: 20} }

// Validate reports every impossible value, each error as "key: value, and what to do".
func (c Config) Validate() error {
	var errs []error
	if c.Every < 1 {
		errs = append(errs, fmt.Errorf("every: %d rounds; give 1 to score after each", c.Every))
	}
	if c.Reestimate < 0 || c.Reestimate > maxReestimate {
		errs = append(errs, fmt.Errorf("reestimate: %d batches is outside 0..%d; give 0 for the running statistics, or 20",
			c.Reestimate, maxReestimate))
	}
	return errors.Join(errs...)
}
