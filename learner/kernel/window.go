package kernel

// Window is a square window that slides over images (H, W), and the size of what it gives.
type Window struct {
	H, W, OutH, OutW  int
	Size, Stride, Pad int
}

// NewWindow computes the output's size. With ceil a last window that is partly outside still counts, if it begins inside
// the image or its left padding; without, it does not.
func NewWindow(h, w, size, stride, pad int, ceil bool) Window {
	out := func(side int) int {
		over := side + 2*pad - size
		n := over/stride + 1
		if ceil && over%stride > 0 && n*stride < side+pad {
			n++
		}
		return n
	}
	return Window{H: h, W: w, OutH: out(h), OutW: out(w), Size: size, Stride: stride, Pad: pad}
}

// Patches lays the inputs of a convolution out as rows of a matrix: row r, for r in [r0, r1) of the output's N·OutH·OutW
// pixels, has the channels of the taps [t0, t1) of the Size² under the window, zero outside the image. x is (N, H, W, c),
// dst (r1-r0, (t1-t0)·c).
func Patches(dst, x []float32, g Window, c, r0, r1, t0, t1 int) {
	if s := active(); s != generic {
		patchesSIMD(s, dst, x, g, c, r0, r1, t0, t1)
		return
	}
	for r := r0; r < r1; r++ {
		ox, oy, image := r%g.OutW, r/g.OutW%g.OutH, r/(g.OutW*g.OutH)
		y0, x0 := oy*g.Stride-g.Pad, ox*g.Stride-g.Pad
		inside := t1-t0 == g.Size*g.Size && x0 >= 0 && x0+g.Size <= g.W
		for t := t0; t < t1; {
			y, wide := y0+t/g.Size, 1
			if inside { // whole rows of the window are contiguous
				wide = g.Size
			}
			run := dst[:wide*c]
			if col := x0 + t%g.Size; y >= 0 && y < g.H && col >= 0 && col < g.W {
				copy(run, x[((image*g.H+y)*g.W+col)*c:])
			} else {
				clear(run)
			}
			dst, t = dst[wide*c:], t+wide
		}
	}
}

// PatchesBack is Patches for the gradient by the input: row r, for r in [r0, r1) of the input's N·H·W pixels, has for
// each tap the channels of the output pixel that met r under that tap, or zero. dy is (N, OutH, OutW, c), dst
// (r1-r0, Size²·c).
func PatchesBack(dst, dy []float32, g Window, c, r0, r1 int) {
	if s := active(); s != generic {
		patchesBackSIMD(s, dst, dy, g, c, r0, r1)
		return
	}
	for r := r0; r < r1; r++ {
		x, y, image := r%g.W, r/g.W%g.H, r/(g.W*g.H)
		for t := range g.Size * g.Size {
			run := dst[:c]
			oy, okY := g.meets(y, t/g.Size, g.OutH)
			ox, okX := g.meets(x, t%g.Size, g.OutW)
			if okY && okX {
				copy(run, dy[((image*g.OutH+oy)*g.OutW+ox)*c:])
			} else {
				clear(run)
			}
			dst = dst[c:]
		}
	}
}

// meets is the output coordinate whose tap lies on the input coordinate at, if there is one.
func (g Window) meets(at, tap, out int) (int, bool) {
	o := at + g.Pad - tap
	if o < 0 || o%g.Stride != 0 || o/g.Stride >= out {
		return 0, false
	}
	return o / g.Stride, true
}

// MaxPool writes the largest value under each window, per channel, for the rows [r0, r1) of the output's N·OutH. A NaN
// is the largest. x is (N, H, W, c), y (N, OutH, OutW, c).
func MaxPool(y, x []float32, g Window, c, r0, r1 int) {
	if s := active(); s != generic {
		maxPoolSIMD(s, y, x, g, c, r0, r1)
		return
	}
	for r := r0; r < r1; r++ {
		image, top, left := r/g.OutH, r%g.OutH*g.Stride-g.Pad, -g.Pad
		for ox := range g.OutW {
			out, first := y[(r*g.OutW+ox)*c:][:c], true
			x0 := left + ox*g.Stride
			for iy := max(top, 0); iy < min(top+g.Size, g.H); iy++ {
				for ix := max(x0, 0); ix < min(x0+g.Size, g.W); ix++ {
					in := x[((image*g.H+iy)*g.W+ix)*c:][:c]
					if first {
						copy(out, in)
						first = false
						continue
					}
					for i := range out {
						out[i] = max(out[i], in[i])
					}
				}
			}
		}
	}
}

// MaxPoolDX writes the gradient by x of the images [n0, n1): each output's gradient goes to the first place, in reading
// order, of its largest value. x and dx are (N, H, W, c), y and dy (N, OutH, OutW, c).
func MaxPoolDX(dx, dy, y, x []float32, g Window, c, n0, n1 int) {
	if s := active(); s != generic {
		maxPoolDXSIMD(s, dx, dy, y, x, g, c, n0, n1)
		return
	}
	clear(dx[n0*g.H*g.W*c : n1*g.H*g.W*c])
	for r := n0 * g.OutH; r < n1*g.OutH; r++ {
		image, top := r/g.OutH, r%g.OutH*g.Stride-g.Pad
		for ox := range g.OutW {
			left, at := ox*g.Stride-g.Pad, (r*g.OutW+ox)*c
			for i := range c {
				if place := g.find(x, y[at+i], image, top, left, c, i); place >= 0 {
					dx[place] += dy[at+i]
				}
			}
		}
	}
}

// find is where in x channel i of the window at (top, left) first has the value v; -1 for a NaN.
func (g Window) find(x []float32, v float32, image, top, left, c, i int) int {
	for iy := max(top, 0); iy < min(top+g.Size, g.H); iy++ {
		row := (image*g.H + iy) * g.W
		for ix := max(left, 0); ix < min(left+g.Size, g.W); ix++ {
			if at := (row+ix)*c + i; x[at] == v {
				return at
			}
		}
	}
	return -1
}

// Average writes the mean over each image's pixels, per channel, of the images [n0, n1). x is (N, pixels, c), y (N, c).
func Average(y, x []float32, pixels, c, n0, n1 int) {
	for n := n0; n < n1; n++ {
		out := y[n*c:][:c]
		clear(out)
		for p := range pixels {
			Add(out, x[(n*pixels+p)*c:][:c])
		}
		Scale(out, 1/float32(pixels))
	}
}

// AverageDX spreads the gradient of each mean over its pixels, for the images [n0, n1).
func AverageDX(dx, dy []float32, pixels, c, n0, n1 int) {
	for n := n0; n < n1; n++ {
		for p := range pixels {
			out := dx[(n*pixels+p)*c:][:c]
			copy(out, dy[n*c:])
			Scale(out, 1/float32(pixels))
		}
	}
}
