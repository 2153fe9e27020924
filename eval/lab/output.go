package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"shoal/eval/lab/cluster"
	"shoal/eval/lab/row"
)

// What an experiment leaves in its directory.
const (
	RowsFile       = "rows.jsonl"
	ExperimentFile = "experiment.yaml"
	stateFile      = "state.bin" // of the run at work; gone when all are done
	lockFile       = "lock"
)

// ErrBusy says that another process writes to the directory.
var ErrBusy = errors.New("another lab is at work there")

// output is the directory of an experiment, held by one process at a time.
type output struct {
	dir  string
	lock *flock.Flock
	rows *os.File // appended to
}

func (o *output) path(name string) string { return filepath.Join(o.dir, name) }

// openOutput makes the directory ready for an experiment and returns the rows that are there already: the lines of the
// first runs, whole, and of the next one its rounds. Fresh begins anew.
func openOutput(dir, text string, fresh bool) (*output, row.File, error) {
	o := &output{dir: dir, lock: flock.New(filepath.Join(dir, lockFile))}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, row.File{}, fmt.Errorf("make the directory of results: %w", err)
	}
	held, err := o.lock.TryLock()
	if err != nil {
		return nil, row.File{}, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !held {
		return nil, row.File{}, fmt.Errorf("%s: %w; wait for it, or give another directory with --out", dir, ErrBusy)
	}
	there, err := o.prepare(text, fresh)
	if err != nil {
		return nil, there, errors.Join(err, o.close())
	}
	return o, there, nil
}

func (o *output) prepare(text string, fresh bool) (row.File, error) {
	if fresh {
		for _, name := range []string{RowsFile, ExperimentFile, stateFile} {
			if err := os.Remove(o.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return row.File{}, fmt.Errorf("begin anew: %w", err)
			}
		}
	}
	before, err := os.ReadFile(o.path(ExperimentFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return row.File{}, o.replace(ExperimentFile, []byte(text))
	case err != nil:
		return row.File{}, fmt.Errorf("read what was run: %w", err)
	case string(before) != text:
		return row.File{}, fmt.Errorf("%s holds results of another experiment, or of this one before it was changed; give another directory with --out, or begin anew with --fresh", o.dir)
	}
	there, err := row.Open(o.path(RowsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return row.File{}, nil
	}
	return there, err
}

// begin writes the header and the rows that stay, and opens the file for more.
func (o *output) begin(keep []any) error {
	var text bytes.Buffer
	for _, line := range keep {
		b, err := row.Encode(line)
		if err != nil {
			return err
		}
		text.Write(b)
	}
	if o.rows != nil {
		if err := o.rows.Close(); err != nil {
			return fmt.Errorf("close rows: %w", err)
		}
	}
	err := o.replace(RowsFile, text.Bytes())
	if err == nil {
		o.rows, err = os.OpenFile(o.path(RowsFile), os.O_WRONLY|os.O_APPEND, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

// add appends a row.
func (o *output) add(line any) error {
	b, err := row.Encode(line)
	if err == nil {
		_, err = o.rows.Write(b)
	}
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

// save keeps a run's cluster as it is after the rows that were added: these are on the disk first.
func (o *output) save(c *cluster.Cluster, tag string) error {
	if err := o.rows.Sync(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	f, err := os.CreateTemp(o.dir, "."+stateFile+"-*")
	if err != nil {
		return fmt.Errorf("save the run: %w", err)
	}
	err = errors.Join(c.Save(f, tag), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), o.path(stateFile))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save the run: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// load makes a cluster what was saved of its run after round most or before. Without a file of that run, or with one that
// is damaged, the run begins anew.
func (o *output) load(c *cluster.Cluster, tag string, most int) {
	f, err := os.Open(o.path(stateFile))
	if err != nil {
		return
	}
	defer f.Close()
	_ = c.Load(f, tag, most) // after an error the cluster is as it was
}

// replace writes a file of the directory atomically.
func (o *output) replace(name string, text []byte) error {
	f, err := os.CreateTemp(o.dir, "."+name+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), o.path(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// done takes away what only a resumption needs.
func (o *output) done() error {
	if err := os.Remove(o.path(stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func (o *output) close() error {
	var err error
	if o.rows != nil {
		err = errors.Join(o.rows.Sync(), o.rows.Close())
	}
	return errors.Join(err, o.lock.Unlock())
}
