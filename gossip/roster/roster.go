package roster

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// ID names a member: its libp2p peer ID in text form. The roster never looks inside.
type ID string

// Roster is the ordered list of members fixed for whole rounds: a decision, not an opinion.
// The zero Roster has no members and generation 0.
type Roster struct {
	Generation uint64 `json:"generation"` // +1 per change of Members
	Members    []ID   `json:"members"`    // sorted, distinct
}

// Size is the number of members.
func (r Roster) Size() int { return len(r.Members) }

// Rank is the place of id in the roster, [0, Size), and whether it has one.
func (r Roster) Rank(id ID) (int, bool) { return slices.BinarySearch(r.Members, id) }

// Ballot numbers one attempt to finish a round. Ballots are ordered by round, then view, then coordinator.
type Ballot struct {
	Round       uint64 `json:"round"`
	View        uint64 `json:"view"` // raised by every new coordinator and never reset, so that no ballot comes twice
	Coordinator ID     `json:"coordinator"`
}

// Compare is -1, 0 or +1 as b comes before, with or after o.
func (b Ballot) Compare(o Ballot) int {
	return cmp.Or(cmp.Compare(b.Round, o.Round), cmp.Compare(b.View, o.View), cmp.Compare(b.Coordinator, o.Coordinator))
}

// String is the ballot as logs and errors show it: round.view@coordinator.
func (b Ballot) String() string { return fmt.Sprintf("%d.%d@%s", b.Round, b.View, b.Coordinator) }

// Tag says to which attempt of which history a frame belongs. A receiver refuses a frame of another tag by name.
type Tag struct {
	Lineage    string `json:"lineage"`
	Generation uint64 `json:"generation"`
	Ballot     Ballot `json:"ballot"`
}

// Rendezvous returns ids ordered by highest random weight for key ([Thaler1998]): every member computes the same order,
// and taking one id away leaves the order of the others. It does not change ids.
func Rendezvous(key string, ids []ID) []ID {
	type scored struct {
		id    ID
		score uint64
	}
	scores := make([]scored, len(ids))
	for i, id := range ids {
		sum := sha256.Sum256([]byte(key + "\x00" + string(id)))
		scores[i] = scored{id, binary.BigEndian.Uint64(sum[:])}
	}
	slices.SortFunc(scores, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id))
	})
	order := make([]ID, len(ids))
	for i, s := range scores {
		order[i] = s.id
	}
	return order
}
