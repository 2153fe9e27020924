package roster

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func containsLine(text, prefix string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// examples are messages of every kind, complete.
func examples() []Message {
	b := Ballot{3, 2, "b"}
	r := Record{
		Round: 2, Hash: "h2", Lineage: "l", Ballot: Ballot{2, 1, "a"}, Roster: Roster{1, []ID{"a", "b", "c"}},
		Shares: []Share{{"a", 10, 7, 0.5}, {"b", 12, 8, 1.25}}, Missing: []Absence{{"c", "silent", "b", true}}, Samples: map[ID]int64{"a": 20, "b": 24, "c": 9},
		Work: map[ID]int64{"a": 7, "b": 8},
	}
	s := Settled{Roster: r.Roster, Samples: []int64{10, 11, 12}, Work: []int64{1, 2, 3}, Norms: []float64{0, 1.5, 2}, Took: []time.Duration{1, 2, 3}, Plan: "ring", Lineage: "l"}
	p := s.prepared(Ballot{3, 1, "a"}, "h3")
	return []Message{
		{Kind: Ask}, {Kind: Head, Record: &r}, {Kind: Head, Record: &Record{}}, {Kind: Poll, Ballot: b, Record: &r, Cut: true},
		{Kind: Ready, Ballot: b, Samples: 10, Norm: 0.25, Took: time.Second, Blames: []Absence{{ID: "c", Reason: "not finite"}}}, {Kind: Ready, Ballot: b, Prepared: &p},
		{Kind: Busy, Ballot: b, Reason: "training"}, {Kind: Nack, Ballot: b}, {Kind: Begin, Ballot: b, Settled: &s},
		{Kind: Begin, Ballot: b, Settled: &s, Prepared: &p, Holders: []ID{"a"}}, {Kind: Done, Ballot: b, Hash: "h3"},
		{Kind: Abort, Ballot: b, Reason: "broken", Blame: "c"},
	}
}

func TestMessagesCrossTheWire(t *testing.T) {
	for _, m := range examples() {
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(b); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s became %+v, %v", b, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	many := `"` + strings.Repeat(`a","`, MaxMembers+1) + `b"`
	tests := []struct{ name, text, want string }{
		{"nothing", ``, "EOF"},
		{"no message", `[]`, "cannot unmarshal"},
		{"an unknown kind", `{"kind":"kill"}`, "unknown kind"},
		{"an unknown field", `{"kind":"ask","sudo":1}`, "unknown field"},
		{"a second message", `{"kind":"ask"}{"kind":"ask"}`, "more behind"},
		{"a head without a record", `{"kind":"head"}`, "no record"},
		{"a record without a hash", `{"kind":"head","record":{"round":3}}`, "no hash"},
		{"a record of nobody", `{"kind":"head","record":{"hash":"h","lineage":"l"}}`, "no members"},
		{"members twice", `{"kind":"head","record":{"hash":"h","lineage":"l","roster":{"members":["a","a"]}}}`, "sorted and distinct"},
		{"too many members", `{"kind":"head","record":{"hash":"h","lineage":"l","roster":{"members":[` + many + `]}}}`, "limit of 2048"},
		{"negative samples", `{"kind":"ready","samples":-1}`, "-1 samples"},
		{"samples that overflow a sum", `{"kind":"ready","samples":9000000000000000000}`, "9000000000000000000 samples"},
		{"negative samples in a record", `{"kind":"head","record":{"hash":"h","lineage":"l","roster":{"members":["a"]},"samples":{"a":-2}}}`, "-2 samples of a"},
		{"negative shares", `{"kind":"ready","prepared":{"hash":"h","lineage":"l","roster":{"members":["a"]},"shares":[{"id":"a","samples":-2}]}}`, "-2 samples of a"},
		{"a begin without a roster", `{"kind":"begin"}`, "no roster"},
		{"samples that fit no roster", `{"kind":"begin","settled":{"roster":{"members":["a"]},"samples":[1,2],"took":[0]}}`, "1 members, 2 samples"},
		{"a negative norm", `{"kind":"ready","norm":-1}`, "a norm of -1"},
		{"a norm beyond numbers", `{"kind":"ready","norm":1e999}`, "cannot unmarshal"},
		{"a negative norm of a share", `{"kind":"ready","prepared":{"hash":"h","lineage":"l","roster":{"members":["a"]},"shares":[{"id":"a","norm":-2}]}}`, "a norm of -2"},
		{"a roster without norms", `{"kind":"begin","settled":{"roster":{"members":["a"]},"samples":[1],"work":[0],"took":[0]}}`, "0 norms"},
		{"a negative norm in a roster", `{"kind":"begin","settled":{"roster":{"members":["a"]},"samples":[1],"work":[0],"norms":[-3],"took":[0]}}`, "a norm of -3"},
		{"a long plan", `{"kind":"begin","settled":{"roster":{"members":["a"]},"samples":[1],"work":[0],"norms":[1],"took":[0],"plan":"` + strings.Repeat("x", MaxPlanBytes+1) + `"}}`, "limit of 65536"},
		{"everybody blamed", `{"kind":"ready","blames":[` + strings.Repeat(`{"id":"a"},`, maxBlames) + `{"id":"b"}]}`, "limit of 8"},
		{"a long tale", `{"kind":"ready","blames":[{"id":"a","reason":"` + strings.Repeat("x", 201) + `"}]}`, "limit is 200"},
		{"nobody blamed", `{"kind":"ready","blames":[{"id":"","reason":"x"}]}`, "is blamed"},
		{"a negative time", `{"kind":"begin","settled":{"roster":{"members":["a"]},"samples":[1],"work":[0],"norms":[0],"took":[-1]}}`, "out of bounds"},
		{"something to adopt that nobody holds", `{"kind":"begin","settled":{"roster":{"members":["a"]},"samples":[1],"work":[0],"norms":[0],"took":[1]},"prepared":{"hash":"h","lineage":"l","roster":{"members":["a"]}}}`, "nobody holds"},
		{"a done without a hash", `{"kind":"done"}`, "no hash"},
		{"too long", `"` + strings.Repeat("x", MaxMessageBytes) + `"`, "limit of 1048576"},
	}
	for _, test := range tests {
		if m, err := Decode([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v", test.name, m, err)
		}
	}
	if _, err := (Message{Kind: Abort, Reason: strings.Repeat("x", MaxMessageBytes)}).Encode(); err == nil {
		t.Error("a message too long was encoded")
	}
}

// FuzzDecode feeds whatever decodes to machines in every phase of a round: they must neither panic nor send what a peer
// would refuse.
func FuzzDecode(f *testing.F) {
	for _, m := range examples() {
		b, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"kind":"poll","ballot":{"round":3,"view":9,"coordinator":"a"},"record":{"hash":"","roster":{"members":null}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := m.Encode(); err != nil {
			t.Fatalf("%+v does not encode: %v", m, err)
		} else if _, err := Decode(again); err != nil {
			t.Fatalf("%s does not decode again: %v", again, err)
		}
		for phase := range Phases {
			for _, from := range []ID{"a", "c", "stranger"} {
				script := inPhase(phase)
				script.step(Received{from, m})
				script.step(Tick{})
				script.wait(time.Hour)
				script.step(Tick{})
				for _, e := range script.effects {
					if send, ok := e.(Send); ok {
						text, err := send.Message.Encode()
						if err == nil {
							_, err = Decode(text)
						}
						if err != nil {
							t.Fatalf("%v after %s: %v", send, b, err)
						}
					}
				}
			}
		}
	})
}

// Phases is how many stages of a round inPhase knows.
const Phases = 8

// script drives one machine by hand.
type script struct {
	m       *Machine
	now     time.Time
	effects []Effect // of all steps
	last    []Effect // of the last step
}

func newScript(cfg Config, self ID, st Stable) *script {
	return &script{m: NewMachine(cfg, self, untrained, st), now: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (s *script) step(e Event) *script {
	s.last = s.m.Step(s.now, e)
	s.effects = append(s.effects, s.last...)
	return s
}

func (s *script) hear(from ID, m Message) *script { return s.step(Received{from, m}) }

// wait lets time pass, with every tick asked for on the way.
func (s *script) wait(d time.Duration) *script {
	end := s.now.Add(d)
	for range 100_000 {
		wake := s.m.Wake()
		if wake.IsZero() || wake.After(end) {
			break
		}
		if wake.After(s.now) {
			s.now = wake
		}
		s.step(Tick{})
	}
	s.now = end
	return s
}

// settled is a decision that counts so many samples for b.
func (s *script) settled(samples int64) Settled {
	return Settled{
		Roster: placed().Last.Roster, Samples: []int64{5, samples, 7}, Work: []int64{1, s.m.work, 3}, Norms: []float64{1, s.m.norm, 3},
		Took: make([]time.Duration, 3), Lineage: "l",
	}
}

// sent returns what was sent of a kind, in all steps.
func (s *script) sent(kind Kind) []Send {
	var found []Send
	for _, e := range s.effects {
		if send, ok := e.(Send); ok && send.Message.Kind == kind {
			found = append(found, send)
		}
	}
	return found
}

// did returns the last effect of a type, of all steps.
func did[E Effect](s *script) (E, bool) {
	for i := len(s.effects) - 1; i >= 0; i-- {
		if e, ok := s.effects[i].(E); ok {
			return e, true
		}
	}
	var none E
	return none, false
}

// placed is what member b of a, b and c holds after round 2.
func placed() Stable {
	last := *examples()[1].Record
	return Stable{Next: 3, Last: last, Promised: Ballot{2, 1, "a"}}
}

// inPhase is member b of a, b and c, at a stage of round 3.
func inPhase(stage int) *script {
	if stage == 0 {
		return newScript(Defaults(), "b", Stable{}).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}})
	}
	st := placed()
	s := newScript(Defaults(), "b", st).step(Start{}).step(ViewChange{Alive: []ID{"a", "b", "c"}})
	if stage >= 2 {
		s.hear("a", Message{Kind: Head, Record: &st.Last}).wait(time.Second) // trains
	}
	ballot := Ballot{3, 9, "a"}
	if stage == 3 {
		s.step(Trained{Samples: 6}).wait(time.Second) // polls
	}
	if stage >= 4 {
		s.hear("a", Message{Kind: Poll, Ballot: ballot, Record: &st.Last}).step(Trained{Samples: 6})
	}
	if stage >= 5 {
		settled := s.settled(6)
		s.hear("a", Message{Kind: Begin, Ballot: ballot, Settled: &settled})
	}
	if stage >= 6 {
		s.step(Reduced{ballot, "h3"})
	}
	if stage >= 7 {
		s.hear("a", Message{Kind: Done, Ballot: ballot, Hash: "h3"}).hear("c", Message{Kind: Done, Ballot: ballot, Hash: "h3"})
	}
	return s
}

func TestStages(t *testing.T) {
	want := []Phase{Joining, Joining, Training, Polling, Following, Reducing, Preparing, Adopting}
	for stage := range Phases {
		if got := inPhase(stage).m.Phase(); got != want[stage] {
			t.Errorf("stage %d is %s, want %s", stage, got, want[stage])
		}
	}
	if fmt.Sprint(inPhase(7).m.Last().Samples) != "map[a:25 b:30 c:16]" {
		t.Error(inPhase(7).m.Last().Samples)
	}
}
