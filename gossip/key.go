package gossip

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxKeyFileBytes bounds a key file; a key takes 45 bytes.
const maxKeyFileBytes = 1 << 10

// Key is the cluster key: whoever has it is in. It prints as nothing of use.
type Key [32]byte

// String hides the key from logs.
func (Key) String() string { return "(cluster key)" }

// GoString hides the key from logs.
func (Key) GoString() string { return "gossip.Key{…}" }

// Base64 is the key as a key file holds it.
func (k Key) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// NewKey makes a random key.
func NewKey() (Key, error) {
	var k Key
	if _, err := rand.Read(k[:]); err != nil {
		return Key{}, fmt.Errorf("make cluster key: %w", err)
	}
	return k, nil
}

// ParseKey reads a key from its base64 form.
func ParseKey(text string) (Key, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return Key{}, fmt.Errorf("decode base64: %w", err)
	}
	if len(raw) != len(Key{}) {
		return Key{}, fmt.Errorf("key of %d bytes, want %d", len(raw), len(Key{}))
	}
	return Key(raw), nil
}

// ReadKey reads the cluster key from a file of one line. Its errors name the path and what to do.
func ReadKey(path string) (Key, error) {
	if path == "" {
		return Key{}, errors.New("read cluster key: gossip.key_file is not set; make one with: shoal keygen")
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("read cluster key: %w; make one with: shoal keygen, and copy it to every node", err)
	}
	if err != nil {
		return Key{}, fmt.Errorf("read cluster key: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFileBytes))
	if err != nil {
		return Key{}, fmt.Errorf("read cluster key: %w", err)
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("read cluster key %s: %w; make one with: shoal keygen, and copy it to every node", path, err)
	}
	return key, nil
}

// WriteKey writes the key to a new file that only its owner can read. It replaces nothing: a cluster whose key is lost
// cannot be joined.
func WriteKey(path string, key Key) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write cluster key: %w; remove it first if no cluster uses it", err)
	}
	if err != nil {
		return fmt.Errorf("write cluster key: %w", err)
	}
	_, err = file.WriteString(key.Base64() + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write cluster key %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return nil
}
