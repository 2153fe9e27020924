package roster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func record(lineage string, round uint64, samples int64, hash string) Record {
	return Record{Lineage: lineage, Round: round, Hash: hash, Samples: map[ID]int64{"a": samples}, Roster: Roster{1, []ID{"a"}}}
}

func TestAheadIsAStrictTotalOrder(t *testing.T) {
	records := []Record{{}}
	for _, lineage := range []string{"l1", "l2"} {
		for round := range uint64(3) {
			for _, samples := range []int64{0, 1, 7} {
				for _, hash := range []string{"h1", "h2"} {
					records = append(records, record(lineage, round, samples, hash))
				}
			}
		}
	}
	for i, a := range records {
		for j, b := range records {
			if ahead, behind := a.Ahead(b), b.Ahead(a); (i == j) == (ahead != behind) {
				t.Errorf("%+v and %+v: ahead %v, behind %v", a, b, ahead, behind)
			}
			for _, c := range records {
				if a.Ahead(b) && b.Ahead(c) && !a.Ahead(c) {
					t.Errorf("not transitive: %+v, %+v, %+v", a, b, c)
				}
			}
		}
	}
}

func TestAheadPrefers(t *testing.T) {
	tests := []struct {
		name  string
		ahead Record
		of    Record
	}{
		{"any record to none", record("l", 0, 0, "h"), Record{}},
		{"the later round of a lineage", record("l", 2, 9, "h"), record("l", 1, 5, "h")},
		{"the later round, if nobody trained", record("l", 2, 5, "h"), record("l", 1, 5, "h")},
		{"more samples to more rounds", record("m", 3, 50, "h"), record("l", 9, 49, "h")},
		{"the smaller lineage of equals", record("l", 3, 50, "h"), record("m", 3, 50, "h")},
		{"the smaller hash of equals", record("l", 3, 50, "g"), record("l", 3, 50, "h")},
	}
	for _, test := range tests {
		if !test.ahead.Ahead(test.of) || test.of.Ahead(test.ahead) {
			t.Errorf("%s: %v is not ahead of %v", test.name, test.ahead, test.of)
		}
	}
}

// subset is the members of ids whose bit is set.
func subset(ids []ID, bits int) []ID {
	var s []ID
	for i, id := range ids {
		if bits>>i&1 == 1 {
			s = append(s, id)
		}
	}
	return s
}

func TestAnyTwoMajoritiesShareAMember(t *testing.T) {
	ids := []ID{"a", "b", "c", "d", "e", "f"}
	for size := 1; size <= len(ids); size++ {
		last := Roster{1, ids[:size]}
		for x := range 1 << size {
			members := subset(last.Members, x)
			if majority(last, members) == majority(last, subset(last.Members, 1<<size-1-x)) {
				t.Errorf("of %v both %v and the others hold a majority, or neither", last.Members, members)
			}
			if joined := append(slices.Clone(members), "x", "y", "z"); majority(last, joined) != majority(last, members) {
				t.Errorf("of %v newcomers change whether %v are a majority", last.Members, members)
			}
		}
	}
	if majority(Roster{}, []ID{"a"}) {
		t.Error("a majority of nobody")
	}
}

func TestNextLineage(t *testing.T) {
	last := Record{Hash: "h", Lineage: "l", Roster: Roster{3, []ID{"a", "b", "c", "d"}}}
	tests := []struct {
		name    string
		members []ID
		keeps   bool
	}{
		{"all", []ID{"a", "b", "c", "d"}, true},
		{"three", []ID{"b", "c", "d"}, true},
		{"half with the first", []ID{"a", "d"}, true},
		{"half without the first", []ID{"b", "c"}, false},
		{"one", []ID{"a"}, false},
		{"newcomers do not count", []ID{"d", "x", "y", "z"}, false},
	}
	for _, test := range tests {
		b := Ballot{4, 1, test.members[0]}
		if got := nextLineage(last, b, test.members); (got == "l") != test.keeps {
			t.Errorf("%s: %v get lineage %s after l", test.name, test.members, got)
		}
	}
	one, two := nextLineage(last, Ballot{4, 1, "b"}, []ID{"b"}), nextLineage(last, Ballot{4, 2, "b"}, []ID{"b"})
	if one == two || len(one) != 16 {
		t.Errorf("two ballots name lineages %s and %s", one, two)
	}
	if a, b := nextLineage(Record{}, Ballot{0, 1, "a"}, []ID{"a"}), nextLineage(Record{}, Ballot{0, 1, "b"}, []ID{"b"}); a == b {
		t.Errorf("two formations share the lineage %s", a)
	}
}

// TestAdoptionKeepsWhatMayBeCommitted holds that a prepared value is committed as it is, so that two ballots that commit it
// leave equal records; only a minority must not speak for the lineage.
func TestAdoptionKeepsWhatMayBeCommitted(t *testing.T) {
	last := Record{Hash: "g", Lineage: "l", Roster: Roster{1, []ID{"a", "b", "c"}}, Samples: map[ID]int64{"a": 1}}
	p := Prepared{Ballot: Ballot{2, 1, "a"}, Origin: Ballot{2, 1, "a"}, Hash: "h", Lineage: "l", Roster: last.Roster, Shares: []Share{{"a", 5, 77, 0.5}}}
	b := Ballot{2, 2, "b"}
	most, few := Settled{Roster: Roster{2, []ID{"b", "c"}}, Lineage: "l"}, Settled{Roster: Roster{2, []ID{"c", "x"}}, Lineage: "new"}
	if got, want := successor(last, adoption(last, p, b, most)), successor(last, p); !sameRecord(got, want) || got.Lineage != "l" || got.Ballot != want.Ballot {
		t.Errorf("a majority commits %+v instead of %+v", got, want)
	}
	if got := successor(last, adoption(last, p, b, few)); got.Lineage == "l" || got.Hash != "h" || got.Samples["a"] != 6 || got.Work["a"] != 77 || got.Ballot != p.Origin || got.Roster.Size() != 2 {
		t.Errorf("a minority commits %+v", got)
	}
	p.Lineage, p.Roster = "other", Roster{2, []ID{"c", "x", "y"}}
	if got := adoption(last, p, b, few); got.Lineage != "other" || got.Origin != p.Origin || got.Roster.Size() != 3 {
		t.Errorf("most of those who hold a value of another lineage make it %+v", got)
	}
	if got := adoption(last, p, b, most); got.Lineage == "l" || got.Roster.Size() != 2 || got.Roster.Members[0] != "b" {
		t.Errorf("most of the last roster make a value of another lineage %+v", got)
	}
	if last.Samples["a"] != 1 {
		t.Error("the last record was changed")
	}
}

func TestNextRosterCountsChanges(t *testing.T) {
	last := Roster{4, []ID{"a", "b"}}
	if got := nextRoster(last, []ID{"a", "b"}); got.Generation != 4 {
		t.Errorf("the same members are generation %d", got.Generation)
	}
	if got := nextRoster(last, []ID{"a", "c"}); got.Generation != 5 || !slices.Equal(got.Members, []ID{"a", "c"}) {
		t.Errorf("other members are %+v", got)
	}
}

func TestRendezvousKeepsTheOrderOfTheOthers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	first := map[ID]int{}
	for n := range 300 {
		var ids []ID
		for i := range 1 + n%7 {
			ids = append(ids, ID(fmt.Sprint("m", i)))
		}
		key, given := fmt.Sprint("key", n), slices.Clone(ids)
		order := Rendezvous(key, ids)
		if !slices.Equal(ids, given) {
			t.Fatal("the argument was changed")
		}
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, ids) {
			t.Fatalf("%v became %v", ids, order)
		}
		rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		if again := Rendezvous(key, ids); !slices.Equal(again, order) {
			t.Fatalf("the order given matters: %v and %v", order, again)
		}
		gone := order[rng.IntN(len(order))]
		without := slices.DeleteFunc(slices.Clone(order), func(id ID) bool { return id == gone })
		if got := Rendezvous(key, slices.DeleteFunc(ids, func(id ID) bool { return id == gone })); !slices.Equal(got, without) {
			t.Fatalf("without %s the order is %v, not %v", gone, got, without)
		}
		first[order[0]]++
	}
	if len(Rendezvous("key", nil)) != 0 {
		t.Error("an order of nobody")
	}
	if first["m0"] > 200 {
		t.Errorf("the first is not spread: %v", first)
	}
}

func TestPatience(t *testing.T) {
	s := time.Second
	tests := []struct {
		name    string
		own     time.Duration
		history []time.Duration
		want    time.Duration
	}{
		{"nothing observed", 4 * s, nil, 8 * s},
		{"members that did not train say nothing", 4 * s, []time.Duration{0, 0}, 8 * s},
		{"all alike", 10 * s, []time.Duration{10 * s, 10 * s, 10 * s}, 5 * s},
		{"a fast member waits for the median", 2 * s, []time.Duration{10 * s, 10 * s, 10 * s}, 8 * s},
		{"and for the spread", 10 * s, []time.Duration{9 * s, 10 * s, 11 * s}, 6 * s},
		{"one straggler does not stretch it", 10 * s, []time.Duration{10 * s, 10 * s, 10 * s, 10 * s, 600 * s}, 5 * s},
		{"a straggler itself waits half its time", 60 * s, []time.Duration{10 * s, 10 * s, 10 * s}, 30 * s},
	}
	for _, test := range tests {
		if got := Patience(test.own, test.history); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestBallotsAreOrdered(t *testing.T) {
	order := []Ballot{{}, {0, 1, "b"}, {0, 2, "a"}, {1, 0, "a"}, {1, 0, "b"}, {1, 3, "a"}, {2, 0, ""}}
	for i, a := range order {
		for j, b := range order {
			if got := a.Compare(b); got != map[bool]int{true: 0, false: 1}[i == j]*map[bool]int{true: -1, false: 1}[i < j] {
				t.Errorf("%v to %v: %d", a, b, got)
			}
		}
	}
	if got := (Ballot{7, 2, "a"}).String(); got != "7.2@a" {
		t.Error(got)
	}
}

func TestPreparedChooses(t *testing.T) {
	p := func(view uint64, hash string) Message {
		return Message{Prepared: &Prepared{Ballot: Ballot{3, view, "c"}, Hash: hash}}
	}
	tests := []struct {
		name    string
		answers map[ID]Message
		hash    string
		holders []ID
	}{
		{"nothing", map[ID]Message{"a": {}, "b": {}}, "", nil},
		{"the only one", map[ID]Message{"a": {}, "b": p(1, "x")}, "x", []ID{"b"}},
		{"the latest ballot", map[ID]Message{"a": p(1, "x"), "b": p(2, "y"), "c": p(1, "x")}, "y", []ID{"b"}},
		{"what most hold", map[ID]Message{"a": p(1, "x"), "b": p(1, "y"), "c": p(1, "y")}, "y", []ID{"b", "c"}},
		{"the smallest of equals", map[ID]Message{"a": p(1, "y"), "b": p(1, "x")}, "x", []ID{"b"}},
		{"who holds it from an earlier ballot too", map[ID]Message{"a": p(1, "x"), "b": p(2, "x")}, "x", []ID{"a", "b"}},
	}
	for _, test := range tests {
		got, holders := prepared(test.answers)
		if hash := map[bool]string{true: ""}[got == nil]; got != nil && got.Hash != test.hash || got == nil && hash != test.hash || !slices.Equal(holders, test.holders) {
			t.Errorf("%s: %+v of %v", test.name, got, holders)
		}
	}
}

func TestValidateNamesEachFault(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{Count: 0, Steps: -1, Expect: 1, MinMembers: 2, Form: 0, Backoff: 0, Gather: 0, Deadline: -1}
	err := bad.Validate()
	if err == nil {
		t.Fatal("nothing is wrong with it")
	}
	for _, key := range []string{"count", "steps", "expect", "form", "backoff", "gather", "deadline"} {
		if !containsLine(err.Error(), key+":") {
			t.Errorf("no word of %s in %q", key, err)
		}
	}
}
