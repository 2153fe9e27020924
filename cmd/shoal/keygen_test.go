package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"shoal/gossip"
)

func TestKeygen(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, v := range map[string]struct{ args, file, want string }{
		"default": {"keygen", "shoal.key", "wrote shoal.key: copy it"},
		"named":   {"keygen a.key", "a.key", "--set gossip.key_file=a.key"},
		"json":    {"keygen --json b.key", "b.key", "{\n  \"key_file\": \"b.key\"\n}\n"},
	} {
		stdout, stderr, code := shoal(t, strings.Fields(v.args)...)
		if code != 0 || !strings.Contains(stdout, v.want) {
			t.Errorf("%s: exit code %d, %q: %s", name, code, stdout, stderr)
		}
		if _, err := gossip.ReadKey(v.file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		info, err := os.Stat(v.file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	first, err := os.ReadFile("shoal.key")
	if err != nil {
		t.Fatal(err)
	}
	_, stderr, code := shoal(t, "keygen")
	again, err := os.ReadFile("shoal.key")
	if code != exitFailure || err != nil || string(again) != string(first) || !strings.Contains(stderr, "shoal.key") {
		t.Errorf("an existing key: exit code %d, replaced %t, %v: %s", code, string(again) != string(first), err, stderr)
	}
	other, err := os.ReadFile("a.key")
	if err != nil || string(other) == string(first) {
		t.Errorf("two keys are one, %v", err)
	}
	if _, stderr, code := shoal(t, "keygen", filepath.Join("absent", "c.key")); code != exitFailure {
		t.Errorf("no directory: exit code %d: %s", code, stderr)
	}
}

func TestWarnOfKey(t *testing.T) {
	for name, v := range map[string]struct {
		mode os.FileMode
		warn bool
	}{
		"owner's": {0o600, false},
		"read":    {0o400, false},
		"group's": {0o640, true},
		"all's":   {0o644, true},
	} {
		file := written(t, "shoal.key", "key")
		if err := os.Chmod(file, v.mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		warnOfKey(zerolog.New(&log), file)
		if got := strings.Contains(log.String(), "run: chmod 600 "+file); got != v.warn || !v.warn && log.Len() > 0 {
			t.Errorf("%s: warned %t, want %t: %s", name, got, v.warn, &log)
		}
	}
	var log bytes.Buffer
	if warnOfKey(zerolog.New(&log), filepath.Join(t.TempDir(), "absent")); log.Len() > 0 {
		t.Errorf("no key: %s", &log)
	}
}
