package collective

import (
	"fmt"
	"math/rand/v2"
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

// TestArrangedPlansKeepTheirPromises tries every plan with ranks in random order on random nodes.
func TestArrangedPlansKeepTheirPromises(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := 1; n <= 13; n++ {
		for range 20 {
			order, nodes := rng.Perm(n), make([]int, n)
			for r := range nodes {
				nodes[r] = rng.IntN(1 + rng.IntN(n))
			}
			for _, name := range Names() {
				for _, on := range [][]int{nil, nodes} {
					plan, err := Arrange(name, n, order, on)
					if err != nil {
						t.Fatal(err)
					}
					if err := simulate(plan); err != nil {
						t.Errorf("%s of %d in order %v on nodes %v: %v", name, n, order, on, err)
					}
				}
			}
		}
	}
}

// TestTwoLevelsSendOnceBetweenNodes: between nodes go the bytes of the plan of the nodes, not of the ranks.
func TestTwoLevelsSendOnceBetweenNodes(t *testing.T) {
	nodes := []int{0, 1, 0, 1, 2, 2, 2, 0}
	plan, err := Arrange("ring", len(nodes), nil, nodes)
	if err != nil {
		t.Fatal(err)
	}
	between := 0
	for _, step := range plan.Steps {
		for _, m := range step {
			if nodes[m.From] != nodes[m.To] {
				between++
			}
		}
	}
	if want := 3 * 2 * (3 - 1); between != want || plan.Chunks != 3 {
		t.Errorf("%d chunks of %d go between nodes, want %d", between, plan.Chunks, want)
	}
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

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		plan  Plan
		steps int
	}{{Ring(1), 0}, {Ring(4), 6}, {Star(4), 6}, {Star(24), 46}, {Tree(1), 0}, {Tree(2), 8}, {Mesh(1), 0}, {Mesh(4), 6}} {
		if got := len(c.plan.Steps); got != c.steps {
			t.Errorf("%s of %d: %d steps, want %d", c.plan.Name, c.plan.Size, got, c.steps)
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
	}{{"ring", 0}, {"tree", -1}, {"", 2}, {"Ring", 2}, {"auto", 2}, {"star", maxSize + 1}} {
		if _, err := New(c.name, c.size); err == nil {
			t.Errorf("New(%q, %d) is allowed", c.name, c.size)
		}
	}
}
