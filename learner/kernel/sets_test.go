package kernel

import (
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	defer Choose("")
	names := Sets()
	if names[len(names)-1] != "generic" || Chosen() != names[0] {
		t.Fatalf("sets %v, chosen %s; want the best, and generic as the last", names, Chosen())
	}
	for _, name := range names {
		if err := Choose(name); err != nil || Chosen() != name {
			t.Errorf("Choose(%q): %v, chosen %s", name, err, Chosen())
		}
	}
	for _, name := range []string{"mmx", "AVX2", " "} {
		before := Chosen()
		if err := Choose(name); err == nil || !strings.Contains(err.Error(), strings.Join(names, ", ")) || Chosen() != before {
			t.Errorf("Choose(%q): %v, chosen %s; want an error that lists %v", name, err, Chosen(), names)
		}
	}
	for _, name := range []string{"avx2", "avx512", "neon"} {
		if err := Choose(name); (err == nil) != slices.Contains(names, name) {
			t.Errorf("Choose(%q): %v on a machine with %v", name, err, names)
		}
	}
}
