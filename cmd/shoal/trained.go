package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"shoal/learner"
	"shoal/learner/safetensors"
)

// trained is a trained model as an agent leaves it: what its metadata say of how to build and feed it.
type trained struct {
	path      string
	cfg       learner.Config
	classes   int
	names     []string // of the classes; empty: not told
	mean, std []float64
}

// readTrained reads the metadata of a checkpoint. Threads and batch are the configuration's.
func readTrained(path string, cfg learner.Config) (*trained, error) {
	file, err := safetensors.Read(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	m := &trained{path: path, cfg: cfg}
	if err := m.understand(file.Metadata); err != nil {
		return nil, fmt.Errorf("open model %s: %w", path, err)
	}
	return m, nil
}

// understand takes the metadata's values.
func (m *trained) understand(meta map[string]string) error {
	m.cfg.Model = meta["model"]
	var errs []error
	number := func(key string, into *float64) {
		v, err := strconv.ParseFloat(meta[key], 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("metadata %q is %q, not a number; give a model that shoal wrote", key, meta[key]))
			return
		}
		*into = v
	}
	var input, classes float64
	number("width", &m.cfg.Width)
	number("input", &input)
	number("classes", &classes)
	if _, told := meta["epsilon"]; told {
		number("epsilon", &m.cfg.BatchNorm.Epsilon)
	}
	for _, v := range []struct {
		key  string
		into *[]float64
	}{{"mean", &m.mean}, {"std", &m.std}} {
		if text, told := meta[v.key]; told {
			list, err := readChannels(text)
			errs = append(errs, err)
			*v.into = list
		}
	}
	if text, told := meta["class_names"]; told {
		if err := json.Unmarshal([]byte(text), &m.names); err != nil || len(m.names) != int(classes) {
			errs = append(errs, fmt.Errorf("metadata \"class_names\" is %q, not a JSON list of %v names", text, classes))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.cfg.Input, m.classes = int(input), int(classes)
	return m.cfg.Validate()
}

// readChannels reads three numbers, one for each channel: "0.49,0.48,0.45".
func readChannels(text string) ([]float64, error) {
	var list []float64
	for part := range strings.SplitSeq(text, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || v-v != 0 {
			return nil, fmt.Errorf("read %q: give three numbers, such as 0.49,0.48,0.45", text)
		}
		list = append(list, v)
	}
	if len(list) != 3 || slices.Max(list) > 1e3 || slices.Min(list) < -1e3 {
		return nil, fmt.Errorf("read %q: give three numbers, such as 0.49,0.48,0.45", text)
	}
	return list, nil
}

// learner builds the model and loads its parameters. Close it in the end.
func (m *trained) learner() (*learner.Learner, error) {
	l, err := learner.New(m.cfg, m.classes, 0)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", m.path, err)
	}
	if _, err := l.ReadState(m.path, l.Shared(false), nil); err != nil { // without momentum
		l.Close()
		return nil, err
	}
	return l, nil
}

// class is the name of a class, or its number where there are no names.
func (m *trained) class(i int) string {
	if i < len(m.names) {
		return m.names[i]
	}
	return strconv.Itoa(i)
}
