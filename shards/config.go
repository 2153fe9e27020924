package shards

// Config says which images are trained on and how they are divided.
type Config struct {
	Set       string    `yaml:"set"`        // "builtin", or a directory, .tar.gz or .zip with CIFAR-10 or a class per folder
	Partition string    `yaml:"partition"`  // strided | contiguous | shuffled | dirichlet | by-label
	Alpha     float64   `yaml:"alpha"`      // dirichlet: concentration, > 0; small is skewed
	Labels    int       `yaml:"labels"`     // by-label: labels per rank
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
