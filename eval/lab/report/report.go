// Package report makes an experiment's rows into what people read: report.html, one file that needs no network and no
// script, in light or dark as the reader's system asks; every figure of it as SVG and PNG in figures; and TensorBoard's
// event files in tensorboard, a directory for each run. Whatever was repeated is shown with its mean, its range and the
// number of repetitions; what did not stay finite is counted and never left out in silence.
package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"shoal/eval/lab/figure"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// What a report leaves in its directory.
const (
	PageFile       = "report.html"
	FiguresDir     = "figures"
	TensorBoardDir = "tensorboard"
)

// Write makes the report of rows in dir, over one that is there. It may be called while the experiment still runs: runs
// that have not ended are in no table, and in the curves as far as they are. Rows without any run or round are an error.
func Write(dir string, rows row.File, references ...Reference) error {
	if len(rows.Rounds) == 0 && len(rows.Runs) == 0 {
		return fmt.Errorf("report %s: no runs and no rounds; let shoal lab finish at least one round", dir)
	}
	e := newExperiment(rows, references)
	figures := e.figures()
	drawn := make([]drawing, 0, len(figures))
	if err := renew(filepath.Join(dir, FiguresDir)); err != nil {
		return err
	}
	for _, f := range figures {
		d, err := draw(filepath.Join(dir, FiguresDir), f)
		if err != nil {
			return err
		}
		drawn = append(drawn, d)
	}
	text, err := e.page(drawn)
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, PageFile), text); err != nil {
		return err
	}
	return writeEvents(filepath.Join(dir, TensorBoardDir), rows)
}

// Figures are those of the report of rows, in its order: which there are depends on what the experiment varies.
func Figures(rows row.File, references ...Reference) []figure.Figure {
	return newExperiment(rows, references).figures()
}

// drawing is a figure with its SVG.
type drawing struct {
	figure.Figure
	svg []byte
}

// draw writes a figure's files.
func draw(dir string, f figure.Figure) (drawing, error) {
	svg, err := f.SVG()
	if err != nil {
		return drawing{}, err
	}
	png, err := f.PNG()
	if err != nil {
		return drawing{}, err
	}
	return drawing{f, svg}, errors.Join(
		replace(filepath.Join(dir, f.Name+".svg"), svg),
		replace(filepath.Join(dir, f.Name+".png"), png),
	)
}

// renew makes a directory without the figures of an earlier report: an experiment that was changed has others. Files of
// other kinds stay.
func renew(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory for the report: %w", err)
	}
	for _, pattern := range []string{"*.svg", "*.png"} {
		old, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("find old figures: %w", err)
		}
		for _, name := range old {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove old figure: %w", err)
			}
		}
	}
	return nil
}

// replace writes a file whole or not at all, for readers that look while it is written.
func replace(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".report-*")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write report: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// experiment is rows in the order of their groups.
type experiment struct {
	row.File
	references []Reference
	groups     []spread.Group
	series     []series // groups that differ in X only
	x          axis
	rounds     map[string][]row.Round // by run
}

// series is groups along the X axis.
type series struct {
	name   string
	groups []spread.Group // by rising X
}

func newExperiment(rows row.File, references []Reference) *experiment {
	e := &experiment{File: rows, references: references, rounds: map[string][]row.Round{}}
	for _, r := range rows.Rounds {
		e.rounds[r.Run] = append(e.rounds[r.Run], r)
	}
	e.groups = spread.Groups(rows.Runs)
	e.x = chooseAxis(e.groups)
	e.series = e.x.along(e.groups)
	return e
}
