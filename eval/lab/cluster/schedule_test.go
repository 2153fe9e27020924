package cluster

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"shoal/eval/lab/row"
	"shoal/gossip/collective"
)

// pace is a clock whose steps take a second, an exchange two, a score five, and a message a tenth.
type pace struct{ Still }

func (pace) Start() time.Duration                { return 10 * time.Second }
func (pace) Steps(_, _, steps int) time.Duration { return time.Duration(steps) * time.Second }
func (pace) Evaluate(int) time.Duration          { return 5 * time.Second }
func (pace) Latency(from, to int) time.Duration {
	return time.Duration(min(1, from+to)) * time.Second / 10
}
func (pace) Exchange(_ collective.Plan, _ int, _ string, ready []time.Duration) ([]time.Duration, error) {
	return slices.Repeat([]time.Duration{slices.Max(ready) + 2*time.Second}, len(ready)), nil
}

// The clock advances by the path of whoever is last, and the parts add up.
func TestClock(t *testing.T) {
	cfg := tiny()
	cfg.Clock = pace{}
	cfg.Recipe.Rounds.Deadline = time.Hour
	cfg.Schedule.Churn = []Churn{{Member: 1, From: 2, To: 2, Is: "slow", Factor: 1.5}}
	c := build(t, cfg)
	clock := 10.0
	for n, train := range []float64{3, 4.5, 3} {
		line := play(t, c, 1)[0]
		s := line.Seconds
		clock += s.Train + s.Average + s.Wait + s.Evaluate
		if s.Train != train || s.Average != 2 || math.Abs(s.Wait-0.3) > 1e-9 || s.Evaluate != 0 || math.Abs(line.Clock-clock) > 1e-9 {
			t.Errorf("round %d: %+v, clock %v, want %v s of training and clock %v", n+1, s, line.Clock, train, clock)
		}
	}
	c.Evaluating(false)
	if s := play(t, c, 1)[0].Seconds; s.Evaluate != 5 || s.Train != 3 {
		t.Errorf("after a score: %+v, want 5 s before the evaluator's steps", s)
	}
	if before := c.now; c.Evaluating(true) != 5 || c.now-before != 5*time.Second {
		t.Errorf("the last score takes %v", c.now-before)
	}
}

// A straggler is cut by roster.Patience, and counts by what it has seen.
func TestStragglerIsCut(t *testing.T) {
	cfg := tiny()
	cfg.Clock = pace{}
	cfg.Recipe.Rounds.Gather = time.Second
	cfg.Schedule.Churn = []Churn{{Member: 2, From: 1, Is: "slow", Factor: 100}}
	line := play(t, build(t, cfg), 1)[0]
	// The others are ready after 3 s, and wait twice as long again and the gathering: until 10 s. A step takes 100 s, and
	// the one under way ends.
	if line.Images != 2*15+5 || line.Contributors != 3 || line.Seconds.Train != 100 {
		t.Errorf("%d images of %d contributors in %v s, want 35 of 3 in 100", line.Images, line.Contributors, line.Seconds.Train)
	}
}

// Without patience for the rest, the deadline is the configured one.
func TestDeadline(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		name          string
		took, history []time.Duration
		longest       time.Duration
		want          time.Duration
	}{
		{"configured", []time.Duration{s, 9 * s}, nil, 4 * s, 4 * s},
		{"nothing known", []time.Duration{s, 9 * s}, nil, 0, 4 * s},
		{"a chain of those who still answer", []time.Duration{s, 3 * s, 7 * s, 99 * s}, nil, 0, 16 * s},
		{"known", []time.Duration{10 * s, 99 * s}, []time.Duration{10 * s, 10 * s, 11 * s}, 0, 16 * s},
	} {
		if got := deadline(c.took, c.history, c.longest, s); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Who trains is drawn from seed and round: the share asked for, everybody in time, the same every time.
func TestParticipation(t *testing.T) {
	s := Schedule{Participation: 0.25}
	present, seen := []int{0, 1, 2, 3, 4, 5, 6, 7}, make([]int, 8)
	for round := 1; round <= 400; round++ {
		drawn := s.drawn(present, 1, round)
		if again := s.drawn(present, 1, round); !slices.Equal(drawn, again) {
			t.Fatal("a second draw differs")
		}
		count := 0
		for i, in := range drawn {
			if in {
				seen[i]++
				count++
			}
		}
		if count != 2 {
			t.Fatalf("round %d: %d members, want 2", round, count)
		}
	}
	for i, n := range seen {
		if n < 60 || n > 140 {
			t.Errorf("member %d took part in %d rounds of 400, want about 100", i, n)
		}
	}
	if n := len((Schedule{Participation: 0.01}).drawn([]int{3}, 1, 1)); n != 1 {
		t.Errorf("%d of one", n)
	}
}

// Shares that are alike are none, to the bit; others give members that many images, and less to do in each round.
func TestShares(t *testing.T) {
	of := func(shares ...float64) []row.Round {
		cfg := tiny()
		cfg.Schedule = Schedule{Shares: shares}
		return play(t, build(t, cfg), 4)
	}
	plain, same, other := of(), of(2, 2, 2), of(1, 0.25, 0.5)
	for i := range plain {
		if plain[i].Hash != same[i].Hash {
			t.Errorf("round %d: equal shares change the state", i+1)
		}
		if other[i].Images >= plain[i].Images || other[i].Contributors != 3 {
			t.Errorf("round %d: %d images of %d contributors with unequal shares, and %d with equal ones", i+1, other[i].Images, other[i].Contributors, plain[i].Images)
		}
	}
}

// Members that are absent are in no roster, and the others' ranks close up.
func TestChurn(t *testing.T) {
	cfg := tiny()
	cfg.Schedule = Schedule{Churn: []Churn{{Member: 0, From: 2, To: 3, Is: "absent"}}}
	lines := play(t, build(t, cfg), 4)
	for i, want := range []int{3, 2, 2, 3} {
		absent := want == 2
		if lines[i].Contributors != want || absent != slices.Contains(lines[i].Missing, row.Missing{Rank: 0, Reason: "absent"}) {
			t.Errorf("round %d: %d contributors, missing %v", i+1, lines[i].Contributors, lines[i].Missing)
		}
	}
	cfg.Schedule.Churn = append(cfg.Schedule.Churn, Churn{Member: 1, From: 2, Is: "absent"}, Churn{Member: 2, From: 2, Is: "absent"})
	c := build(t, cfg)
	play(t, c, 1)
	if _, err := c.Round(t.Context()); err == nil || !strings.Contains(err.Error(), "leaves nobody") {
		t.Errorf("a round of nobody: %v", err)
	}
}

// What spread finds from sums is what a dumb loop finds from vectors.
func TestDistance(t *testing.T) {
	deltas := [][]float32{{1, 2, -1}, {3, 0, 1}, {2, 1, 3}}
	mean := []float32{2, 1, 1}
	s := spread{count: 3, images: 10, sum: make([]float64, 3)}
	dumb := 0.0
	for _, d := range deltas {
		addTo(s.sum, d)
		s.squares += squaresOf(d)
		for i, x := range d {
			dumb += float64(x-mean[i]) * float64(x-mean[i]) / 3
		}
	}
	distance, noise := s.against(mean)
	if want := math.Sqrt(dumb / 6); math.Abs(float64(distance)-want) > 1e-12 {
		t.Errorf("distance %v, want %v", distance, want)
	}
	// |d|² is 10 on average and |mean|² 6: so |G|² = 4, and what is over with 10 images comes from noise of 60.
	if noise == nil || math.Abs(float64(*noise)-60/4.0) > 1e-12 {
		t.Errorf("noise %v, want 15 images", *noise)
	}
	if _, noise := (spread{count: 1, images: 1, squares: 1, sum: []float64{1}}).against([]float32{1}); noise != nil {
		t.Errorf("one member alone tells noise %v", *noise)
	}
}

// A lane keeps order and content, whatever the sizes on both ends and however late; after an abort everybody returns.
func TestCable(t *testing.T) {
	cable := newCable(2)
	a, b := plug{cable, 0}, plug{cable, 1}
	past := time.Now().Add(-time.Second)
	go func() {
		_ = a.Send(1, []byte("abcde"), past)
		_ = a.Send(1, []byte("fg"), past)
	}()
	got := make([]byte, 7)
	for _, cut := range [][2]int{{0, 2}, {2, 6}, {6, 7}} {
		if err := b.Recv(0, got[cut[0]:cut[1]], past); err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "abcdefg" {
		t.Errorf("got %q", got)
	}
	ended := make(chan error)
	go func() { ended <- a.Send(1, got, past) }()
	b.Abort()
	if err := <-ended; err == nil {
		t.Error("a segment was sent over a broken cable")
	}
}

// An exchange that does not move ends all the same.
func TestCableStuck(t *testing.T) {
	for name, move := range map[string]func(cable *cable) error{
		"send": func(cable *cable) error { return plug{cable, 0}.Send(1, []byte("a"), time.Time{}) },
		"recv": func(cable *cable) error { return plug{cable, 1}.Recv(0, make([]byte, 1), time.Time{}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if err := move(newCable(2)); !errors.Is(err, errStuck) {
				t.Errorf("%s: %v, want that nothing moved", name, err)
			}
			if took := time.Since(began); took != patience*tick {
				t.Errorf("%s took %v, want %v", name, took, patience*tick)
			}
		})
	}
}

// FuzzLoad: no snapshot crashes a cluster, with pairs or without, and one that is refused changes nothing.
func FuzzLoad(f *testing.F) {
	var all [2]*Cluster
	var hashes [2]string
	for i := range all {
		cfg := tiny()
		cfg.Schedule.Pairs = i == 1
		c := build(f, cfg)
		play(f, c, 1)
		var file bytes.Buffer
		if err := c.Save(&file, "x"); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes())
		f.Add(file.Bytes()[:300])
		all[i], hashes[i] = c, c.Hash()
	}
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for i, c := range all {
			if err := c.Load(bytes.NewReader(text), "x", 9); err != nil && c.Hash() != hashes[i] {
				t.Error("a snapshot that was refused changed the cluster")
			}
			hashes[i] = c.Hash()
		}
	})
}
