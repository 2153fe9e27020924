package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shoal/eval/lab/row"
	"shoal/eval/tensorboard"
)

// writeEvents writes a directory of TensorBoard events for each run. Steps are rounds; the time of an event is the
// experiment's date plus the run's virtual clock, so that TensorBoard's "relative" is virtual time.
func writeEvents(dir string, rows row.File) error {
	if err := dropEvents(dir); err != nil {
		return err
	}
	start := 0.0
	if date, err := time.Parse(time.RFC3339, rows.Header.Date); err == nil {
		start = float64(date.Unix())
	}
	of := map[string][]tensorboard.Scalar{}
	var names []string
	for _, r := range rows.Rounds {
		if _, ok := of[r.Run]; !ok {
			names = append(names, r.Run)
		}
		of[r.Run] = append(of[r.Run], scalars(r, start)...)
	}
	taken := map[string]bool{}
	for _, name := range names {
		place := fileName(name)
		for n := 2; taken[place]; n++ { // two runs whose names differ in what a file's name cannot have
			place = fmt.Sprintf("%s~%d", fileName(name), n)
		}
		taken[place] = true
		if err := tensorboard.Write(filepath.Join(dir, place), of[name]); err != nil {
			return err
		}
	}
	return nil
}

// scalars are the curves of one round.
func scalars(r row.Round, start float64) []tensorboard.Scalar {
	values := []struct {
		tag   string
		value float64
	}{
		{"train/loss", float64(r.TrainLoss)}, {"train/accuracy", float64(r.TrainAccuracy)}, {"rate", r.Rate}, {"distance", float64(r.Distance)},
		{"seconds/train", r.Seconds.Train}, {"seconds/average", r.Seconds.Average}, {"seconds/wait", r.Seconds.Wait}, {"seconds/evaluate", r.Seconds.Evaluate},
	}
	var all []tensorboard.Scalar
	for _, v := range values {
		all = append(all, tensorboard.Scalar{Tag: v.tag, Step: int64(r.Round), Time: start + r.Clock, Value: v.value})
	}
	for _, s := range r.Scores {
		at := tensorboard.Scalar{Tag: "test/accuracy_" + fileName(s.Statistics), Step: int64(r.Round), Time: start + r.Clock, Value: float64(s.TestAccuracy)}
		loss := at
		loss.Tag, loss.Value = "test/loss_"+fileName(s.Statistics), float64(s.TestLoss)
		all = append(all, at, loss)
	}
	return all
}

// fileName is a run's name without what separates directories or means something to a shell or another system.
func fileName(run string) string {
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(run, "_"))
	name = strings.TrimLeft(name, ".")
	if len(name) > 200 {
		name = strings.ToValidUTF8(name[:200], "")
	}
	if name == "" {
		return "run"
	}
	return name
}

// dropEvents removes the event files of an earlier report, and directories that hold nothing else.
func dropEvents(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*", tensorboard.FileName))
	if err != nil {
		return fmt.Errorf("find old events: %w", err)
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove old events: %w", err)
		}
		_ = os.Remove(filepath.Dir(name)) // fails, as it should, if there is more in it
	}
	return nil
}
