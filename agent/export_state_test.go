package agent

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"

	"shoal/learner/safetensors"
)

// A state is turned into torchvision's names where it lies, and is the same state.
func TestExportedStateIsTheSame(t *testing.T) {
	a, hash, state := resumable(t)
	raw, err := safetensors.Read(a.store.statePath(hash))
	if err != nil || len(raw.Tensors) != 1 {
		t.Fatalf("a round's file has %d tensors, %v", len(raw.Tensors), err)
	}
	if err := a.exportState(hash); err != nil {
		t.Fatal(err)
	}
	named, err := safetensors.Read(a.store.statePath(hash))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := named.Find("features.0.0.weight"); !ok || named.Metadata["state_hash"] != hash {
		t.Errorf("no torchvision names, or no hash: %v", named.Metadata)
	}
	if err := a.readState(hash, state); err != nil {
		t.Errorf("it cannot be read: %v", err)
	}
	if err := a.exportState(hashLike("e")); err == nil {
		t.Error("a state that is not there is exported")
	}
}

// What is no state of this model is refused, and says why.
func TestReadRefusesOtherStates(t *testing.T) {
	a, _, state := resumable(t)
	short, nan := state[1:], append([]float32{float32(math.NaN())}, state[1:]...)
	var good bytes.Buffer
	if err := a.trainer.write(&good, state, nil); err != nil {
		t.Fatal(err)
	}
	ints := safetensors.File{Tensors: []safetensors.Tensor{safetensors.Ints(rawTensor, []int{2}, []int64{1, 2})}}
	for _, c := range []struct {
		name, want string
		write      func(b *bytes.Buffer) error
	}{
		{"too short", "values", func(b *bytes.Buffer) error { return a.trainer.write(b, short, nil) }},
		{"not finite", "not finite", func(b *bytes.Buffer) error { return a.trainer.write(b, nan, nil) }},
		{"another type", "I64", func(b *bytes.Buffer) error { _, err := ints.WriteTo(b); return err }},
		{"cut", "cut", func(b *bytes.Buffer) error { _, err := b.Write(good.Bytes()[:good.Len()-1]); return err }},
	} {
		var b bytes.Buffer
		path := a.store.path("other")
		if err := c.write(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.trainer.read(path, make([]float32, len(state))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
