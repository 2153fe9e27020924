package agent

import (
	"os"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"shoal/agent/part"
	"shoal/gossip/roster"
)

// resumable is an agent at its start, with a state directory that holds a state one step from the initial one, and that
// state's hash.
func resumable(t *testing.T) (a *Agent, hash string, state []float32) {
	t.Helper()
	a = &Agent{trainer: tinyTrainer(t, false), store: openTestStore(t, t.TempDir()), log: zerolog.Nop()}
	state = slices.Clone(a.trainer.base)
	state[0]++
	hash = part.Hash(state)
	if err := a.writeState(hash, state, roster.Tag{}); err != nil {
		t.Fatal(err)
	}
	return a, hash, state
}

// What a crash between two writes, or a bad disk, leaves of a state directory.
func TestResume(t *testing.T) {
	absent := hashLike("a")
	for _, c := range []struct {
		name           string
		last, prepared func(held string) string
		lost, keeps    bool
	}{
		{name: "first start"},
		{name: "state is there", last: func(held string) string { return held }},
		{name: "state is missing", last: func(string) string { return absent }, lost: true},
		{name: "prepared state is there", prepared: func(held string) string { return held }, keeps: true},
		{name: "prepared state is missing", prepared: func(string) string { return absent }},
		{name: "both are there", last: func(held string) string { return held }, prepared: func(held string) string { return held }, keeps: true},
	} {
		a, held, state := resumable(t)
		initial := slices.Clone(a.trainer.base)
		st := roster.Stable{}
		if c.last != nil {
			st.Next, st.Last = 4, roster.Record{Round: 3, Hash: c.last(held)}
		}
		if c.prepared != nil {
			st.Prepared = &roster.Prepared{Hash: c.prepared(held)}
		}
		if err := a.store.keepStable(st); err != nil {
			t.Fatal(err)
		}
		if err := a.resume(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := a.trainer.lost != ""; got != c.lost {
			t.Errorf("%s: lost is %v, want %v", c.name, got, c.lost)
		}
		if got := a.round.stable.Prepared != nil; got != c.keeps {
			t.Errorf("%s: prepared is kept: %v, want %v", c.name, got, c.keeps)
		}
		want := initial
		if c.last != nil && !c.lost {
			want = state
		}
		if !slices.Equal(a.trainer.local(), want) || a.round.initial != part.Hash(initial) {
			t.Errorf("%s: the local state is not the last one", c.name)
		}
		if c.last == nil && !a.store.has(a.round.initial) {
			t.Errorf("%s: the untrained state is not stored", c.name)
		}
	}
}

// Unfinished work goes on once, and only on top of the state that it began from.
func TestResumeLocalWork(t *testing.T) {
	a, held, state := resumable(t)
	st := roster.Stable{Next: 4, Last: roster.Record{Round: 3, Hash: held, Roster: roster.Roster{Generation: 2}}}
	leave := func() {
		t.Helper()
		copy(a.trainer.local(), state)
		a.trainer.local()[1]++
		a.trainer.samples = 30
		a.trainer.progress.Store(&progress{Round: 4, Step: 3})
		if err := a.saveLocal(st.Last, false); err != nil {
			t.Fatal(err)
		}
		a.trainer.samples = 0
	}
	resume := func(st roster.Stable, step int, samples int64) {
		t.Helper()
		copy(a.trainer.base, state)
		copy(a.trainer.local(), state)
		if got := a.resumeLocal(st); got != step || a.trainer.samples != samples {
			t.Errorf("from step %d with %d samples, want %d and %d", got, a.trainer.samples, step, samples)
		}
		if moved := a.trainer.local()[1] != state[1]; moved != (samples > 0) {
			t.Errorf("the local state has the work: %v", moved)
		}
		if a.store.exists(localFile) {
			t.Error("the work could come twice")
		}
		a.trainer.samples = 0
	}
	leave()
	resume(st, 3, 30)
	resume(st, 0, 0) // a second time
	leave()
	resharded := st
	resharded.Last.Roster.Generation = 3
	resume(resharded, 0, 30)
	leave()
	beyond := st
	beyond.Last.Hash = hashLike("b")
	resume(beyond, 0, 0)
	leave()
	if err := os.Truncate(a.file(localFile), 100); err != nil {
		t.Fatal(err)
	}
	resume(st, 0, 0)
}
