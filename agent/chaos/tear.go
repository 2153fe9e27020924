package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// Tear does to the state directory of an agent that was killed what a power cut may do at the same moment: the journal's
// last line, which may not have been on the disk, is torn or followed by a part of another; replacements of files that had
// not got their names lie about in halves; what says where the status is served is empty. It returns what it did.
func Tear(dir string, rng *rand.Rand) (done []string, err error) {
	torn, err := tearJournal(filepath.Join(dir, "journal.jsonl"), rng)
	if err != nil {
		return nil, err
	}
	done = append(done, "journal: "+torn)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case name == "stable.json" || strings.HasSuffix(name, ".safetensors") || name == "report.json":
			half := fmt.Sprintf(".%s%d", name, rng.Uint32())
			if err := halve(filepath.Join(dir, name), filepath.Join(dir, half), rng); err != nil {
				return nil, err
			}
			done = append(done, "half of a new "+name)
		case name == "http.addr":
			if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
				return nil, err
			}
			done = append(done, "http.addr is empty")
		}
	}
	return done, nil
}

// halve writes a part of a file elsewhere, its end lost or zero.
func halve(from, to string, rng *rand.Rand) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	n := rng.IntN(len(b) + 1)
	if rng.IntN(2) == 0 {
		clear(b[n:])
	} else {
		b = b[:n]
	}
	return os.WriteFile(to, b, 0o600)
}

// tearJournal does one of the things that a journal's end may suffer, and says which. One without a line stays.
func tearJournal(path string, rng *rand.Rand) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return "as it was", nil
	}
	if err != nil {
		return "", err
	}
	begin := bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
	last := b[begin:]
	var what string
	switch rng.IntN(4) {
	case 0:
		what, b = "the last line is torn", b[:begin+rng.IntN(len(last))]
	case 1:
		what, b = "a torn line follows", append(b, last[:rng.IntN(len(last))]...)
	case 2:
		what, b = "zeros follow", append(b, make([]byte, 1+rng.IntN(8192))...)
	case 3:
		what = "the last line ends in zeros"
		clear(b[begin+rng.IntN(len(last)):])
	}
	return what, os.WriteFile(path, b, 0o600)
}
