package agent

import (
	"errors"
	"io"
	"testing"

	"shoal/agent/part"
	"shoal/configs"
	"shoal/gossip/roster"
	"shoal/learner"
)

// BenchmarkTakeOver is what an agent does with a state beside its exchange, part by part.
func BenchmarkTakeOver(b *testing.B) {
	cfg := configs.Defaults()
	cfg.Averaging.Momentum = true
	l, err := learner.New(cfg.Learner, 10, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	tr := &trainer{cfg: cfg, recipe: recipe(cfg), learner: l}
	state := tr.formation()
	tr.base = append([]float32(nil), state...)
	delta := make([]float32, len(tr.local()))
	s := &store{dir: b.TempDir(), relaxed: true}
	a := &Agent{store: s, trainer: tr}
	hash := part.Hash(state)
	for _, p := range []struct {
		name string
		do   func() error
	}{
		{"offer", func() error { return tr.offer(delta, state) }},
		{"length", func() error { _ = part.Length(delta); return nil }},
		{"follow", func() error { return tr.follow(state, delta) }},
		{"hash", func() error { part.Hash(state); return nil }},
		{"write", func() error { return errors.Join(a.writeState(hash, state, roster.Tag{}), s.drop(s.statePath(hash))) }},
		{"export", func() error { return tr.export(io.Discard, state, nil) }},
		{"adopt", func() error { tr.adopt(state, true); return nil }},
		{"finite", func() error { part.Finite(tr.local()); return nil }},
		{"norm", func() error { part.Norm(tr.local(), tr.base); return nil }},
	} {
		b.Run(p.name, func(b *testing.B) {
			b.SetBytes(int64(4 * len(state)))
			for b.Loop() {
				if err := p.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
