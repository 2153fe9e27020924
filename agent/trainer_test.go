package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/agent/part"
	"shoal/configs"
	"shoal/gossip/collective"
	"shoal/learner"
	"shoal/shards"
)

// tinyTrainer trains a narrow network on a few images.
func tinyTrainer(t *testing.T, momentum bool) *trainer {
	t.Helper()
	cfg := configs.Defaults()
	cfg.Data.Set, cfg.Data.Limit, cfg.Data.TestLimit = "builtin", 40, 10
	cfg.Learner.Width, cfg.Learner.Input, cfg.Learner.Batch, cfg.Learner.Threads = 0.1, 32, 10, 1
	cfg.Averaging.Momentum = momentum
	set, err := shards.Open(t.Context(), cfg.Data, cfg.Learner.Input, cfg.Seed)
	if err != nil {
		t.Fatal(err)
	}
	l, err := learner.New(cfg.Learner, len(set.Classes), cfg.Seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return newTrainer(cfg, l, set)
}

// A round that diverges is undone for good: the next one trains, whatever had become of the momentum.
func TestDivergedWorkIsUndone(t *testing.T) {
	for _, momentum := range []bool{false, true} {
		tr := tinyTrainer(t, momentum)
		all := tr.learner.Shared(true)
		for _, at := range []int{0, len(all) - 1} { // a parameter, the last of the momentum
			all[at] = float32(math.NaN())
			if n, err := tr.train(t.Context(), 1, 0, 1, 0); n != 0 || err == nil || !strings.Contains(err.Error(), "finite") {
				t.Fatalf("momentum %v: NaN at %d: %d samples, %v", momentum, at, n, err)
			}
			if !slices.Equal(tr.local(), tr.base) || !part.Finite(all) {
				t.Errorf("momentum %v: NaN at %d: the local state is not the last one again", momentum, at)
			}
			if n, err := tr.train(t.Context(), 1, 0, 1, 0); n != 40 || err != nil {
				t.Errorf("momentum %v: after NaN at %d: %d samples, %v", momentum, at, n, err)
			}
			tr.adopt(slices.Clone(tr.local()), true)
		}
	}
}

// An agent that must end does not finish its round first.
func TestTrainingEndsWithItsContext(t *testing.T) {
	tr := tinyTrainer(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := tr.train(ctx, 1, 0, 1, 0); n != 0 || err != nil {
		t.Errorf("%d samples, %v", n, err)
	}
}

// Work that is not counted is carried over as a difference, and counts once.
func TestCarriedWork(t *testing.T) {
	tr := tinyTrainer(t, false)
	before := slices.Clone(tr.base)
	n, err := tr.train(t.Context(), 1, 0, 2, 0)
	if n != 20 || err != nil {
		t.Fatalf("%d samples, %v", n, err)
	}
	local, others := slices.Clone(tr.local()), slices.Clone(before)
	for i := range others {
		others[i] += 0.5
	}
	tr.adopt(others, false)
	for i, x := range tr.local() {
		if want := others[i] + (local[i] - before[i]); x != want {
			t.Fatalf("element %d is %v, want %v", i, x, want)
		}
	}
	if tr.samples != 20 || !slices.Equal(tr.base, others) {
		t.Errorf("%d samples carried over", tr.samples)
	}
	tr.adopt(others, true)
	if tr.samples != 0 || !slices.Equal(tr.local(), others) {
		t.Errorf("%d samples left of work that was counted", tr.samples)
	}
}

// A member that lost the base trains nothing and offers nothing, until it has one again.
func TestLostBase(t *testing.T) {
	tr := tinyTrainer(t, false)
	tr.lose("abc", context.Canceled)
	if n, err := tr.train(t.Context(), 1, 0, 1, 0); n != 0 || err != nil {
		t.Errorf("%d samples, %v", n, err)
	}
	delta, state := make([]float32, len(tr.local())), make([]float32, len(tr.base))
	if err := tr.offer(delta, state); err == nil || !strings.Contains(err.Error(), "abc") {
		t.Errorf("it offers a change to what it does not have: %v", err)
	}
	tr.adopt(slices.Clone(tr.base), false)
	if err := tr.offer(delta, state); err != nil {
		t.Errorf("after a state was adopted: %v", err)
	}
}

// The state that follows is the base and the mean of what was changed: with nothing changed the same bits, and with one
// member's change all of it.
func TestFollow(t *testing.T) {
	for _, momentum := range []bool{false, true} {
		tr := tinyTrainer(t, momentum)
		delta, state := make([]float32, len(tr.local())), make([]float32, len(tr.base))
		if err := errors.Join(tr.offer(delta, state), tr.follow(state, delta)); err != nil || part.Hash(state) != part.Hash(tr.base) || tr.norm() != 0 {
			t.Errorf("momentum %v: no work makes another state: %v, norm %v", momentum, err, tr.norm())
		}
		if _, err := tr.train(t.Context(), 1, 0, 1, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tr.offer(delta, state), tr.follow(state, delta)); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for i, x := range tr.local() {
			if want := tr.base[i] + (x - tr.base[i]); state[i] != want {
				t.Fatalf("momentum %v: element %d is %v, want %v", momentum, i, state[i], want)
			}
			sum += float64(delta[i]) * float64(delta[i])
		}
		if got := tr.norm(); got == 0 || math.Abs(got-math.Sqrt(sum)) > 1e-9*got {
			t.Errorf("momentum %v: norm %v, want %v", momentum, got, math.Sqrt(sum))
		}
		delta[0] = math.MaxFloat32
		if state[0] = math.MaxFloat32; tr.follow(state, delta) == nil {
			t.Errorf("momentum %v: a state that is not finite follows", momentum)
		}
	}
}

// An outer optimiser's velocity is part of what is shared: zero at first, hashed, stored, read again, and not part of what
// is averaged.
func TestOuterVelocityIsShared(t *testing.T) {
	plain := tinyTrainer(t, true)
	for _, outer := range []collective.Outer{{Kind: "slowmo", Rate: 1, Momentum: 0.7}, {Kind: "nesterov", Rate: 0.7, Momentum: 0.9}} {
		plain.cfg.Averaging.Outer = outer
		tr := newTrainer(plain.cfg, plain.learner, plain.set)
		params := len(tr.learner.Params())
		if len(tr.base) != len(tr.local())+params || part.Hash(tr.base) == part.Hash(plain.base) {
			t.Fatalf("%s: %d elements are shared of %d and %d parameters", outer.Kind, len(tr.base), len(tr.local()), params)
		}
		delta, state := make([]float32, len(tr.local())), make([]float32, len(tr.base))
		want, velocity := slices.Clone(tr.local()), make([]float32, params)
		for round := range 3 {
			for i := range tr.local() {
				tr.local()[i] += float32(i%7-3) / 64
			}
			tr.samples = 10
			if err := errors.Join(tr.offer(delta, state), tr.follow(state, delta)); err != nil {
				t.Fatal(err)
			}
			outer.Step(want[:params], delta[:params], velocity)
			for i := params; i < len(want); i++ {
				want[i] += delta[i]
			}
			if !slices.Equal(state, slices.Concat(want, velocity)) {
				t.Errorf("%s round %d: another state follows", outer.Kind, round)
			}
			read := make([]float32, len(state))
			for name, write := range map[string]func(io.Writer, []float32, map[string]string) error{"write": tr.write, "export": tr.export} {
				path, file := filepath.Join(t.TempDir(), "state"), bytes.Buffer{}
				err := errors.Join(write(&file, state, map[string]string{"round": "3"}), os.WriteFile(path, file.Bytes(), 0o600))
				clear(read)
				meta, rerr := tr.read(path, read)
				if err := errors.Join(err, rerr); err != nil || part.Hash(read) != part.Hash(state) || meta["round"] != "3" {
					t.Errorf("%s round %d: by %s it is another: %v, %v", outer.Kind, round, name, meta, err)
				}
			}
			tr.adopt(read, round%2 == 0)
			if !slices.Equal(tr.base, state) {
				t.Errorf("%s round %d: the state is not adopted as a whole", outer.Kind, round)
			}
			if round%2 == 1 {
				tr.undo()
			}
		}
		if err := tr.with(func(s []float32) error { copy(s, plain.base); return nil }, func() error { return nil }); err != nil || !slices.Equal(tr.local(), tr.base[:len(want)]) {
			t.Errorf("%s: looking at another state changes the local one: %v", outer.Kind, err)
		}
		copy(plain.learner.Shared(true), plain.base)
	}
}

// One step of a loss that is not finite does not spoil what a status shows, which JSON must be able to say.
func TestProgressOfADivergedStep(t *testing.T) {
	p := progress{}.after(learner.Result{Loss: 2, N: 10}, 0)
	for _, loss := range []float64{math.NaN(), math.Inf(1)} {
		p = p.after(learner.Result{Loss: loss, N: 10}, 0)
	}
	if p.Loss != 2 || p.Step != 3 {
		t.Errorf("loss %v after step %d", p.Loss, p.Step)
	}
}
