package learner

import (
	"fmt"
	"slices"
	"strings"

	"shoal/learner/safetensors"
)

// classifierPrefix begins the names of the tensors that depend on the classes, in both of torchvision's models.
const classifierPrefix = "classifier."

// LoadPretrained begins from a state dict in torchvision's names that was trained on other classes: every tensor must be
// in the file with its shape, but those of the classifier, which keep their drawn values where shapes differ; fresh names
// these. Momentum is not read. After an error nothing has changed.
func (l *Learner) LoadPretrained(path string) (fresh []string, err error) {
	file, err := safetensors.Read(path)
	if err != nil {
		return nil, fmt.Errorf("load pretrained weights: %w", err)
	}
	parts := l.parts(l.Shared(false), nil)
	values := make([][]float32, len(parts))
	var errs []error
	for i, p := range parts {
		t, ok := file.Find(p.name)
		switch {
		case strings.HasPrefix(p.name, classifierPrefix) && !(ok && slices.Equal(t.Shape, p.Shape)):
			fresh = append(fresh, p.name)
		case !ok:
			errs = append(errs, fmt.Errorf("tensor %q is missing", p.name))
		default:
			if values[i], err = p.read(t); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("load pretrained weights %s: %w", path, first(errs, l.describe()))
	}
	for i, p := range parts {
		if values[i] != nil {
			p.Import(p.values, values[i])
		}
	}
	return fresh, nil
}
