package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"shoal/eval"
	"shoal/gossip/roster"
)

// Ledger is what one agent left of a run.
type Ledger struct {
	Name    string
	Commits []eval.Commit // its journal's
	Last    roster.Record // as it keeps it
	Report  eval.Report   // zero if the agent did not come to the run's end
}

// Judge says what is wrong with the ledgers of agents that went through a run of so many rounds together:
//
//   - a round of one lineage has two hashes, in any two journals
//   - somebody is missing and no reason is given
//   - an agent lacks a round, or ended with another state than the first
//   - a member's samples in the final state are not the sum of its contributions to the rounds that led to it
func Judge(rounds int, ledgers ...Ledger) error {
	var errs []error
	blame := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, Forks(ledgers...))
	for _, l := range ledgers {
		if l.Last.Hash != ledgers[0].Last.Hash || l.Last.Hash == "" {
			blame("%s ended with state %.12s of round %d, %s with %.12s", l.Name, l.Last.Hash, l.Last.Round, ledgers[0].Name, ledgers[0].Last.Hash)
		}
		if l.Last.Round != uint64(rounds) {
			blame("%s ended with round %d of %d", l.Name, l.Last.Round, rounds)
		}
		known := map[int]bool{}
		for _, c := range l.Commits {
			known[c.Round] = true
			for _, m := range c.Missing {
				if m.Reason == "" {
					blame("%s, round %d: no reason why %s is missing", l.Name, c.Round, m.ID)
				}
			}
		}
		for round := 1; round <= rounds; round++ {
			if !known[round] {
				blame("%s does not know of round %d", l.Name, round)
			}
		}
		errs = append(errs, counted(l))
	}
	return errors.Join(errs...)
}

// Forks reports rounds of one lineage with two hashes.
func Forks(ledgers ...Ledger) error {
	type key struct {
		lineage string
		round   int
	}
	type seen struct{ hash, by string }
	var errs []error
	first := map[key]seen{}
	for _, l := range ledgers {
		for _, c := range l.Commits {
			k := key{c.Lineage, c.Round}
			was, known := first[k]
			if !known {
				first[k] = seen{c.StateHash, l.Name}
			} else if was.hash != c.StateHash {
				errs = append(errs, fmt.Errorf("round %d of lineage %s is %.12s in the journal of %s and %.12s in that of %s",
					c.Round, c.Lineage, was.hash, was.by, c.StateHash, l.Name))
			}
		}
	}
	return errors.Join(errs...)
}

// counted compares the samples of the last record with the contributions to the rounds before it. Of a round that two
// lineages have, the report says which led to the final state; where there were more lineages it cannot always know.
func counted(l Ledger) error {
	lineages := map[string]bool{}
	for _, c := range l.Commits {
		lineages[c.Lineage] = true
	}
	if len(lineages) > 2 {
		return nil
	}
	sum := map[roster.ID]int64{}
	for _, row := range eval.Assemble(l.Commits, nil, []eval.AgentSummary{{ModelHash: l.Last.Hash}}).Rows {
		if row.Aside || row.Round > int(l.Last.Round) {
			continue
		}
		for _, c := range row.Contributors {
			sum[c.ID] += c.Samples
		}
	}
	var errs []error
	for _, id := range slices.SortedFunc(maps.Keys(l.Last.Samples), cmp.Compare) {
		if sum[id] != l.Last.Samples[id] {
			errs = append(errs, fmt.Errorf("%s: the final state holds %d samples of %s, its contributions are %d", l.Name, l.Last.Samples[id], id, sum[id]))
		}
	}
	return errors.Join(errs...)
}

// Shrunk reports what an agent lost from one reading of its last record to a later one: rounds or samples of a lineage,
// or samples in all when it changed its lineage. Nil if nothing.
func Shrunk(before, after roster.Record) error {
	if before.Hash == "" || after.Hash == "" {
		return nil
	}
	if before.Lineage != after.Lineage {
		if !after.Ahead(before) {
			return fmt.Errorf("from round %d of lineage %s to round %d of %s, which holds less", before.Round, before.Lineage, after.Round, after.Lineage)
		}
		return nil
	}
	if after.Round < before.Round {
		return fmt.Errorf("from round %d back to round %d of lineage %s", before.Round, after.Round, after.Lineage)
	}
	for id, n := range before.Samples {
		if after.Samples[id] < n {
			return fmt.Errorf("round %d holds %d samples of %s, round %d held %d", after.Round, after.Samples[id], id, before.Round, n)
		}
	}
	return nil
}

// Lineages are those of the journals, in the order of their first rounds.
func Lineages(ledgers ...Ledger) []string {
	var all []string
	for _, l := range ledgers {
		for _, c := range slices.SortedStableFunc(slices.Values(l.Commits), func(a, b eval.Commit) int { return cmp.Compare(a.Round, b.Round) }) {
			if !slices.Contains(all, c.Lineage) {
				all = append(all, c.Lineage)
			}
		}
	}
	return all
}
