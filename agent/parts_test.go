package agent

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"shoal/eval"
	"shoal/gossip/roster"
)

// Portions cover every part once, and are at most as large as they may be.
func TestPortionsCoverAll(t *testing.T) {
	for _, c := range []struct{ parts, batches, members, count int }{
		{0, 4, 3, 0}, {1, 4, 24, 1}, {209, 4, 24, 24}, {40, 5, 24, 20}, {209, 4, 1, 14}, {4, 200, 2, 4}, {3, 4, 3, 3},
	} {
		at := 0
		all := portions(c.parts, c.batches, c.members)
		for _, p := range all {
			if p.lo != at || p.hi <= p.lo || p.hi-p.lo > 1 && (p.hi-p.lo)*c.batches > portionBatches {
				t.Errorf("%+v: %v", c, all)
			}
			at = p.hi
		}
		if at != c.parts || len(all) != c.count {
			t.Errorf("%+v: %v", c, all)
		}
	}
}

// Whatever becomes of the others, every portion is done once more at most, none is left, and it takes no longer than the
// patience after the work here.
func TestDividedWorkIsDone(t *testing.T) {
	const step = time.Second
	for _, c := range []struct {
		name   string
		remote func(ctx context.Context, to roster.ID) error
		within time.Duration
	}{
		{"all help", func(context.Context, roster.ID) error { time.Sleep(step); return nil }, 3 * step},
		{"one refuses", func(_ context.Context, to roster.ID) error {
			if to == "b" {
				return errors.New("no such state")
			}
			time.Sleep(step)
			return nil
		}, 5 * step},
		{"nobody answers", func(ctx context.Context, _ roster.ID) error { <-ctx.Done(); return ctx.Err() }, 30 * step},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				times := map[portion]int{}
				did := func(p portion) { mu.Lock(); times[p]++; mu.Unlock() }
				d := &divided{portions: portions(9, 64, 3), members: []roster.ID{"b", "c"}, patience: portionPatience}
				d.own = func(_ context.Context, p portion) error { time.Sleep(step); did(p); return nil }
				d.remote = func(ctx context.Context, to roster.ID, p portion) error {
					err := c.remote(ctx, to)
					if err == nil {
						did(p)
					}
					return err
				}
				begun := time.Now()
				if err := d.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, p := range d.portions {
					if times[p] != 1 {
						t.Errorf("%v was done %d times", p, times[p])
					}
				}
				if took := time.Since(begun); took > c.within {
					t.Errorf("it took %v, more than %v", took, c.within)
				}
			})
		})
	}
}

// Work that fails here fails as a whole, and waits for nobody.
func TestDividedWorkFails(t *testing.T) {
	broken := errors.New("kernel panicked")
	d := &divided{portions: portions(5, 64, 2), members: []roster.ID{"b"}, patience: time.Hour}
	d.own = func(context.Context, portion) error { return broken }
	d.remote = func(ctx context.Context, _ roster.ID, _ portion) error { <-ctx.Done(); return ctx.Err() }
	if err := d.run(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestSumsOnTheWire(t *testing.T) {
	sums := []eval.Sum{{Loss: 1.25, Correct: 3, Images: 4}, {}, {Loss: math.Inf(1), Images: math.MaxInt32}}
	got, err := decodeSums(encodeSums(sums), 3)
	if err != nil || !slices.Equal(got, sums) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := decodeSums(encodeSums(sums), 2); err == nil {
		t.Error("more parts than were asked for")
	}
	if _, err := decodeSums(encodeSums([]eval.Sum{{Correct: 2, Images: 1}}), 1); err == nil {
		t.Error("more right images than images")
	}
	values := []float32{0, 1.5, float32(math.Inf(-1))}
	if got := decodeFloats(encodeFloats(values)); !slices.Equal(got, values) {
		t.Errorf("%v", got)
	}
}

func FuzzSums(f *testing.F) {
	f.Add(encodeSums([]eval.Sum{{Loss: 2, Correct: 1, Images: 4}}), 1)
	f.Add([]byte("short"), 1)
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		sums, err := decodeSums(b, count)
		if err == nil && !bytes.Equal(encodeSums(sums), b) {
			t.Errorf("%x became %v", b, sums)
		}
	})
}

func FuzzPartRequest(f *testing.F) {
	f.Add([]byte(`{"hash":"`+hashLike("a")+`","lo":0,"hi":2,"statistics":"AAAAAA=="}`), true)
	f.Add([]byte(`{"hash":"../identity.key","lo":0,"hi":2}`), true)
	f.Add([]byte(`{"hash":"`+hashLike("a")+`","lo":0,"hi":99999999}`), false)
	a := &Agent{}
	a.shown.alive = []roster.ID{"member"}
	f.Fuzz(func(t *testing.T, b []byte, member bool) {
		from := roster.ID("stranger")
		if member {
			from = "member"
		}
		r, err := a.partOf(from, b)
		if err == nil && (!member || !hashPattern.MatchString(r.Hash) || r.Hi-r.Lo > portionBatches) {
			t.Errorf("%q of %s is taken: %+v", b, from, r)
		}
	})
}
