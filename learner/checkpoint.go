package learner

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"shoal/learner/graph"
	"shoal/learner/safetensors"
)

// Names in a checkpoint beside torchvision's.
const (
	momentumPrefix = "momentum."
	outerPrefix    = "outer."              // of a cluster's outer optimiser
	batchesSuffix  = "num_batches_tracked" // torchvision's count of a batch norm, which is not needed to go on
)

// Tensor is a named part of the shared vector: Len elements from Offset. Name and Shape are torchvision's; the elements
// of a filter (out, in, height, width) are in the order (height, width, in, out).
type Tensor struct {
	Name        string
	Shape       []int
	Offset, Len int
}

// Tensors lists the parts of Shared(true), in order: parameters, running statistics, and momentum, whose names begin with
// "momentum.".
func (l *Learner) Tensors() []Tensor {
	var list []Tensor
	base := 0
	add := func(prefix string, tensors []graph.Tensor, length int) {
		for _, t := range tensors {
			list = append(list, Tensor{Name: prefix + t.Name, Shape: slices.Clone(t.Shape), Offset: base + t.Offset, Len: t.Len()})
		}
		base += length
	}
	add("", l.net.Params, len(l.params))
	add("", l.net.Running, len(l.running))
	add(momentumPrefix, l.net.Params, len(l.momentum))
	return list
}

// part is a tensor as it is stored, and where its values are.
type part struct {
	graph.Tensor
	name   string
	values []float32
}

// parts are the tensors of a state as Shared gives it, in the order of Tensors; those of momentum only if state has it.
// Behind them come those of outer, one block of memory for each parameter, if it is not empty.
func (l *Learner) parts(state, outer []float32) []part {
	var list []part
	running, momentum := len(l.params), len(l.params)+len(l.running)
	add := func(prefix string, tensors []graph.Tensor, block []float32) {
		for _, t := range tensors {
			list = append(list, part{t, prefix + t.Name, block[t.Offset:][:t.Len()]})
		}
	}
	add("", l.net.Params, state[:running])
	add("", l.net.Running, state[running:momentum])
	if len(state) > momentum {
		add(momentumPrefix, l.net.Params, state[momentum:])
	}
	if len(outer) > 0 {
		add(outerPrefix, l.net.Params, outer)
	}
	return list
}

// Save writes a checkpoint in the safetensors format, replacing path at once or not at all. Tensors are named and laid out
// as in torchvision, with the optimiser's under "momentum."; meta goes to the header, with the model's name, width,
// input, classes and epsilon of batch norms where meta does not say otherwise.
func (l *Learner) Save(path string, meta map[string]string) error {
	return l.WriteState(path, l.Shared(true), nil, meta)
}

// WriteState is Save of a state that need not be the learner's own, with the layout of Shared, with or without momentum.
// outer is a value for each parameter, as Params has them, that an outer optimiser keeps; it is named "outer.", and nil
// for none. WriteState may be called while the learner trains.
func (l *Learner) WriteState(path string, state, outer []float32, meta map[string]string) error {
	if err := safetensors.Write(path, l.Archive(state, outer, meta)); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}

// Archive is what WriteState writes.
func (l *Learner) Archive(state, outer []float32, meta map[string]string) *safetensors.File {
	file := &safetensors.File{Metadata: map[string]string{
		"model": l.cfg.Model, "width": strconv.FormatFloat(l.cfg.Width, 'g', -1, 64),
		"input": strconv.Itoa(l.cfg.Input), "classes": strconv.Itoa(l.classes),
		"epsilon": strconv.FormatFloat(l.cfg.BatchNorm.Epsilon, 'g', -1, 64),
	}}
	maps.Copy(file.Metadata, meta)
	var values []float32 // of one tensor at a time: the file copies them, and garbage of a whole state shows in the peak of memory
	for _, p := range l.parts(state, outer) {
		values = slices.Grow(values[:0], p.Len())[:p.Len()]
		p.Export(values, p.values)
		file.Tensors = append(file.Tensors, safetensors.Floats(p.name, p.Shape, values))
		if p.Kind == graph.Variance {
			name := strings.TrimSuffix(p.name, "running_var") + batchesSuffix
			file.Tensors = append(file.Tensors, safetensors.Ints(name, []int{}, []int64{l.steps.Load()}))
		}
	}
	return file
}

// Load reads what Save wrote, or a state dict of torchvision's, and returns the header's metadata. Momentum is zero where
// the file has none. Every tensor must be there with its shape, and no other but counts of batches; otherwise nothing
// changes.
func (l *Learner) Load(path string) (meta map[string]string, err error) {
	return l.ReadState(path, l.Shared(true), nil)
}

// ReadState is Load into a state that need not be the learner's own, with the layout of Shared, and into outer, a value
// for each parameter that an outer optimiser keeps. What the file has of momentum or outer and there is no room for is
// left out; what it lacks of them is zero. ReadState may be called while the learner trains, if state is not the
// learner's.
func (l *Learner) ReadState(path string, state, outer []float32) (meta map[string]string, err error) {
	file, err := safetensors.Read(path)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	parts := l.parts(state, outer)
	loaded, err := l.match(file, parts)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", path, err)
	}
	for i, p := range parts {
		if loaded[i] == nil {
			clear(p.values)
			continue
		}
		p.Import(p.values, loaded[i])
	}
	return file.Metadata, nil
}

// optional is the prefix of a tensor's name that a file may lack: all of them or none.
func optional(name string) string {
	for _, prefix := range []string{momentumPrefix, outerPrefix} {
		if strings.HasPrefix(name, prefix) {
			return prefix
		}
	}
	return ""
}

// match reads the file's values for each part; nil for momentum, or an outer optimiser's, that it does not have.
func (l *Learner) match(file *safetensors.File, parts []part) ([][]float32, error) {
	found := make(map[string]safetensors.Tensor, len(file.Tensors))
	has := map[string]bool{"": true} // by prefix
	for _, t := range file.Tensors {
		found[t.Name] = t
		has[optional(t.Name)] = true
	}
	var errs []error
	loaded := make([][]float32, len(parts))
	for i, p := range parts {
		t, ok := found[p.name]
		delete(found, p.name)
		switch {
		case !ok && has[optional(p.name)]:
			errs = append(errs, fmt.Errorf("tensor %q is missing", p.name))
		case ok:
			values, err := p.read(t)
			if err != nil {
				errs = append(errs, err)
			}
			loaded[i] = values
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if param := strings.TrimPrefix(name, optional(name)); param != name && slices.ContainsFunc(l.net.Params, func(t graph.Tensor) bool { return t.Name == param }) {
			continue // there is no room for it
		}
		if name != batchesSuffix && !strings.HasSuffix(name, "."+batchesSuffix) {
			errs = append(errs, fmt.Errorf("tensor %q is not in this model", name))
		}
	}
	return loaded, first(errs, l.describe())
}

// read is the values that t has for p.
func (p part) read(t safetensors.Tensor) ([]float32, error) {
	if !slices.Equal(t.Shape, p.Shape) {
		return nil, fmt.Errorf("tensor %q has shape %v; this model's is %v", p.name, t.Shape, p.Shape)
	}
	values, err := t.Float32s()
	if err == nil && slices.ContainsFunc(values, func(v float32) bool { return v-v != 0 }) {
		err = fmt.Errorf("tensor %q has values that are not finite; take an older checkpoint", p.name)
	}
	return values, err
}

// first reports a few errors of many: a file of another model differs everywhere.
func first(errs []error, model string) error {
	const most = 3
	if len(errs) == 0 {
		return nil
	}
	more := ""
	if len(errs) > most {
		more = fmt.Sprintf(" (and %d more)", len(errs)-most)
		errs = errs[:most]
	}
	return fmt.Errorf("it does not fit %s%s: %w", model, more, errors.Join(errs...))
}

// describe names the model as its owner knows it.
func (l *Learner) describe() string {
	return fmt.Sprintf("%s of width %v for %d classes", l.cfg.Model, l.cfg.Width, l.classes)
}
