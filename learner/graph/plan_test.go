package graph

import (
	"slices"
	"sync/atomic"
	"testing"

	G "gorgonia.org/gorgonia"
)

// planned is a net's plan, before memory.
func planned(t *testing.T, n *Net) *planner {
	t.Helper()
	p := &planner{net: n, workers: 2, buffers: map[*G.Node]*buffer{}}
	for _, node := range append(G.Nodes{n.images, n.logits}, n.params...) {
		p.buffers[node] = &buffer{fixed: make([]float32, node.Shape().TotalSize())}
	}
	for i, node := range n.grads {
		p.buffers[node] = &buffer{fixed: make([]float32, n.params[i].Shape().TotalSize())}
	}
	if err := p.schedule(); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPlanKeepsWhatIsNeeded plays a plan with tags instead of numbers: each step writes its tag to every element that it
// owns, and finds in its inputs the tags of those that made them.
func TestPlanKeepsWhatIsNeeded(t *testing.T) {
	for name, build := range map[string]func() (*Net, error){
		"mobilenet": func() (*Net, error) {
			return MobileNetV2(Spec{Width: 0.1, Input: 32, Batch: 2, Classes: 3, Epsilon: 1e-5})
		},
		"squeezenet": func() (*Net, error) { return SqueezeNet11(Spec{Input: 32, Batch: 1, Classes: 3}) },
	} {
		n, err := build()
		if err != nil {
			t.Fatal(err)
		}
		for _, how := range []fusion{{}, everything} {
			p := planned(t, n)
			p.fuse(how)
			play(t, p, name)
		}
	}
}

// play plays a plan with tags.
func play(t *testing.T, p *planner, name string) {
	t.Helper()
	makers := make([][]*buffer, len(p.steps)) // before live merges buffers
	for i, s := range p.steps {
		makers[i] = slices.Clone(s.in)
	}
	outs := map[*buffer]int{}
	for i, s := range p.steps {
		for _, out := range append([]*buffer{s.out}, s.more...) {
			outs[out] = i
		}
	}
	p.live()
	arena := make([]int, p.place())
	tags := func(b *buffer) []int { return arena[b.offset:][:b.len] }
	total := 0
	for i, s := range p.steps {
		for j, in := range s.in {
			maker, made := outs[makers[i][j]]
			if in.fixed != nil || !made {
				continue
			}
			if k := slices.IndexFunc(tags(in), func(v int) bool { return v != maker+1 }); k >= 0 {
				t.Fatalf("%s: step %d, %v, finds element %d of input %d written by step %d, not %d",
					name, i, s.node.Op(), k, j, tags(in)[k]-1, maker)
			}
		}
		for _, b := range append([]*buffer{s.scratch, s.out}, s.more...) {
			if b == nil || b.fixed != nil {
				continue
			}
			total += b.len
			for k := range tags(b) {
				tags(b)[k] = i + 1
			}
		}
	}
	if 2*len(arena) > total {
		t.Errorf("%s: the arena has %d elements of %d written: nothing is used again", name, len(arena), total)
	}
}

func TestPoolTakesEachItemOnce(t *testing.T) {
	for _, workers := range []int{0, 1, 2, 5} {
		p := NewPool(workers)
		for _, items := range []int{0, 1, 2, 4, 5, 100} {
			counts := make([]atomic.Int32, items)
			busy := make([]atomic.Int32, p.Workers())
			p.Run(items, func(worker, item int) {
				if busy[worker].Add(1) != 1 {
					t.Error("two items are one worker's at once")
				}
				counts[item].Add(1)
				busy[worker].Add(-1)
			})
			for i := range counts {
				if n := counts[i].Load(); n != 1 {
					t.Errorf("%d workers took item %d of %d %d times", workers, i, items, n)
				}
			}
		}
		p.Close()
	}
}

func TestPoolSurvivesPanics(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	for range 20 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a panic in an item was lost")
				}
			}()
			p.Run(50, func(_, item int) {
				if item == 7 {
					panic("seven")
				}
			})
		}()
		var n atomic.Int32
		p.Run(50, func(int, int) { n.Add(1) })
		if n.Load() != 50 {
			t.Fatalf("%d of 50 items after a panic", n.Load())
		}
	}
}

func TestGridsCover(t *testing.T) {
	for _, rows := range []int{1, 3, 12, 64, 1000} {
		for _, cols := range []int{1, 5, 16, 17, 65, 1280} {
			for _, depth := range []int{1, 27, 1280} {
				for _, g := range []grid{tiles(rows, cols, depth), strips(rows, cols, depth)} {
					seen := make([]int, g.rows*g.cols)
					for item := range g.items() {
						r0, r1, c0, c1 := g.at(item)
						for r := r0; r < r1; r++ {
							for c := c0; c < c1; c++ {
								seen[r*g.cols+c]++
							}
						}
					}
					if slices.Min(seen) != 1 || slices.Max(seen) != 1 {
						t.Errorf("%+v for depth %d does not cover each element once", g, depth)
					}
				}
			}
		}
	}
}
