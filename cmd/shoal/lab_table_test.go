package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/eval/lab"
	"shoal/eval/lab/papers"
	"shoal/eval/lab/row"
)

// labRows writes the rows of an experiment with one run, and is its directory.
func labRows(t *testing.T, runs ...row.Run) string {
	t.Helper()
	text, err := row.Encode(row.Header{Name: "x", Experiment: "agents_per_node: 2\n"})
	for _, r := range runs {
		line, e := row.Encode(r)
		if e != nil {
			err = e
		}
		text = append(text, line...)
	}
	dir := t.TempDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, lab.RowsFile), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLabTable(t *testing.T) {
	dir := labRows(t, row.Run{Place: row.Place{Run: "a", Agents: 2, Batch: 12, Model: "mobilenet_v2"}, Images: 100, Seconds: row.RunSeconds{Total: 7}})
	for format, want := range map[string]string{"text": "48.43", "markdown": "| 2 | 1 | ours | 7.0 |", "csv": "2,1,ours,7.0,"} {
		stdout, stderr, code := shoal(t, "lab", "table", dir, "--format", format)
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d, %s, no %q in\n%s", format, code, stderr, want, stdout)
		}
	}
	stdout, stderr, code := shoal(t, "lab", "table", filepath.Join(dir, lab.RowsFile), "--batches", "--json")
	var tables []papers.Table
	if err := json.Unmarshal([]byte(stdout), &tables); err != nil || code != 0 || len(tables) != 1 || len(tables[0].Lines) != 1 {
		t.Errorf("exit code %d, %v, %s: %s", code, err, stderr, stdout)
	}
}

func TestLabTableFails(t *testing.T) {
	for name, v := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no directory": {[]string{filepath.Join(t.TempDir(), "none")}, exitData, "none"},
		"no run":       {[]string{labRows(t)}, exitData, "no run has ended yet"},
		"form":         {[]string{labRows(t, row.Run{Place: row.Place{Model: "x"}}), "--format", "pdf"}, exitUsage, `--format "pdf"`},
	} {
		_, stderr, code := shoal(t, append([]string{"lab", "table"}, v.args...)...)
		if code != v.code || !strings.Contains(stderr, v.want) {
			t.Errorf("%s: exit code %d, %q; want %d and %q", name, code, stderr, v.code, v.want)
		}
	}
}

// The measured device is one that an experiment takes.
func TestLabDevice(t *testing.T) {
	stdout, stderr, code := shoal(t, "lab", "device", "--set", "learner.width=0.1", "--set", "learner.batch=4", "--agents", "2", "--json")
	var d struct {
		Profile string  `json:"profile"`
		Images  float64 `json:"images_per_second"`
		Share   float64 `json:"share"`
	}
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || code != 0 || d.Profile != "this-machine" || d.Images <= 0 || d.Share != 0.5 {
		t.Errorf("exit code %d, %v, %+v, %s", code, err, d, stderr)
	}
}
