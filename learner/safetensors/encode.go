package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/google/renameio/v2"
)

// filePerm lets other users' tools read a model.
const filePerm = 0o644

// Write replaces path by f, or leaves it as it was: the bytes go to a temporary file in the same directory, which is
// synced before it takes path's name, and so is the directory after.
func Write(path string, f *File) error {
	if err := replace(path, f); err != nil {
		return fmt.Errorf("write safetensors %s: %w", path, err)
	}
	return nil
}

func replace(path string, f *File) (err error) {
	dir := filepath.Dir(path)
	pending, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(filePerm))
	if err != nil {
		return err
	}
	// Cleanup does nothing after success, and after a failure that failure is what matters.
	defer func() { _ = pending.Cleanup() }()
	if _, err := f.WriteTo(pending); err != nil {
		return err
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close() // read only: nothing is lost
		return err
	}
	return d.Close()
}

// WriteTo writes the archive's bytes, the same for the same metadata and tensors in whatever order: tensors are laid out
// by descending element size, so that each is aligned to its element, then by name. It refuses what Decode would refuse.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	tensors := slices.Clone(f.Tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(elementBytes(b.DType), elementBytes(a.DType)), cmp.Compare(a.Name, b.Name))
	})
	header, err := encodeHeader(f.Metadata, tensors)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(header)
	written := int64(n)
	for _, t := range tensors {
		if err != nil {
			break
		}
		n, err = w.Write(t.Data)
		written += int64(n)
	}
	return written, err
}

// encodeHeader is everything before the tensors' bytes, a multiple of 8 long.
func encodeHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if len(metadata) > 0 {
		if err := checkMetadata(metadata); err != nil {
			return nil, err
		}
		if err := member(&b, metadataKey, metadata); err != nil {
			return nil, err
		}
	}
	at, seen := 0, map[string]bool{}
	for _, t := range tensors {
		if err := checkName(t.Name, seen[t.Name]); err != nil {
			return nil, err
		}
		if err := t.checkSize(); err != nil {
			return nil, err
		}
		e := entry{DType: t.DType, Shape: append([]int{}, t.Shape...), Offsets: []int{at, at + len(t.Data)}}
		if err := member(&b, t.Name, e); err != nil {
			return nil, err
		}
		at += len(t.Data)
		seen[t.Name] = true
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len()-8 > maxHeaderBytes || at > maxFileBytes-b.Len() {
		return nil, fmt.Errorf("header of %d and tensors of %d bytes: at most %d and %d in all", b.Len()-8, at, maxHeaderBytes, maxFileBytes)
	}
	header := b.Bytes()
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, nil
}

// checkName refuses names that another reader would see as another name.
func checkName(name string, twice bool) error {
	switch {
	case name == metadataKey:
		return fmt.Errorf("tensor %q: the name is taken by the format", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("tensor %q: the name is not UTF-8", name)
	case twice:
		return fmt.Errorf("tensor %q comes twice", name)
	}
	return nil
}

// checkMetadata refuses text that JSON cannot carry unchanged.
func checkMetadata(metadata map[string]string) error {
	for key, value := range metadata {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return fmt.Errorf("metadata %q: %q is not UTF-8", key, value)
		}
	}
	return nil
}

// member appends one "key":value to an object; a map's keys come sorted.
func member(b *bytes.Buffer, key string, value any) error {
	if b.Bytes()[b.Len()-1] != '{' {
		b.WriteByte(',')
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(key); err != nil {
		return fmt.Errorf("encode name %q: %w", key, err)
	}
	b.Truncate(b.Len() - 1) // Encode ends every value with a newline
	b.WriteByte(':')
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("encode %q: %w", key, err)
	}
	b.Truncate(b.Len() - 1)
	return nil
}
