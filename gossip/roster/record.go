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
	Ballot  Ballot       `json:"ballot"`            // under which it was committed
	Roster  Roster       `json:"roster"`            // for the next round
	Shares  []Share      `json:"shares,omitempty"`  // whose samples entered this round's mean
	Missing []Absence    `json:"missing,omitempty"` // who was expected and did not enter it
	Samples map[ID]int64 `json:"samples,omitempty"` // version vector: samples of each member in the state since the start
}

// Share is what one member contributed to a mean.
type Share struct {
	ID      ID    `json:"id"`
	Samples int64 `json:"samples"`
}

// Absence is a member that was left out of a round, and the rule that left it out.
type Absence struct {
	ID     ID     `json:"id"`
	Reason string `json:"reason"`
}

// total is the number of samples in the record's state.
func (r Record) total() int64 {
	var sum int64
	for _, n := range r.Samples {
		sum += n
	}
	return sum
}

// Ahead reports whether r supersedes o: in one lineage the later round does, and of one round the later ballot; between
// lineages the one with more samples does, and of equal ones the smaller name, so that all members choose alike.
func (r Record) Ahead(o Record) bool {
	if r.Hash == "" || o.Hash == "" {
		return r.Hash != ""
	}
	if r.Lineage == o.Lineage {
		if r.Round != o.Round || r.Hash == o.Hash {
			return cmp.Or(cmp.Compare(r.Round, o.Round), r.Ballot.Compare(o.Ballot)) > 0
		}
	}
	return cmp.Or(cmp.Compare(r.total(), o.total()), cmp.Compare(o.Lineage, r.Lineage), cmp.Compare(o.Hash, r.Hash)) > 0
}

// successor is the record that follows last when the settled members commit what they prepared.
func successor(last Record, p Prepared, s Settled) Record {
	samples := maps.Clone(last.Samples)
	if samples == nil {
		samples = map[ID]int64{}
	}
	for _, share := range p.Shares {
		samples[share.ID] += share.Samples
	}
	return Record{
		Round: p.Ballot.Round, Hash: p.Hash, Lineage: p.Lineage, Ballot: p.Ballot,
		Shares: p.Shares, Missing: p.Missing, Samples: samples, Roster: s.Roster,
	}
}

// nextRoster is the roster of members after last: a new generation if anyone came or went.
func nextRoster(last Roster, members []ID) Roster {
	if slices.Equal(members, last.Members) {
		return last
	}
	return Roster{Generation: last.Generation + 1, Members: members}
}

// nextLineage is the lineage of the round that members commit after last. It stays while the members that are left can
// rule out that others of the last roster go on without them: they hold more than half of those that did not say
// goodbye (departed), or exactly half with the first of them. Otherwise it is a new name that both sides of a partition form apart.
func nextLineage(last Record, ballot Ballot, members, departed []ID) string {
	if last.Lineage == "" {
		return digest("genesis", ballot, members)
	}
	var rest []ID
	for _, id := range last.Roster.Members {
		if !slices.Contains(departed, id) || slices.Contains(members, id) {
			rest = append(rest, id)
		}
	}
	here := 0
	for _, id := range rest {
		if slices.Contains(members, id) {
			here++
		}
	}
	first := len(rest) > 0 && slices.Contains(members, rest[0])
	if 2*here > len(rest) || 2*here == len(rest) && (first || len(rest) == 0) {
		return last.Lineage
	}
	return digest(last.Lineage, ballot, members)
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
