package agent

import (
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"shoal/gossip/roster"
)

// A paused agent takes no step and still answers between them. Resumed it goes on where it stood; when the others do not
// wait, it ends at once.
func TestPause(t *testing.T) {
	tr := tinyTrainer(t, false)
	for _, c := range []struct {
		name string
		end  func(*Agent)
		want int64
	}{
		{"resumed", func(a *Agent) { a.control(t.Context(), resumeRequest{}) }, 40},
		{"cut", func(a *Agent) { a.trainer.stop() }, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			tr.undo()
			tr.cut.Store(false)
			tr.nudge, tr.between = make(chan struct{}, 1), make(chan func(), jobQueue)
			a := &Agent{trainer: tr, log: zerolog.Nop()}
			a.machine = roster.NewMachine(tr.cfg.Rounds, "a", "", roster.Stable{})
			samples := make(chan int64, 1)
			begin := func() {
				n, err := tr.train(t.Context(), 1, 0, 1, 0)
				if err != nil {
					t.Error(err)
				}
				samples <- n
			}
			for range 2 { // a second wish changes nothing
				a.control(t.Context(), pauseRequest{})
			}
			go begin()
			synctest.Wait()
			if p := tr.progress.Load(); p.Step != 0 || !a.paused() || !a.machine.Paused() {
				t.Errorf("%s: at step %d while paused", c.name, p.Step)
			}
			asked := make(chan int, 1)
			tr.between <- func() { asked <- tr.progress.Load().Step }
			if step := <-asked; step != 0 {
				t.Errorf("%s: an answer at step %d", c.name, step)
			}
			c.end(a)
			if n := <-samples; n != c.want || tr.progress.Load().Step != int(c.want)/10 {
				t.Errorf("%s: %d samples, want %d", c.name, n, c.want)
			}
			a.control(t.Context(), resumeRequest{})
		})
	}
}
