// Package papers holds what Papakyriakou and Barbounakis published of training on 24 Raspberry Pi 4B, as far as it is
// known here, and sets the rows of an experiment beside it in the columns of their tables. A number that is not known is
// nil and prints as "–": none is derived or guessed.
package papers

import (
	_ "embed"
	"slices"

	"github.com/goccy/go-yaml"
)

// Study is what one paper published.
type Study struct {
	Model   string    `yaml:"model" json:"model"`   // as learner.model
	Title   string    `yaml:"title" json:"title"`   // of the paper
	Source  string    `yaml:"source" json:"source"` // where it is printed
	Scaling []Scaling `yaml:"scaling" json:"scaling"`
	Batches []Batch   `yaml:"batches" json:"batches"`
	Notes   []string  `yaml:"notes" json:"notes"` // sentences about the numbers
}

// Scaling is a line of the strong-scaling table: the same images seen by so many ranks. Unknown values are nil.
type Scaling struct {
	Ranks         int      `yaml:"ranks" json:"ranks"`
	Nodes         int      `yaml:"nodes" json:"nodes"`
	Seconds       *float64 `yaml:"seconds" json:"seconds"`       // of the whole run
	Speedup       *float64 `yaml:"speedup" json:"speedup"`       // over the line with the fewest ranks
	Efficiency    *float64 `yaml:"efficiency" json:"efficiency"` // speed-up over how many times as many ranks there are; 1 is all
	TrainLoss     *float64 `yaml:"train_loss" json:"train_loss"`
	TrainAccuracy *float64 `yaml:"train_accuracy" json:"train_accuracy"` // 0 to 1, as all accuracies
	TestLoss      *float64 `yaml:"test_loss" json:"test_loss"`
	TestAccuracy  *float64 `yaml:"test_accuracy" json:"test_accuracy"`
	Reestimated   *float64 `yaml:"reestimated" json:"reestimated"` // test accuracy of the same weights with batch-norm statistics made anew; theirs has none
}

// Batch is a line of the batch sweep. Unknown values are nil.
type Batch struct {
	Batch           int      `yaml:"batch" json:"batch"` // of one rank
	EpochSeconds    *float64 `yaml:"epoch_seconds" json:"epoch_seconds"`
	StepSeconds     *float64 `yaml:"step_seconds" json:"step_seconds"` // mean
	ImagesPerSecond *float64 `yaml:"images_per_second" json:"images_per_second"`
	PeakRSSMB       *float64 `yaml:"peak_rss_mb" json:"peak_rss_mb"` // of one process
	CPUPercent      *float64 `yaml:"cpu_percent" json:"cpu_percent"`
}

//go:embed published.yaml
var publishedText []byte

// Studies are both papers. The slice is the caller's.
func Studies() []Study {
	var all []Study
	if err := yaml.UnmarshalWithOptions(publishedText, &all, yaml.Strict()); err != nil {
		panic("papers: published.yaml: " + err.Error()) // a test reads it
	}
	return all
}

// Published is the study that trained the model; ok is false if there is none.
func Published(model string) (s Study, ok bool) {
	all := Studies()
	i := slices.IndexFunc(all, func(s Study) bool { return s.Model == model })
	if i < 0 {
		return Study{}, false
	}
	return all[i], true
}
