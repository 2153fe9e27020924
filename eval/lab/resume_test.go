package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"shoal/eval/lab"
	"shoal/eval/lab/row"
)

// varied is an experiment of some runs, with all that a snapshot has to hold.
const varied = `
name: varied
agents: 3
base:` + small + `  rounds: {steps: 2}
  averaging: {wire: int8, outer: {kind: slowmo, rate: 1, momentum: 0.5}}
epochs: 2
axes:
  averaging.momentum: [false, true]
variants:
- {name: plain}
- {name: less, set: {schedule.participation: 0.5, time.network.rate: 10Mbit}}
- {name: pairs, set: {schedule.pairs: true, schedule.churn: [], averaging.outer.kind: none}}
repetitions: 1
score: {every: 1, statistics: [running, reestimated]}
time: {device: {profile: raspberry-pi-4, images_per_second: 100}, stragglers: {distribution: lognormal, share: 0.1, factor: 3}, network: {jitter: 1ms}}
schedule: {churn: [{member: 2, from: 3, to: 3, is: absent}]}
`

// Variables that make this test binary a lab, which a test can kill.
const (
	labDir  = "SHOAL_TEST_LAB_DIR"
	labFile = "SHOAL_TEST_LAB_FILE"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(labDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	e, err := lab.Load(os.Getenv(labFile))
	if err == nil {
		err = lab.Do(context.Background(), e, lab.Options{Out: dir, SaveEvery: -1, Threads: 1})
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
}

// hereAndNow are the fields that may differ between two runs of one experiment.
var hereAndNow = regexp.MustCompile(`"(wall_[a-z_]*|commit|machine|date)":("[^"]*"|[^,}]*)`)

// rows are the rows in a directory but for what may differ.
func rows(t *testing.T, dir string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, lab.RowsFile))
	if err != nil {
		t.Fatal(err)
	}
	return hereAndNow.ReplaceAll(text, nil)
}

// A lab that is killed again and again leaves the rows of one that is not.
func TestKilledAndResumed(t *testing.T) {
	t.Parallel()
	whole, killed := t.TempDir(), t.TempDir()
	perform(t, varied, lab.Options{Out: whole})
	file := filepath.Join(t.TempDir(), "varied.yaml")
	if err := os.WriteFile(file, []byte(varied), 0o600); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for lives := 1; ; lives++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), labDir+"="+killed, labFile+"="+file)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		patience := time.Duration(200+rng.IntN(600)) * time.Millisecond
		if lives > 5 { // this machine is busy: enough of it
			patience = time.Minute
		}
		timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if said.Len() > 0 {
			t.Fatal(said.String())
		}
		if err == nil {
			t.Logf("%d lives", lives)
			break
		}
	}
	if a, b := rows(t, whole), rows(t, killed); !bytes.Equal(a, b) {
		t.Errorf("killed and resumed it leaves\n%s\nand in one go\n%s", b, a)
	}
	if _, err := os.Stat(filepath.Join(killed, "state.bin")); err == nil {
		t.Error("the state of the last run is still there")
	}
}

// Interrupted in good order at any round, nothing is computed twice.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	whole, dir := t.TempDir(), t.TempDir()
	perform(t, varied, lab.Options{Out: whole})
	e, err := lab.Read("x.yaml", varied)
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	seen := map[string]int{}
	for lives := 0; err != nil || lives == 0; lives++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		played := 0
		err = lab.Do(ctx, e, lab.Options{Out: dir, Progress: func(p lab.Progress) {
			if p.Line == nil {
				return
			}
			if seen[p.Run.Run]++; p.Round != seen[p.Run.Run] {
				t.Errorf("%s: round %d where %d comes next", p.Run.Run, p.Round, seen[p.Run.Run])
			}
			if played++; played == 4+lives%7 {
				cancel(stopped)
			}
		}})
		cancel(nil)
		if err != nil && !errors.Is(err, stopped) {
			t.Fatal(err)
		}
	}
	if a, b := rows(t, whole), rows(t, dir); !bytes.Equal(a, b) {
		t.Errorf("interrupted it leaves\n%s\nand in one go\n%s", b, a)
	}
}

// A directory keeps one experiment, and one process.
func TestOneExperimentPerDirectory(t *testing.T) {
	const text = "name: x\nagents: 2\nbase:" + small + "  rounds: {count: 2, steps: 1}\n"
	dir := t.TempDir()
	first := perform(t, text, lab.Options{Out: dir})
	again := perform(t, text, lab.Options{Out: dir, Progress: func(p lab.Progress) {
		if p.Line != nil {
			t.Error("what is there is computed again")
		}
	}})
	if len(first.Runs) != 1 || len(again.Runs) != 1 || first.Runs[0].Hash != again.Runs[0].Hash || first.Runs[0].WallSeconds != again.Runs[0].WallSeconds {
		t.Errorf("%+v, and then %+v", first.Runs, again.Runs)
	}
	other, err := lab.Read("x.yaml", text+"repetitions: 2\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Do(t.Context(), other, lab.Options{Out: dir}); err == nil {
		t.Error("another experiment is added to the rows")
	}
	if err := lab.Do(t.Context(), other, lab.Options{Out: dir, Fresh: true}); err != nil {
		t.Error(err)
	}
	busy := false
	err = lab.Do(t.Context(), other, lab.Options{Out: dir, Fresh: true, Progress: func(lab.Progress) {
		busy = busy || errors.Is(lab.Do(t.Context(), other, lab.Options{Out: dir}), lab.ErrBusy)
	}})
	if err != nil || !busy {
		t.Errorf("two processes write to one directory (%v)", err)
	}
}

// A run that cannot go on is noted, and the others run.
func TestFailedRun(t *testing.T) {
	f := perform(t, "name: x\nagents: 2\nbase:"+small+"  rounds: {count: 2, steps: 2}\n  averaging: {outer: {kind: slowmo, rate: 1}}\n"+
		"axes: {learner.sgd.rate: [0.001, 100]}\nvariants: [{name: a, set: {learner.model: squeezenet1_1}}]\n", lab.Options{})
	if len(f.Runs) != 2 || f.Runs[0].Failed != "" {
		t.Fatalf("%+v", f.Runs)
	}
	r := f.Rounds[len(f.Rounds)-1] // diverged work is undone, as agents do
	if r.Contributors != 0 || len(r.Missing) != 2 || r.Missing[0] != (row.Missing{Rank: 0, Reason: "no work"}) {
		t.Errorf("a round of steps that diverge is %+v", r)
	}
}

// The loss of a run is the mean over its last epoch, or over its last round where that is longer.
func TestLossOfTheLastEpoch(t *testing.T) {
	for _, steps := range []int{1, 4, 6, 8, 30} { // of 6 steps an epoch, in two epochs
		f := perform(t, "name: x\nagents: 2\nepochs: 2\nbase:"+small+"  rounds: {steps: "+fmt.Sprint(steps)+"}\n", lab.Options{})
		sum, images := 0.0, int64(0)
		for i := len(f.Rounds) - 1; i >= 0 && images < 120; i-- {
			n := f.Rounds[i].Images
			if i > 0 {
				n -= f.Rounds[i-1].Images
			}
			sum, images = sum+float64(f.Rounds[i].TrainLoss)*float64(n), images+n
		}
		if got := float64(f.Runs[0].TrainLoss); !(math.Abs(got-sum/float64(images)) < 1e-9) {
			t.Errorf("%d steps a round: loss %v, want %v", steps, got, sum/float64(images))
		}
	}
}
