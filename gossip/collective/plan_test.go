package collective

import (
	"fmt"
	"math"
	"testing"
)

// TestEveryRankEndsWithEveryContributionOnce simulates each plan with sets of contributions in place of numbers, and
// checks the promises in Plan's comment.
func TestEveryRankEndsWithEveryContributionOnce(t *testing.T) {
	for _, name := range Names() {
		for n := 1; n <= 65; n++ {
			if n > 20 && n%11 != 0 && n != 24 && n != 48 && n != 64 && n != 65 {
				continue
			}
			plan, err := New(name, n)
			if err != nil || plan.Name != name || plan.Size != n {
				t.Fatalf("New(%s, %d) = %s of %d, %v", name, n, plan.Name, plan.Size, err)
			}
			if err := simulate(plan); err != nil {
				t.Errorf("%s of %d: %v", name, n, err)
			}
		}
	}
}

// simulate returns the first promise that p breaks. A rank's chunk is the history of its value: "(a+b)" for a sum. Two
// values are the same bits if and only if their histories are equal.
func simulate(p Plan) error {
	held := make([][]string, p.Size)
	count := make([][][]int, p.Size) // [rank][chunk][contributor]
	for r := range held {
		held[r], count[r] = make([]string, p.Chunks), make([][]int, p.Chunks)
		for c := range held[r] {
			held[r][c], count[r][c] = fmt.Sprint(r), make([]int, p.Size)
			count[r][c][r] = 1
		}
	}
	type use struct{ rank, chunk int }
	for s, step := range p.Steps {
		sends, receives, touched := map[int]bool{}, map[int]bool{}, map[use]bool{}
		for _, m := range step {
			if m.From == m.To || sends[m.From] || receives[m.To] || touched[use{m.From, m.Chunk}] || touched[use{m.To, m.Chunk}] {
				return fmt.Errorf("step %d: %+v meets another move", s, m)
			}
			sends[m.From], receives[m.To] = true, true
			touched[use{m.From, m.Chunk}], touched[use{m.To, m.Chunk}] = true, true
			from, to := count[m.From][m.Chunk], count[m.To][m.Chunk]
			if m.Op == Copy {
				copy(to, from)
				held[m.To][m.Chunk] = held[m.From][m.Chunk]
				continue
			}
			for i := range to {
				to[i] += from[i]
			}
			held[m.To][m.Chunk] = "(" + held[m.To][m.Chunk] + "+" + held[m.From][m.Chunk] + ")"
		}
	}
	for r := range held {
		for c := range held[r] {
			if held[r][c] != held[0][c] {
				return fmt.Errorf("chunk %d: rank %d has %s, rank 0 has %s", c, r, held[r][c], held[0][c])
			}
			for i, times := range count[r][c] {
				if times != 1 {
					return fmt.Errorf("chunk %d: rank %d holds rank %d's part %d times", c, r, i, times)
				}
			}
		}
	}
	return nil
}

func TestSimulateSeesBrokenPlans(t *testing.T) {
	for name, breakIt := range map[string]func(p *Plan){
		"a step missing":       func(p *Plan) { p.Steps = p.Steps[1:] },
		"a step twice":         func(p *Plan) { p.Steps = append(p.Steps[:1], p.Steps...) },
		"a reduce for a copy":  func(p *Plan) { p.Steps[len(p.Steps)-1][0].Op = Reduce },
		"a copy for a reduce":  func(p *Plan) { p.Steps[0][0].Op = Copy },
		"another chunk":        func(p *Plan) { p.Steps[0][0].Chunk = (p.Steps[0][0].Chunk + 1) % p.Chunks },
		"a rank sending twice": func(p *Plan) { p.Steps[0] = append(p.Steps[0], p.Steps[0][0]) },
	} {
		plan := Ring(4)
		breakIt(&plan)
		if simulate(plan) == nil {
			t.Errorf("%s was not seen", name)
		}
	}
}

func TestStepsAndCost(t *testing.T) {
	const megabyte, alpha, beta = 1_000_000, 1e-3, 1e-8
	for _, c := range []struct {
		plan  Plan
		steps int
		cost  float64
	}{
		{Ring(1), 0, 0},
		{Ring(4), 6, 6 * (1e-3 + 2.5e-3)},
		{Star(4), 6, 6 * (1e-3 + 1e-2)},
		{Star(24), 46, 46 * (1e-3 + 1e-2)},
		{Tree(1), 0, 0},
		{Tree(2), 8, 8 * (1e-3 + 1.25e-3)},
	} {
		if got := c.plan.Cost(megabyte, alpha, beta); len(c.plan.Steps) != c.steps || math.Abs(got-c.cost) > 1e-12 {
			t.Errorf("%s of %d: %d steps, %v s, want %d, %v s", c.plan.Name, c.plan.Size, len(c.plan.Steps), got, c.steps, c.cost)
		}
	}
	for n := 4; n <= 64; n++ { // few bytes: the tree wins by latency; many: the ring by bandwidth
		ring, tree := Ring(n), Tree(n)
		if n >= 32 && tree.Cost(100, alpha, beta) >= ring.Cost(100, alpha, beta) {
			t.Errorf("tree of %d has %d steps, ring %d", n, len(tree.Steps), len(ring.Steps))
		}
		if ring.Cost(100*megabyte, alpha, beta) >= tree.Cost(100*megabyte, alpha, beta) {
			t.Errorf("ring of %d is slower than the tree: %d steps", n, len(tree.Steps))
		}
	}
}

func TestBoundsCutTheWholeVector(t *testing.T) {
	for chunks := 1; chunks <= 17; chunks++ {
		p := Plan{Chunks: chunks}
		for n := range 70 {
			at := 0
			for c := range chunks {
				lo, hi := p.bounds(c, n)
				if lo != at || hi-lo < n/chunks || hi-lo > n/chunks+1 {
					t.Fatalf("chunk %d of %d of %d elements is [%d, %d), begins at %d", c, chunks, n, lo, hi, at)
				}
				at = hi
			}
			if at != n {
				t.Fatalf("%d chunks of %d elements end at %d", chunks, n, at)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
	}{{"ring", 0}, {"tree", -1}, {"", 2}, {"Ring", 2}} {
		if _, err := New(c.name, c.size); err == nil {
			t.Errorf("New(%q, %d) is allowed", c.name, c.size)
		}
	}
}
