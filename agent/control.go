package agent

import (
	"context"

	"shoal/gossip/roster"
)

// What an operator may ask of a running agent. Whoever serves the wish posts one of these to the loop, which carries it
// out in turn with everything else; none of them waits.
type (
	// pauseRequest holds the local steps after the one at work, until resumeRequest. A paused agent stays a member: it
	// brings what it has to the next round, takes the states that the others commit, and scores when elected. A pause
	// ends with the process.
	pauseRequest struct{}
	// resumeRequest ends a pause.
	resumeRequest struct{}
	// leaveRequest makes the agent leave in good order, as a signal to stop does.
	leaveRequest struct{}
)

// control carries out an operator's wish. What holds already is no wish.
func (a *Agent) control(ctx context.Context, wish any) {
	switch wish.(type) {
	case pauseRequest:
		a.setPaused(ctx, true)
	case resumeRequest:
		a.setPaused(ctx, false)
	case leaveRequest:
		a.leave()
	}
}

// setPaused holds the local steps between two of them, or lets them go on.
func (a *Agent) setPaused(ctx context.Context, on bool) {
	if a.paused() == on {
		return
	}
	a.trainer.hold(on)
	event, e := "resumed_by_request", roster.Event(roster.Resume{})
	if on {
		event, e = "paused_by_request", roster.Pause{}
	}
	a.log.Info().Str("event", event).Uint64("round", a.machine.Next()).Int("step", a.trainer.progress.Load().Step).Msg("an operator asked for it")
	a.step(ctx, e)
}

// paused reports whether the local steps stand still on an operator's wish. It is safe for concurrent use.
func (a *Agent) paused() bool { return a.trainer.held.Load() }
