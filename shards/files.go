package shards

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Limits of what is read from a directory or an archive.
const (
	maxEntries      = 1 << 20 // files: some 200 MB of names and labels
	maxArchiveBytes = 8 << 30 // uncompressed: ImageNet's smaller cousins fit, a bomb of zeros does not
)

// entry is a file or a directory, by its slash-separated path.
type entry struct {
	name string
	size int64
	dir  bool
}

// files is a directory or an archive that a set is read from, never extracted.
type files interface {
	// list returns every file and directory, hidden ones excepted, in no particular order.
	list(ctx context.Context) ([]entry, error)
	// each calls fn for every wanted file with its index in want, in any order, and stops at the first error. The
	// reader is fn's until it returns.
	each(ctx context.Context, want []string, fn func(i int, r io.Reader) error) error
	io.Closer
}

// openArchive looks at the first bytes of f, which it owns if it succeeds.
func openArchive(f *os.File, size int64) (files, error) {
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return nil, fmt.Errorf("%d bytes is too short for a .tar.gz or a .zip: fetch it again", size)
	}
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return &tarFiles{f: f}, nil
	case string(magic[:]) == "PK\x03\x04":
		z, err := zip.NewReader(f, size)
		if err != nil {
			return nil, fmt.Errorf("read zip of %d bytes: %w: it is damaged, fetch it again", size, err)
		}
		return fsFiles{fsys: z, Closer: f}, nil
	}
	return nil, fmt.Errorf("begins with % x: neither a .tar.gz nor a .zip", magic)
}

// hidden says whether a path is one that desktops leave behind.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "__MACOSX" || len(part) > 1 && part[0] == '.' && part != ".." {
			return true
		}
	}
	return false
}

// fsFiles is a directory or a zip.
type fsFiles struct {
	fsys fs.FS
	io.Closer
}

func (f fsFiles) Close() error {
	if f.Closer == nil {
		return nil
	}
	return f.Closer.Close()
}

func (f fsFiles) list(ctx context.Context) ([]entry, error) {
	var entries []entry
	err := fs.WalkDir(f.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if hidden(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if len(entries) == maxEntries {
			return fmt.Errorf("more than %d files", maxEntries)
		}
		info, err := fs.Stat(f.fsys, name) // follows links, as Open will
		if err != nil {
			return err
		}
		entries = append(entries, entry{name: name, size: info.Size(), dir: info.IsDir()})
		return nil
	})
	return entries, err
}

func (f fsFiles) each(ctx context.Context, want []string, fn func(i int, r io.Reader) error) error {
	for i, name := range want {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := f.fsys.Open(name)
		if err != nil {
			return err
		}
		err = fn(i, &cancelReader{ctx: ctx, r: r})
		r.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// tarFiles is a gzipped tar. It can only be read from front to back, so list and each take one pass each.
type tarFiles struct{ f *os.File }

func (t *tarFiles) Close() error { return t.f.Close() }

// walk calls fn for every file and directory.
func (t *tarFiles) walk(ctx context.Context, fn func(e entry, r io.Reader) error) error {
	if _, err := t.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := gzip.NewReader(bufio.NewReaderSize(t.f, 1<<18))
	if err != nil {
		return damaged(err)
	}
	all := &cancelReader{ctx: ctx, r: z, left: maxArchiveBytes, limited: true}
	r := tar.NewReader(all)
	for {
		h, err := r.Next()
		if err == io.EOF { // the checksum comes after what a tar needs
			if _, err := io.Copy(io.Discard, all); err != nil {
				return damaged(err)
			}
			return nil
		}
		if err != nil {
			return damaged(err)
		}
		name := path.Clean(h.Name)
		dir := h.Typeflag == tar.TypeDir
		if hidden(name) || !dir && h.Typeflag != tar.TypeReg {
			continue
		}
		if err := fn(entry{name: name, size: h.Size, dir: dir}, r); err != nil {
			return err
		}
	}
}

func (t *tarFiles) list(ctx context.Context) ([]entry, error) {
	var entries []entry
	err := t.walk(ctx, func(e entry, _ io.Reader) error {
		if len(entries) == maxEntries {
			return fmt.Errorf("more than %d files", maxEntries)
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

func (t *tarFiles) each(ctx context.Context, want []string, fn func(i int, r io.Reader) error) error {
	index := make(map[string]int, len(want))
	for i, name := range want {
		index[name] = i
	}
	err := t.walk(ctx, func(e entry, r io.Reader) error {
		i, ok := index[e.name]
		if !ok || e.dir {
			return nil
		}
		delete(index, e.name) // a second file of the name is not wanted
		if err := fn(i, r); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if len(index) == 0 {
			return errDone
		}
		return nil
	})
	if err != nil && err != errDone {
		return err
	}
	for name := range index {
		return fmt.Errorf("%s: gone since the archive was listed", name)
	}
	return nil
}

var errDone = errors.New("all wanted files are read")

// damaged explains an error of a decompressor or an archive's reader.
func damaged(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errTooLong) {
		return err
	}
	return fmt.Errorf("%w: damaged or cut short, fetch it again", err)
}

var errTooLong = fmt.Errorf("more than %d GiB uncompressed", maxArchiveBytes>>30)

// cancelReader fails when its context ends or, if limited, when more than left bytes were read.
type cancelReader struct {
	ctx     context.Context
	r       io.Reader
	left    int64
	limited bool
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if c.limited {
		if c.left -= int64(n); c.left < 0 {
			return 0, errTooLong
		}
	}
	return n, err
}

// readAll reads a whole file of at most limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("more than %d MiB: not a file of this kind", limit>>20)
	}
	return b, nil
}
