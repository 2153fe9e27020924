package gossip

import (
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/gossip/roster"
)

// maxJoins bounds the members that are contacted at once.
const maxJoins = 8

// KeyError says that a seed has another cluster key, or none.
type KeyError struct {
	Addr string
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("join %s: the cluster key differs from the one there; copy the key file of a member to this node", e.Addr)
}

// rejoin contacts seeds, and members that died: memberlist never does by itself, so that two sides of a partition of
// more than a few minutes would stay apart for ever. Until the first contact it tries soon and then ever more rarely.
func (g *Gossip) rejoin() {
	defer g.remember()
	told := map[string]string{} // what was said of an address last
	for pause := g.tuning.rejoinFirst; ; pause = min(2*pause, g.tuning.rejoinEvery) {
		for addr, problem := range g.join(g.targets()) {
			g.report(told, addr, problem)
		}
		if len(g.table.live()) > 0 {
			pause = g.tuning.rejoinEvery
		}
		g.remember()
		timer := time.NewTimer(pause)
		select {
		case <-g.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// targets is whom to contact: seeds that are not known to live here, and the dead; and who was known in an earlier life
// as long as this agent is alone.
func (g *Gossip) targets() []string {
	live := g.table.live()
	targets := slices.Concat(g.seeds, g.table.dead())
	if len(live) == 0 {
		targets = append(targets, g.memory.Peers...)
	}
	slices.Sort(targets)
	return slices.DeleteFunc(slices.Compact(targets), func(addr string) bool {
		return addr == g.addr || slices.Contains(live, addr)
	})
}

// join contacts every target and returns what went wrong, nil where nothing did.
func (g *Gossip) join(targets []string) map[string]error {
	errs := make([]error, len(targets))
	var joins errgroup.Group
	joins.SetLimit(maxJoins)
	for i, addr := range targets {
		joins.Go(func() error {
			if g.ctx.Err() == nil {
				_, errs[i] = g.list.Join([]string{addr})
			}
			return nil
		})
	}
	_ = joins.Wait() // errors are in errs
	problems := map[string]error{}
	for i, addr := range targets {
		problems[addr] = errs[i]
	}
	return problems
}

// report logs what is new of an address, and publishes that its key differs.
func (g *Gossip) report(told map[string]string, addr string, problem error) {
	if problem == nil || g.ctx.Err() != nil {
		delete(told, addr)
		return
	}
	text := strings.Join(strings.Fields(problem.Error()), " ")
	if otherKey(text) {
		problem = &KeyError{addr}
		text = problem.Error()
	}
	if told[addr] == text {
		return
	}
	if len(told) < maxMembers {
		told[addr] = text
	}
	if _, ok := problem.(*KeyError); ok {
		offer(g.refused, problem)
	}
	g.log.Printf("[WARN] gossip: join %s: %s", addr, text)
}

// otherKey tells memberlist's errors of a wrong or missing key; it has no values for them.
func otherKey(text string) bool {
	return strings.Contains(text, "no installed keys could decrypt") ||
		strings.Contains(text, "remote state is encrypted and encryption is not configured") ||
		strings.Contains(text, "encryption is configured but remote state is not encrypted")
}

// newLogger passes on memberlist's lines from INFO up, and reads off them what no delegate tells: that a probe failed.
func newLogger(out io.Writer, t *table) *log.Logger { return log.New(&tap{out, t}, "", 0) }

type tap struct {
	out   io.Writer
	table *table
}

// Write gets one line; log.Logger lets one in at a time.
func (t *tap) Write(line []byte) (int, error) {
	if id, ok := suspected(string(line)); ok {
		t.table.suspect(id)
	}
	if strings.HasPrefix(string(line), "[DEBUG]") {
		return len(line), nil
	}
	return t.out.Write(line)
}

// suspected reads the line "[INFO] memberlist: Suspect NAME has failed, no acks received".
func suspected(line string) (roster.ID, bool) {
	rest, ok := strings.CutPrefix(line, "[INFO] memberlist: Suspect ")
	if !ok {
		return "", false
	}
	name, ok := strings.CutSuffix(strings.TrimSpace(rest), " has failed, no acks received")
	return roster.ID(name), ok
}
