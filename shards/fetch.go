package shards

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// CIFAR10URL and CIFAR10SHA256 are where the binary distribution of CIFAR-10 is, 170,052,171 bytes, and its checksum.
const (
	CIFAR10URL    = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
	CIFAR10SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
)

// Limits of a download.
const (
	maxFetchBytes = 16 << 30         // of the file
	maxFetchTries = 6                // after as many failures without a byte of progress, give up
	fetchStall    = 30 * time.Second // without a byte for so long, connect again
	fetchBackoff  = time.Second      // before the second try, then doubled
)

// The failures that a caller may want to tell apart. A full disk is syscall.ENOSPC.
var (
	ErrChecksum = errors.New("wrong checksum")
	ErrBusy     = errors.New("being fetched by another process")
)

// Fetch downloads url to the file dest, whose SHA-256 must be sha256hex. It writes to dest.part, which a later call
// resumes where this one stopped, and renames it once it is whole and right. A file dest with the right checksum is
// left as it is. Connections that fail or stall are made again a few times. Progress, if not nil, is called with the
// bytes that are there and the bytes in all, -1 if the server does not tell; it must return soon.
//
// Errors say what was found and what to do: 404 and the like, a size or checksum other than wanted (ErrChecksum), a
// full disk (syscall.ENOSPC, and dest.part is kept), a second process at work on dest (ErrBusy), or the end of ctx.
func Fetch(ctx context.Context, url, sha256hex, dest string, progress func(done, total int64)) error {
	f := &fetcher{client: newClient(), url: url, want: strings.ToLower(sha256hex), dest: dest, progress: progress}
	if err := f.fetch(ctx); err != nil {
		return fmt.Errorf("fetch %s: %w", url, err)
	}
	return nil
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSHandshakeTimeout:   fetchStall,
		ResponseHeaderTimeout: fetchStall,
		DisableCompression:    true, // a range is one of the file's own bytes
		ForceAttemptHTTP2:     true,
	}}
}

// fetcher is one download.
type fetcher struct {
	client   *http.Client
	url      string
	want     string // SHA-256 in hex, lower case
	dest     string
	progress func(done, total int64)

	part    *os.File
	sum     hash.Hash // of the first done bytes
	done    int64
	resumed bool // some of the bytes are of an earlier call
}

func (f *fetcher) fetch(ctx context.Context) error {
	if b, err := hex.DecodeString(f.want); err != nil || len(b) != sha256.Size {
		return fmt.Errorf("checksum %q: want the 64 hexadecimal digits of a SHA-256", f.want)
	}
	if found, err := f.present(); found || err != nil {
		return err
	}
	name := f.dest + ".part"
	lock := flock.New(name, flock.SetPermissions(0o644))
	if ok, err := lock.TryLock(); err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	} else if !ok {
		return fmt.Errorf("%s: %w: wait for it", name, ErrBusy)
	}
	defer lock.Unlock()
	var err error
	if f.part, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	defer f.part.Close()
	if err := f.download(ctx); err != nil {
		return f.explain(err)
	}
	return f.finish(name)
}

// present says whether dest is there and right; one that is wrong is not overwritten.
func (f *fetcher) present() (bool, error) {
	file, err := os.Open(f.dest)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	h := sha256.New()
	n, err := io.Copy(h, file)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", f.dest, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.want {
		return false, fmt.Errorf("%s is there with SHA-256 %s, want %s: %w: take it away to fetch it again", f.dest, got, f.want, ErrChecksum)
	}
	f.report(n, n)
	return true, nil
}

// download fills the part file until its checksum is right. What an earlier call left may be of another file: if the
// whole is wrong, it starts once more from nothing.
func (f *fetcher) download(ctx context.Context) error {
	for {
		if err := f.rewind(); err != nil {
			return err
		}
		if err := f.transfer(ctx); err != nil {
			return err
		}
		got := hex.EncodeToString(f.sum.Sum(nil))
		if got == f.want {
			return nil
		}
		if err := f.part.Truncate(0); err != nil {
			return err
		}
		if !f.resumed {
			return fmt.Errorf("SHA-256 of %d bytes is %s, want %s: %w: the file is another one than expected; "+
				"fetch it again, give another URL, or give its own checksum if you trust it", f.done, got, f.want, ErrChecksum)
		}
	}
}

// rewind hashes what the part file has.
func (f *fetcher) rewind() (err error) {
	if _, err := f.part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f.sum = sha256.New()
	f.done, err = io.Copy(f.sum, f.part)
	f.resumed = f.done > 0
	return err
}

// restart forgets what the part file has.
func (f *fetcher) restart() error {
	if err := f.part.Truncate(0); err != nil {
		return err
	}
	return f.rewind()
}

// explain adds the remedy to errors that the machine is to blame for.
func (f *fetcher) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: free some space and run it again; the %d bytes in %s.part are kept", err, f.done, f.dest)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %d bytes are kept in %s.part, run it again to go on", err, f.done, f.dest)
	}
	return err
}

// finish makes the part file the real one, safely against a loss of power.
func (f *fetcher) finish(name string) error {
	if err := f.part.Sync(); err != nil {
		return f.explain(fmt.Errorf("write %s: %w", name, err))
	}
	if err := os.Rename(name, f.dest); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.dest))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // not all file systems can
		return fmt.Errorf("sync %s: %w", dir.Name(), err)
	}
	return nil
}

func (f *fetcher) report(done, total int64) {
	if f.progress != nil {
		f.progress(done, total)
	}
}
