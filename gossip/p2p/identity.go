package p2p

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// maxIdentityBytes bounds the identity file; an Ed25519 key takes 93 bytes.
const maxIdentityBytes = 1 << 10

// LoadIdentity reads the agent's Ed25519 key from path, one line of base64, and makes both on first use, with mode
// 0600. A file that others can read, or that holds no such key, is an error that names path and remedy.
func LoadIdentity(path string) (crypto.PrivKey, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("find identity: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read identity %s: mode %04o lets others use it; run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	if !info.Mode().IsRegular() || info.Size() > maxIdentityBytes {
		return nil, fmt.Errorf("read identity %s: not an identity (mode %s, %d bytes); name another file", path, info.Mode(), info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	key, err := parseIdentity(string(text))
	if err != nil {
		return nil, fmt.Errorf("read identity %s: %w; restore it from a backup, or remove it and this agent gets a new name", path, err)
	}
	return key, nil
}

func parseIdentity(text string) (crypto.PrivKey, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("decode base64: %w", err)
	}
	key, err := crypto.UnmarshalPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	if key.Type() != crypto.Ed25519 {
		return nil, fmt.Errorf("key of type %s, want Ed25519", key.Type())
	}
	return key, nil
}

func makeIdentity(path string) (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	if err := writeSecret(path, base64.StdEncoding.EncodeToString(raw)+"\n"); err != nil {
		return nil, fmt.Errorf("write identity %s: %w", path, err)
	}
	return key, nil
}

// writeSecret puts text at path in one step, readable by the owner only, and on the disk before it returns.
func writeSecret(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, ".identity-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	parent, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = parent.Sync() // not every file system can sync a directory
	return parent.Close()
}
