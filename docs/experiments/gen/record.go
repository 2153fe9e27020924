package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"shoal/eval/lab"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

const (
	rowsDir = "rows"
	// roundsKept is about how many rounds of a run are kept beside those that were scored: enough for a curve 300 pixels wide.
	roundsKept = 16
	gitTimeout = 10 * time.Second
)

// compute runs an experiment in a directory of out, or what is left of it there, and returns the directory.
func compute(ctx context.Context, name, out string) (string, error) {
	e, err := lab.Find(name)
	if err != nil {
		return "", err
	}
	if _, err := pageOf(e.Name); err != nil {
		return "", err
	}
	dir := filepath.Join(out, e.Name)
	err = lab.Do(ctx, e, lab.Options{
		Out: dir, Commit: commit(ctx), Date: time.Now(),
		Machine: fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Progress: func(p lab.Progress) {
			if p.End != nil {
				fmt.Fprintf(os.Stderr, "%s %d/%d %s: %.0f s here\n", e.Name, p.Number, p.Runs, p.End.Run, p.End.WallSeconds)
			}
		},
	})
	if err != nil {
		return "", fmt.Errorf("%s in %s: %w", e.Name, dir, err)
	}
	return dir, nil
}

// commit is that of the sources here, with a mark if they were changed since; "unknown" where git does not tell.
func commit(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	of := strings.TrimSpace(string(head))
	if exec.CommandContext(ctx, "git", "diff", "--quiet", "HEAD", "--", "*.go", "*.s", "*.yaml", "go.mod", "go.sum").Run() != nil {
		of += "+changed"
	}
	return of
}

// keep copies the rows of a directory of results, thinned, to the rows of the pages in dir. Results that are not whole are
// refused: a mean over those seeds that came first is not the mean.
func keep(from, dir string) error {
	f, err := row.Open(filepath.Join(from, lab.RowsFile))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s has no %s; give a directory that shoal lab wrote to", from, lab.RowsFile)
	}
	if err != nil {
		return err
	}
	if _, err := pageOf(f.Header.Name); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if err := whole(f); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	text, err := encode(thin(f))
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, rowsDir), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, rowsDir, f.Header.Name+".jsonl"), text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keep the rows of %s: %w", from, err)
	}
	return nil
}

// whole reports a run of the experiment that has not ended.
func whole(f row.File) error {
	e, err := lab.Read(lab.ExperimentFile, f.Header.Experiment)
	if err != nil {
		return fmt.Errorf("read what was run: %w", err)
	}
	for _, r := range e.Runs {
		if !slices.ContainsFunc(f.Runs, func(end row.Run) bool { return end.Run == r.Run }) {
			return fmt.Errorf("run %s has not ended; let shoal lab go on there first", r.Run)
		}
	}
	return nil
}

// thin leaves out rounds that were not scored, but for some at even distances. Which these are goes by the longest run of
// a configuration, so that repetitions keep the same.
func thin(f row.File) row.File {
	longest := map[string]int{}
	for _, r := range f.Rounds {
		key := spread.Key(r.Place)
		longest[key] = max(longest[key], r.Round)
	}
	kept := row.File{Header: f.Header, Runs: f.Runs}
	for _, r := range f.Rounds {
		every := max((longest[spread.Key(r.Place)]+roundsKept-1)/roundsKept, 1)
		if r.Round == 1 || r.Round%every == 0 || len(r.Scores) > 0 {
			kept.Rounds = append(kept.Rounds, r)
		}
	}
	return kept
}

// encode is the text of rows: each run behind its rounds, as the lab writes them.
func encode(f row.File) ([]byte, error) {
	lines := []any{f.Header}
	for _, end := range f.Runs {
		for _, r := range f.RoundsOf(end.Run) {
			lines = append(lines, r)
		}
		lines = append(lines, end)
	}
	var text bytes.Buffer
	for _, line := range lines {
		b, err := row.Encode(line)
		if err != nil {
			return nil, err
		}
		text.Write(b)
	}
	return text.Bytes(), nil
}
