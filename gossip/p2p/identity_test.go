package p2p

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "identity")
	first, err := LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	second, err := LoadIdentity(path)
	if err != nil || !second.Equals(first) {
		t.Errorf("another key the second time, %v", err)
	}
	if rest, err := os.ReadDir(filepath.Dir(path)); err != nil || len(rest) != 1 {
		t.Errorf("the directory holds %v, %v; want the identity only", rest, err)
	}
}

func TestBadIdentityIsRefused(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if _, err := LoadIdentity(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"open to others", string(text), 0o644, "chmod 600"},
		{"open to the group", string(text), 0o640, "chmod 600"},
		{"empty", "", 0o600, "remove it"},
		{"cut", string(text[:40]), 0o600, "remove it"},
		{"no base64", "?", 0o600, "remove it"},
		{"another key type", "CAASAA==", 0o600, "remove it"},
		{"huge", strings.Repeat("A", maxIdentityBytes+1), 0o600, "not an identity"},
	} {
		path := filepath.Join(dir, "bad")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, row.mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadIdentity(path)
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q and the path", row.name, err, row.want)
		}
	}
	if _, err := LoadIdentity(dir); err == nil {
		t.Error("a directory passed for an identity")
	}
	if _, err := LoadIdentity(filepath.Join(good, "below")); err == nil {
		t.Error("a path below a file passed")
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add("")
	f.Add("CAASAA==")
	f.Add("CAESQO2kXvW8GAl5Xo9fZQ==")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := parseIdentity(text); err == nil && key == nil {
			t.Error("no key and no error")
		}
	})
}
