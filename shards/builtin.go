package shards

import "math/bits"

// The built-in set: ten classes of 32×32 textures and shapes, drawn in integers, so that it is the same on every
// machine and for every seed. A class is a form. Its colours, contrast, place, size, phase and slant are random, so
// the mean image of every class is the same grey and no linear model can tell them apart; mirroring keeps the class.
const (
	builtinTrain = 4000
	builtinTest  = 1000
	builtinSide  = 32

	unit        = 16       // coordinates are in sixteenths of a pixel
	builtinSeed = 20240917 // what all of it is drawn from; another number is another set
)

func builtinClasses() []string {
	return []string{"checks", "columns", "cross", "diagonals", "disc", "dots", "frame", "rings", "rows", "triangle"}
}

// builtin draws the first images of the built-in set, as many as the limits of cfg leave.
func builtin(cfg Config) *Set {
	train := drawImages(builtinTrain, limited(builtinTrain, cfg.Limit), 0)
	test := drawImages(builtinTest, limited(builtinTest, cfg.TestLimit), 1)
	return &Set{Name: "builtin", Classes: builtinClasses(), Train: train, Test: test}
}

// drawImages draws the first n of total images, which have as many of each class in a random order.
func drawImages(total, n int, portion uint64) Images {
	m := Images{N: n, H: builtinSide, W: builtinSide, Labels: iota32(total)}
	m.Pixels = make([]byte, n*builtinSide*builtinSide*3)
	for i := range m.Labels {
		m.Labels[i] = int32(i % len(builtinClasses()))
	}
	shuffle(m.Labels, newRand(builtinSeed, streamBuiltin, portion))
	m.Labels = m.Labels[:n:n]
	for i, label := range m.Labels {
		paint(m.image(i), newForm(label, newRand(builtinSeed, streamBuiltin, portion, uint64(i))))
	}
	return m
}

// form is one drawing: what it is, where, how large, and in which colours.
type form struct {
	class  int32
	a, b   int // direction: the vector that u runs along
	length int // of (a, b)
	x, y   int // origin
	size   int // wavelength or radius
	colour [2][3]int
	noise  int
	s      *source
}

func newForm(class int32, s *source) form {
	f := form{class: class, s: s, noise: s.between(4, 30)}
	f.x, f.y = s.between(8*unit, 24*unit), s.between(8*unit, 24*unit)
	f.a, f.b = s.between(-10, 10), 40 // slanted by up to 14 degrees
	switch builtinClasses()[class] {
	case "columns":
		f.a, f.b = f.b, f.a
		f.size = s.between(6*unit, 10*unit)
	case "rows":
		f.size = s.between(6*unit, 10*unit)
	case "diagonals":
		f.a, f.b = s.between(28, 40)*(2*s.between(0, 1)-1), s.between(28, 40)
		f.size = s.between(6*unit, 10*unit)
	case "checks":
		f.size = s.between(12*unit, 16*unit)
	case "dots":
		f.size = s.between(10*unit, 13*unit)
	case "rings":
		f.size = s.between(6*unit, 9*unit)
	default:
		f.size = s.between(8*unit, 13*unit)
	}
	f.length = root(f.a*f.a + f.b*f.b)
	f.dye()
	return f
}

// dye picks a dark and a light colour, at random which of them is the background.
func (f *form) dye() {
	light := f.s.between(0, 1)
	for c := range 3 {
		f.colour[light][c], f.colour[1-light][c] = f.s.between(140, 255), f.s.between(0, 115)
	}
}

// paint draws a form with four samples to a pixel, and adds noise.
func paint(pixels []byte, f form) {
	var noise uint64
	for i := range builtinSide * builtinSide {
		x, y := i%builtinSide*unit, i/builtinSide*unit
		cover := 0
		for _, d := range [4][2]int{{4, 4}, {12, 4}, {4, 12}, {12, 12}} {
			if f.covers(x+d[0], y+d[1]) {
				cover++
			}
		}
		for c := range 3 {
			if noise < 256 {
				noise = f.s.pcg.Uint64() | 1<<63 // the top byte marks the end, seven are drawn
			}
			v := (f.colour[0][c]*(4-cover)+f.colour[1][c]*cover)/4 + (int(noise&0xff)-128)*f.noise/128
			pixels[3*i+c] = byte(min(max(v, 0), 255))
			noise >>= 8
		}
	}
}

// covers says whether a point is in the form's second colour.
func (f *form) covers(x, y int) bool {
	x, y = x-f.x, y-f.y
	u, v := (f.a*x+f.b*y)/f.length, (f.b*x-f.a*y)/f.length // along and across the direction
	switch f.class {
	case 0: // checks
		return half(u, f.size) != half(v, f.size)
	case 1, 3, 8: // columns, diagonals, rows
		return half(u, f.size)
	case 2: // cross
		return min(abs(u), abs(v)) < f.size/4
	case 4: // disc
		return u*u+v*v < f.size*f.size
	case 5: // dots
		u, v = wrap(u, f.size)-f.size/2, wrap(v, f.size)-f.size/2
		return u*u+v*v < f.size*f.size/9
	case 6: // frame
		m := max(abs(u), abs(v))
		return m < f.size && m > f.size*5/9
	case 7: // rings
		return half(root(u*u+v*v), f.size)
	}
	return u < f.size*3/4 && u > -f.size && abs(v)*7 < (u+f.size)*4 // triangle
}

// half says whether x is in the first half of its period.
func half(x, period int) bool { return 2*wrap(x, period) < period }

// wrap is x modulo period, not negative.
func wrap(x, period int) int {
	x %= period
	if x < 0 {
		x += period
	}
	return x
}

// root is the integer square root of n >= 0, by Newton's iteration from above.
func root(n int) int {
	if n < 2 {
		return n
	}
	r := 1 << ((bits.Len(uint(n)) + 1) / 2)
	for next := (r + n/r) / 2; next < r; next = (r + n/r) / 2 {
		r = next
	}
	return r
}
