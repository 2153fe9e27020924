package learner

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/learner/safetensors"
)

// What an outer optimiser keeps is written beside the model and read again, is left out where there is no room for it, is
// zero where a file has none, and is refused in part.
func TestOuterState(t *testing.T) {
	l := make1(t, tiny(), 4, 3)
	path := filepath.Join(t.TempDir(), "state.safetensors")
	state, outer := slices.Clone(l.Shared(false)), slices.Clone(l.Params())
	for i := range outer {
		outer[i] = float32(i)
	}
	if err := l.WriteState(path, state, outer, nil); err != nil {
		t.Fatal(err)
	}
	gotState, got := make([]float32, len(state)), make([]float32, len(outer))
	if _, err := l.ReadState(path, gotState, got); err != nil || !slices.Equal(got, outer) || !slices.Equal(gotState, state) {
		t.Errorf("read again it is another: %v", err)
	}
	if _, err := l.ReadState(path, l.Shared(true), nil); err != nil || !slices.Equal(l.Shared(false), state) {
		t.Errorf("without room for it: %v", err)
	}
	file, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	file.Tensors = slices.DeleteFunc(file.Tensors, func(t safetensors.Tensor) bool { return t.Name == "outer.classifier.1.bias" })
	if err := safetensors.Write(path, file); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ReadState(path, gotState, got); err == nil || !strings.Contains(err.Error(), "outer.classifier.1.bias") {
		t.Errorf("with a part missing: %v", err)
	}
	if err := l.WriteState(path, state, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ReadState(path, gotState, got); err != nil || slices.ContainsFunc(got, func(x float32) bool { return x != 0 }) {
		t.Errorf("of a file that has none it is not zero: %v", err)
	}
}
