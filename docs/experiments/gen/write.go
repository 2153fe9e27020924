package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"shoal/eval/lab/figure"
	"shoal/eval/lab/report"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

//go:embed *.tmpl
var templates embed.FS

const (
	figuresDir = "figures"
	indexFile  = "README.md"
)

// write makes all pages of the rows in dir, and takes away those whose rows are gone.
func write(dir string) error {
	studies, err := load(dir)
	if err == nil {
		err = sweep(dir)
	}
	if err != nil {
		return err
	}
	var links []link
	if c := newCollapse(studies, filepath.Join(dir, figuresDir)); c.any() {
		if err := render(dir, "collapse", c); err != nil {
			return err
		}
		links = append(links, link{"collapse", collapseTitle, "Why 48 agents lost everything, and what brings it back."})
	}
	for _, p := range pages() {
		s, there := studies[p.name]
		if !there || p.part {
			continue
		}
		if err := render(dir, p.name, s); err != nil {
			return err
		}
		links = append(links, link{p.name, p.Title, strings.TrimSpace(s.File.Header.About)})
	}
	return render(dir, "README", index{links})
}

// index is the page that links to the others.
type index struct{ Pages []link }

type link struct{ Name, Title, About string }

// load reads all rows that are kept.
func load(dir string) (map[string]study, error) {
	all := map[string]study{}
	for _, p := range pages() {
		f, err := row.Open(filepath.Join(dir, rowsDir, p.name+".jsonl"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f.Header.Name != p.name || len(f.Runs) == 0 {
			return nil, fmt.Errorf("rows %s are %d runs of experiment %q; keep them again with -keep", p.name, len(f.Runs), f.Header.Name)
		}
		all[p.name] = study{page: p, File: f, Groups: spread.Groups(f.Runs), drawn: &drawings{dir: filepath.Join(dir, figuresDir), of: p.name}}
	}
	return all, nil
}

// sweep takes away the pages and figures of an earlier time.
func sweep(dir string) error {
	names := []string{filepath.Join(dir, "collapse.md")}
	for _, p := range pages() {
		names = append(names, filepath.Join(dir, p.name+".md"))
	}
	old, err := filepath.Glob(filepath.Join(dir, figuresDir, "*.svg"))
	if err != nil {
		return err
	}
	for _, name := range append(names, old...) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take away an old page: %w", err)
		}
	}
	return nil
}

// render writes a page by the template of its name, or that of studies.
func render(dir, name string, data any) error {
	t, err := template.New(name).Funcs(template.FuncMap{"percent": percent, "seconds": report.Seconds, "join": strings.Join}).ParseFS(templates, "*.tmpl")
	if err != nil {
		return fmt.Errorf("read templates: %w", err)
	}
	which := name + ".md.tmpl"
	if t.Lookup(which) == nil {
		which = "study.md.tmpl"
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, which, data); err != nil {
		return fmt.Errorf("write page %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".md"), b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write page %s: %w", name, err)
	}
	return nil
}

// drawings are the figures of one page's files.
type drawings struct{ dir, of string }

// put draws a figure and returns it as a line of a page. Its file follows the reader's system from light to dark.
func (d *drawings) put(f figure.Figure) (string, error) {
	svg, err := f.SVG()
	if err == nil {
		err = os.MkdirAll(d.dir, 0o755)
	}
	name := d.of + "-" + f.Name + ".svg"
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, name), figure.Adaptive(svg), 0o644)
	}
	if err != nil {
		return "", fmt.Errorf("draw %s: %w", name, err)
	}
	caption := strings.ReplaceAll(f.Caption, " and in "+report.TensorBoardDir, "")
	return fmt.Sprintf("![%s: %s by %s](%s/%s)\n\n*%s.* %s\n", f.Title, f.Y, f.X, figuresDir, name, f.Title, caption), nil
}

// Figures draws those of the report that the page shows.
func (s study) Figures() ([]string, error) {
	var lines []string
	all := report.Figures(s.File, report.Published(s.File)...)
	for _, name := range s.figures {
		for _, f := range all {
			if f.Name != name || name == "phases" && !s.Timed() {
				continue
			}
			line, err := s.drawn.put(f)
			if err != nil {
				return nil, err
			}
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// Name is the experiment's.
func (s study) Name() string { return s.name }

// Experiment is the text of its file, as lines.
func (s study) Experiment() string { return strings.TrimSpace(s.File.Header.Experiment) + "\n" }

// Stamp says where and when the rows were computed.
func (s study) Stamp() string {
	wall := 0.0
	for _, r := range s.File.Runs {
		wall += r.WallSeconds
	}
	h := s.File.Header
	return fmt.Sprintf("[%s](rows/%s.jsonl): %d runs, computed %s at commit %s on %s in %s.", s.name, s.name, len(s.File.Runs), h.Date, h.Commit, h.Machine, report.Seconds(wall))
}
