package row

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Limits of a file that is read: what an experiment of a hundred runs of ten thousand rounds needs, and a bound against
// files of another kind.
const (
	maxLineBytes = 4 << 20
	maxLines     = 4 << 20
)

// File is a file of rows in memory, the lines of each kind in their order.
type File struct {
	Header Header
	Rounds []Round
	Runs   []Run
}

// RoundsOf are the rounds of one run.
func (f File) RoundsOf(run string) []Round {
	var of []Round
	for _, r := range f.Rounds {
		if r.Run == run {
			of = append(of, r)
		}
	}
	return of
}

// Open reads the file at path, as Read does.
func Open(path string) (File, error) {
	in, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("open rows: %w", err)
	}
	defer in.Close()
	f, err := Read(in)
	if err != nil {
		return f, fmt.Errorf("read rows %s: %w", path, err)
	}
	return f, nil
}

// Read reads rows to the end. A last line without a newline is one that is being written, and is left out; any other line
// that is not a row is an error that names its number.
func Read(in io.Reader) (File, error) {
	var f File
	buffered := bufio.NewReaderSize(in, 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(buffered)
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err == nil && n > maxLines {
			err = fmt.Errorf("more than %d lines", maxLines)
		}
		if err == nil {
			err = f.take(n, line)
		}
		if err != nil {
			return f, fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// readLine reads up to a newline and leaves that out; io.EOF says that there is no whole line left.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLineBytes {
			return nil, fmt.Errorf("longer than %d bytes; is this a file of rows?", maxLineBytes)
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimSuffix(line, []byte{'\n'}), err
		}
	}
}

// take decodes line n and adds it.
func (f *File) take(n int, line []byte) error {
	var k struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(line, &k); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	switch {
	case n == 1 && k.Kind != KindHeader:
		return fmt.Errorf("kind %q where the header has to be; is this a file of rows?", k.Kind)
	case n > 1 && k.Kind == KindHeader:
		return fmt.Errorf("a second header")
	case k.Kind == KindHeader:
		return decode(line, &f.Header)
	case k.Kind == KindRound:
		var r Round
		err := decode(line, &r)
		f.Rounds = append(f.Rounds, r)
		return err
	case k.Kind == KindRun:
		var r Run
		err := decode(line, &r)
		f.Runs = append(f.Runs, r)
		return err
	}
	return fmt.Errorf("kind %q is none of header, round, run", k.Kind)
}

// decode reads one object and refuses fields that the row does not have.
func decode(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// Encode is the line of a Header, Round or Run, with its newline. It sets the kind.
func Encode(line any) ([]byte, error) {
	switch l := line.(type) {
	case Header:
		l.Kind = KindHeader
		line = l
	case Round:
		l.Kind = KindRound
		line = l
	case Run:
		l.Kind = KindRun
		line = l
	default:
		return nil, fmt.Errorf("encode row: %T is none", line)
	}
	b, err := json.Marshal(line)
	if err != nil {
		return nil, fmt.Errorf("encode row: %w", err)
	}
	if len(b) >= maxLineBytes {
		return nil, fmt.Errorf("encode row: %d bytes, at most %d can be read back", len(b), maxLineBytes-1)
	}
	return append(b, '\n'), nil
}
