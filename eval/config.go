package eval

// Config says when and how the averaged model is scored.
type Config struct {
	Every      int `yaml:"every"`      // score after every so many rounds, and always after the last
	Batch      int `yaml:"batch"`      // images per forward pass
	Reestimate int `yaml:"reestimate"` // batches to re-estimate batch-norm statistics from before scoring; 0: running ones
}

// Defaults are the values of an absent configuration.
func Defaults() Config { return Config{Every: 1, Batch: 50, Reestimate: 20} }
