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
		if _, err := gossip.ReadKeys(v.file); err != nil {
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

func TestKeygenChangesKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "k")
	read := func() gossip.Keys {
		keys, err := gossip.ReadKeys(file)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	do := func(args string) (stdout, stderr string, code int) {
		return shoal(t, append(strings.Fields("keygen "+args), file)...)
	}
	if _, stderr, code := do("--change add"); code != exitFailure || !strings.Contains(stderr, "shoal keygen") {
		t.Errorf("no file: exit code %d: %s", code, stderr)
	}
	do("")
	first := read()[0]
	for _, step := range []string{"promote", "drop"} {
		if _, stderr, code := do("--change " + step); code != exitFailure || !strings.Contains(stderr, "begin with --change add") {
			t.Errorf("%s of one key: exit code %d: %s", step, code, stderr)
		}
	}
	if _, stderr, code := do("--change turn"); code != exitUsage || !strings.Contains(stderr, `"turn" is unknown`) {
		t.Errorf("unknown step: exit code %d: %s", code, stderr)
	}
	stdout, _, code := do("--change add")
	added := read()
	if code != 0 || len(added) != 2 || added[0] != first || !strings.Contains(stdout, "sends with key "+first.Print()) {
		t.Errorf("add: exit code %d, %v: %s", code, added, stdout)
	}
	for _, k := range added {
		if strings.Contains(stdout, k.Base64()) {
			t.Error("a key is printed")
		}
	}
	do("--change promote")
	if got := read(); len(got) != 2 || got[0] != added[1] || got[1] != first {
		t.Errorf("promote: %v of %v", got, added)
	}
	do("--change drop")
	if got := read(); len(got) != 1 || got[0] != added[1] {
		t.Errorf("drop: %v of %v", got, added)
	}
	for n := 2; n <= 5; n++ {
		before := read()
		stdout, stderr, code := do("--json --rotate")
		got := read()
		if want := min(n, gossip.MaxKeys); code != 0 || len(got) != want || got[1] != before[0] || !strings.Contains(stdout, `"sends": "`+got[0].Print()) {
			t.Errorf("rotate to %d keys: exit code %d, %v after %v: %s%s", n, code, got, before, stdout, stderr)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
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
