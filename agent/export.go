package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"shoal/agent/part"
	"shoal/gossip/roster"
)

// exportEvery is how often at most a committed state is written anew with torchvision's names: what rounds wait for is
// written as it is in memory, and turning every filter takes a core of a small board longer than a round's exchange may.
const exportEvery = 10 * time.Second

// exporting is the state that is written for other tools, one at a time.
type exporting struct {
	busy  atomic.Bool
	begun time.Time // the loop's
}

// exportSoon writes the state of a committed round for other tools, beside all else, if that is due and nothing of it is
// at work. Agents read either file.
func (a *Agent) exportSoon(r roster.Record) {
	if time.Since(a.exports.begun) < exportEvery || !a.exports.busy.CompareAndSwap(false, true) {
		return
	}
	a.exports.begun = time.Now()
	a.start(func() {
		defer a.exports.busy.Store(false)
		if err := a.exportState(r.Hash); err != nil && !errors.Is(err, fs.ErrNotExist) { // pruned meanwhile
			a.log.Warn().Str("event", "export_failed").Str("state_hash", r.Hash).Err(err).Msg("the checkpoint stays as only agents read it")
		}
	})
}

// exportState turns the file of a state into one of torchvision's names.
func (a *Agent) exportState(hash string) error {
	state := make([]float32, len(a.trainer.base))
	meta, err := a.trainer.read(a.store.statePath(hash), state)
	if err != nil {
		return fmt.Errorf("export state: %w", err)
	}
	if got := part.Hash(state); got != hash { // its file was dropped and written over meanwhile
		return fmt.Errorf("export state: it hashes to %s: %w", got, fs.ErrNotExist)
	}
	return a.store.replace(stateName(hash), func(w io.Writer) error { return a.trainer.export(w, state, meta) })
}
