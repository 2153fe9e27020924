package roster

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
)

// Record is one committed round: what the shared state is, and how it came about. Two members that committed the same
// round of one lineage hold equal Hash.
type Record struct {
	Round   uint64       `json:"round"` // 0: the formation of the roster, before any training
	Hash    string       `json:"hash"`  // SHA-256 of the shared state after the round
	Lineage string       `json:"lineage"`
	Ballot  Ballot       `json:"ballot"`            // under which it was reduced; a later one may have committed it
	Roster  Roster       `json:"roster"`            // for the next round
	Shares  []Share      `json:"shares,omitempty"`  // whose samples entered this round's mean
	Missing []Absence    `json:"missing,omitempty"` // who was expected and did not enter it
	Samples map[ID]int64 `json:"samples,omitempty"` // version vector: samples of each member in the state since the start
	Work    map[ID]int64 `json:"work,omitempty"`    // the last piece of work of each member in the state
}

// Share is what one member contributed to a mean.
type Share struct {
	ID      ID      `json:"id"`
	Samples int64   `json:"samples"`
	Work    int64   `json:"work"`           // names the piece of work: no two of a member have one name
	Norm    float64 `json:"norm,omitempty"` // L2 norm of what the work changed; 0: not known
}

// Absence is a member that was left out of a round, and the rule that left it out. By is the member that it lost against,
// if its own word or another's decided: of two that blame each other's doing only one can stay. Waited says that the others
// waited for it in vain; one without a place in the last roster is listed only then.
type Absence struct {
	ID     ID     `json:"id"`
	Reason string `json:"reason"`
	By     ID     `json:"by,omitempty"`
	Waited bool   `json:"waited,omitempty"`
}

// total is the number of samples in the record's state.
func (r Record) total() int64 {
	var sum int64
	for _, n := range r.Samples {
		sum += n
	}
	return sum
}

// Ahead reports whether r supersedes o: the one with more samples does, of equal ones the later round, then the smaller
// lineage, then the smaller hash; any record supersedes none.
//
// Invariant: it is a strict total order, and what a member commits is ahead of what it committed before. So a member never
// comes back to a record that it left, and what it promised on top of that one need not be kept.
func (r Record) Ahead(o Record) bool {
	if r.Hash == "" || o.Hash == "" {
		return r.Hash != "" && o.Hash == ""
	}
	return cmp.Or(cmp.Compare(r.total(), o.total()), cmp.Compare(r.Round, o.Round), cmp.Compare(o.Lineage, r.Lineage),
		cmp.Compare(o.Hash, r.Hash)) > 0
}

// prepared is the outcome of reducing what the members bring.
func (s Settled) prepared(b Ballot, hash string) Prepared {
	p := Prepared{Ballot: b, Origin: b, Hash: hash, Lineage: s.Lineage, Roster: s.Roster, Missing: s.Missing}
	for i, id := range s.Roster.Members {
		if n := s.Samples[i]; n > 0 {
			p.Shares = append(p.Shares, Share{id, n, s.Work[i], s.Norms[i]})
		}
	}
	return p
}

// successor is the record that follows last when p is committed. It rests on p and last alone, not on the ballot that
// commits, so that all who commit p hold the same record.
func successor(last Record, p Prepared) Record {
	samples, work := maps.Clone(last.Samples), maps.Clone(last.Work)
	if samples == nil {
		samples = map[ID]int64{}
	}
	if work == nil {
		work = map[ID]int64{}
	}
	for _, share := range p.Shares {
		samples[share.ID] += share.Samples
		work[share.ID] = share.Work
	}
	return Record{
		Round: p.Ballot.Round, Hash: p.Hash, Lineage: p.Lineage, Ballot: p.Origin,
		Shares: p.Shares, Missing: p.Missing, Samples: samples, Work: work, Roster: p.Roster,
	}
}

// nextRoster is the roster of members after last: a new generation if anyone came or went.
func nextRoster(last Roster, members []ID) Roster {
	if slices.Equal(members, last.Members) {
		return last
	}
	return Roster{Generation: last.Generation + 1, Members: members}
}

// majority reports whether members can rule out that others of the last roster go on without them: they hold more than
// half of it, or exactly half with the first of it. Any two majorities of a roster share a member. Those that left on
// purpose still count: what one of them committed just before is not known here.
func majority(last Roster, members []ID) bool {
	here := 0
	for _, id := range last.Members {
		if slices.Contains(members, id) {
			here++
		}
	}
	return 2*here > last.Size() || 2*here == last.Size() && here > 0 && slices.Contains(members, last.Members[0])
}

// nextLineage is the lineage of what members reduce after last. A majority keeps it; otherwise it is a new name, which the
// ballot makes unique, so that both sides of a partition tell each other apart.
func nextLineage(last Record, ballot Ballot, members []ID) string {
	switch {
	case last.Lineage == "":
		return digest("genesis", ballot, members)
	case majority(last.Roster, members):
		return last.Lineage
	}
	return digest(last.Lineage, ballot, members)
}

// prepared is the state that a ballot must adopt: of the latest ballot anyone stored one for, the hash that most hold,
// and of equally many the smallest; with its holders, sorted.
func prepared(answers map[ID]Message) (*Prepared, []ID) {
	var best *Prepared
	holders := map[string][]ID{}
	for _, id := range slices.Sorted(maps.Keys(answers)) {
		p := answers[id].Prepared
		if p == nil {
			continue
		}
		holders[p.Hash] = append(holders[p.Hash], id)
	}
	for _, id := range slices.Sorted(maps.Keys(answers)) {
		p := answers[id].Prepared
		if p == nil {
			continue
		}
		order := 1
		if best != nil {
			order = p.Ballot.Compare(best.Ballot)
		}
		more := best != nil && len(holders[p.Hash])-len(holders[best.Hash]) > 0
		if order > 0 || order == 0 && p.Hash != best.Hash && (more || len(holders[p.Hash]) == len(holders[best.Hash]) && p.Hash < best.Hash) {
			best = p
		}
	}
	if best == nil {
		return nil, nil
	}
	return best, holders[best.Hash]
}

// adoption is what the settled members commit of p, which was prepared after last in an earlier ballot: p unchanged, so
// that whoever committed it already holds the same record. Only if the members are no majority of those who could have
// committed it, it is born again under a new name.
func adoption(last Record, p Prepared, b Ballot, s Settled) Prepared {
	voters := last.Roster
	if p.Lineage != last.Lineage {
		voters = p.Roster
	}
	if !majority(voters, s.Roster.Members) {
		p.Lineage, p.Roster = digest(last.Lineage, b, s.Roster.Members), s.Roster
	}
	return p
}

// digest is the name of a lineage: 16 hexadecimal digits.
func digest(from string, ballot Ballot, members []ID) string {
	h := sha256.New()
	h.Write([]byte(from + "\x00" + ballot.String()))
	for _, id := range members {
		h.Write([]byte("\x00" + string(id)))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
