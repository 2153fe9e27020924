package shards

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// smallSet is n random images of h×w.
func smallSet(n, h, w int) *Set {
	s := newRand(7, uint64(n), uint64(h), uint64(w))
	m := Images{N: n, H: h, W: w, Pixels: make([]byte, n*h*w*3), Labels: make([]int32, n)}
	for i := range m.Pixels {
		m.Pixels[i] = byte(s.below(256))
	}
	for i := range m.Labels {
		m.Labels[i] = int32(s.below(10))
	}
	set := &Set{Classes: cifarClasses(), Train: m, Test: m}
	set.Mean, set.Std = moments(m.Pixels)
	return set
}

// dumbLoad is what Loader promises, straight from its words, in float64.
func dumbLoad(set *Set, m Images, i, input, crop int, v variant) []float64 {
	at := func(x, y, c int) float64 { // of the padded, cut and mirrored image
		x, y = min(max(x, 0), m.W-1), min(max(y, 0), m.H-1)
		if v.flip {
			x = m.W - 1 - x
		}
		x, y = x+v.dx, y+v.dy
		value := 0.0
		if x >= 0 && x < m.W && y >= 0 && y < m.H {
			value = float64(m.Pixels[((i*m.H+y)*m.W+x)*3+c]) / 255
		}
		return (value - set.Mean[c]) / set.Std[c]
	}
	out := make([]float64, 0, input*input*3)
	for y := range input {
		for x := range input {
			sx := (float64(x)+0.5)*float64(m.W)/float64(input) - 0.5
			sy := (float64(y)+0.5)*float64(m.H)/float64(input) - 0.5
			x0, y0 := int(math.Floor(sx)), int(math.Floor(sy))
			tx, ty := sx-math.Floor(sx), sy-math.Floor(sy)
			for c := range 3 {
				top := at(x0, y0, c)*(1-tx) + at(x0+1, y0, c)*tx
				low := at(x0, y0+1, c)*(1-tx) + at(x0+1, y0+1, c)*tx
				out = append(out, top*(1-ty)+low*ty)
			}
		}
	}
	return out
}

func TestLoaderAgainstItsDescription(t *testing.T) {
	for _, tt := range []struct {
		name           string
		h, w, input    int
		crop           int
		flip           bool
		wantsIdentical bool
	}{
		{name: "same size", h: 8, w: 8, input: 8},
		{name: "same size, crop and flip", h: 8, w: 8, input: 8, crop: 3, flip: true},
		{name: "crop as large as the image", h: 4, w: 4, input: 4, crop: 4},
		{name: "four times larger", h: 8, w: 8, input: 32, crop: 2, flip: true},
		{name: "to an odd size", h: 8, w: 8, input: 13, flip: true},
		{name: "smaller", h: 9, w: 9, input: 4},
		{name: "not square", h: 5, w: 11, input: 8, crop: 1, flip: true},
		{name: "one pixel", h: 1, w: 1, input: 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := smallSet(6, tt.h, tt.w)
			l := NewLoader(set, Config{Crop: tt.crop, Flip: tt.flip}, tt.input, 5)
			indices := []int32{4, 0, 5, 4}
			size := tt.input * tt.input * 3
			dst, labels := make([]float32, len(indices)*size), make([]int32, len(indices))
			l.Train(dst, labels, indices, 3)
			for k, i := range indices {
				if labels[k] != set.Train.Labels[i] {
					t.Errorf("label of sample %d: got %d, want %d", i, labels[k], set.Train.Labels[i])
				}
				want := dumbLoad(set, set.Train, int(i), tt.input, tt.crop, l.variant(3, i))
				for p, v := range dst[k*size : (k+1)*size] {
					if math.Abs(float64(v)-want[p]) > 1e-5 {
						t.Fatalf("sample %d, value %d: got %v, want %v", i, p, v, want[p])
					}
				}
			}
			l.Test(dst[:2*size], labels[:2], 1, 3)
			want := dumbLoad(set, set.Test, 2, tt.input, 0, variant{})
			for p, v := range dst[size : 2*size] {
				if math.Abs(float64(v)-want[p]) > 1e-5 {
					t.Fatalf("test image 2, value %d: got %v, want %v", p, v, want[p])
				}
			}
		})
	}
}

func TestAugmentationDependsOnSeedEpochAndSampleOnly(t *testing.T) {
	set := smallSet(5, 8, 8)
	cfg := Config{Crop: 2, Flip: true}
	load := func(seed uint64, epoch int, indices ...int32) []float32 {
		dst := make([]float32, len(indices)*8*8*3)
		NewLoader(set, cfg, 8, seed).Train(dst, make([]int32, len(indices)), indices, epoch)
		return dst
	}
	size := 8 * 8 * 3
	alone, third := load(1, 2, 3), load(1, 2, 0, 1, 3)
	if fmt.Sprint(alone) != fmt.Sprint(third[2*size:]) {
		t.Error("sample 3 differs with the batch that it is in")
	}
	if fmt.Sprint(alone) == fmt.Sprint(load(1, 3, 3)) && fmt.Sprint(alone) == fmt.Sprint(load(1, 4, 3)) {
		t.Error("sample 3 is the same in epochs 2, 3 and 4")
	}
	l := NewLoader(set, cfg, 8, 1)
	flips, places := 0, map[[2]int]int{}
	for epoch := range 1000 {
		v := l.variant(epoch, 3)
		if v.flip {
			flips++
		}
		places[[2]int{v.dx, v.dy}]++
	}
	if flips < 430 || flips > 570 {
		t.Errorf("%d of 1000 epochs are mirrored, want about half", flips)
	}
	if len(places) != 25 || places[[2]int{-2, -2}] < 15 || places[[2]int{2, 2}] < 15 {
		t.Errorf("windows in 1000 epochs: %v, want 25 places of about 40", places)
	}
}

func TestLoaderNormalisation(t *testing.T) {
	set := smallSet(2, 1, 1)
	copy(set.Train.Pixels, []byte{0, 128, 255})
	cfg := Config{Mean: []float64{0.5, 0.25, 0}, Std: []float64{0.5, 1, 0.25}}
	dst, labels := make([]float32, 3), make([]int32, 1)
	NewLoader(set, cfg, 0, 1).Train(dst, labels, []int32{0}, 0)
	if want := [3]float32{-1, float32(128.0/255 - 0.25), 4}; [3]float32(dst) != want {
		t.Errorf("got %v, want %v", dst, want)
	}
	set.Std = [3]float64{} // constant channels
	NewLoader(set, Config{}, 0, 1).Train(dst, labels, []int32{0}, 0)
	for _, v := range dst {
		if math.IsInf(float64(v), 0) || math.IsNaN(float64(v)) {
			t.Errorf("constant channel gives %v", dst)
		}
	}
}

func TestLoaderAllocatesNothing(t *testing.T) {
	set := smallSet(4, 8, 8)
	for _, input := range []int{8, 20} {
		l := NewLoader(set, Config{Crop: 2, Flip: true}, input, 1)
		dst, labels, indices := make([]float32, 3*input*input*3), make([]int32, 3), []int32{3, 1, 2}
		epoch := 0
		if n := testing.AllocsPerRun(20, func() {
			l.Train(dst, labels, indices, epoch)
			l.Test(dst, labels, 0, 3)
			epoch++
		}); n != 0 {
			t.Errorf("input %d: %v allocations a batch, want 0", input, n)
		}
	}
}

func TestLoaderPanicsOnWrongLengths(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a short destination is accepted")
		}
	}()
	NewLoader(smallSet(2, 4, 4), Config{}, 4, 1).Train(make([]float32, 5), make([]int32, 1), []int32{0}, 0)
}

// The bits of a batch are part of what all machines agree on.
func TestLoaderRecorded(t *testing.T) {
	set := smallSet(6, 8, 8)
	for _, tt := range []struct {
		input int
		want  string
	}{
		{8, "f4b8b361d3127ca1"},
		{20, "e9be24dffff2c0eb"},
	} {
		l := NewLoader(set, Config{Crop: 2, Flip: true}, tt.input, 9)
		dst := make([]float32, 6*tt.input*tt.input*3)
		l.Train(dst, make([]int32, 6), iota32(6), 1)
		h := sha256.New()
		binary.Write(h, binary.LittleEndian, dst)
		if got := fmt.Sprintf("%x", h.Sum(nil)[:8]); got != tt.want {
			t.Errorf("input %d: got %s, want %s", tt.input, got, tt.want)
		}
	}
}

func BenchmarkLoader(b *testing.B) {
	set := smallSet(64, 32, 32)
	for _, input := range []int{32, 128} {
		b.Run(fmt.Sprint(input), func(b *testing.B) {
			l := NewLoader(set, Config{Crop: 4, Flip: true}, input, 1)
			dst, labels := make([]float32, 12*input*input*3), make([]int32, 12)
			indices := iota32(12)
			for b.Loop() {
				l.Train(dst, labels, indices, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*12), "µs/image")
		})
	}
}
