package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"shoal/agent"
	"shoal/eval"
	"shoal/gossip/roster"
)

// shelfView is a cluster of six as pi-1 sees it: three at work, one paused, one dead, one refused.
func shelfView() agent.Cluster {
	since := func(s float64) *float64 { return &s }
	celsius := 71.6
	member := func(name, state string, placed bool, samples int64) agent.ClusterMember {
		return agent.ClusterMember{MemberStatus: agent.MemberStatus{
			ID: "12D3KooW" + strings.Repeat("x", 36) + name + "1234", Name: name, State: state, InRoster: placed, Addr: "192.168.1.11:7946", Samples: samples,
		}}
	}
	progress := func(phase string, step int) *agent.Progress {
		return &agent.Progress{
			Round: 12, Phase: phase, Role: "member", Step: step, Steps: 40, Loss: 1.2345, ImagesPerSecond: 201.4, Images: 48_000,
			Sent: 1_270_000, Received: 345 << 20, CPU: 0.98,
		}
	}
	one, two, three := member("pi-1", "alive", true, 48_000), member("pi-2", "alive", true, 1_234_567), member("pi-3-with-a-long-name", "suspect", true, 0)
	four, five, six := member("pi-4", "dead", false, 12), member("pi-5", "alive", false, 0), member("pi-6", "alive", false, 0)
	one.Self, one.SecondsSince, one.Progress = true, since(0), progress("train", 12)
	one.Progress.Celsius = &celsius
	two.SecondsSince, two.Progress = since(1.6), progress("pause", 20)
	three.SecondsSince, three.Progress = since(3), progress("average", 40)
	four.SecondsSince, four.Progress = since(75), progress("train", 3)
	five.Refused = "learner.width: 0.5 here, 1 there"
	return agent.Cluster{
		Agent: "pi-1", ID: one.ID, Lineage: "9f8e7d6c5b4a3210", Generation: 3, Round: 12, Rounds: 30,
		Members: []agent.ClusterMember{one, two, three, four, five, six},
		Scores:  []agent.ScoreStatus{{Round: 9, TestAccuracy: 0.2}, {Round: 10, TestAccuracy: 0.45}, {Round: 11, TestAccuracy: 0.614}},
		Last: &agent.RoundOutline{
			Round: 11, Contributors: 3, Seconds: 12.34, Attempts: 2, Plan: "ring",
			Missing: []agent.MissingMember{{ID: four.ID, Name: "pi-4", Reason: "unreachable\x1b[2J"}, {ID: "12D3KooWgone5678", Reason: four.ID + " is blamed"}},
		},
	}
}

// frameOf is a frame at a width, as lines without blanks at their ends.
func frameOf(width, rows int) string {
	s := newTopScreen(&bytes.Buffer{}, width)
	s.rows = rows
	var lines []string
	for _, line := range s.lines(topFrame{cluster: shelfView(), at: dawn}) {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

func TestTopFrame(t *testing.T) {
	for width, want := range map[int]string{
		80: `
pi-1 sees 4 of 6 members alive  ·  lineage 9f8e7d6c5b4a  generation 3
round 12 of 30  train  loss 1.234  201 images/s  last round 12.3 s with 3
test accuracy 61.4 % (round 11)  ▂▄▅
member      phase    round             step   loss img/s   sent  recvd  cpu temp
pi-1*       train       12 ██░░░░░░   12/40  1.234   201   1.2M   345M  98%  72°
pi-2        pause       12 ████░░░░   20/40  1.234   201   1.2M   345M  98%    -
pi-3-with-… average     12 ████████   40/40  1.234   201   1.2M   345M  98%    -
pi-4        dead, last heard of 1m15s ago
pi-5        left out, it differs: learner.width: 0.5 here, 1 there
pi-6        alive, nothing heard of it yet
left out of round 11: pi-4 (unreachable?[2J), …gone5678 (pi-4 is blamed)
`,
		50: `
pi-1 sees 4 of 6 members alive  ·  lineage 9f8e7d6
round 12 of 30  train  loss 1.234  201 images/s  l
test accuracy 61.4 % (round 11)  ▂▄▅
member      phase    round       step   loss img/s
pi-1*       train       12    12/40  1.234   201
pi-2        pause       12    20/40  1.234   201
pi-3-with-… average     12    40/40  1.234   201
pi-4        dead, last heard of 1m15s ago
pi-5        left out, it differs: learner.width: 0
pi-6        alive, nothing heard of it yet
left out of round 11: pi-4 (unreachable?[2J), …gon
`,
	} {
		if got := frameOf(width, 0); got != want {
			t.Errorf("at %d columns:%s\nwant:%s", width, got, want)
		}
	}
}

func TestTopNeverWrapsNorColours(t *testing.T) {
	for width := 1; width <= 130; width++ {
		for line := range strings.SplitSeq(frameOf(width, 0), "\n") {
			if lipgloss.Width(line) > width || strings.Contains(line, "\x1b") {
				t.Errorf("%d columns on a terminal of %d: %q", lipgloss.Width(line), width, line)
			}
		}
	}
	for rows := 8; rows < 20; rows++ {
		if n := strings.Count(frameOf(80, rows), "\n"); n > rows {
			t.Errorf("%d rows on a terminal of %d", n, rows)
		}
	}
}

func TestMemberLines(t *testing.T) {
	for columns, want := range map[int]string{
		1000: `
member                id        address            state    roster  phase    round  images/s    samples  last seen
pi-1*                 pi-11234  192.168.1.11:7946  alive    yes     train       12       201     48 000        now
pi-2                  pi-21234  192.168.1.11:7946  alive    yes     pause       12       201  1 234 567     2s ago
pi-3-with-a-long-na…  name1234  192.168.1.11:7946  suspect  yes     average     12       201          0     3s ago
pi-4                  pi-41234  192.168.1.11:7946  dead     no      -            -         -         12  1m15s ago
pi-5                  pi-51234  192.168.1.11:7946  alive    no      -            -         -          0      never
pi-6                  pi-61234  192.168.1.11:7946  alive    no      -            -         -          0      never
pi-5 is left out, it differs: learner.width: 0.5 here, 1 there
`,
		80: `
member                state    roster  round  images/s    samples  last seen
pi-1*                 alive    yes        12       201     48 000        now
pi-2                  alive    yes        12       201  1 234 567     2s ago
pi-3-with-a-long-na…  suspect  yes        12       201          0     3s ago
pi-4                  dead     no          -         -         12  1m15s ago
pi-5                  alive    no          -         -          0      never
pi-6                  alive    no          -         -          0      never
pi-5 is left out, it differs: learner.width: 0.5 here, 1 there
`,
		20: `
member                state    round  images/s    samples  last seen
pi-1*                 alive       12       201     48 000        now
pi-2                  alive       12       201  1 234 567     2s ago
pi-3-with-a-long-na…  suspect     12       201          0     3s ago
pi-4                  dead         -         -         12  1m15s ago
pi-5                  alive        -         -          0      never
pi-6                  alive        -         -          0      never
pi-5 is left out, it differs: learner.width: 0.5 here, 1 there
`,
	} {
		if got := "\n" + strings.Join(memberLines(shelfView().Members, columns), "\n") + "\n"; got != want {
			t.Errorf("at %d columns:%s\nwant:%s", columns, got, want)
		}
	}
}

func TestStatusLines(t *testing.T) {
	s := agent.Status{
		Name: "pi-1", ID: "12D3KooWabcdefgh12345678", Version: "v1.0.0", Started: dawn.Format(time.RFC3339), Round: 12, Rounds: 30,
		Phase: "train", Role: "evaluator", Step: 12, Steps: 40, Loss: 1.2345, ImagesPerSecond: 201.4, Images: 48_000,
		Score: &agent.ScoreStatus{Round: 11, TestAccuracy: 0.614, TestLoss: 1.1}, StateHash: "5ea5" + strings.Repeat("0", 60),
		Lineage: "9f8e7d6c5b4a3210", Generation: 3, PeakRSSBytes: 110 << 20, Sent: 5 << 20, Received: 6 << 20,
		Gossip: "192.168.1.11:7946", Streams: []string{"/ip4/192.168.1.11/tcp/7947"},
	}
	for _, m := range shelfView().Members {
		s.Members = append(s.Members, m.MemberStatus)
	}
	want := `
agent      pi-1 (…12345678), version v1.0.0
up         for 1m30s
round      12 of 30
phase      train, step 12 of 40, as evaluator
training   loss 1.2345, 201 images/s, 48 000 images so far
test       accuracy 61.40 %, loss 1.1000, after round 11
model      5ea500000000, lineage 9f8e7d6c5b4a, generation 3
members    3 alive, 1 suspect (pi-3-with-a-long-name), 1 dead (pi-4), 1 refused (pi-5)
memory     110.0 MiB at most
exchanged  5.0 MiB sent, 6.0 MiB received
gossip     192.168.1.11:7946
streams    /ip4/192.168.1.11/tcp/7947
`
	if got := "\n" + strings.Join(statusLines(s, dawn.Add(90*time.Second)), "\n") + "\n"; got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}

func TestExplainLines(t *testing.T) {
	ids := map[string]string{"ID-one-1111": "pi-1", "ID-two-2222": "pi-2", "ID-three-3333": "pi-3", "ID-twin-4444": "twin", "ID-twin-5555": "twin"}
	scale := 0.125
	e := agent.Explanation{Round: 12, Agent: "pi-1", ID: "ID-one-1111", Names: ids, Accounts: []agent.Account{
		{
			Current: true,
			Commit: eval.Commit{
				Round: 12, Lineage: "9f8e7d6c5b4a3210", Generation: 3, Ballot: "12.15@ID-two-2222", StateHash: "5ea5" + strings.Repeat("0", 60),
				Roster:       []roster.ID{"ID-one-1111", "ID-twin-4444", "ID-twin-5555", "ID-two-2222"},
				Contributors: []eval.Contribution{{ID: "ID-one-1111", Samples: 12_000, Norm: 1.2345}, {ID: "ID-twin-4444", Samples: 4_000, Norm: 99, Scale: &scale}},
				Missing: []eval.Absence{
					{ID: "ID-three-3333", Reason: "unreachable"},
					{ID: "ID-gone-12345678", Reason: "blamed by ID-two-2222: sent what is not finite\x07"},
				},
				Plan: `{"plan":"ring","order":[3,0,9],"nodes":[0,0,1,1]}`, Wire: "int8", Exchange: 1.25, Store: 0.1, Attempts: 2, TrainLoss: 1.5, TrainRight: 0.25, Images: 12_000, Sent: 5 << 20, Received: 6 << 20,
				Seconds: eval.PhaseSeconds{Train: 61, Wait: 0.25, Average: 1.5}, Agent: "ID-one-1111", Time: "2026-01-02T03:04:05Z",
			},
			Score: &eval.Score{Evaluator: "ID-two-2222", TestAccuracy: 0.614, TestLoss: 1.1, Images: 10_000, Seconds: 3.2},
		},
		{
			Commit:  eval.Commit{Round: 12, Lineage: "aside", StateHash: "x12", Ballot: "12.3@ID-three-3333", Agent: "ID-three-3333", Time: "2026-01-02T03:04:06Z"},
			Unknown: []string{"this agent was not there: all is as ID-three-3333 wrote it"},
		},
	}}
	want := `
round 12, committed 2026-01-02T03:04:05Z, of the lineage that pi-1 follows
told by   pi-1
model     5ea500000000, lineage 9f8e7d6c5b4a, generation 3
test      accuracy 61.40 %, loss 1.1000 on 10 000 images, by pi-2 in 3.2 s
average   plan ring, in the order pi-2 pi-1, sent as int8
ballot    12.15, coordinated by pi-2, after 2 attempts at the exchange
time      train 1m01s, wait 250 ms, average 1.5 s (exchange 1.2 s, store 100 ms)
bytes     5.0 MiB sent, 6.0 MiB received
training  loss 1.5000, accuracy 25.00 % on 12 000 images

contributor    samples   share  norm
pi-1            12 000  75.0 %  1.23
twin-win-4444    4 000  25.0 %    99  clipped: scaled by 0.125, its norm was over the bound
in the exchange without samples of their own: pi-2, twin-win-5555

left out  pi-3       unreachable
left out  …12345678  blamed by pi-2: sent what is not finite?

round 12, committed 2026-01-02T03:04:06Z, of another lineage than pi-1 follows
told by  pi-3
model    x12, lineage aside, generation 0
test     not scored, or not heard of here
average  plan unknown
ballot   12.3, coordinated by pi-3

nobody contributed samples

not known: this agent was not there: all is as pi-3 wrote it
`
	if got := "\n" + strings.Join(explainLines(e), "\n") + "\n"; got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}

// served is an agent's HTTP by a handler, with the headers of an agent.
func served(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(agent.APIHeader, fmt.Sprint(agent.API))
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestTopAsks(t *testing.T) {
	address := served(t, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(shelfView()) })
	stdout, stderr, code := shoal(t, "top", "--once", "--agent", address)
	if got := "\n" + strings.ReplaceAll(stdout, " \n", "\n"); code != 0 || strings.TrimRight(got, " \n") != strings.TrimRight(frameOf(80, 0), " \n") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, stdout)
	}
	var c agent.Cluster
	stdout, stderr, code = shoal(t, "top", "--once", "--json", "--agent", address)
	if err := json.Unmarshal([]byte(stdout), &c); code != 0 || err != nil || len(c.Members) != 6 {
		t.Errorf("exit code %d, %s, %v\n%s", code, stderr, err, stdout)
	}
	if _, stderr, code = shoal(t, "top", "--every", "1ms", "--agent", address); code != exitUsage || !strings.Contains(stderr, "--every 1ms") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	want := "round 12 of 30: train 60 %, 3 of 3 agents, 201 images/s, loss 1.234, test accuracy 61.4 % (round 11), left out of round 11: pi-4 (unreachable?[2J), …gone5678 (pi-4 is blamed)"
	if got := topInALine(shelfView()); got != want {
		t.Errorf("in a line:\n%s\nwant:\n%s", got, want)
	}
}

func TestTopProgramEnds(t *testing.T) {
	p := topProgram{screen: newTopScreen(&bytes.Buffer{}, 80)}
	if view := p.View(); view != "" {
		t.Errorf("before the first frame: %q", view)
	}
	next, _ := p.Update(topFrame{cluster: shelfView(), at: dawn, trouble: "connection refused"})
	next, _ = next.Update(tea.WindowSizeMsg{Width: 60, Height: 30})
	view := next.View()
	if !strings.Contains(view, "no newer answer: connection refused") || !strings.Contains(view, "pi-1*") {
		t.Errorf("view:\n%s", view)
	}
	for _, key := range []tea.KeyMsg{{Type: tea.KeyCtrlC}, {Type: tea.KeyEsc}, {Type: tea.KeyRunes, Runes: []rune("q")}} {
		if _, cmd := next.Update(key); cmd == nil {
			t.Errorf("%v does not end it", key)
		}
	}
	if _, cmd := next.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("x")}); cmd != nil {
		t.Error("any key ends it")
	}
}

func TestBriefBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1.0k", 10189: "10k", 1 << 20: "1.0M", 1023 << 10: "1.0M", 345 << 20: "345M", 5 << 40: "5.0T"} {
		if got := briefBytes(n); got != want || len(got) > 5 {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
