package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The document is what its record says: nobody edited either.
func TestDocumentIsOfItsRecord(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("../record.json")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "record.json"), text, 0o644)
	}
	if err == nil {
		err = run(t.Context(), dir, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dir + ".md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../averaging.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("docs/averaging.md is not what its record says; run go run ./docs/averaging/gen")
	}
}

// Four ranks send one and a half vectors each: 4.2 MB at 1 Gbit/s are 33.6 ms.
func TestBound(t *testing.T) {
	if got := bound(4, 700_490, 4, 1000); math.Abs(got-33.62) > 0.01 {
		t.Errorf("bound of 4 ranks at 1 Gbit/s = %.2f ms, want 33.62", got)
	}
}

func TestAbsentRecordIsNamed(t *testing.T) {
	err := run(t.Context(), t.TempDir(), "")
	if err == nil || !strings.Contains(err.Error(), "-record") {
		t.Errorf("run without a record: %v, want the remedy -record", err)
	}
}
