package agent

import "io"

// A shared state is one vector: what the learner shares (parameters, running statistics, and momentum if that is
// averaged), and behind it one value for each parameter that the outer optimiser keeps, if there is one. It is hashed,
// stored, fetched and adopted as a whole; only the first part is averaged.

// write writes a shared state in the safetensors format.
func (t *trainer) write(w io.Writer, state []float32, meta map[string]string) error {
	shared, outer := t.parts(state)
	_, err := t.learner.Archive(shared, outer, meta).WriteTo(w)
	return err
}

// read loads the shared state at path.
func (t *trainer) read(path string, state []float32) error {
	shared, outer := t.parts(state)
	_, err := t.learner.ReadState(path, shared, outer)
	return err
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
