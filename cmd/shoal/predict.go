package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"shoal/eval"
	"shoal/learner"
	"shoal/shards"
)

// predictTop is how many classes are told of an image.
const predictTop = 5

// predictFlags are what predict is asked for.
type predictFlags struct {
	model, data, mean, std string
}

// newPredictCmd is shoal predict: what a trained model says.
func newPredictCmd(o *options) *cobra.Command {
	f := &predictFlags{}
	cmd := &cobra.Command{
		Use:   "predict --model FILE [IMAGE…]",
		Short: "Classify images by a trained model, or score it on a data set",
		Long: "Classify JPEG and PNG images by the model that a run left, model.safetensors, or score it on the test images of\n" +
			"--data. Images are resized and normalised as the run did it; the file says how.",
		RunE: func(cmd *cobra.Command, images []string) error { return predict(cmd, o, f, images) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.model, "model", "m", "", "`file` of the model, as a run leaves it")
	flags.StringVar(&f.data, "data", "", "`path` of a data set, or builtin, to score the model on")
	flags.StringVar(&f.mean, "mean", "", "`values` that were taken from the channels, such as 0.49,0.48,0.45 (default the file's)")
	flags.StringVar(&f.std, "std", "", "`values` that they were divided by then (default the file's)")
	return cmd
}

// guess is one class for an image.
type guess struct {
	Class       string  `json:"class"`
	Index       int     `json:"index"`
	Probability float64 `json:"probability"`
}

// prediction is what the model says of one image, the likeliest first.
type prediction struct {
	Image   string  `json:"image"`
	Guesses []guess `json:"guesses"`
}

// setScore is how the model does on a data set.
type setScore struct {
	Model    string  `json:"model"`
	Set      string  `json:"set"`
	Images   int     `json:"images"`
	Accuracy float64 `json:"accuracy"` // 0..1
	Loss     float64 `json:"loss"`     // mean cross-entropy
}

// predict carries out one command line.
func predict(cmd *cobra.Command, o *options, f *predictFlags, images []string) error {
	switch {
	case f.model == "":
		return fail(exitUsage, errors.New("predict: no model; give --model FILE, such as shoal-state/model.safetensors"))
	case (len(images) > 0) == (f.data != ""):
		return fail(exitUsage, errors.New("predict: give either images or --data"))
	}
	own := map[string]string{}
	if f.data != "" {
		own["data.set"] = f.data
	}
	cfg, _, err := o.load(own)
	if err != nil {
		return err
	}
	if err := chooseKernels(os.Getenv(kernelVariable)); err != nil {
		return err
	}
	m, err := openModel(f, cfg.Learner)
	if err != nil {
		return fail(exitData, err)
	}
	cfg.Data.Mean, cfg.Data.Std = m.mean, m.std
	l, err := m.learner()
	if err != nil {
		return fail(exitData, err)
	}
	defer l.Close()
	if f.data != "" {
		return scoreSet(cmd, o, m, l, cfg.Data, cfg.Seed)
	}
	return classify(cmd, o, m, l, cfg.Data, images)
}

// openModel reads the file, and how images are normalised.
func openModel(f *predictFlags, cfg learner.Config) (*trained, error) {
	m, err := readTrained(f.model, cfg)
	if err != nil {
		return nil, err
	}
	for _, v := range []struct {
		flag, text string
		into       *[]float64
	}{{"mean", f.mean, &m.mean}, {"std", f.std, &m.std}} {
		if v.text != "" {
			if *v.into, err = readChannels(v.text); err != nil {
				return nil, fmt.Errorf("read --%s: %w", v.flag, err)
			}
		}
		if len(*v.into) == 0 {
			return nil, fmt.Errorf("open model %s: its metadata have no %q; give --%s, as the training images had it", f.model, v.flag, v.flag)
		}
	}
	return m, nil
}

// classify prints what the model says of each image, as soon as it is known.
func classify(cmd *cobra.Command, o *options, m *trained, l *learner.Learner, data shards.Config, images []string) error {
	list := make([]prediction, 0, len(images))
	for _, path := range images {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		x, err := loadImage(path, m.cfg.Input, data)
		if err != nil {
			return fail(exitData, err)
		}
		logits, err := l.Logits(x, 1)
		if err != nil {
			return fmt.Errorf("classify %s: %w", path, err)
		}
		p := prediction{path, m.guesses(logits)}
		if list = append(list, p); !o.json {
			if err := p.write(cmd.OutOrStdout()); err != nil {
				return err
			}
		}
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return nil
}

// loadImage reads an image as the loader of a data set would.
func loadImage(path string, input int, data shards.Config) ([]float32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	defer f.Close()
	image, err := shards.ReadImage(f, input)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", path, err)
	}
	loader := shards.NewLoader(&shards.Set{Train: image, Test: image}, data, input, 0)
	x := make([]float32, input*input*3)
	loader.Test(x, make([]int32, 1), 0, 1)
	return x, nil
}

// guesses are the likeliest classes by the logits of one image.
func (m *trained) guesses(logits []float32) []guess {
	all := make([]guess, len(logits))
	top, sum := float64(slices.Max(logits)), 0.0
	for i, v := range logits {
		all[i] = guess{m.class(i), i, math.Exp(float64(v) - top)}
		sum += all[i].Probability
	}
	for i := range all {
		all[i].Probability /= sum
	}
	slices.SortStableFunc(all, func(a, b guess) int { return cmp.Compare(b.Probability, a.Probability) })
	return all[:min(len(all), predictTop)]
}

// write prints the prediction for people.
func (p prediction) write(w io.Writer) error {
	var t strings.Builder
	fmt.Fprintf(&t, "%s\n", p.Image)
	for _, g := range p.Guesses {
		fmt.Fprintf(&t, "  %6.2f %%  %s\n", 100*g.Probability, g.Class)
	}
	_, err := io.WriteString(w, t.String())
	return err
}

// scoreSet prints the model's accuracy on the test images of a set.
func scoreSet(cmd *cobra.Command, o *options, m *trained, l *learner.Learner, data shards.Config, seed uint64) error {
	set, err := shards.Open(cmd.Context(), data, m.cfg.Input, seed)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err == nil && len(set.Classes) != m.classes {
		err = fmt.Errorf("score on %s: it has %d classes, the model %d", set.Name, len(set.Classes), m.classes)
	}
	if err == nil && len(m.names) > 0 && !slices.Equal(set.Classes, m.names) {
		err = fmt.Errorf("score on %s: its classes are %v, the model's %v", set.Name, set.Classes, m.names)
	}
	if err != nil {
		return fail(exitData, err)
	}
	loader := shards.NewLoader(set, data, m.cfg.Input, seed)
	result, err := eval.ScoreModel(cmd.Context(), l, loader, set, eval.Config{}, m.cfg)
	if err != nil {
		return err
	}
	s := setScore{m.path, set.Name, result.Images, result.Accuracy, result.Loss}
	if o.json {
		return printJSON(cmd.OutOrStdout(), s)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s on %d test images of %s: accuracy %.2f %%, loss %.4f\n", s.Model, s.Images, s.Set, 100*s.Accuracy, s.Loss)
	return err
}
