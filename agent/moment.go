package agent

import (
	"fmt"
	"strings"

	"shoal/gossip/roster"
)

// moment is called before and after every step of a round's protocol, on whatever goroutine takes it, with whether this
// member coordinates the ballot that it promised last. Tests end the process in one; else there is none.
type moment func(step string, coordinates bool)

// around takes a step.
func (a *Agent) around(step string, take func()) {
	a.at("before " + step)
	take()
	a.at("after " + step)
}

func (a *Agent) at(step string) {
	if a.moment != nil {
		a.moment(step, a.coordinates.Load())
	}
}

// eventStep names what the machine takes.
func eventStep(e roster.Event) string {
	if r, ok := e.(roster.Received); ok {
		return "receive " + string(r.Message.Kind)
	}
	return "take " + kindOf(e)
}

// effectStep names what the machine decided; before is what was persisted last.
func effectStep(before roster.Stable, e roster.Effect) string {
	switch e := e.(type) {
	case roster.Send:
		return "send " + string(e.Message.Kind)
	case roster.Persist:
		switch now := e.Stable; {
		case now.Last.Hash != before.Last.Hash || now.Next != before.Next:
			return "persist commit"
		case now.Prepared != nil && (before.Prepared == nil || before.Prepared.Ballot != now.Prepared.Ballot):
			return "persist prepared"
		}
		return "persist promise"
	}
	return kindOf(e)
}

// kindOf is the lower-case name of a roster type.
func kindOf(v any) string {
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", v), "roster."))
}
