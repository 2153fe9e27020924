package main

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"shoal/eval"
)

// averageQuick are the flags of a benchmark of averaging that takes no time.
func averageQuick(args ...string) []string {
	return append([]string{"bench", "--collective", "--json", "--steps", "3", "--warmup", "1", "--length", "2001"}, args...)
}

func TestBenchCollective(t *testing.T) {
	for _, c := range []struct {
		args  string
		ranks int
		wire  int // bytes of a vector
	}{
		{"--unencrypted", 4, 8004},
		{"--ranks 3 --rate 1000", 3, 8004},
		{"--ranks 2 --set averaging.wire=int8", 2, 2005},
		{"--ranks 3 --unencrypted --set averaging.plan=auto --set averaging.wire=fp16", 3, 4006},
		{"--ranks 3 --unencrypted --set averaging.plan=mesh --set averaging.combine=median", 3, 8004},
		{"--ranks 1", 1, 8004},
	} {
		stdout, stderr, code := shoal(t, averageQuick(strings.Fields(c.args)...)...)
		var r collectiveResult
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
			t.Fatalf("%s: exit code %d, %v: %s", c.args, code, err, stderr)
		}
		if r.Ranks != c.ranks || r.Length != 2001 || r.Count != 3 || r.Processes != 1 || r.Encrypted == strings.Contains(c.args, "unencrypted") {
			t.Errorf("%s: measured something else: %s", c.args, stdout)
		}
		if !(r.Min > 0 && r.Min <= r.Median && r.Median <= r.Max) || r.CPU < 0 {
			t.Errorf("%s: times %v ≤ %v ≤ %v, CPU %v", c.args, r.Min, r.Median, r.Max, r.CPU)
		}
		n := float64(c.ranks)
		if least := 2 * (n - 1) / n * float64(c.wire); math.Abs(r.Bus*r.Median*1e3-least) > 1 || r.Sent < least || r.Sent > least+8*n {
			t.Errorf("%s: %v MB/s in %v ms, %v bytes sent, want %v", c.args, r.Bus, r.Median, r.Sent, least)
		}
		if r.Rate > 0 && (math.Abs(r.Share*r.Median-r.Bound) > 1e-9 || r.Predicted < r.Bound*0.999) {
			t.Errorf("%s: bound %v ms, share %v, predicted %v ms", c.args, r.Bound, r.Share, r.Predicted)
		}
	}
}

// TestBenchCollectiveOverProcesses runs command lines as three processes would.
func TestBenchCollectiveOverProcesses(t *testing.T) {
	var peers []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, l.Addr().String())
		l.Close()
	}
	var wg sync.WaitGroup
	texts, codes := make([]string, 3), make([]int, 3)
	for r := range peers {
		wg.Go(func() {
			texts[r], _, codes[r] = shoal(t, averageQuick("--peers", strings.Join(peers, ","), "--rank", string(rune('0'+r)))...)
		})
	}
	wg.Wait()
	var all collectiveResult
	if err := json.Unmarshal([]byte(texts[0]), &all); err != nil || all.Ranks != 3 || all.Processes != 3 || !slices.Equal(codes, []int{0, 0, 0}) {
		t.Errorf("exit codes %v, %v: %s", codes, err, texts[0])
	}
	var one rankTimes
	if err := json.Unmarshal([]byte(texts[2]), &one); err != nil || one.Rank != 2 || len(one.Milliseconds) != 3 || one.Hash == "" {
		t.Errorf("rank 2 says %s: %v", texts[2], err)
	}
}

// TestRanksMustMeasureTheSame: flags that differ are an error, not a number.
func TestRanksMustMeasureTheSame(t *testing.T) {
	b := &bench{}
	ring, err := b.averagingPlan(2)
	if err == nil {
		t.Fatalf("no plan is configured, and it is %s", ring.Encode())
	}
	b.cfg.Averaging.Plan = "ring"
	if ring, err = b.averagingPlan(2); err != nil {
		t.Fatal(err)
	}
	own := rankTimes{Milliseconds: []float64{1}, Sent: 4, Length: 1, Wire: "fp32", Segment: 1, Hash: "a"}
	other := own
	if _, err := b.conclude(ring, []rankTimes{own, other}); err != nil {
		t.Fatal(err)
	}
	other.Hash = "b"
	if _, err := b.conclude(ring, []rankTimes{own, other}); err == nil || !strings.Contains(err.Error(), "rank 1 differs from rank 0") {
		t.Errorf("ranks that end with other bits: %v", err)
	}
}

func TestBenchCollectiveRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"--training":                              "belong to --collective",
		"--peers a:1,b:1":                         "belong to --collective",
		"--collective --ranks 0":                  "read --ranks 0: outside 1..64",
		"--collective --length 0":                 "read --length 0: outside",
		"--collective --peers a:1,b:1 --rank 2":   "read --rank 2: outside 0..1",
		"--collective --rate -1":                  "read --rate -1",
		"--collective --plan":                     "ask for one at a time",
		"--collective --set averaging.wire=fp8":   `averaging.wire: "fp8" is unknown`,
		"--collective --set averaging.trim=0.5":   "averaging.trim: 0.5",
		"--collective --peers 999.0.0.1:1,b:1":    "listen as rank 0",
		"--collective --set averaging.segment=-1": "averaging.segment: -1",
	} {
		if _, stderr, code := shoal(t, append([]string{"bench"}, strings.Fields(args)...)...); code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d: %s", args, code, stderr)
		}
	}
}

// TestMeshWantsRanksOfItsOwn: whoever connects and is no rank does not count, and who has left ends what waits for it.
func TestMeshWantsRanksOfItsOwn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	joined := make(chan *mesh, 1)
	go func() {
		m, err := joinMesh(t.Context(), l, []string{at, "unused"}, 0)
		if err != nil {
			t.Error(err)
		}
		joined <- m
	}()
	for _, hello := range []string{"GET / HTTP/1.1\r\n\r\n", meshMagic + "\x00\x00\x00\x03\x00\x00\x00\x01", meshMagic + "\x00\x00\x00\x02\x00\x00\x00\x00"} {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(hello)); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := dialRank(t.Context(), at, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := <-joined
	defer m.close()
	if _, err := c.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.hear(1); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("a message of 4 GiB: %v", err)
	}
	c.Close()
	if err := m.barrier(); err == nil {
		t.Error("a barrier without the other rank")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if _, err := joinMesh(ctx, l, []string{"a", "b"}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody came, and the wait ended with %v", err)
	}
}

// TestShareOfAveraging: the rows that count are those of rounds after the first in which all took part.
func TestShareOfAveraging(t *testing.T) {
	row := func(round, contributors int, train, wait, average float64) eval.Row {
		return eval.Row{
			Round: round, Contributors: make([]eval.Contribution, contributors), Sent: 100,
			Seconds: eval.PhaseSeconds{Train: train, Wait: wait, Average: average, Evaluate: 9},
		}
	}
	s, err := shareIn(eval.Report{Rows: []eval.Row{row(0, 2, 9, 9, 9), row(1, 2, 9, 9, 9), row(2, 2, 6, 2, 1), row(3, 1, 9, 9, 9), row(4, 2, 8, 2, 1)}}, 2)
	if err != nil || s.Rounds != 2 || s.Train != 7 || s.Wait != 2 || s.Average != 1 || s.Share != 0.1 || s.Waiting != 0.2 || s.Sent != 100 {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := shareIn(eval.Report{Rows: []eval.Row{row(1, 2, 1, 1, 1)}}, 2); err == nil {
		t.Error("one round, the first, is enough")
	}
	text := (&averagingShares{Shares: []averagingShare{*s}}).text()
	if !strings.Contains(text, "10.0%") || !strings.Contains(text, "20.0%") {
		t.Errorf("got\n%s", text)
	}
}

// TestAveragingCostRunsClusters: the command lines that are run, with a report that an agent might leave, and its place
// removed afterwards.
func TestAveragingCostRunsClusters(t *testing.T) {
	var lines []string
	var dirs []string
	b := &bench{benchFlags: benchFlags{collectiveFlags: collectiveFlags{ranks: 2}}, given: map[string]string{"width": "0.1"}}
	b.spawn = func(_ context.Context, args ...string) ([]byte, error) {
		lines = append(lines, strings.Join(args, " "))
		dirs = append(dirs, args[slices.Index(args, "--dir")+1])
		return json.Marshal(eval.Report{Rows: []eval.Row{{Round: 2, Contributors: make([]eval.Contribution, 2), Seconds: eval.PhaseSeconds{Train: 3, Average: 1}}}})
	}
	r, err := b.averagingCost(t.Context())
	if err != nil || len(r.Shares) != 2 || r.Shares[0].Every != "epoch" || r.Shares[1].Every != "8 steps" || r.Shares[1].Share != 0.25 {
		t.Fatalf("got %+v, %v", r, err)
	}
	for i, want := range []string{"--rounds 4 --set learner.width=0.1 --set rounds.steps=0 --set eval.every=4", "--rounds 24 --set learner.width=0.1 --set rounds.steps=8"} {
		if !strings.HasPrefix(lines[i], "cluster 2 --dir ") || !strings.Contains(lines[i], want) {
			t.Errorf("ran %s", lines[i])
		}
		if _, err := os.Stat(dirs[i]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", dirs[i], err)
		}
	}
}
