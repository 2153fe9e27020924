package agent

import (
	"context"
	"fmt"
	"time"

	"shoal/gossip/roster"
)

// tickEvery is how often the agent looks after what only time brings: scores that are overdue, figures to show.
const tickEvery = 500 * time.Millisecond

// leaveWithin bounds how long an agent that was told to stop finishes an exchange at work.
const leaveWithin = 10 * time.Second

// loop takes everything that happens, one at a time, until the run is finished, fails, or ctx ends. work ends with the
// agent, not with ctx.
func (a *Agent) loop(ctx, work context.Context) error {
	a.step(work, roster.Start{})
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	done := ctx.Done()
	for a.ending.err == nil && !a.ending.over {
		if at := a.machine.Wake(); !at.IsZero() {
			wake.Reset(max(time.Until(at), time.Millisecond))
		}
		select {
		case <-done:
			done = nil
			a.leave()
		case v := <-a.gossip.Views():
			a.see(work, v)
		case c := <-a.gossip.Conflicts():
			a.conflict(c)
		case err := <-a.gossip.Refused():
			a.refused(err)
		case n := <-a.announcer.Received():
			a.heard(n)
		case id := <-a.announcer.Floods():
			a.log.Warn().Str("event", "announcements_flood").Str("peer", string(id)).Msg("the peer announces too much; its announcements are ignored until it has been quiet for a minute")
		case e := <-a.events:
			a.take(work, e)
		case <-wake.C:
			a.step(work, roster.Tick{})
		case <-tick.C:
			a.look(work)
		}
		a.show()
	}
	return a.ending.err
}

// take handles an answer of work that ran beside the loop.
func (a *Agent) take(ctx context.Context, e any) {
	switch e := e.(type) {
	case moved:
		a.round.sent += e.sent
		a.round.received += e.received
		if e.done != nil {
			a.round.exchange.done = *e.done
		}
		a.shown.moved(e.sent, e.received)
		a.step(ctx, e.Event)
	case roster.Received:
		if a.agrees(e.From) {
			a.step(ctx, e)
		}
	case roster.Event:
		a.step(ctx, e)
	case greeting:
		a.greeted(ctx, e)
	case scored:
		a.tookScore(e)
		a.elect(ctx)
	case lines:
		if a.agrees(e.from) {
			a.merge(e)
		}
	case swapped:
		a.ending.swapping = false
	case saved:
		a.saved()
	case failure:
		a.ending.fail(e.err)
	case probed:
		a.tookProbe(e)
	case choice:
		a.chose(e)
	case pauseRequest, resumeRequest, leaveRequest:
		a.control(ctx, e)
	default:
		panic(fmt.Sprintf("agent: unknown event %T", e))
	}
}

// failure ends the agent: something that it cannot go on without.
type failure struct{ err error }

// step gives the machine one event and carries out what it decides, in order.
func (a *Agent) step(ctx context.Context, e roster.Event) {
	if a.ending.leaving && a.ending.saving {
		return // an exchange that begins now would count work that is kept for the next life, too
	}
	now := time.Now()
	a.round.account(now)
	taken := eventStep(e)
	a.at("before " + taken)
	effects := a.machine.Step(now, e)
	for _, effect := range effects {
		if a.ending.err != nil {
			return
		}
		a.around(effectStep(a.round.stable, effect), func() { a.carryOut(ctx, effect) })
	}
	a.at("after " + taken)
	a.round.phase = a.machine.Phase()
	if a.ending.leaving {
		a.leave() // an exchange that was waited for may be over
	}
}

// ending is how the agent comes to its end.
type ending struct {
	err      error
	over     bool
	leaving  bool      // told to stop
	by       time.Time // when leaving must be over
	saving   bool      // the last part, from which there is no way back
	parts    int       // of saving that are not done
	swapping bool      // pages of the journal
	swapped  bool      // once at least
	finished bool      // the machine is through; what remains is the last score
	since    time.Time
}

func (e *ending) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}
