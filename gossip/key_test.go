package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	key := newKeyFor(t)[0]
	if err := WriteKey(path, key); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if got, err := ReadKeys(path); err != nil || !slices.Equal(got, Keys{key}) {
		t.Errorf("read another key, %v", err)
	}
	if err := WriteKey(path, newKeyFor(t)...); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("overwriting: %v", err)
	}
	if text := fmt.Sprintf("%v %s %+v %#v %v %#v", key, key, key, key, Keys{key}, Keys{key}); strings.Contains(text, fmt.Sprint(key[0])+" ") || strings.Contains(text, key.Base64()) {
		t.Errorf("a key prints as %s", text)
	}
}

func TestBadKeyFileNamesPathAndRemedy(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty": "", "not base64": "?!", "short": "AAAA", "long": strings.Repeat("A", 64), "huge": strings.Repeat("A", 1<<20),
	} {
		path := filepath.Join(dir, "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKeys(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "shoal keygen") {
			t.Errorf("%s: %v", name, err)
		}
	}
	absent := filepath.Join(dir, "absent")
	if _, err := ReadKeys(absent); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), absent) || !strings.Contains(err.Error(), "shoal keygen") {
		t.Errorf("absent: %v", err)
	}
	if _, err := ReadKeys(""); err == nil || !strings.Contains(err.Error(), "gossip.key_file") {
		t.Errorf("not set: %v", err)
	}
}

func FuzzParseKeys(f *testing.F) {
	const one, two = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	f.Add("")
	f.Add(one)
	f.Add(one + "\n" + two)
	f.Add(one + one)
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		if again, err := ParseKeys(string(keys.text())); err != nil || !slices.Equal(again, keys) || len(keys) > MaxKeys {
			t.Errorf("%q became %d other keys, %v", text, len(keys), err)
		}
	})
}

func TestMetaFitsWithLongestNameAndRecord(t *testing.T) {
	name, record := strings.Repeat("n", maxNameBytes), bytes.Repeat([]byte{7}, 440)
	meta, err := encodeMeta(name, record)
	if err != nil || len(meta) > memberlist.MetaMaxSize {
		t.Fatalf("%d bytes, %v", len(meta), err)
	}
	if n, r, err := decodeMeta(meta); err != nil || n != name || !bytes.Equal(r, record) {
		t.Errorf("became %q, %d bytes, %v", n, len(r), err)
	}
	if _, err := encodeMeta(name, bytes.Repeat([]byte{7}, 447)); err == nil {
		t.Error("513 bytes of metadata")
	}
}

func FuzzMeta(f *testing.F) {
	good, err := encodeMeta("pi", []byte("record"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{metaVersion, 200, 'a'})
	f.Add([]byte{metaVersion + 1, 0, 'a'})
	f.Add([]byte{metaVersion, 1, 0x1b, 'a'})
	f.Fuzz(func(t *testing.T, meta []byte) {
		name, record, err := decodeMeta(meta)
		if err != nil {
			return
		}
		if again, err := encodeMeta(name, record); err != nil || !bytes.Equal(again, meta) {
			t.Errorf("%q was read as %q and %q, which is written as %q, %v", meta, name, record, again, err)
		}
	})
}

func FuzzGoodbye(f *testing.F) {
	f.Add(encodeGoodbye("12D3KooW"))
	f.Add([]byte{2, 'a'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		if id, err := decodeGoodbye(text); err == nil && !bytes.Equal(encodeGoodbye(id), text) {
			t.Errorf("%q was read as %q", text, id)
		}
	})
}
