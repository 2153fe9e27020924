package shards

import (
	"strings"
	"testing"
)

func TestConfigValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	bad := Config{Set: " ", Partition: "x", Crop: -1, Limit: -1, TestLimit: -1, Mean: []float64{1, 2}, Std: []float64{1, 0, 1}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("all is accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, key := range []string{"set: ", "partition: ", "crop: -1", "limit: -1", "test_limit: -1", "mean: 2 values", "std: 0 is outside"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], key) {
			t.Errorf("line %d of %q: want it to begin with %q", i, lines, key)
		}
	}
	if p := NewPartition(Config{Partition: Dirichlet, Alpha: 2, Labels: 3}, 4); p != (Partition{Dirichlet, 2, 3, 4}) {
		t.Errorf("partition: got %+v", p)
	}
}
