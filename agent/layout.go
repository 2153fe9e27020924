package agent

// A shared state is one vector: what the learner shares (parameters, running statistics, and momentum if that is
// averaged), and behind it one value for each parameter that the outer optimiser keeps, if there is one. It is hashed,
// stored, fetched and adopted as a whole; only the first part is averaged.

// write stores a shared state at path, durably.
func (t *trainer) write(path string, state []float32, meta map[string]string) error {
	shared, outer := t.parts(state)
	return t.learner.WriteState(path, shared, outer, meta)
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
