package agent

import (
	"testing"

	"shoal/gossip/roster"
)

// Only rounds in a row in which all who took part diverged count.
func TestDivergenceCounts(t *testing.T) {
	diverged, paused := errDiverged.Error(), "paused"
	record := func(round uint64, shares int, reasons ...string) roster.Record {
		r := roster.Record{Round: round, Roster: roster.Roster{Members: []roster.ID{"a", "b", "c"}}}
		r.Shares = make([]roster.Share, shares)
		for i, why := range reasons {
			r.Missing = append(r.Missing, roster.Absence{ID: r.Roster.Members[i], Reason: why})
		}
		return r
	}
	all := func(round uint64) roster.Record { return record(round, 0, diverged, diverged, diverged) }
	gone := all(3)
	gone.Missing = append(gone.Missing, roster.Absence{ID: "x", Reason: "not alive"})
	tests := []struct {
		name    string
		records []roster.Record
		want    int
	}{
		{"two in a row", []roster.Record{all(1), all(2)}, 2},
		{"one that is dead does not matter", []roster.Record{all(2), gone}, 2},
		{"a newcomer brought nothing anyway", []roster.Record{record(1, 0, diverged, diverged)}, 1},
		{"somebody contributed", []roster.Record{all(1), record(2, 1, diverged, diverged), all(3)}, 1},
		{"somebody is paused", []roster.Record{all(1), record(2, 0, diverged, paused, diverged)}, 0},
		{"all are paused", []roster.Record{record(1, 0, paused, paused, paused)}, 0},
		{"a round was not seen", []roster.Record{all(1), all(3)}, 1},
	}
	for _, test := range tests {
		var d divergence
		for _, r := range test.records {
			d.see(r)
		}
		if d.rounds != test.want {
			t.Errorf("%s: %d rounds in a row, want %d", test.name, d.rounds, test.want)
		}
	}
}
