package agent

import (
	"fmt"
	"io"
	"slices"

	"shoal/agent/part"
	"shoal/learner/safetensors"
)

// A shared state is one vector: what the learner shares (parameters, running statistics, and momentum if that is
// averaged), and behind it one value for each parameter that the outer optimiser keeps, if there is one. It is hashed,
// stored, fetched and adopted as a whole; only the first part is averaged.

// rawTensor is the one tensor of a file that holds a state as it is in memory.
const rawTensor = "state"

// write writes a state as it is in memory, with no copy of it: a round waits for this. The layout is that of learner.Shared,
// and behind it the outer optimiser's; only agents read it.
func (t *trainer) write(w io.Writer, state []float32, meta map[string]string) error {
	raw := safetensors.Tensor{Name: rawTensor, DType: "F32", Shape: []int{len(state)}, Data: part.Bytes(state)}
	_, err := (&safetensors.File{Metadata: meta, Tensors: []safetensors.Tensor{raw}}).WriteTo(w)
	return err
}

// export writes a state in torchvision's names and layout.
func (t *trainer) export(w io.Writer, state []float32, meta map[string]string) error {
	shared, outer := t.parts(state)
	_, err := t.learner.Archive(shared, outer, meta).WriteTo(w)
	return err
}

// read loads the shared state at path, as write or export wrote it, and returns what else the file says.
func (t *trainer) read(path string, state []float32) (meta map[string]string, err error) {
	file, err := safetensors.Read(path)
	if err != nil {
		return nil, err
	}
	raw, ok := file.Find(rawTensor)
	if !ok {
		shared, outer := t.parts(state)
		return t.learner.ReadState(path, shared, outer)
	}
	if len(file.Tensors) != 1 || raw.DType != "F32" || !slices.Equal(raw.Shape, []int{len(state)}) {
		return nil, fmt.Errorf("read %s: %d tensors, %q %s of shape %v; this model's state is one of %d values", path, len(file.Tensors), rawTensor, raw.DType, raw.Shape, len(state))
	}
	copy(part.Bytes(state), raw.Data)
	if !part.Finite(state) {
		return nil, fmt.Errorf("read %s: it has values that are not finite", path)
	}
	return file.Metadata, nil
}

// parts are what the learner shares of a state, and what the outer optimiser keeps.
func (t *trainer) parts(state []float32) (shared, outer []float32) {
	n := len(t.local())
	return state[:n:n], state[n:]
}

// formation is the shared state before any training: the outer optimiser's part is zero.
func (t *trainer) formation() []float32 {
	return t.recipe.Formation(t.local(), len(t.learner.Params()))
}

// follow makes of a state the one that follows it, by the mean of what the roster's work changed.
func (t *trainer) follow(state, mean []float32) error {
	return t.recipe.Follow(state, mean, len(t.learner.Params()))
}
