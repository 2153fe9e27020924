package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"shoal/configs"
	"shoal/gossip"
	"shoal/gossip/roster"
)

// member is a peer as this agent knows it.
type member struct {
	gossip.Member
	greeted  bool // since it came: it counts as alive
	greeting bool // at work
	agrees   bool // at its last greeting it had the same version and configuration: its words count
	refused  string
	node     string // where it runs, as it says; empty: it does not
}

// hello is what two agents tell each other first: members of one run must agree on everything that changes its results.
type hello struct {
	Protocol int               `json:"protocol"`
	Version  string            `json:"version"`
	Shared   map[string]string `json:"shared"`         // path → value
	Formed   bool              `json:"formed"`         // the run has begun
	Started  int64             `json:"started"`        // Unix nanoseconds
	Up       int64             `json:"up"`             // nanoseconds since then, by the agent's own clock
	Node     string            `json:"node,omitempty"` // names the machine and its network, see nodeID
}

// protocol is raised when agents can no longer work with those before: 2 names states by part.Hash's tree.
const protocol = 2

// helloWithin and helloAgain pace the greeting of a peer that does not answer yet: it may not have heard of us.
const (
	helloWithin = 5 * time.Second
	helloAgain  = 200 * time.Millisecond
)

// greeting is the outcome of a hello.
type greeting struct {
	id    roster.ID
	hello hello
	err   error // gave up
}

func (a *Agent) hello() hello {
	return hello{Protocol: protocol, Version: a.version, Shared: a.shared, Formed: a.machine.Last().Hash != "", Started: a.started.UnixNano(), Node: a.node}
}

// see takes a view: members that appear are greeted, those that are gone are told to the machine.
func (a *Agent) see(ctx context.Context, v gossip.View) {
	a.view = v
	maps.DeleteFunc(a.members, func(id roster.ID, m *member) bool { // membership lists a few of those that are gone
		return !m.greeting && !slices.ContainsFunc(v.Members, func(seen gossip.Member) bool { return seen.ID == id })
	})
	for _, seen := range v.Members {
		m := a.members[seen.ID]
		if m == nil {
			m = &member{}
			a.members[seen.ID] = m
		}
		if m.ID == "" || m.State != seen.State {
			a.log.Info().Str("event", "member_"+strings.ToLower(seen.State.String())).Str("peer", string(seen.ID)).Str("name", seen.Name).Msg("membership changed")
		}
		m.Member = seen
		if !here(seen.State) {
			m.greeted, m.refused = false, ""
			if seen.ID != a.host.ID() {
				a.host.Expel(seen.ID)
			}
		} else if !m.greeted && !m.greeting && m.refused == "" && seen.ID != a.host.ID() {
			m.greeting = true
			a.start(func() { a.greet(ctx, seen.ID) })
		}
	}
	a.tellView(ctx)
}

func here(s gossip.State) bool { return s == gossip.Alive || s == gossip.Suspect }

// agrees reports whether a peer is of this run: others must not get through to the machine and the journal.
func (a *Agent) agrees(id roster.ID) bool {
	m := a.members[id]
	return m != nil && m.agrees
}

// tellView gives the machine the members that count.
func (a *Agent) tellView(ctx context.Context) {
	v := roster.ViewChange{Alive: []roster.ID{a.host.ID()}}
	for id, m := range a.members {
		switch {
		case here(m.State) && m.greeted:
			v.Alive = append(v.Alive, id)
		case m.State == gossip.Left:
			v.Departed = append(v.Departed, id)
		}
	}
	slices.Sort(v.Alive)
	slices.Sort(v.Departed)
	a.step(ctx, v)
}

// greet says hello to a peer until it answers.
func (a *Agent) greet(ctx context.Context, id roster.ID) {
	g := greeting{id: id}
	for try := 0; ; try++ {
		if g.hello, g.err = a.sayHello(ctx, id); g.err == nil || try == 100 || ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(min(helloAgain<<min(try, 4), 2*time.Second)):
		case <-ctx.Done():
		}
	}
	a.post(g)
}

func (a *Agent) sayHello(ctx context.Context, id roster.ID) (hello, error) {
	ctx, cancel := context.WithTimeout(ctx, helloWithin)
	defer cancel()
	var h hello
	body, err := a.host.Call(ctx, id, "hello", nil)
	if err == nil {
		err = json.Unmarshal(body, &h)
	}
	return h, err
}

// greeted takes a peer's hello: it counts as alive if it agrees. Of two that do not, the one outside the run that has
// begun stops, else the one that came later.
func (a *Agent) greeted(ctx context.Context, g greeting) {
	m := a.members[g.id]
	m.greeting = false
	if g.err != nil {
		a.log.Warn().Str("event", "greeting_failed").Str("peer", string(g.id)).Err(g.err).Msg("the peer does not answer")
		return
	}
	if a.namesake(m, g.hello) {
		return
	}
	mine := a.hello()
	differs := configs.Differences(mine.Shared, g.hello.Shared)
	if mine.Protocol != g.hello.Protocol {
		differs = append(differs, fmt.Sprintf("protocol: %d here (version %s), %d there (version %s)", mine.Protocol, mine.Version, g.hello.Protocol, g.hello.Version))
	}
	m.agrees, m.node = len(differs) == 0, g.hello.Node
	if m.agrees {
		m.greeted = here(m.State)
		a.tellView(ctx)
		return
	}
	m.refused = strings.Join(differs, "; ")
	a.log.Error().Str("event", "peer_differs").Str("peer", string(g.id)).Str("name", m.Name).Strs("differences", differs).Msg("the peer has another configuration; it is left out")
	theirs := g.hello.Formed && !mine.Formed || g.hello.Formed == mine.Formed && g.hello.Started < mine.Started
	if theirs {
		a.ending.fail(fmt.Errorf("%w: %s (%s) runs another configuration: %s; give this agent the same values", ErrRefused, m.Name, m.Addr, m.refused))
	}
}
