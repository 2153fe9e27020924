package collective

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"shoal/learner/kernel"
)

// lossy are the wire types that lose something, with the largest error of one encoding as a share of the largest magnitude.
var lossy = map[string]float64{"fp16": 0x1p-11, "int8": 1.0 / 254}

func TestWireExample(t *testing.T) {
	got := make([]byte, int8s.bytes(3))
	if err := int8s.encode(got, []float32{1, -0.5, 0.25}); err != nil {
		t.Fatal(err)
	}
	if want := []byte{0x04, 0x02, 0x01, 0x3c, 0x7f, 0xc0, 0x20}; !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
}

func TestOneEncodingErrsLittle(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for name, most := range lossy {
		w, _ := wireNamed(name)
		for _, size := range []float64{1e-45, 1e-38, 1e-30, 1e-6, 1, 1e30, 0x1p126} {
			for n := 1; n < 70; n++ {
				src, dst, raw := make([]float32, n), make([]float32, n), make([]byte, w.bytes(n))
				largest := 0.0
				for i := range src {
					src[i] = float32(size * (2*rng.Float64() - 1))
					largest = max(largest, math.Abs(float64(src[i])))
				}
				if err := errors.Join(w.encode(raw, src), w.decode(dst, raw)); err != nil {
					t.Fatal(err)
				}
				floor := 0.0 // below it int8 sends zeros and fp16 loses digits
				if size < 1e-30 {
					floor = leastScaled
				}
				for i := range src {
					if d := math.Abs(float64(src[i]) - float64(dst[i])); d > largest*most*(1+1e-6)+floor {
						t.Fatalf("%s: %v of %v came as %v", name, src[i], largest, dst[i])
					}
				}
			}
		}
	}
}

func TestEncodeRefusesWhatIsNotFinite(t *testing.T) {
	for name := range lossy {
		w, _ := wireNamed(name)
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0x1p126} {
			if err := w.encode(make([]byte, w.bytes(2)), []float32{1, float32(x)}); !errors.Is(err, errNotFinite) {
				t.Errorf("%s: %v is sent: %v", name, x, err)
			}
			raw := make([]byte, w.bytes(2))
			rescale(raw, 1)
			raw[2], raw[3] = 0x80, 0x7f // +Inf
			if err := w.decode(make([]float32, 2), raw); err == nil {
				t.Errorf("%s: an infinite scale is taken", name)
			}
		}
	}
}

// worst is the largest error of the mean, in max|x|, of a plan whose encodings err by e of what they encode: played with
// the largest magnitude and error of every rank's chunk.
func worst(plan Plan, shares []float64, e float64) float64 {
	type chunk struct{ magnitude, err float64 }
	most := 0.0
	for c := range plan.Chunks {
		held := make([]chunk, plan.Size)
		for r, share := range shares {
			held[r] = chunk{share, 0}
		}
		encoded := make([]bool, plan.Size)
		for _, step := range plan.Steps {
			for _, m := range step {
				if m.Chunk != c {
					continue
				}
				from := &held[m.From]
				if m.Op == Reduce || !encoded[m.From] {
					from.err += e * from.magnitude
					from.magnitude *= 1 + e
				}
				if m.Op == Copy {
					encoded[m.From], encoded[m.To] = true, true
					held[m.To] = *from
				} else {
					held[m.To].magnitude += from.magnitude
					held[m.To].err += from.err
				}
			}
		}
		for _, h := range held {
			most = max(most, h.err)
		}
	}
	return most
}

// TestLossyMeansErrWithinTheirBound: on every plan, with equal and other weights, and the closed forms in Mean's comment.
func TestLossyMeansErrWithinTheirBound(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for name, e := range lossy {
		cfg := Defaults()
		cfg.Wire = name
		for n := 2; n <= 9; n++ {
			weights := make([]float64, n)
			for r := range weights {
				weights[r] = float64(1 + (n%2)*rng.IntN(9))
			}
			shares, _ := sharesOf(weights, ones(n), n)
			for _, plan := range []string{"ring", "tree", "star", "mesh"} {
				p, _ := New(plan, n)
				cfg.Segment = 1 + rng.IntN(40)
				vecs := random(rng, n, 257)
				mean, _ := reference(weights, vecs)
				got := clone(vecs)
				results, errs := meanAll(t.Context(), p, weights, got, plugs(n, rng.IntN(3)), cfg)
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				checkSame(t, got)
				bound := worst(p, shares, e)
				closed := map[string]float64{"ring": float64(n+1) / 2, "tree": math.Log2(float64(n)) + 2, "star": 2, "mesh": 2}[plan] * e
				if n%2 == 0 && bound > closed*1.05 {
					t.Errorf("%s of %d in %s: may err by %.3g, its comment says %.3g", plan, n, name, bound, closed)
				}
				for i := range mean {
					if d := math.Abs(float64(got[0][i]) - mean[i]); d > bound*1.0001+1e-6 {
						t.Fatalf("%s of %d in %s: element %d is off by %v, bound %v", plan, n, name, i, d, bound)
					}
				}
				checkWireBytes(t, p, len(vecs[0]), cfg, results)
			}
		}
	}
}

// random are n vectors of values in [-1, 1).
func random(rng *rand.Rand, n, length int) [][]float32 {
	vecs := make([][]float32, n)
	for r := range vecs {
		vecs[r] = make([]float32, length)
		for i := range vecs[r] {
			vecs[r][i] = float32(2*rng.Float64() - 1)
		}
	}
	return vecs
}

// checkWireBytes: each move takes its elements' bytes and a scale per segment, and nothing else.
func checkWireBytes(t *testing.T, p Plan, length int, cfg Config, results []Result) {
	t.Helper()
	var sent, received, want int64
	for _, r := range results {
		sent, received = sent+r.Sent, received+r.Received
	}
	for _, step := range p.Steps {
		for _, m := range step {
			lo, hi := p.bounds(m.Chunk, length)
			want += int64(Bytes(cfg.Wire, hi-lo, cfg.Segment))
		}
	}
	if sent != want || received != want {
		t.Errorf("%s of %d in %s: sent %d, received %d, want %d", p.Name, p.Size, cfg.Wire, sent, received, want)
	}
}

// crew are averagers that go through rounds together.
type crew []*Averager

func newCrew(n int, cfg Config) crew {
	c := make(crew, n)
	for r := range c {
		c[r] = NewAverager(cfg)
	}
	return c
}

func (c crew) mean(t *testing.T, plan Plan, weights, scales []float64, limit float64, vecs [][]float32) [][]float32 {
	t.Helper()
	got, links, errs := clone(vecs), plugs(len(c), 1), make([]error, len(c))
	var wg sync.WaitGroup
	for r, a := range c {
		wg.Go(func() { _, errs[r] = a.Mean(t.Context(), plan, r, weights, scales, limit, got[r], links[r]) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	checkSame(t, got)
	return got
}

// TestWhatIsLostComesLater holds error feedback's law: the means of all rounds so far, and what is still owed, make up the
// true means. Some ranks sit out some rounds, and some rounds fail after their exchange.
func TestWhatIsLostComesLater(t *testing.T) {
	for name, e := range lossy {
		rng := rand.New(rand.NewPCG(9, 10))
		for i := range 16 {
			planName := Names()[i%4]
			const n, length, rounds = 4, 67, 12
			cfg := Defaults()
			cfg.Wire, cfg.Segment = name, 8
			plan, _ := Arrange(planName, n, []int{2, 0, 3, 1}, [][]int{nil, {0, 1, 1, 0}}[rng.IntN(2)])
			c := newCrew(n, cfg)
			truth, total := make([]float64, length), make([]float64, length)
			for round := range rounds {
				weights := []float64{float64(rng.IntN(3)), 1, float64(rng.IntN(2)), 2}
				vecs := random(rng, n, length)
				got := c.mean(t, plan, weights, ones(n), 0, vecs)
				if round%3 == 1 { // the ballot fails: the same again
					for _, a := range c {
						a.Rollback()
					}
					again := c.mean(t, plan, weights, ones(n), 0, vecs)
					checkSame(t, append(again, got[0]))
				}
				mean, _ := reference(weights, vecs)
				for i := range truth {
					truth[i], total[i] = truth[i]+mean[i], total[i]+float64(got[0][i])
				}
				for _, a := range c {
					a.Commit()
					a.Commit() // which changes nothing more
				}
			}
			owed := make([]float64, length)
			for _, a := range c {
				for i, x := range a.lost {
					owed[i] += float64(x)
				}
			}
			for i := range truth {
				if d := math.Abs(truth[i] - total[i] - owed[i]); d > 1e-5 {
					t.Fatalf("%s in %s: element %d: true %v, sent %v, owed %v", planName, name, i, truth[i], total[i], owed[i])
				}
				if math.Abs(owed[i]) > 40*e {
					t.Fatalf("%s in %s: element %d: %v is owed after %d rounds", planName, name, i, owed[i], rounds)
				}
			}
		}
	}
}

// TestAConstantSmallDeltaIsNotForgotten: without feedback int8 sends zero for ever of what is small beside one large
// element.
func TestAConstantSmallDeltaIsNotForgotten(t *testing.T) {
	cfg := Defaults()
	cfg.Wire = "int8"
	run := func(commit bool) (sum float64) {
		c := newCrew(2, cfg)
		for range 1000 {
			got := c.mean(t, Ring(2), []float64{1, 1}, ones(2), 0, [][]float32{{1, 1e-3, 1, 1e-3}, {1, 1e-3, 1, 1e-3}})
			sum += float64(got[0][1])
			for _, a := range c {
				if commit {
					a.Commit()
				} else {
					a.Rollback()
				}
			}
		}
		return sum
	}
	if with, without := run(true), run(false); math.Abs(with-1) > 0.02 || without != 0 {
		t.Errorf("a thousand times 0.001 is %v with feedback and %v without", with, without)
	}
}

func TestAnotherLengthBeginsAnew(t *testing.T) {
	cfg := Defaults()
	cfg.Wire = "int8"
	c := newCrew(2, cfg)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, length := range []int{9, 5, 0, 12} {
		c.mean(t, Ring(2), []float64{1, 1}, ones(2), 0, random(rng, 2, length))
		for _, a := range c {
			a.Commit()
			if len(a.lost) != length {
				t.Errorf("%d values are owed of %d", len(a.lost), length)
			}
		}
	}
}

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		wire                    string
		elements, segment, want int
	}{
		{"fp32", 0, 4, 0}, {"fp32", 9, 4, 36}, {"fp16", 9, 4, 18 + 3*4}, {"int8", 8, 4, 8 + 2*4}, {"int8", 3, 4, 7}, {"fp8", 3, 4, 0}, {"fp32", 3, 0, 0},
	} {
		if got := Bytes(c.wire, c.elements, c.segment); got != c.want {
			t.Errorf("Bytes(%s, %d, %d) = %d, want %d", c.wire, c.elements, c.segment, got, c.want)
		}
	}
}

// FuzzSegment decodes any bytes as a segment: it is refused, or its values are those of numbers times a finite scale.
func FuzzSegment(f *testing.F) {
	for _, name := range wireNames()[1:] {
		w, _ := wireNamed(name)
		raw := make([]byte, w.bytes(5))
		if err := w.encode(raw, []float32{1, -2, 0, 1e-8, 3}); err != nil {
			f.Fatal(err)
		}
		f.Add(byte(w), raw)
	}
	f.Add(byte(fp16), []byte{0, 0, 128, 63, 0xff, 0x7f, 0, 0xfc})
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		w := wire(1 + kind%2)
		n := (len(raw) - headBytes) / (w.bytes(1) - headBytes)
		if len(raw) < headBytes || n < 1 {
			return
		}
		segment := append([]byte(nil), raw[:w.bytes(n)]...) // which is aligned
		dst := make([]float32, n)
		if w.decode(dst, segment) != nil {
			return
		}
		tn := turn{most: mostSquares}
		if tn.admit(kernel.SumSquares(dst)) != nil {
			return
		}
		again, back := make([]byte, w.bytes(n)), make([]float32, n)
		if err := errors.Join(w.encode(again, dst), w.decode(back, again)); err != nil {
			t.Fatal(fmt.Errorf("what was admitted, %v, cannot be sent on: %w", dst, err))
		}
	})
}
