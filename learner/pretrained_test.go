package learner

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A model that was trained on other classes gives everything but its classifier; one of another width gives nothing.
func TestLoadPretrained(t *testing.T) {
	cfg := Defaults()
	cfg.Width, cfg.Threads = 0.1, 1
	of := func(cfg Config, classes int, seed uint64) *Learner {
		l, err := New(cfg, classes, seed)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l
	}
	path := filepath.Join(t.TempDir(), "old.safetensors")
	old := of(cfg, 7, 1)
	if err := old.Save(path, nil); err != nil {
		t.Fatal(err)
	}

	same := of(cfg, 7, 2)
	if fresh, err := same.LoadPretrained(path); err != nil || len(fresh) != 0 || !slices.Equal(same.Shared(false), old.Shared(false)) {
		t.Errorf("the same classes: fresh %v, error %v", fresh, err)
	}

	other := of(cfg, 3, 2)
	drawn := slices.Clone(other.Shared(false))
	fresh, err := other.LoadPretrained(path)
	if err != nil || !slices.Equal(fresh, []string{"classifier.1.weight", "classifier.1.bias"}) {
		t.Fatalf("other classes: fresh %v, error %v", fresh, err)
	}
	from := map[string]Tensor{}
	for _, p := range old.Tensors() {
		from[p.Name] = p
	}
	for _, p := range other.Tensors() {
		if strings.HasPrefix(p.Name, momentumPrefix) {
			continue
		}
		want := drawn[p.Offset:][:p.Len]
		if !strings.HasPrefix(p.Name, classifierPrefix) {
			want = old.Shared(false)[from[p.Name].Offset:][:p.Len]
		}
		if !slices.Equal(other.Shared(false)[p.Offset:][:p.Len], want) {
			t.Errorf("%s is neither the old model's nor the drawn one", p.Name)
		}
	}

	cfg.Width = 0.35
	wide := of(cfg, 7, 2)
	drawn = slices.Clone(wide.Shared(false))
	if _, err := wide.LoadPretrained(path); err == nil || !strings.Contains(err.Error(), "has shape") || !slices.Equal(wide.Shared(false), drawn) {
		t.Errorf("another width: error %v, or the model has changed", err)
	}
}
