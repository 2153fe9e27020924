package shards

import (
	"fmt"
)

// Loader turns images of a set into the input of a network: (N, input, input, 3) float32, normalised per channel as
// (v/255 - mean)/std. What it writes depends on set, configuration, input, seed, epoch and sample only, so it does not
// matter which agent loads a sample. It allocates nothing once made. It has scratch memory, so a Loader is for one
// goroutine at a time; make one for each, they share the set.
//
// Augmentation works on the set's own pixels, before any resizing: with Crop c the image is padded by c black pixels
// on every side and a window of its own size cut out at random; with Flip it is mirrored with probability ½.
//
// An image of another size than input×input is resized bilinearly with half-pixel centres, edges repeated. There is no
// smoothing before an image is made smaller: open a folder at the input that it will be trained at, which smooths.
type Loader struct {
	set   *Set
	cfg   Config
	input int
	seed  uint64
	norm  [3][256]float32 // the normalised value of every byte
	ident bool            // the set has the input's size
	xs    []tap           // (input)
	ys    []tap
	rows  []float32 // (H, input, 3): an image resized in x only
}

// tap is where a resized pixel comes from: lo and hi, hi with weight t.
type tap struct {
	lo, hi int
	t      float32
}

// NewLoader makes a Loader of set for square inputs; input 0 keeps the set's width. Mean and Std of cfg take the place
// of the set's own where they are given; a channel that does not vary is divided by 1.
func NewLoader(set *Set, cfg Config, input int, seed uint64) *Loader {
	if input <= 0 {
		input = set.Train.W
	}
	l := &Loader{set: set, cfg: cfg, input: input, seed: seed}
	for c := range 3 {
		mean, std := set.Mean[c], set.Std[c]
		if len(cfg.Mean) == 3 {
			mean = cfg.Mean[c]
		}
		if len(cfg.Std) == 3 {
			std = cfg.Std[c]
		}
		if std == 0 {
			std = 1
		}
		for v := range l.norm[c] {
			l.norm[c][v] = float32((float64(v)/255 - mean) / std)
		}
	}
	h, w := set.Train.H, set.Train.W
	if l.ident = h == input && w == input; !l.ident {
		l.xs, l.ys = taps(w, input), taps(h, input)
		l.rows = make([]float32, h*input*3)
	}
	return l
}

// taps are where n pixels come from among size: pixel i is centred at (i+½)·size/n - ½.
func taps(size, n int) []tap {
	list := make([]tap, n)
	for i := range list {
		at := max(0, (2*i+1)*size-n) // in units of 1/(2n)
		lo := min(at/(2*n), size-1)
		list[i] = tap{lo: lo, hi: min(lo+1, size-1), t: float32(at%(2*n)) / float32(2*n)}
	}
	return list
}

// Train writes the training images of indices to dst, (len(indices), input, input, 3), and their labels. They are
// augmented as configured, decided by seed, epoch and index. Lengths that do not agree are the caller's fault and
// panic, as does an index that the set does not have.
func (l *Loader) Train(dst []float32, labels []int32, indices []int32, epoch int) {
	l.check(dst, labels, len(indices))
	size := l.input * l.input * 3
	for k, i := range indices {
		v := l.variant(epoch, i)
		l.load(dst[k*size:(k+1)*size], l.set.Train, int(i), v)
		labels[k] = l.set.Train.Labels[i]
	}
}

// Test writes the test images [lo, hi) to dst, (hi-lo, input, input, 3), and their labels; none is augmented.
func (l *Loader) Test(dst []float32, labels []int32, lo, hi int) {
	l.check(dst, labels, hi-lo)
	size := l.input * l.input * 3
	for i := lo; i < hi; i++ {
		l.load(dst[(i-lo)*size:(i-lo+1)*size], l.set.Test, i, variant{})
		labels[i-lo] = l.set.Test.Labels[i]
	}
}

func (l *Loader) check(dst []float32, labels []int32, n int) {
	if len(dst) != n*l.input*l.input*3 || len(labels) != n {
		panic(fmt.Sprintf("shards: load %d images of %d×%d into %d values and %d labels",
			n, l.input, l.input, len(dst), len(labels)))
	}
}

// variant is how an image is augmented: its window is (dx, dy) to the right and down, then mirrored.
type variant struct {
	dx, dy int
	flip   bool
}

func (l *Loader) variant(epoch int, index int32) variant {
	if l.cfg.Crop == 0 && !l.cfg.Flip {
		return variant{}
	}
	h := mixAll(l.seed, streamAugment, uint64(epoch), uint64(index))
	v := variant{flip: l.cfg.Flip && h>>63 == 1}
	if c := l.cfg.Crop; c > 0 { // 20 bits of the hash each: the bias over 2c+1 places is below 10⁻³
		places := uint64(2*c + 1)
		v.dx, v.dy = int((h&0xfffff)*places>>20)-c, int((h>>20&0xfffff)*places>>20)-c
	}
	return v
}

// load writes image i of m, varied, normalised and resized.
func (l *Loader) load(dst []float32, m Images, i int, v variant) {
	pixels, row := m.image(i), m.W*3
	if l.ident {
		for y := range m.H {
			l.copyRow(dst[y*row:(y+1)*row], pixels, y+v.dy, m, v)
		}
		return
	}
	for y := range m.H {
		l.stretchRow(l.rows[y*l.input*3:(y+1)*l.input*3], pixels, y+v.dy, m, v)
	}
	wide := l.input * 3
	for y, t := range l.ys {
		lo, hi := l.rows[t.lo*wide:(t.lo+1)*wide], l.rows[t.hi*wide:(t.hi+1)*wide]
		out := dst[y*wide : (y+1)*wide]
		for x, a := range lo {
			out[x] = a + float32(t.t*(hi[x]-a)) // converted so that no machine fuses it
		}
	}
}

// copyRow normalises row y of the image, black where it has none.
func (l *Loader) copyRow(dst []float32, pixels []byte, y int, m Images, v variant) {
	for x := range m.W {
		r, g, b := l.pixel(pixels, x, y, m, v)
		dst[3*x], dst[3*x+1], dst[3*x+2] = r, g, b
	}
}

// stretchRow is copyRow to the width of the input.
func (l *Loader) stretchRow(dst []float32, pixels []byte, y int, m Images, v variant) {
	for x, t := range l.xs {
		r, g, b := l.pixel(pixels, t.lo, y, m, v)
		r2, g2, b2 := l.pixel(pixels, t.hi, y, m, v)
		dst[3*x] = r + float32(t.t*(r2-r))
		dst[3*x+1] = g + float32(t.t*(g2-g))
		dst[3*x+2] = b + float32(t.t*(b2-b))
	}
}

// pixel is the normalised pixel (x, y) of a varied image; y has the variant's shift already.
func (l *Loader) pixel(pixels []byte, x, y int, m Images, v variant) (r, g, b float32) {
	if v.flip {
		x = m.W - 1 - x
	}
	x += v.dx
	if uint(x) >= uint(m.W) || uint(y) >= uint(m.H) {
		return l.norm[0][0], l.norm[1][0], l.norm[2][0]
	}
	p := pixels[(y*m.W+x)*3:]
	return l.norm[0][p[0]], l.norm[1][p[1]], l.norm[2][p[2]]
}
