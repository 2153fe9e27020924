package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// relaxedFile is in the state directory of an agent that does not wait for its disk (rounds.durable: relaxed), and holds
// the boot of the machine that it runs in. A process that dies loses nothing then: the system holds what it wrote. A
// machine that loses power may lose promises, and a member that breaks one can make two records of one round. So what the
// file was written under tells a start what happened: under the same boot all is there, under another one this member is
// no more.
const relaxedFile = "relaxed"

// bootFile names the boot of a Linux machine, anew each time.
const bootFile = "/proc/sys/kernel/random/boot_id"

// bootID names this boot of the machine; empty where the system has no such name, and then any end but a good one counts
// as a loss of power.
func bootID() string {
	b, err := os.ReadFile(bootFile)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

// settle checks that nothing was lost since an agent last wrote here, and says how this one writes.
func (s *store) settle(relaxed bool, boot string) error {
	b, err := os.ReadFile(s.path(relaxedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if err == nil && (boot == "" || string(bytes.TrimSpace(b)) != boot) {
		return fmt.Errorf("%w: the machine stopped while rounds.durable was relaxed, so what this member promised may not be in %s; move the state directory away to start as a new member", ErrState, s.dir)
	}
	left := err == nil // by a process that died; everything it wrote is there
	if left && !relaxed {
		return s.tighten()
	}
	if s.relaxed = false; relaxed && !left {
		err = s.write(relaxedFile, []byte(boot+"\n"))
	} else {
		err = nil
	}
	s.relaxed = relaxed
	return err
}

// recycled holds no state any more: the next one is written over it, where nothing waits for the disk. New pages for a file
// of a state cost more time than all else that writes it.
const recycled = ".checkpoint-recycled"

// drop removes a file of a state, or keeps its pages for the next one.
func (s *store) drop(path string) error {
	if s.relaxed && s.recycling.TryLock() {
		defer s.recycling.Unlock()
		return os.Rename(path, s.path(recycled))
	}
	return os.Remove(path)
}

// replaceState is replace, over the pages of a state that was dropped, if there is one.
func (s *store) replaceState(name string, content func(io.Writer) error) error {
	if !s.relaxed {
		return s.replace(name, content)
	}
	s.recycling.Lock()
	defer s.recycling.Unlock()
	f, err := os.OpenFile(s.path(recycled), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return s.replace(name, content)
	}
	if err == nil {
		err = content(f)
		end, serr := f.Seek(0, io.SeekCurrent)
		if err = errors.Join(err, serr); err == nil {
			err = f.Truncate(end)
		}
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = os.Rename(s.path(recycled), s.path(name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(name), err)
	}
	return nil
}

// tighten brings everything here to the disk, and then says so.
func (s *store) tighten() error {
	s.relaxed = false
	files, err := filepath.Glob(s.path("*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := syncFile(f); err != nil {
			return fmt.Errorf("sync state directory: %w", err)
		}
	}
	if err := s.sync(); err != nil {
		return err
	}
	return s.remove(relaxedFile)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// replace gives a file what content writes, at once or not at all, and durably unless the store is relaxed.
func (s *store) replace(name string, content func(io.Writer) error) error {
	pending, err := renameio.NewPendingFile(s.path(name), renameio.WithTempDir(s.dir), renameio.WithPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(name), err)
	}
	defer func() { _ = pending.Cleanup() }() // does nothing after success
	if err = content(pending); err == nil {
		if s.relaxed {
			err = errors.Join(pending.Close(), os.Rename(pending.Name(), s.path(name)))
		} else {
			err = pending.CloseAtomicallyReplace()
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(name), err)
	}
	return s.sync()
}
