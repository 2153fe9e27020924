package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// accuracyName is the record of what ten epochs teach.
const accuracyName = "accuracy"

// accuracySeeds are how often each side learns.
const accuracySeeds = 2

// learned is ten epochs of CIFAR-10 by Shoal and by PyTorch, from each seed.
type learned struct {
	Program result       `json:"program"` // for its machine and build
	Seeds   []seedResult `json:"seeds"`
}

// seedResult is how both sides learned from one seed. Their numbers are drawn differently: only means compare.
type seedResult struct {
	Seed   int       `json:"seed"`
	Ours   learnings `json:"ours"`
	Theirs learnings `json:"theirs"`
}

// learnings are by epoch.
type learnings []struct {
	Loss     float64 `json:"train_loss"`
	Accuracy float64 `json:"accuracy"` // on the test images, 0 to 1
	TestLoss float64 `json:"test_loss"`
	Peer     string  `json:"peer,omitempty"`
}

func (l learnings) last() float64 {
	if len(l) == 0 {
		return 0
	}
	return l[len(l)-1].Accuracy
}

// unfinishedName is where the results of a record at work are kept, so that it goes on after an interruption.
const unfinishedName = accuracyName + ".unfinished"

// learn records both sides' ten epochs on the CIFAR-10 in data. What an interrupted record of the same program has is kept.
func learn(ctx context.Context, dir, program, data string) error {
	unfinished := filepath.Join(dir, unfinishedName)
	l, err := begun(ctx, unfinished, program)
	for i := 0; i < accuracySeeds && err == nil; i++ {
		if i == len(l.Seeds) {
			l.Seeds = append(l.Seeds, seedResult{Seed: i + 1})
		}
		s := &l.Seeds[i]
		if len(s.Ours) == 0 {
			s.Ours, err = learnOurs(ctx, program, data, s.Seed)
			err = errors.Join(err, l.keep(unfinished))
		}
		if err == nil && len(s.Theirs) == 0 {
			s.Theirs, err = learnTheirs(ctx, data, s.Seed)
			err = errors.Join(err, l.keep(unfinished))
		}
		fmt.Fprintf(os.Stderr, "seed %d: %.4f, they %.4f\n", s.Seed, s.Ours.last(), s.Theirs.last())
	}
	r := &record{
		Date:    time.Now().UTC().Format(time.RFC3339),
		Command: fmt.Sprintf("shoal run --preset cifar10 --set data.set=CIFAR-10, python3 docs/performance/torch_epochs.py --data CIFAR-10, seeds 1 to %d", accuracySeeds),
		Others:  -1, // nothing is timed
	}
	if err == nil {
		r.Result, err = json.Marshal(l)
	}
	if err != nil {
		return fmt.Errorf("record %s: %w", accuracyName, err)
	}
	if err := r.write(dir, accuracyName); err != nil {
		return err
	}
	return os.Remove(unfinished)
}

// begun is what an interrupted record has of this program, or the beginning of a new one.
func begun(ctx context.Context, unfinished, program string) (learned, error) {
	var kept, l learned
	out, err := output(exec.CommandContext(ctx, program, "bench", "--json", "--peaks=false", "--for=1ms"))
	if err == nil {
		err = json.Unmarshal(out, &l.Program)
	}
	if err != nil {
		return l, err
	}
	text, err := os.ReadFile(unfinished)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return l, fmt.Errorf("read %s: %w; remove it to begin anew", unfinished, err)
	}
	if kept.Program.Build != l.Program.Build || kept.Program.Machine != l.Program.Machine {
		return l, nil
	}
	return kept, nil
}

// keep writes what there is.
func (l learned) keep(name string) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

// output runs a command and returns what it prints.
func output(cmd *exec.Cmd) ([]byte, error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", cmd, err, said.Bytes()[max(0, said.Len()-1000):])
	}
	return out, nil
}

// learnOurs lets one agent learn by itself, and reads its report.
func learnOurs(ctx context.Context, program, data string, seed int) (learnings, error) {
	state, err := os.MkdirTemp("", "shoal-accuracy-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(state)
	key := filepath.Join(state, "shoal.key")
	if _, err := output(exec.CommandContext(ctx, program, "keygen", key)); err != nil {
		return nil, err
	}
	args := []string{"run", "--preset", "cifar10"}
	for _, set := range []string{"data.set=" + data, fmt.Sprint("seed=", seed), "state=" + state, "gossip.key_file=" + key, "gossip.listen=127.0.0.1:0", "p2p.listen=/ip4/127.0.0.1/tcp/0", "http.listen="} {
		args = append(args, "--set", set)
	}
	if _, err := output(exec.CommandContext(ctx, program, args...)); err != nil {
		return nil, err
	}
	var report struct {
		Rows []struct {
			Loss     float64 `json:"train_loss"`
			Accuracy float64 `json:"test_accuracy"`
			TestLoss float64 `json:"test_loss"`
		} `json:"rows"`
	}
	text, err := os.ReadFile(filepath.Join(state, "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	var l learnings
	for _, row := range report.Rows {
		l = append(l, learnings{{Loss: row.Loss, Accuracy: row.Accuracy, TestLoss: row.TestLoss}}...)
	}
	return l, err
}

// learnTheirs lets PyTorch learn, which prints a line of JSON per epoch.
func learnTheirs(ctx context.Context, data string, seed int) (learnings, error) {
	out, err := output(exec.CommandContext(ctx, "python3", "docs/performance/torch_epochs.py", "--data", data, "--seed", fmt.Sprint(seed)))
	if err != nil {
		return nil, err
	}
	var l learnings
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		l = append(l, learnings{{}}...)
		if err := json.Unmarshal(lines.Bytes(), &l[len(l)-1]); err != nil {
			return nil, fmt.Errorf("read %q: %w", lines.Text(), err)
		}
	}
	return l, nil
}

// writeAccuracy is the table of what both sides learned.
func writeAccuracy(t *strings.Builder, l learned) {
	t.WriteString("## Accuracy against PyTorch\n\nTen epochs of all of CIFAR-10 at 32×32 by one agent, MobileNetV2 α 0.5 from nothing, by the preset cifar10; " +
		"PyTorch trains by the\nsame recipe. Both score with batch-norm statistics from a hundred training batches. The two draw\ntheir numbers differently, so only means compare.\n\n" +
		"| seed | Shoal, test accuracy | PyTorch, test accuracy | Shoal, training loss | PyTorch, training loss |\n| --- | --- | --- | --- | --- |\n")
	var sum [4]float64
	for _, s := range l.Seeds {
		ours, theirs := s.Ours[len(s.Ours)-1], s.Theirs[len(s.Theirs)-1]
		for i, v := range []float64{ours.Accuracy, theirs.Accuracy, ours.Loss, theirs.Loss} {
			sum[i] += v / float64(len(l.Seeds))
		}
		fmt.Fprintf(t, "| %d | %.2f %% | %.2f %% | %.3f | %.3f |\n", s.Seed, 100*ours.Accuracy, 100*theirs.Accuracy, ours.Loss, theirs.Loss)
	}
	fmt.Fprintf(t, "| mean | **%.2f %%** | %.2f %% | %.3f | %.3f |\n\n", 100*sum[0], 100*sum[1], sum[2], sum[3])
	t.WriteString("| epoch | Shoal, mean test accuracy | PyTorch, mean test accuracy |\n| --- | --- | --- |\n")
	for epoch := range l.Seeds[0].Ours {
		var ours, theirs float64
		for _, s := range l.Seeds {
			ours += s.Ours[epoch].Accuracy / float64(len(l.Seeds))
			theirs += s.Theirs[epoch].Accuracy / float64(len(l.Seeds))
		}
		fmt.Fprintf(t, "| %d | %.1f %% | %.1f %% |\n", epoch+1, 100*ours, 100*theirs)
	}
	fmt.Fprintf(t, "\nThe peer is %s.\n\n", strings.ToUpper(l.Seeds[0].Theirs[0].Peer[:1])+l.Seeds[0].Theirs[0].Peer[1:])
}

// accuracy reads the record, which has every epoch of both sides.
func (r *records) accuracy() (l learned) {
	r.read(accuracyName, &l, func() result { return l.Program })
	for _, s := range l.Seeds {
		if r.err == nil && (len(s.Ours) == 0 || len(s.Ours) != len(s.Theirs) || len(s.Ours) != len(l.Seeds[0].Ours) || s.Theirs[0].Peer == "") {
			r.err = fmt.Errorf("read record %s: seed %d has %d epochs and %d of the peer's", accuracyName, s.Seed, len(s.Ours), len(s.Theirs))
		}
	}
	if r.err == nil && len(l.Seeds) == 0 {
		r.err = fmt.Errorf("read record %s: it has no seeds", accuracyName)
	}
	return l
}
