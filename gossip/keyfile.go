package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

const (
	// maxKeyFileBytes bounds a key file; a key takes 45 bytes.
	maxKeyFileBytes = 1 << 10
	// MaxKeys bounds the keys of a file: the one in use, its successor or predecessor, and one more of a rotation that
	// was begun before the last was over.
	MaxKeys = 3
)

// Keys are the cluster's keys, at most MaxKeys, none twice: messages are sent with the first, and taken with any. A file
// holds one per line.
type Keys []Key

// String hides the keys from logs, but for their fingerprints.
func (ks Keys) String() string {
	prints := make([]string, len(ks))
	for i, k := range ks {
		prints[i] = k.Print()
	}
	return "(cluster keys " + strings.Join(prints, " ") + ")"
}

// GoString hides the keys from logs.
func (ks Keys) GoString() string { return ks.String() }

// Add is ks with a key that is taken but not used yet, behind all others. When there are too many, the oldest that is
// not in use goes.
func (ks Keys) Add(k Key) Keys {
	all := append(slices.Clone(ks), k)
	if len(all) > MaxKeys {
		all = slices.Delete(all, 1, 2)
	}
	return all
}

// Promote is ks with the last key, the newest of those that are only taken, in use.
func (ks Keys) Promote() Keys {
	last := len(ks) - 1
	return append(Keys{ks[last]}, ks[:last]...)
}

// Rotate is ks with a new key in use. When there are too many, the last one goes.
func (ks Keys) Rotate(k Key) Keys {
	all := append(Keys{k}, ks...)
	return all[:min(len(all), MaxKeys)]
}

// ParseKeys reads keys of one line each; blank lines do not count.
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		k, err := ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		if slices.Contains(keys, k) {
			return nil, fmt.Errorf("key %d is there twice", len(keys)+1)
		}
		if keys = append(keys, k); len(keys) > MaxKeys {
			return nil, fmt.Errorf("more than %d keys", MaxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key")
	}
	return keys, nil
}

// text is the keys as a file holds them.
func (ks Keys) text() []byte {
	var b bytes.Buffer
	for _, k := range ks {
		b.WriteString(k.Base64() + "\n")
	}
	return b.Bytes()
}

// ReadKeys reads the cluster's keys from a file. Its errors name the path and what to do.
func ReadKeys(path string) (Keys, error) {
	if path == "" {
		return nil, errors.New("read cluster key: gossip.key_file is not set; make one with: shoal keygen")
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read cluster key: %w; make one with: shoal keygen, and copy it to every node", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	var keys Keys
	if len(text) > maxKeyFileBytes {
		err = fmt.Errorf("more than %d bytes", maxKeyFileBytes)
	} else {
		keys, err = ParseKeys(string(text))
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster key %s: %w; make one with: shoal keygen, and copy it to every node", path, err)
	}
	return keys, nil
}

// WriteKey writes keys to a new file that only its owner can read. It replaces nothing: a cluster whose key is lost
// cannot be joined.
func WriteKey(path string, keys ...Key) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write cluster key: %w; remove it first if no cluster uses it", err)
	}
	if err != nil {
		return fmt.Errorf("write cluster key: %w", err)
	}
	_, err = file.Write(Keys(keys).text())
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write cluster key %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return nil
}

// ReplaceKeys changes the keys of a file, all at once: who reads it meanwhile gets the old or the new ones.
func ReplaceKeys(path string, keys Keys) error {
	if err := renameio.WriteFile(path, keys.text(), 0o600); err != nil {
		return fmt.Errorf("write cluster key %s: %w", path, err)
	}
	return nil
}
