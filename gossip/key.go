package gossip

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

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

// Print is the key's fingerprint, 8 hexadecimal digits: enough to tell the keys of a cluster apart, and of no use to
// anybody else.
func (k Key) Print() string {
	sum := sha256.Sum256(append([]byte("shoal cluster key"), k[:]...))
	return hex.EncodeToString(sum[:4])
}
