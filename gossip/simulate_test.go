package gossip

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// sunk measures how long after boat n-1 sank the last survivor knew.
func sunk(t *testing.T, seed uint64, n int) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(seed)
		boats := fleet(t, e, n, pi())
		time.Sleep(20*time.Second + time.Duration(e.rng.Int64N(int64(3*time.Second))))
		victim, rest := boats[n-1], boats[:n-1]
		at := time.Now()
		victim.sink(t)
		time.Sleep(30 * time.Second)
		for _, b := range rest {
			known, ok := b.died(victim.id)
			if !ok {
				t.Errorf("%s of %d does not know after 30 s", b.id, n)
				continue
			}
			took = max(took, known.Sub(at))
			if killed := b.killed(); len(killed) != 1 {
				t.Errorf("%s believes %v dead", b.id, killed)
			}
		}
		dock(t, boats)
	})
	return took
}

// A member that loses power is known for dead by everybody within 10 s, 99 times in 100. The percentile is that of all
// deaths: memberlist draws its own numbers, and how long it takes to be found hardly depends on how many others there are.
func TestSimulateDeath(t *testing.T) {
	var all []time.Duration
	p := func(took []time.Duration, q float64) time.Duration {
		slices.Sort(took)
		return took[int(q*float64(len(took)-1))].Round(time.Millisecond)
	}
	for _, row := range []struct{ n, seeds int }{{2, 6}, {3, 6}, {4, 4}, {8, 2}, {32, 1}, {48, 1}} {
		if effort(t) == 1 && row.n > 16 {
			if row.n /= 2; row.n > 16 { // 16 are as telling as 32, at a third of the cost
				continue
			}
		}
		t.Run(fmt.Sprint(row.n), func(t *testing.T) {
			var took []time.Duration
			for seed := range row.seeds * effort(t) {
				took = append(took, sunk(t, uint64(seed), row.n))
			}
			t.Logf("%d members, %d deaths: known to all after %v by the median, %v at most", row.n, len(took), p(took, .5), p(took, 1))
			all = append(all, took...)
		})
	}
	if len(all) == 0 {
		t.Fatal("nobody died")
	}
	t.Logf("%d deaths: median %v, p99 %v, max %v", len(all), p(all, .5), p(all, .99), p(all, 1))
	if limit := 10 * time.Second; p(all, .99) > limit {
		t.Errorf("p99 %v, limit %v", p(all, .99), limit)
	}
}

// effort is by how much more than usual the simulations do: SEEDS, in hundreds.
func effort(t *testing.T) int {
	seeds, err := strconv.Atoi(os.Getenv("SEEDS"))
	if os.Getenv("SEEDS") == "" {
		return 1
	}
	if err != nil {
		t.Fatalf("SEEDS=%q: give a number", os.Getenv("SEEDS"))
	}
	return max(1, seeds/100)
}

// Members whose every message takes up to 600 ms, and 1.2 s between two of them, so that most probes of theirs fail, are
// not taken for dead, and neither is anybody else; one packet in fifty is lost on top. SEEDS=6000 makes it an hour.
func TestSimulateSlowMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, slow = 5, 2
		e := newEther(1)
		boats := fleet(t, e, n, pi())
		late := func(addr string) time.Duration {
			for i := range slow {
				if addr == boatAddr(i) {
					return time.Duration(e.rng.Int64N(int64(600 * time.Millisecond)))
				}
			}
			return 0
		}
		e.change(func() {
			e.delay = func(from, to string) time.Duration { return time.Millisecond + late(from) + late(to) }
			e.cut = func(string, string) bool { return e.rng.IntN(50) == 0 }
		})
		time.Sleep(time.Duration(effort(t)) * time.Minute)
		for _, b := range boats {
			if killed := b.killed(); len(killed) > 0 {
				t.Errorf("%s believed %v dead", b.id, killed)
			}
		}
		dock(t, boats)
	})
}

// Two sides that were apart for less than memberlist remembers, and for longer, are one again soon after.
func TestSimulatePartition(t *testing.T) {
	for _, apart := range []time.Duration{40 * time.Second, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			e := newEther(2)
			boats := fleet(t, e, 6, pi())
			left := func(addr string) bool { return slices.Contains([]string{boatAddr(0), boatAddr(1)}, addr) }
			e.change(func() { e.cut = func(from, to string) bool { return left(from) != left(to) } })
			time.Sleep(apart)
			for _, b := range boats {
				if want := map[bool]int{true: 2, false: 4}[left(b.addr)]; b.sees() != want {
					t.Errorf("%s sees %d after %v apart, want %d", b.id, b.sees(), apart, want)
				}
			}
			e.change(func() { e.cut = func(string, string) bool { return false } })
			t.Logf("apart for %v: one again after %v", apart, together(t, boats, 20*time.Second))
			dock(t, boats)
		})
	}
}

// Many that start at once agree on who is there within 5 s, though all know only one of them.
func TestSimulateJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(3)
		var boats []*boat
		for i := range 32 {
			boats = append(boats, launch(t, e, i, Config{Seeds: []string{boatAddr(0)}}, pi()))
		}
		t.Logf("%d agree after %v", len(boats), together(t, boats, 5*time.Second))
		dock(t, boats)
	})
}
