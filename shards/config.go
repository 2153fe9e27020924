// Package shards reads labelled images, divides them over the ranks of a cluster and makes batches of them.
//
// Everything here is a pure function of the files, the configuration and a seed: every agent of a cluster opens the
// same [Set] (compare the hashes), finds the same partition of it with [Split], and a sample looks the same to
// whichever [Loader] loads it. Ranks are ints; nothing is known about the network.
package shards

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// Limits of a configuration.
const (
	maxCrop  = 64      // pixels: more than any small image is wide
	maxAlpha = 1 << 20 // beyond it a Dirichlet draw is uniform, and its fixed-point form would overflow
	minAlpha = 1.0 / (1 << 20)
)

// Config says which images are trained on and how they are divided.
type Config struct {
	Set       string    `yaml:"set"`        // "builtin", or a directory, .tar.gz or .zip with CIFAR-10 or a class per folder
	Partition string    `yaml:"partition"`  // strided | contiguous | shuffled | dirichlet | by-label
	Alpha     float64   `yaml:"alpha"`      // dirichlet: concentration, > 0; small is skewed
	Labels    int       `yaml:"labels"`     // by-label: labels per rank
	Balance   bool      `yaml:"balance"`    // each step of a rank sees its labels as evenly as its shard has them; see Balance
	Flip      bool      `yaml:"flip"`       // augmentation: mirror every other image at random
	Crop      int       `yaml:"crop"`       // augmentation: pad by this many pixels of zero and crop at random; 0: off
	Limit     int       `yaml:"limit"`      // train on the first so many images; 0: all
	TestLimit int       `yaml:"test_limit"` // score on the first so many test images; 0: all
	Mean      []float64 `yaml:"mean"`       // normalisation per channel, in units of 0..1; empty: the set's own
	Std       []float64 `yaml:"std"`
}

// Defaults are the values of an absent configuration.
func Defaults() Config {
	return Config{Set: "builtin", Partition: "shuffled", Alpha: 0.5, Labels: 2}
}

// Validate returns one error for every value that cannot be used, joined, each as "key: value, and the remedy". It
// looks at no file: that is Open's.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if strings.TrimSpace(c.Set) == "" {
		bad("set: empty, give builtin or the path of a directory, .tar.gz or .zip")
	}
	if err := c.division(0).check(); err != nil {
		errs = append(errs, err)
	}
	if c.Crop < 0 || c.Crop > maxCrop {
		bad("crop: %d is outside 0..%d pixels, give 0 to turn it off or 4 for images of 32", c.Crop, maxCrop)
	}
	if c.Limit < 0 {
		bad("limit: %d is negative, give 0 for all images", c.Limit)
	}
	if c.TestLimit < 0 {
		bad("test_limit: %d is negative, give 0 for all images", c.TestLimit)
	}
	errs = append(errs, checkChannels("mean", c.Mean, 0, false), checkChannels("std", c.Std, 0, true))
	return errors.Join(errs...)
}

// checkChannels checks a value per channel: none at all, or three in [low, 1], or (low, 1] when open.
func checkChannels(key string, v []float64, low float64, open bool) error {
	if len(v) != 0 && len(v) != 3 {
		return fmt.Errorf("%s: %d values, give three (red, green, blue) or none for the set's own", key, len(v))
	}
	for _, x := range v {
		if math.IsNaN(x) || x < low || x > 1 || open && x == low {
			return fmt.Errorf("%s: %v is outside 0..1, give it in units where white is 1 (divide by 255)", key, x)
		}
	}
	return nil
}

// division is the configured partition under a seed.
func (c Config) division(seed uint64) Partition {
	return Partition{Kind: c.Partition, Alpha: c.Alpha, Labels: c.Labels, Seed: seed}
}

// NewPartition is the partition that cfg asks for, drawn from seed.
func NewPartition(cfg Config, seed uint64) Partition { return cfg.division(seed) }
