package collective

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// brute tries every tour for the best bottleneck.
func brute(w ways) float64 {
	best := 0.0
	order := identity(w.n)
	var try func(i int)
	try = func(i int) {
		if i == w.n {
			best = max(best, w.bottleneck(order))
			return
		}
		for j := i; j < w.n; j++ {
			order[i], order[j] = order[j], order[i]
			try(i + 1)
			order[i], order[j] = order[j], order[i]
		}
	}
	try(1)
	return best
}

func randomLinks(rng *rand.Rand, n int) Matrix {
	m := Uniform(n, 1e-4, 1e8)
	for a := range m {
		for b := range m {
			m[a][b] = Edge{1e-4 * (1 + rng.Float64()), 1e8 * math.Exp(rng.NormFloat64())}
		}
	}
	return m
}

func TestRingOrderHasTheBestBottleneck(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	for n := 3; n <= 8; n++ {
		for range 20 {
			links := randomLinks(rng, n)
			w := newWays(links, nil)
			best := brute(w)
			if got := w.bottleneck(orderOf(RingOrder(links, nil), n)); got < sameRate*best {
				t.Errorf("ring of %d: bottleneck %.3g, best %.3g", n, got, best)
			}
			if greedy := w.greedy(); n > 3 && w.bottleneck(greedy) < 0.5*best {
				t.Errorf("greedy ring of %d: bottleneck %.3g, best %.3g", n, w.bottleneck(greedy), best)
			}
		}
	}
}

func orderOf(order []int, n int) []int {
	if order == nil {
		return identity(n)
	}
	return order
}

// TestRingOrderAvoidsSlowLinks: a chain of fast edges hidden among slow ones is found, with few and with many ranks.
func TestRingOrderAvoidsSlowLinks(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 24))
	for _, n := range []int{4, 9, 11, 12, 20, 48} {
		hidden := rng.Perm(n)
		links := Uniform(n, 1e-4, 1e7)
		for i, a := range hidden {
			b := hidden[(i+1)%n]
			links[a][b].Rate, links[b][a].Rate = 1e8, 1e8
		}
		order := RingOrder(links, nil)
		if w := newWays(links, nil); w.bottleneck(orderOf(order, n)) != 1e8 {
			t.Errorf("ring of %d: bottleneck %.3g", n, w.bottleneck(orderOf(order, n)))
		}
		if _, err := Arrange("ring", n, order, nil); err != nil || order != nil && order[0] != 0 {
			t.Errorf("order %v: %v", order, err)
		}
	}
}

// TestRingOrderKeepsNodesTogether: ranks of one node are next to each other, so that the ring leaves each node once.
func TestRingOrderKeepsNodesTogether(t *testing.T) {
	for _, n := range []int{6, 10, 16} {
		nodes := make([]int, n)
		for r := range nodes {
			nodes[r] = r % (n / 2)
		}
		order := orderOf(RingOrder(Uniform(n, 0, 0), nodes), n) // nothing measured: loopback is assumed to be faster
		leaves := 0
		for i, r := range order {
			if nodes[r] != nodes[order[(i+1)%n]] {
				leaves++
			}
		}
		if leaves != n/2 {
			t.Errorf("the ring %v over nodes %v leaves a node %d times, want %d", order, nodes, leaves, n/2)
		}
	}
}

func TestRingOrderIsNothingSpecialOverEqualLinks(t *testing.T) {
	for n := range 20 {
		if order := RingOrder(Uniform(n, 1e-4, 1e8), nil); order != nil {
			t.Errorf("ring of %d: %v", n, order)
		}
		if order := RingOrder(make(Matrix, n), nil); order != nil {
			t.Errorf("ring of %d, nothing measured: %v", n, order)
		}
	}
}

func TestChoose(t *testing.T) {
	shelf := Uniform(24, 200e-6, 118e6)
	two := make([]int, 24) // ranks on each of 12 nodes
	for r := range two {
		two[r] = r / 2
	}
	for _, c := range []struct {
		what  string
		bytes int
		links Matrix
		nodes []int
		want  []string
		level bool
	}{
		{"alone", 1000, Uniform(1, 1e-4, 1e8), nil, []string{"ring"}, false},
		{"a large model on a shelf", 100 << 20, shelf, nil, []string{"ring"}, false},
		{"a few bytes on a shelf", 100, shelf, nil, []string{"mesh", "tree"}, false},
		{"two ranks a node", 100 << 20, make(Matrix, 24), two, []string{"ring"}, true},
		{"all on one node", 1 << 20, make(Matrix, 4), make([]int, 4), []string{"ring", "mesh", "tree"}, false},
	} {
		p := Choose(c.bytes, c.links, c.nodes)
		if !slices.Contains(c.want, p.Name) || p.Size != len(c.links) {
			t.Errorf("%s: %s of %d, want one of %v", c.what, p.Encode(), p.Size, c.want)
		}
		if !c.level && p.Nodes != nil {
			t.Errorf("%s: two levels: %s", c.what, p.Encode())
		}
		if err := simulate(p); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if p := Choose(1, nil, nil); p.Size != 0 {
		t.Errorf("nobody has plan %+v", p)
	}
}

// TestChooseIsNoWorseThanAnyPlan, by its own measure but for what a ring is forgiven.
func TestChooseIsNoWorseThanAnyPlan(t *testing.T) {
	rng := rand.New(rand.NewPCG(25, 26))
	for n := 2; n <= 9; n++ {
		links, bytes := randomLinks(rng, n), 1<<(6+rng.IntN(20))
		got := Choose(bytes, links, nil).Cost(bytes, chooseSegment, links, nil)
		for _, name := range Names() {
			p, _ := New(name, n)
			if cost := p.Cost(bytes, chooseSegment, links, nil); name != "ring" && got > cost/chooseGain*1.0001 && name != "tree" {
				t.Errorf("%d bytes over %d ranks: %v s, %s takes %v s", bytes, n, got, name, cost)
			}
		}
	}
}

func TestCostOfARingIsItsFormula(t *testing.T) {
	for n := 2; n <= 9; n++ {
		for _, alpha := range []float64{0, 1e-4, 5e-3} {
			const rate, segment = 118e6, 65536
			bytes := n * segment * 10
			chunk := float64(bytes/n) / rate
			want := float64(2*(n-1))*max(chunk, segment/rate+alpha) + alpha
			if got := Ring(n).Cost(bytes, segment, Uniform(n, alpha, rate), nil); math.Abs(got/want-1) > 0.01 {
				t.Errorf("ring of %d, α %v: %v s, want %v s", n, alpha, got, want)
			}
		}
	}
}

func TestCostOrdersPlans(t *testing.T) {
	const rate = 118e6
	for n := 4; n <= 48; n += 4 {
		links, cost := Uniform(n, 200e-6, rate), map[string]float64{}
		for _, bytes := range []int{100, 2_801_960, 100_000_000} {
			for _, name := range Names() {
				p, _ := New(name, n)
				cost[name] = p.Cost(bytes, chooseSegment, links, nil)
			}
			least := 2 * float64(n-1) / float64(n) * float64(bytes) / rate
			if cost["ring"] < least*0.999 || cost["mesh"] < least*0.999 {
				t.Errorf("%d ranks, %d bytes: ring %v s, mesh %v s, the bound is %v s", n, bytes, cost["ring"], cost["mesh"], least)
			}
			switch {
			case bytes == 100 && cost["tree"] >= cost["ring"] && n >= 16:
				t.Errorf("%d ranks, few bytes: tree %v s, ring %v s", n, cost["tree"], cost["ring"])
			case bytes > 1e6 && bytes < windowBytes && cost["star"] < 1.9*float64(n-1)*float64(bytes)/rate:
				t.Errorf("%d ranks: star %v s", n, cost["star"])
			case bytes > 1e6 && cost["ring"] > cost["tree"]:
				t.Errorf("%d ranks, %d bytes: ring %v s, tree %v s", n, bytes, cost["ring"], cost["tree"])
			}
		}
	}
	one, shared := Uniform(8, 0, rate), make([]int, 8)
	for r := range shared {
		shared[r] = r / 4 // four ranks share an interface
	}
	if a, b := Mesh(8).Cost(1<<24, 65536, one, nil), Mesh(8).Cost(1<<24, 65536, one, shared); b < 2*a {
		t.Errorf("a mesh of 8 ranks takes %v s, and %v s where four share an interface", a, b)
	}
	if got := (Plan{}).Cost(1<<20, 65536, nil, nil); got != 0 {
		t.Errorf("no plan takes %v s", got)
	}
}

func TestPlayBeginsWhenRanksAreReady(t *testing.T) {
	links := Uniform(4, 1e-3, 1e6)
	for _, name := range Names() {
		p, err := New(name, 4)
		if err != nil {
			t.Fatal(err)
		}
		all := p.Play(1e6, 1e4, Network{Links: links}, nil)
		if got, want := slices.Max(all), p.Cost(1e6, 1e4, links, nil); got != want {
			t.Errorf("%s: the last ends at %v, the cost is %v", name, got, want)
		}
		late := p.Play(1e6, 1e4, Network{Links: links}, []float64{10, 10, 10, 10})
		for r := range late {
			if d := late[r] - all[r]; d < 10-1e-9 || d > 10+1e-9 {
				t.Errorf("%s: rank %d ends at %v, and at %v when all begin 10 s later", name, r, all[r], late[r])
			}
		}
		for bound, worse := range map[string]Network{
			"half":   {Links: links, Half: true},
			"fabric": {Links: links, Fabric: 5e5},
			"busy":   {Links: links, Busy: 3e-6},
			"jitter": {Links: links, Jitter: func() float64 { return 0.1 }},
		} {
			if got := slices.Max(p.Play(1e6, 1e4, worse, nil)); got <= slices.Max(all) {
				t.Errorf("%s: with %s it takes %v, and %v without", name, bound, got, slices.Max(all))
			}
		}
	}
}
