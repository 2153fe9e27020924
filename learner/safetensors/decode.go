package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// entry is one tensor of the header.
type entry struct {
	DType   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets []int  `json:"data_offsets"` // [begin, end) within the bytes after the header
	name    string
}

// Read takes the whole archive at path into memory. Its tensors are ordered by place in the file.
func Read(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read safetensors: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read safetensors %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read safetensors %s: not a regular file", path)
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("read safetensors %s: %d bytes, at most %d are taken", path, info.Size(), maxFileBytes)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, fmt.Errorf("read safetensors %s: %w", path, err)
	}
	f, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("read safetensors %s: %w", path, err)
	}
	return f, nil
}

// Decode parses an archive. Tensors are ordered by place in data and share its memory. It refuses what the format
// forbids: a header that is cut, too long or names a tensor twice, and tensors that overlap, leave gaps, or whose size
// does not fit their shape.
func Decode(data []byte) (*File, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("truncated at byte %d of the 8 that hold the header's length", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeaderBytes {
		return nil, fmt.Errorf("header of %d bytes, at most %d are allowed: not a safetensors file?", n, maxHeaderBytes)
	}
	if uint64(len(data)) < 8+n {
		return nil, fmt.Errorf("truncated at byte %d of %d: the header is cut", len(data), 8+n)
	}
	header, body := data[8:8+n], data[8+n:]
	metadata, entries, err := decodeHeader(header)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	tensors, err := place(entries, body, len(data)-len(body))
	if err != nil {
		return nil, err
	}
	return &File{Metadata: metadata, Tensors: tensors}, nil
}

// decodeHeader reads the JSON object key by key, since a map would hide a name that comes twice.
func decodeHeader(header []byte) (metadata map[string]string, entries []entry, err error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New(`does not begin with "{": not a safetensors file?`)
	}
	d := json.NewDecoder(bytes.NewReader(header))
	if _, err := d.Token(); err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		name := token.(string) // Invariant: in an object, Decoder yields only strings as keys.
		if seen[name] {
			return nil, nil, fmt.Errorf("%q comes twice", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := d.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", metadataKey, err)
			}
			continue
		}
		e := entry{name: name}
		if err := d.Decode(&e); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		entries = append(entries, e)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, errors.New("more than one JSON value")
	}
	return metadata, entries, nil
}

// place cuts body, which begins at byte base of the file, into the entries' tensors, ordered by place; empty ones keep
// the header's order.
func place(entries []entry, body []byte, base int) ([]Tensor, error) {
	for _, e := range entries {
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] {
			return nil, fmt.Errorf("tensor %q: data_offsets %v, want [begin, end] with 0 <= begin <= end", e.name, e.Offsets)
		}
		if e.Shape == nil {
			return nil, fmt.Errorf("tensor %q: no shape", e.name)
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return slices.Compare(a.Offsets, b.Offsets) })
	tensors := make([]Tensor, len(entries))
	last, lastName := 0, "the header"
	for i, e := range entries {
		begin, end := e.Offsets[0], e.Offsets[1]
		switch {
		case begin < last:
			return nil, fmt.Errorf("tensor %q at %v is overlapping %q, which ends at %d", e.name, e.Offsets, lastName, last)
		case begin > last:
			return nil, fmt.Errorf("tensor %q at %v: a gap of %d bytes after %q", e.name, e.Offsets, begin-last, lastName)
		case end > len(body):
			return nil, fmt.Errorf("truncated at byte %d of %d: tensor %q is cut", base+len(body), base+end, e.name)
		}
		tensors[i] = Tensor{Name: e.name, DType: e.DType, Shape: e.Shape, Data: body[begin:end:end]}
		if err := tensors[i].checkSize(); err != nil {
			return nil, err
		}
		last, lastName = end, e.name
	}
	if last < len(body) {
		return nil, fmt.Errorf("%d bytes after the last tensor's end at byte %d: no tensor owns them", len(body)-last, base+last)
	}
	return tensors, nil
}
