package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"shoal/gossip/roster"
)

// store is an agent's state directory. One agent at a time holds it.
//
//	identity.key                      Ed25519 key, mode 0600
//	stable.json                       what the roster machine must find again
//	checkpoint-HASH.safetensors       shared states: committed ones, and one that is only prepared
//	local.safetensors                 unfinished local work of an agent that left in good order
//	journal.jsonl, report.json        the record of the run
//	model.safetensors                 the model at the end of the run
//	http.addr                         where this agent serves its status
type store struct {
	dir  string
	lock *flock.Flock
}

// hashPattern is how a state hash looks, SHA-256 in hexadecimal: names from peers become file names only if they do.
var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w; give a writable one with --set state=DIR", err)
	}
	s := &store{dir: dir, lock: flock.New(filepath.Join(dir, "lock"))}
	held, err := s.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock state directory %s: %w", dir, err)
	}
	if !held {
		return nil, fmt.Errorf("%w: state directory %s is in use by another agent; stop it, or give this one its own with --set state=DIR", ErrBusy, dir)
	}
	return s, nil
}

func (s *store) close() error                 { return s.lock.Unlock() }
func (s *store) path(name string) string      { return filepath.Join(s.dir, name) }
func (s *store) statePath(hash string) string { return s.path("checkpoint-" + hash + ".safetensors") }

// stable reads the machine's state, zero on a first start.
func (s *store) stable() (roster.Stable, error) {
	var st roster.Stable
	b, err := os.ReadFile(s.path("stable.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil {
		return st, fmt.Errorf("%w: read %s: %w; move the state directory away to start as a new member", ErrState, s.path("stable.json"), err)
	}
	return st, nil
}

// keepStable makes the machine's state durable.
func (s *store) keepStable(st roster.Stable) error {
	b, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	return s.write("stable.json", b)
}

// write replaces a file atomically and durably.
func (s *store) write(name string, b []byte) error {
	if err := renameio.WriteFile(s.path(name), b, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", s.path(name), err)
	}
	return nil
}

// has reports whether the state with hash is stored.
func (s *store) has(hash string) bool {
	if !hashPattern.MatchString(hash) {
		return false
	}
	_, err := os.Stat(s.statePath(hash))
	return err == nil
}

func (s *store) exists(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// remove takes a file away that may not be there.
func (s *store) remove(name string) { _ = os.Remove(s.path(name)) }

// prune removes all stored states but the keep newest and those in need.
func (s *store) prune(keep int, need ...string) error {
	files, err := filepath.Glob(s.statePath("*"))
	if err != nil {
		return err
	}
	age := func(f string) int64 {
		info, err := os.Stat(f)
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(files, func(a, b string) int { return int(min(max(age(b)-age(a), -1), 1)) })
	for i, f := range files {
		hash := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "checkpoint-"), ".safetensors")
		if i >= keep && !slices.Contains(need, hash) {
			if err := os.Remove(f); err != nil {
				return fmt.Errorf("remove old checkpoint: %w", err)
			}
		}
	}
	return nil
}
