package gossip

import (
	"time"

	"shoal/gossip/roster"
)

// State is what this agent believes of a member.
type State int

// States of a member. A member that left on purpose is Left if this agent heard its goodbye, else Dead.
const (
	Alive   State = iota
	Suspect       // this agent's own probes fail; it may be busy
	Dead
	Left
)

// String is the state in lower case.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Dead:
		return "dead"
	case Left:
		return "left"
	}
	return "unknown"
}

// Member is one agent in a view.
type Member struct {
	ID    roster.ID
	Name  string // for people; what the member calls itself
	Addr  string // host:port of its membership
	State State
}

// View is who this agent believes in the cluster, itself included, sorted by ID. Members that are dead or left stay
// listed, the last 64 of them.
type View struct {
	Seq     uint64 // +1 per view published
	Members []Member
}

// publish gives out views until Close, and admits live members anew now and then: one that was expelled as dead a moment
// after it came back would else stay out until it is heard of again.
func (g *Gossip) publish() {
	again := time.NewTicker(g.tuning.readmit)
	defer again.Stop()
	var seq uint64
	for g.settle(again.C) {
		seq++
		v := View{seq, g.table.members()}
		select { // a view that nobody has read is superseded
		case <-g.views:
		default:
		}
		g.views <- v // has room: this is the only writer
	}
}

// settle waits for a change and then for quiet, but not longer than restless. It is false after Close.
func (g *Gossip) settle(again <-chan time.Time) bool {
	for waiting := true; waiting; {
		select {
		case <-g.ctx.Done():
			return false
		case <-again:
			g.table.readmit()
		case <-g.table.changed:
			waiting = false
		}
	}
	latest := time.NewTimer(g.tuning.restless)
	defer latest.Stop()
	for {
		quiet := time.NewTimer(g.tuning.quiet)
		select {
		case <-g.ctx.Done():
			quiet.Stop()
			return false
		case <-g.table.changed:
			quiet.Stop()
		case <-quiet.C:
			return true
		case <-latest.C:
			quiet.Stop()
			return true
		}
	}
}

const (
	// maxClashes bounds the pairs of addresses that are watched.
	maxClashes = 64
	// clashForgotten is how long a clash must rest to be a new one.
	clashForgotten = time.Minute
)

// Conflict is one identity at two addresses: two nodes with a copied state directory, mostly a cloned SD card.
type Conflict struct {
	ID          roster.ID
	Here, There string // host:port of membership: where this agent knows it, and the other
	Later       bool   // it is this agent's own identity, and the agent at There has run for longer: this one must stop
}

// clashes tells a conflict from an agent that was restarted at another address, of which old news goes round for a few
// seconds: a clash counts when it goes on.
type clashes struct {
	after time.Duration // for how long
	seen  map[Conflict]*clash
}

type clash struct {
	first, last time.Time
	reported    bool
}

// see notes a clash and says whether it is now known for a conflict; each is reported once, until it rests.
func (c *clashes) see(now time.Time, conflict Conflict) bool {
	if c.seen == nil {
		c.seen = map[Conflict]*clash{}
	}
	for key, old := range c.seen {
		if now.Sub(old.last) > clashForgotten {
			delete(c.seen, key)
		}
	}
	known := c.seen[conflict]
	if known == nil {
		if len(c.seen) < maxClashes {
			c.seen[conflict] = &clash{first: now, last: now}
		}
		return false
	}
	known.last = now
	if known.reported || now.Sub(known.first) < c.after {
		return false
	}
	known.reported = true
	return true
}
