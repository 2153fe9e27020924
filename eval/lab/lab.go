package lab

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"shoal/eval/lab/cluster"
	"shoal/eval/lab/row"
	"shoal/shards"
)

// saveEvery is how much work may be lost when the process is killed.
const saveEvery = 30 * time.Second

// Options say where an experiment's results go, and what they tell of where they were computed.
type Options struct {
	Out       string
	Fresh     bool // begin anew where results are already
	Commit    string
	Machine   string
	Date      time.Time
	Threads   int            // 0: one per CPU
	SaveEvery time.Duration  // 0: 30 s; rounds are saved at once if it is negative
	Progress  func(Progress) // called after every round, and for every run at its end; nil: nobody looks
}

// Progress is how far an experiment is.
type Progress struct {
	Run           Run // at work
	Number, Runs  int // of the run, from 1
	Round, Rounds int
	Images, Total int64      // of all runs; Total is exact where all are on the set of the first
	Line          *row.Round // of the round that ended
	End           *row.Run   // of the run that ended
}

// work is an experiment at work.
type work struct {
	Experiment
	Options
	out   *output
	set   *shards.Set
	setOf string // what it was opened by
	done  int64  // images of the runs before
	total int64
	keep  []any // rows of the runs before
}

// Do runs an experiment, or what is left of it in o.Out. When ctx ends, what was computed is saved, and Do returns the
// cause; called again with the same experiment it goes on there. A run that fails by itself, as one that diverges may,
// is noted in its row, and the others go on.
func Do(ctx context.Context, e Experiment, o Options) (err error) {
	w := &work{Experiment: e, Options: o}
	if w.SaveEvery == 0 {
		w.SaveEvery = saveEvery
	}
	var there row.File
	if w.out, there, err = openOutput(o.Out, e.Text, o.Fresh); err != nil {
		return err
	}
	defer func() {
		if closed := w.out.close(); err == nil {
			err = closed
		}
	}()
	header := there.Header
	if header.Kind == "" {
		header = w.header()
	}
	w.keep = []any{header}
	for i := range w.Runs {
		if err := w.run(ctx, i, there); err != nil {
			return err
		}
	}
	if err := w.out.begin(w.keep); err != nil {
		return err
	}
	return w.out.done()
}

// header is the first line.
func (w *work) header() row.Header {
	h := row.Header{
		Name: w.Name, About: w.About, Commit: w.Commit, Machine: w.Machine, Date: w.Date.UTC().Format(time.RFC3339),
		Experiment: w.Text, Assumptions: []string{},
	}
	for _, r := range w.Runs {
		_, sentences, err := r.clock(0, 0)
		if err != nil {
			continue // the run itself will say it
		}
		for _, s := range sentences {
			if !slices.Contains(h.Assumptions, s) {
				h.Assumptions = append(h.Assumptions, s)
			}
		}
	}
	return h
}

// run runs number i, unless it is there.
func (w *work) run(ctx context.Context, i int, there row.File) error {
	r := w.Runs[i]
	if err := w.open(ctx, &r); err != nil {
		return fmt.Errorf("run %s: %w", r.Run, err)
	}
	rounds, images, perRound := r.length(w.set)
	p := Progress{Run: r, Number: i + 1, Runs: len(w.Runs), Rounds: rounds}
	known := there.RoundsOf(r.Run)
	for _, end := range there.Runs {
		if end.Run == r.Run {
			w.finish(known, end, images, &p)
			return nil
		}
	}
	clock, _, err := r.clock(w.set.Train.N, w.set.Test.N)
	if err != nil {
		return fmt.Errorf("run %s: %w", r.Run, err)
	}
	c, err := cluster.New(cluster.Config{
		Recipe: r.recipe(), Eval: r.base.Eval, Agents: r.Agents, Schedule: r.own.Schedule, Clock: clock, Threads: w.Threads,
	}, w.set)
	if err != nil {
		return fmt.Errorf("run %s: %w", r.Run, err)
	}
	defer c.Close()
	w.out.load(c, w.tag(r), min(len(known), rounds))
	t := &turn{work: w, run: r, cluster: c, perRound: perRound, rounds: known[:c.Number()], start: clock.Start().Seconds(), p: p}
	end, err := t.play(ctx)
	if err != nil {
		return err
	}
	w.finish(t.rounds, end, images, &t.p)
	return nil
}

// finish keeps the rows of a run that ended.
func (w *work) finish(rounds []row.Round, end row.Run, images int64, p *Progress) {
	for _, line := range rounds {
		w.keep = append(w.keep, line)
	}
	w.keep = append(w.keep, end)
	w.done += images
	p.Round, p.Images, p.Total, p.End = end.Rounds, w.done, max(w.total, w.done), &end
	w.tell(*p)
}

func (w *work) tell(p Progress) {
	if w.Progress != nil {
		w.Progress(p)
	}
}

// open opens the set of a run, unless it is that of the run before.
func (w *work) open(ctx context.Context, r *Run) error {
	key := fmt.Sprintf("%+v %d", r.base.Data, r.base.Learner.Input)
	if r.base.Data.Set == "builtin" {
		key += fmt.Sprint(" ", r.Seed)
	}
	if key == w.setOf {
		return nil
	}
	set, err := shards.Open(ctx, r.base.Data, r.base.Learner.Input, r.base.Seed)
	if err != nil {
		return err
	}
	w.set, w.setOf = set, key
	if w.total == 0 {
		for _, other := range w.Runs {
			_, images, _ := other.length(set)
			w.total += images
		}
	}
	return nil
}

// tag names what a run computes, so that a state of another is not taken for it.
func (w *work) tag(r Run) string {
	r.base.Name, r.base.Learner.Threads = "", 0
	sum := sha256.Sum256([]byte(r.base.YAML(nil) + fmt.Sprintf("%+v", r.own) + w.set.Hash))
	return fmt.Sprintf("%s %x", r.Run, sum[:8])
}

// peakMB is the most memory that this process has had so far, 0 where the system does not tell.
func peakMB() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err == nil {
				return kb / 1024
			}
		}
	}
	return 0
}
