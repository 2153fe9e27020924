package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"shoal/gossip/roster"
)

// store is an agent's state directory. One agent at a time holds it.
//
//	identity.key                      Ed25519 key, mode 0600
//	stable.json                       what the roster machine must find again
//	checkpoint-HASH.safetensors       shared states: committed ones, and one that is only prepared; as they are in memory,
//	                                  and one every ten seconds with torchvision's names
//	incoming-HASH.safetensors         a state that a peer sent and that is not checked yet
//	local.safetensors                 unfinished local work of an agent that left in good order
//	peers.json                        where the members were last
//	journal.jsonl, report.json        the record of the run
//	tensorboard/                      its curves, as TensorBoard reads them
//	model.safetensors                 the model at the end of the run
//	http.addr                         where this agent serves its status, while it runs
//	http.token                        what control calls must present, mode 0600
//	relaxed                           what it is written under, if not all of it is on the disk
type store struct {
	dir     string
	lock    *flock.Flock
	relaxed bool // nothing waits for the disk

	recycling sync.Mutex // held by who works on the recycled file
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
	s.clean()
	return s, nil
}

// close ends a life in good order: from here on the disk has everything.
func (s *store) close() (err error) {
	if s.relaxed {
		err = s.tighten()
	}
	return errors.Join(err, s.lock.Unlock())
}

func (s *store) path(name string) string      { return filepath.Join(s.dir, name) }
func (s *store) statePath(hash string) string { return s.path(stateName(hash)) }
func stateName(hash string) string            { return "checkpoint-" + hash + stateSuffix }

// Names in the state directory that more than one place needs.
const (
	stableFile  = "stable.json"
	incoming    = "incoming-"
	stateSuffix = ".safetensors"
)

// clean removes what a crash left in the middle of a write. A file that cannot be removed does no harm.
func (s *store) clean() {
	for _, pattern := range []string{incoming + "*", ".checkpoint-*", "." + incoming + "*", ".local*", ".model*", "." + stableFile + "*", ".report*", ".http.addr*", ".identity-*"} {
		files, err := filepath.Glob(s.path(pattern))
		if err != nil {
			continue
		}
		for _, f := range files {
			_ = os.Remove(f)
		}
	}
}

// stable reads the machine's state, zero on a first start.
func (s *store) stable() (roster.Stable, error) {
	var st roster.Stable
	b, err := os.ReadFile(s.path(stableFile))
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil {
		return st, fmt.Errorf("%w: read %s: %w; move the state directory away to start as a new member", ErrState, s.path(stableFile), err)
	}
	return st, nil
}

// keepStable makes the machine's state durable.
func (s *store) keepStable(st roster.Stable) error {
	b, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	return s.write(stableFile, b)
}

// write replaces a file atomically, and durably unless the store is relaxed.
func (s *store) write(name string, b []byte) error {
	return s.replace(name, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// rename makes a file the state with hash, durably.
func (s *store) rename(name, hash string) error {
	if err := os.Rename(s.path(name), s.statePath(hash)); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	return s.sync()
}

// sync makes the directory's names survive a power cut.
func (s *store) sync() error {
	if s.relaxed {
		return nil
	}
	d, err := os.Open(s.dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("sync state directory: %w", err)
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

// remove takes a file away, durably. That it is not there is no error.
func (s *store) remove(name string) error {
	if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove: %w", err)
	}
	return s.sync()
}

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
		hash := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "checkpoint-"), stateSuffix)
		if i >= keep && !slices.Contains(need, hash) {
			if err := s.drop(f); err != nil {
				return fmt.Errorf("remove old checkpoint: %w", err)
			}
		}
	}
	return nil
}
