package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"shoal/gossip"
	"shoal/gossip/collective"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
)

// advice is what a coordinator needs to choose a plan when averaging.plan is auto: the ways between members as they
// measured and told them. The loop owns it. Nothing rests on it but speed: who knows nothing leaves the plan as it is.
type advice struct {
	ways    map[roster.ID]map[roster.ID]way // from, to
	probing bool
	again   time.Time                                                                // for the next probe
	measure func(ctx context.Context, to roster.ID) (alpha, rate float64, err error) // a way from here; nil: nothing is measured
	told    time.Time                                                                // when this agent's own ways were announced
	fresh   bool                                                                     // and some are new since
	changed bool                                                                     // any way, since the last choice
	choice  choice
	chooses bool
}

// way is how one member reaches another, as measured.
type way struct {
	ID    roster.ID `json:"id"`
	Alpha float64   `json:"alpha"`          // seconds, one way
	Rate  float64   `json:"rate,omitempty"` // bytes per second; 0: it could not be measured
	at    time.Time
}

// choice is a plan's text for a roster.
type choice struct {
	members []roster.ID
	text    string
}

// probed is the outcome of a probe.
type probed struct {
	to          roster.ID
	alpha, rate float64
	err         error
}

// errBusy says that a way cannot be measured now.
var errBusy = errors.New("an exchange or another probe is under way")

const (
	// waysKind names an agent's own ways among the announcements.
	waysKind = "ways"
	// maxWays bounds them: what fits into an announcement.
	maxWays = 400
	// probeAfter is when a way is measured again; probePause is between two probes of one agent, and busyPause after one
	// that found an exchange under way: with a thousand probes of 0.6 MB in ten minutes a cluster of 32 spends 1 MB/s.
	probeAfter = 10 * time.Minute
	probePause = 500 * time.Millisecond
	busyPause  = 2 * time.Second
	// waysAtLeast and waysAtMost pace the announcements: soon after something new, and now and then for those who came.
	waysAtLeast = 4 * time.Second
	waysAtMost  = time.Minute
	// maxAlpha and maxWayRate are beyond any network.
	maxAlpha   = 60.0
	maxWayRate = 1e13
	// maxMeasured is what loopback moves at most: a probe that found more was through before its bytes left some buffer.
	maxMeasured = 5e9
	// maxNodeBytes bounds the name of a node in a hello.
	maxNodeBytes = 64
)

// nodeID names this machine and its network, so that agents that reach each other by loopback know it; empty where the
// system does not tell. It is a hash, and says nothing about the machine.
func nodeID() string {
	boot := bootID()
	network, err := os.Readlink("/proc/self/ns/net")
	if boot == "" || err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte("shoal node\x00" + boot + "\x00" + network))
	return hex.EncodeToString(sum[:8])
}

// advise does what time brings for the choice of plans.
func (a *Agent) advise(ctx context.Context, now time.Time) {
	if a.cfg.Averaging.Plan != collective.Auto || a.machine.Last().Hash == "" || a.ending.finished {
		return
	}
	a.probeNext(ctx, now)
	a.tellWays(ctx, now)
	a.chooseFor(a.machine.Last().Roster.Members)
}

// probeNext measures the way to the member of the roster that it is the turn of. Each rank begins with the one after it,
// so that not all measure the same.
func (a *Agent) probeNext(ctx context.Context, now time.Time) {
	w := &a.advice
	if w.measure == nil || w.probing || now.Before(w.again) {
		return
	}
	members := a.machine.Last().Roster.Members
	rank, _ := a.machine.Last().Roster.Rank(a.self())
	for i := range members {
		to := members[(rank+1+i)%len(members)]
		if to == a.self() || !a.isHere(to) {
			continue
		}
		if seen, ok := w.ways[a.self()][to]; ok && now.Sub(seen.at) < probeAfter {
			continue
		}
		w.probing = true
		a.start(func() {
			alpha, rate, err := w.measure(ctx, to)
			a.post(probed{to, alpha, rate, err})
		})
		return
	}
	w.again = now.Add(busyPause)
}

// measureWay measures the way to a peer, unless an exchange is under way, which a probe must not disturb. A segment's
// delay is half a round trip.
func (a *Agent) measureWay(ctx context.Context, to roster.ID) (alpha, rate float64, err error) {
	p, err := a.host.Probe(ctx, to)
	if errors.Is(err, p2p.ErrBusy) {
		err = fmt.Errorf("%w: %w", errBusy, err)
	}
	return min(p.RTT.Seconds()/2, maxAlpha), min(p.BytesPerSecond, maxMeasured), err
}

// tookProbe keeps what a probe found. A way that cannot be measured is not tried again soon.
func (a *Agent) tookProbe(e probed) {
	w, now := &a.advice, time.Now()
	w.probing, w.again = false, now.Add(probePause)
	if errors.Is(e.err, errBusy) {
		w.again = now.Add(busyPause)
		return
	}
	found := way{ID: e.to, Alpha: e.alpha, Rate: e.rate, at: now}
	if e.err != nil {
		a.log.Debug().Str("event", "probe_failed").Str("peer", string(e.to)).Err(e.err).Msg("cannot measure the way to the peer")
		found = way{ID: e.to, at: now}
	} else {
		a.log.Debug().Str("event", "way_measured").Str("peer", string(e.to)).Float64("seconds", e.alpha).Float64("bytes_per_second", e.rate).Msg("measured the way to the peer")
	}
	w.keep(a.self(), found)
	w.fresh = true
}

// keep notes a way from a member.
func (w *advice) keep(from roster.ID, found way) {
	if w.ways == nil {
		w.ways = map[roster.ID]map[roster.ID]way{}
	}
	if w.ways[from] == nil {
		w.ways[from] = map[roster.ID]way{}
	}
	before := w.ways[from][found.ID]
	w.changed = w.changed || before.Rate != found.Rate || before.Alpha != found.Alpha
	w.ways[from][found.ID] = found
}

// tellWays announces this agent's own ways when it is due.
func (a *Agent) tellWays(ctx context.Context, now time.Time) {
	w := &a.advice
	own := w.ways[a.self()]
	due := waysAtMost
	if w.fresh {
		due = waysAtLeast
	}
	if len(own) == 0 || now.Sub(w.told) < due {
		return
	}
	w.told, w.fresh = now, false
	list := make([]way, 0, len(own))
	for _, to := range slices.Sorted(maps.Keys(own)) {
		if x := own[to]; x.Rate > 0 && len(list) < maxWays {
			list = append(list, x)
		}
	}
	a.start(func() {
		body, err := json.Marshal(list)
		if err == nil {
			err = a.announcer.Publish(ctx, waysKind, body)
		}
		if err != nil {
			a.log.Debug().Str("event", "announce_failed").Err(err).Msg("ways not announced")
		}
	})
}

// heardWays takes a member's ways.
func (a *Agent) heardWays(n gossip.Announcement) error {
	list, err := decodeWays(n.Body)
	if err != nil || !a.agrees(n.From) || a.cfg.Averaging.Plan != collective.Auto {
		return err
	}
	for _, x := range list {
		if a.isHere(x.ID) {
			a.advice.keep(n.From, x)
		}
	}
	return nil
}

// decodeWays reads an announcement, and refuses what no agent tells.
func decodeWays(body []byte) ([]way, error) {
	var list []way
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read ways: %w", err)
	}
	if len(list) > maxWays {
		return nil, fmt.Errorf("read ways: %d of them, at most %d", len(list), maxWays)
	}
	for _, x := range list {
		if x.ID == "" || len(x.ID) > maxProgressName || !(x.Alpha >= 0 && x.Alpha <= maxAlpha) || !(x.Rate > 0 && x.Rate <= maxWayRate) {
			return nil, fmt.Errorf("read ways: %v s and %v bytes per second to %.80q", x.Alpha, x.Rate, x.ID)
		}
	}
	return list, nil
}

// planner is the machine's: the text of the plan chosen for a roster, empty if none is yet.
func (a *Agent) planner(r roster.Roster) string {
	if a.cfg.Averaging.Plan == collective.Auto && slices.Equal(a.advice.choice.members, r.Members) {
		return a.advice.choice.text
	}
	return ""
}

// chooseFor finds the plan for a roster anew when it is another one, or ways have changed. That takes a small machine a
// while, so it runs beside the loop.
func (a *Agent) chooseFor(members []roster.ID) {
	w := &a.advice
	if w.chooses || len(members) < 2 || !w.changed && slices.Equal(w.choice.members, members) {
		return
	}
	w.chooses, w.changed = true, false
	maps.DeleteFunc(w.ways, func(from roster.ID, _ map[roster.ID]way) bool { return !a.isHere(from) })
	links, nodes, bytes := w.matrix(members), a.nodes(members), a.wireBytes()
	a.start(func() { a.post(choice{members, collective.Choose(bytes, links, nodes).Encode()}) })
}

// chose takes the outcome.
func (a *Agent) chose(c choice) {
	w := &a.advice
	w.chooses = false
	if c.text != w.choice.text {
		a.log.Info().Str("event", "plan_chosen").Int("size", len(c.members)).Str("plan", c.text).Msg("averages by this plan when it coordinates")
	}
	w.choice = c
}

// matrix is the ways between members, by rank; those that nobody measured are zero. A way that only the other end
// measured is taken for the same.
func (w *advice) matrix(members []roster.ID) collective.Matrix {
	m := make(collective.Matrix, len(members))
	for i, from := range members {
		m[i] = make([]collective.Edge, len(members))
		for j, to := range members {
			x := w.ways[from][to]
			if x.Rate == 0 {
				x = w.ways[to][from]
			}
			m[i][j] = collective.Edge{Alpha: x.Alpha, Rate: x.Rate}
		}
	}
	return m
}

// nodes numbers the machines of members, by rank. Who does not say where it runs is alone there.
func (a *Agent) nodes(members []roster.ID) []int {
	nodes, known := make([]int, len(members)), map[string]int{}
	for i, id := range members {
		name := string(id)
		if at := a.nodeOf(id); at != "" {
			name = "node " + at
		}
		if _, ok := known[name]; !ok {
			known[name] = len(known)
		}
		nodes[i] = known[name]
	}
	return nodes
}

func (a *Agent) nodeOf(id roster.ID) string {
	if id == a.self() {
		return a.node
	}
	if m := a.members[id]; m != nil && len(m.node) <= maxNodeBytes {
		return strings.ToValidUTF8(m.node, "")
	}
	return ""
}

// wireBytes is how many bytes of a vector an exchange moves.
func (a *Agent) wireBytes() int {
	n := len(a.trainer.local())
	switch a.cfg.Averaging.Wire {
	case "fp16":
		return 2 * n
	case "int8":
		return n
	}
	return 4 * n
}
