package roster

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// untrained is the hash of the state before any training, in the simulated world.
const untrained = "untrained"

// unit is the work of one training: some samples of one member, which must enter a state once or not at all.
type unit struct {
	member  ID
	number  int
	samples int64
}

func sum(units []unit) int64 {
	var n int64
	for _, u := range units {
		n += u.samples
	}
	return n
}

// ledger is the truth about the world: what every state holds and what was committed. The invariants are asked of it.
type ledger struct {
	w         *world
	units     int
	contents  map[string][]unit // by hash of a state
	committed map[string]Record // by lineage and round
	rounds    map[uint64]string // hash, where no fork is allowed
	stamps    []stamp
	commits   int
	catchups  int
	switches  int
	calmed    time.Duration // from the last fault to the next commit; 0: none came
}

// stamp is one member's commit.
type stamp struct {
	member ID
	at     time.Time
	record Record
}

func newLedger(w *world) ledger {
	return ledger{
		w: w, contents: map[string][]unit{untrained: nil}, committed: map[string]Record{}, rounds: map[uint64]string{},
	}
}

func (l *ledger) unit(id ID, samples int64) unit {
	l.units++
	return unit{id, l.units, samples}
}

// reduce is the state that an exchange yields: a function of where it started and what was brought.
func (l *ledger) reduce(x *exchange) (string, []unit) {
	content := slices.Clone(l.contents[x.base])
	h := sha256.New()
	fmt.Fprintf(h, "%s/%d", x.base, x.tag.Ballot.Round)
	for _, id := range x.roster.Members {
		fmt.Fprintf(h, "/%v", x.parts[id])
		content = append(content, x.parts[id]...)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6]), content
}

// stepped checks what a machine asked for in one step.
func (l *ledger) stepped(n *node, effects []Effect) {
	n.noted = slices.ContainsFunc(effects, func(e Effect) bool {
		note, ok := e.(Note)
		return ok && note.Event == "lineage_changed"
	})
	l.counted(n, effects)
	if wake := n.machine.Wake(); !wake.IsZero() && wake.Before(n.clock(l.w.now)) {
		l.w.violate("%s wants to be woken at %v, in %s", n.id, wake, n.machine.Phase())
	}
}

// commit checks a record that a member makes durable as committed after prev.
func (l *ledger) commit(n *node, prev, r Record) {
	w := l.w
	l.commits++
	if l.calmed == 0 && w.now.After(w.calm) {
		l.calmed = w.now.Sub(w.calm)
	}
	l.stamps = append(l.stamps, stamp{n.id, w.now, r})
	key := fmt.Sprintf("%s/%d", r.Lineage, r.Round)
	if known, ok := l.committed[key]; ok && !sameRecord(known, r) {
		w.violate("agreement: %s commits %+v, but %+v was committed", n.id, r, known)
	}
	if _, known := l.committed[key]; !known {
		l.formed(n, r)
	}
	l.committed[key] = r
	ended := slices.ContainsFunc(w.nodes, func(n *node) bool { return n.ended }) // who knew is gone: others may begin again
	if !w.plan.forks && !ended {
		if hash, ok := l.rounds[r.Round]; ok && hash != r.Hash {
			w.violate("fork: %s commits round %d as %s of %s, but it was %s", n.id, r.Round, r.Hash, r.Lineage, hash)
		}
		l.rounds[r.Round] = r.Hash
	}
	if !r.Ahead(prev) {
		w.violate("monotone: %s goes from %+v to %+v", n.id, prev, r)
	}
	if r.Lineage == prev.Lineage {
		if r.Round <= prev.Round {
			w.violate("monotone: %s goes from round %d to %d", n.id, prev.Round, r.Round)
		}
		for id, samples := range prev.Samples {
			if r.Samples[id] < samples {
				w.violate("lost: %s had %d samples of %s, now %d", n.id, samples, id, r.Samples[id])
			}
		}
	} else if prev.Lineage != "" {
		if l.switches++; !n.noted {
			w.violate("honesty: %s changes from lineage %s to %s and does not say so", n.id, prev.Lineage, r.Lineage)
		}
	}
	l.audit(n, r)
}

// formed checks that a roster is formed by whom the configuration awaits, or late.
func (l *ledger) formed(n *node, r Record) {
	w, from := l.w, l.w.byID[r.Ballot.Coordinator]
	late := func(o *node) bool { // with a moment for rounding
		return o.clock(w.now.Add(time.Millisecond)).Sub(o.clock(o.bootedAt)) >= w.cfg.Form
	}
	all := r.Roster.Size() >= w.cfg.Expect && w.cfg.Expect > 0
	enough := r.Roster.Size() >= w.cfg.MinMembers && (all || late(from) || late(n)) // n: of what from only prepared
	if r.Round == 0 && !enough && from.life == 1 {
		w.violate("formation: %s begins with %v, and %d members are expected", n.id, r.Roster.Members, w.cfg.Expect)
	}
}

func sameRecord(a, b Record) bool {
	return a.Hash == b.Hash && a.Roster.Generation == b.Roster.Generation && slices.Equal(a.Roster.Members, b.Roster.Members) &&
		maps.Equal(a.Samples, b.Samples) && slices.Equal(a.Shares, b.Shares)
}

// audit compares a record with what its state holds.
func (l *ledger) audit(n *node, r Record) {
	content, ok := l.contents[r.Hash]
	if !ok {
		l.w.violate("%s commits %s, which nobody made", n.id, r.Hash)
		return
	}
	vector, seen := map[ID]int64{}, map[int]bool{}
	for _, u := range content {
		if seen[u.number] {
			l.w.violate("twice: the state of round %d holds %+v two times", r.Round, u)
		}
		seen[u.number] = true
		vector[u.member] += u.samples
	}
	said := maps.Clone(r.Samples)
	maps.DeleteFunc(said, func(_ ID, n int64) bool { return n == 0 })
	if !maps.Equal(vector, said) {
		l.w.violate("honesty: round %d says %v and holds %v", r.Round, said, vector)
	}
}

// adopted checks what a member is told about its local work.
func (l *ledger) adopted(n *node, a *Adopt) {
	if !a.Own {
		l.catchups++
	}
	held := 0
	for _, u := range n.local {
		if slices.Contains(l.contents[a.Record.Hash], u) {
			held++
		}
	}
	switch {
	case a.Counted && held < len(n.local):
		l.w.violate("lost: %s is told that its work is in round %d, and %d of %d pieces are", n.id, a.Record.Round, held, len(n.local))
	case !a.Counted && held > 0:
		l.w.violate("twice: %s is to carry over %d pieces that round %d holds", n.id, held, a.Record.Round)
	}
}

// kept checks that the work of a process is in the state it loads or still carried; only a lineage that gives way may
// take committed work with it.
func (l *ledger) kept(n *node, r Record) {
	content := l.contents[r.Hash]
	var made []unit
	for _, u := range n.made {
		gaveWay := r.Lineage != n.lineage && slices.Contains(l.contents[n.base], u)
		switch {
		case slices.Contains(content, u) || slices.Contains(n.local, u):
			made = append(made, u)
		case !gaveWay:
			l.w.violate("lost: %+v is neither in round %d nor carried", u, r.Round)
		}
	}
	n.made = made
}

// norm stands for what the units changed: another number for other units.
func norm(units []unit) float64 {
	var n float64
	for _, u := range units {
		n += math.Sqrt(float64(u.number))
	}
	return n
}
