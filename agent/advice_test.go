package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"shoal/gossip"
	"shoal/gossip/collective"
	"shoal/gossip/roster"
)

func TestDecodeWays(t *testing.T) {
	many, err := json.Marshal(make([]way, maxWays+1))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, body, want string
	}{
		{"none", `[]`, ""},
		{"two", `[{"id":"b","alpha":0.0001,"rate":1e8},{"id":"c","alpha":0,"rate":1}]`, ""},
		{"no list", `{}`, "read ways"},
		{"torn", `[{"id":"b"`, "read ways"},
		{"too many", string(many), "at most 400"},
		{"nobody", `[{"alpha":1,"rate":1}]`, `to ""`},
		{"a long name", `[{"id":"` + strings.Repeat("x", maxProgressName+1) + `","alpha":1,"rate":1}]`, "xxx"},
		{"back in time", `[{"id":"b","alpha":-1,"rate":1}]`, "-1 s"},
		{"no rate", `[{"id":"b","alpha":1}]`, "0 bytes"},
		{"faster than light", `[{"id":"b","alpha":1,"rate":1e300}]`, "1e+300"},
	} {
		list, err := decodeWays([]byte(c.body))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %d ways, %v; want %q", c.name, len(list), err, c.want)
		}
	}
}

func FuzzDecodeWays(f *testing.F) {
	for _, seed := range []string{`[]`, `[{"id":"b","alpha":0.1,"rate":5}]`, `[{"id":"b","alpha":1e999,"rate":5}]`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := decodeWays(body)
		if err != nil {
			return
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeWays(text)
		if err != nil || len(again) != len(list) || len(list) > 0 && !reflect.DeepEqual(again, list) {
			t.Fatalf("%s is read as %v and then %v: %v", body, list, again, err)
		}
	})
}

// Ways that members tell become the plan of the roster that they are of: the ring goes round the slow way. Those who do
// not agree with this agent, and rosters that nobody looked at, change nothing.
func TestChosenPlan(t *testing.T) {
	r := roster.Roster{Generation: 1, Members: []roster.ID{"a", "b", "c", "d"}}
	a := &Agent{trainer: tinyTrainer(t, false), log: zerolog.Nop(), members: map[roster.ID]*member{}, events: make(chan any, eventQueue), quit: make(chan struct{})}
	a.cfg.Averaging.Plan, a.cfg.Averaging.Wire = collective.Auto, "fp32"
	for _, id := range r.Members {
		a.members[id] = &member{Member: gossip.Member{ID: id, State: gossip.Alive}, greeted: true, agrees: id != "d", node: "n" + string(id)}
	}
	fast, slow := way{Alpha: 1e-4, Rate: 100e6}, way{Alpha: 1e-4, Rate: 1e6}
	for i, from := range r.Members {
		var list []way
		for j, to := range r.Members {
			x := fast
			if i+j == 1 { // between a and b
				x = slow
			}
			if x.ID = to; i != j {
				list = append(list, x)
			}
		}
		body, err := json.Marshal(list)
		if err == nil {
			err = a.heardWays(gossip.Announcement{From: from, Kind: waysKind, Body: body})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if a.advice.ways["d"] != nil || a.advice.ways["a"]["b"].Rate != slow.Rate {
		t.Errorf("ways kept: %v", a.advice.ways)
	}
	if text := a.planner(r); text != "" {
		t.Errorf("a plan before any choice: %s", text)
	}
	a.chooseFor(r.Members)
	select {
	case e := <-a.events:
		a.chose(e.(choice))
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is chosen")
	}
	plan, err := collective.Decode(a.planner(r), r.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range plan.Steps {
		for _, m := range step {
			if m.From+m.To == 1 {
				t.Errorf("plan %s takes the slow way", a.planner(r))
			}
		}
	}
	if text := a.planner(roster.Roster{Members: r.Members[:3]}); text != "" {
		t.Errorf("another roster's plan: %s", text)
	}
	if got, want := a.nodes([]roster.ID{"c", "a", "x", "c"}), []int{0, 1, 2, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("nodes %v, want %v", got, want)
	}
	a.working.Wait()
}

// A member takes the plan that a coordinator chose only where plans are chosen, and blames one that sends what is none.
func TestPlanOfACoordinator(t *testing.T) {
	members := []roster.ID{"a", "b", "c"}
	text := func(name string) string { return fmt.Sprintf(`{"plan":%q,"order":[0,2,1]}`, name) }
	for _, c := range []struct {
		name, configured, text, want string
		blamed                       bool
	}{
		{"configured", "tree", "", "tree", false},
		{"nothing measured", collective.Auto, "", "ring", false},
		{"chosen", collective.Auto, text("ring"), "ring", false},
		{"chosen where nobody asked", "tree", text("ring"), "", true},
		{"no plan", collective.Auto, text("zigzag"), "", true},
		{"no text", collective.Auto, "{", "", true},
	} {
		a := &Agent{}
		a.cfg.Averaging.Plan = c.configured
		plan, err := a.plan(roster.Reduce{Tag: roster.Tag{Ballot: roster.Ballot{Coordinator: "b"}}, Roster: roster.Roster{Members: members}, Plan: c.text})
		var offence *collective.OffenceError
		if got := errors.As(err, &offence); got != c.blamed || got && offence.Rank != 1 || plan.Name != c.want && err == nil {
			t.Errorf("%s: plan %q, %v", c.name, plan.Name, err)
		}
	}
}
