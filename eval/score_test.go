package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"shoal/learner"
	"shoal/shards"
)

// counting is a model whose running statistics are the mean of all it was asked to look at. An image is classified
// correctly if its label is even; its loss is its first value plus the statistics.
type counting struct {
	shared  []float32
	seen    [][]float32 // first values of the images of each batch of a re-estimation
	norm    bool
	failAt  int // the image that cannot be scored
	scored  []float32
	onScore func()
}

var errModel = errors.New("kernel panicked")

func (m *counting) Shared(bool) []float32 { return m.shared }

func (m *counting) Params() []float32 {
	if m.norm {
		return m.shared[:1]
	}
	return m.shared
}

func (m *counting) Score(x []float32, labels []int32) (learner.Result, error) {
	if m.onScore != nil {
		m.onScore()
	}
	var r learner.Result
	for i, l := range labels {
		value := x[i*len(x)/len(labels)]
		if int(value) == m.failAt {
			return r, errModel
		}
		m.scored = append(m.scored, value)
		r.Loss += (float64(value) + float64(m.shared[1])) / float64(len(labels))
		r.N++
		if l%2 == 0 {
			r.Correct++
		}
	}
	return r, nil
}

func (m *counting) Reestimate(batches int, next func(i int) ([]float32, int)) error {
	for i := 0; m.norm && i < batches; i++ {
		x, n := next(i)
		if n < 1 {
			return fmt.Errorf("batch %d has no images", i)
		}
		var firsts []float32
		for k := range n {
			firsts = append(firsts, x[k*len(x)/n])
		}
		m.seen = append(m.seen, firsts)
		m.shared[1] = 100
	}
	return nil
}

// numbered is a source whose image i holds i, with label i.
type numbered struct{}

func (numbered) Train(dst []float32, labels []int32, indices []int32, epoch int) {
	for k, i := range indices {
		fill(dst[k*len(dst)/len(indices):(k+1)*len(dst)/len(indices)], float32(i))
		labels[k] = i
	}
}

func (numbered) Test(dst []float32, labels []int32, lo, hi int) {
	for i := lo; i < hi; i++ {
		fill(dst[(i-lo)*len(dst)/(hi-lo):(i-lo+1)*len(dst)/(hi-lo)], float32(i))
		labels[i-lo] = int32(i)
	}
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}

func setOf(train, test int) *shards.Set {
	return &shards.Set{Name: "numbers", Train: shards.Images{N: train}, Test: shards.Images{N: test}}
}

func TestScoreSeesEveryTestImageOnce(t *testing.T) {
	for _, n := range []int{1, 3, 4, 5, 8, 9} {
		m := &counting{shared: []float32{1, 7}, norm: true, failAt: -1}
		got, err := ScoreModel(t.Context(), m, numbered{}, setOf(50, n), Config{}, learner.Config{Batch: 4, Input: 2})
		must(t, err)
		want := Result{Accuracy: float64((n+1)/2) / float64(n), Loss: 7 + float64(n-1)/2, Images: n}
		if math.Abs(got.Loss-want.Loss) > 1e-12 {
			t.Errorf("%d images: loss %v, want %v", n, got.Loss, want.Loss)
		}
		if got.Loss = want.Loss; got != want || len(m.scored) != n || m.seen != nil {
			t.Errorf("%d images: got %+v, want %+v", n, got, want)
		}
	}
}

func TestScoreReestimatesAndRestores(t *testing.T) {
	l := learner.Config{Batch: 4, Input: 2}
	for _, c := range []struct{ train, ask, batches, size int }{{50, 3, 3, 4}, {50, 20, 12, 4}, {3, 20, 1, 3}, {4, 1, 1, 4}} {
		var first [][]float32
		for range 2 {
			m := &counting{shared: []float32{1, 7}, norm: true, failAt: -1}
			got, err := ScoreModel(t.Context(), m, numbered{}, setOf(c.train, 1), Config{Reestimate: c.ask}, l)
			must(t, err)
			if got.Reestimated != c.batches || got.Loss != 100 || m.shared[0] != 1 || m.shared[1] != 7 {
				t.Errorf("%+v: %+v, shared %v", c, got, m.shared)
			}
			distinct := map[float32]bool{}
			for _, batch := range m.seen {
				for _, i := range batch {
					distinct[i] = true
				}
			}
			if len(distinct) != c.batches*c.size {
				t.Errorf("%+v: batches %v", c, m.seen)
			}
			if first != nil && !slices.EqualFunc(first, m.seen, slices.Equal[[]float32]) {
				t.Errorf("%+v: %v, and again %v", c, first, m.seen)
			}
			first = m.seen
		}
		m := &counting{shared: []float32{1, 7}, norm: true}
		must(t, Reestimate(m, numbered{}, setOf(c.train, 1), Config{Reestimate: c.ask}, l))
		if m.shared[1] != 100 || !slices.EqualFunc(first, m.seen, slices.Equal[[]float32]) {
			t.Errorf("%+v: alone it leaves %v from %v", c, m.shared, m.seen)
		}
	}
	plain := &counting{shared: []float32{1, 7}, failAt: -1}
	if got, err := ScoreModel(t.Context(), plain, numbered{}, setOf(50, 1), Config{Reestimate: 3}, l); err != nil || got.Reestimated != 0 {
		t.Errorf("without batch norm: %+v, %v", got, err)
	}
	must(t, Reestimate(plain, numbered{}, setOf(0, 1), Config{}, l))
}

func TestScoreErrors(t *testing.T) {
	l, cfg := learner.Config{Batch: 4, Input: 2}, Config{Reestimate: 2}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("told to stop")
	check := func(name string, m *counting, set *shards.Set, ctx context.Context, want string) {
		t.Helper()
		r, err := ScoreModel(ctx, m, numbered{}, set, cfg, l)
		if err == nil || !strings.Contains(err.Error(), want) || r != (Result{}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if m.shared[1] != 7 {
			t.Errorf("%s: shared became %v", name, m.shared)
		}
	}
	model := func() *counting { return &counting{shared: []float32{1, 7}, norm: true, failAt: -1} }
	check("no test images", model(), setOf(9, 0), t.Context(), "no test images")
	check("no training images", model(), setOf(0, 9), t.Context(), "no training images")
	broken := model()
	broken.failAt = 5
	check("broken", broken, setOf(9, 9), t.Context(), "test images [4, 8): kernel panicked")
	stopping := model()
	stopping.onScore = func() { cancel(why) }
	check("stopped while scoring", stopping, setOf(9, 9), ctx, "told to stop")
	if len(stopping.scored) != 4 {
		t.Errorf("scored %v after the stop", stopping.scored)
	}
	stopped := model()
	check("stopped before", stopped, setOf(9, 9), ctx, "told to stop")
	if stopped.seen != nil {
		t.Errorf("re-estimated from %v after the stop", stopped.seen)
	}
}

// TestScoreOfARealModelLeavesNoTrace trains a small network, and scores it.
func TestScoreOfARealModelLeavesNoTrace(t *testing.T) {
	cfg := learner.Defaults()
	cfg.Width, cfg.Batch, cfg.Threads = 0.1, 8, 1
	l, err := learner.New(cfg, 2, 1)
	must(t, err)
	defer l.Close()
	set := &shards.Set{Name: "noise", Std: [3]float64{1, 1, 1}, Train: noise(32), Test: noise(20)}
	loader := shards.NewLoader(set, shards.Config{}, cfg.Input, 1)
	x, labels := make([]float32, cfg.Batch*cfg.Input*cfg.Input*3), make([]int32, cfg.Batch)
	loader.Train(x, labels, []int32{0, 1, 2, 3, 4, 5, 6, 7}, 0)
	_, err = l.Step(x, labels, 0.01)
	must(t, err)
	before := slices.Clone(l.Shared(true))
	running, err := ScoreModel(t.Context(), l, loader, set, Config{}, cfg)
	must(t, err)
	precise, err := ScoreModel(t.Context(), l, loader, set, Config{Reestimate: 3}, cfg)
	must(t, err)
	for i, x := range l.Shared(true) {
		if math.Float32bits(x) != math.Float32bits(before[i]) {
			t.Fatalf("element %d of the shared state became %v from %v", i, x, before[i])
		}
	}
	if running.Images != 20 || precise.Images != 20 || precise.Reestimated != 3 || running.Reestimated != 0 {
		t.Errorf("%+v, %+v", running, precise)
	}
	if running.Loss == precise.Loss || !(precise.Loss > 0 && precise.Loss < 100) {
		t.Errorf("re-estimation changed nothing: %+v, %+v", running, precise)
	}
}

// noise is n images of bytes that differ, in two classes.
func noise(n int) shards.Images {
	m := shards.Images{N: n, H: 32, W: 32, Pixels: make([]byte, n*32*32*3), Labels: make([]int32, n)}
	state := uint32(n)
	for i := range m.Pixels {
		state = state*1664525 + 1013904223
		m.Pixels[i] = byte(state >> 24)
	}
	for i := range m.Labels {
		m.Labels[i] = int32(i % 2)
	}
	return m
}
