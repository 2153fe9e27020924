package kernel

// A depthwise convolution filters every channel with its own 3×3 taps: w is (9, c), padding 1, stride 1 or 2. Loops run
// along a row with a column of three inputs in hand, per channel, so that a vector of channels does the same.

// Depthwise writes the rows [r0, r1) of the output's N·OutH. x is (N, H, W, c), y (N, OutH, OutW, c).
func Depthwise(y, x, w []float32, g Window, c, r0, r1 int) {
	if s := active(); s != generic {
		depthwiseSIMD(s, y, x, w, g, c, r0, r1)
		return
	}
	for r := r0; r < r1; r++ {
		top := r%g.OutH*g.Stride - 1
		rows, live := threeRows(x, g.H, g.W*c, r/g.OutH, top)
		out := y[r*g.OutW*c:][:g.OutW*c]
		for ch := range c {
			taps := taps9(w, c, ch, live)
			if g.Stride == 1 {
				slide(out, rows, &taps, c, ch)
			} else {
				slide2(out, rows, &taps, c, ch)
			}
		}
	}
}

// threeRows are the rows top to top+2 of an image, and which of them are inside it; those that are not are stood in for
// by one that is.
func threeRows(x []float32, height, width, image, top int) (rows [3][]float32, live [3]bool) {
	for i := range rows {
		y := top + i
		live[i] = y >= 0 && y < height
		rows[i] = x[(image*height+min(max(y, 0), height-1))*width:][:width]
	}
	return rows, live
}

// taps9 is the filter of channel ch, zero in rows that are not live.
func taps9(w []float32, c, ch int, live [3]bool) (taps [9]float32) {
	for t := range taps {
		if live[t/3] {
			taps[t] = w[t*c+ch]
		}
	}
	return taps
}

// slide is stride 1 along one row of channel ch: each column of inputs ends one output, continues the next and begins the
// one after.
func slide(out []float32, rows [3][]float32, taps *[9]float32, c, ch int) {
	w0, w1, w2, w3, w4, w5, w6, w7, w8 := taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8]
	top, mid, low := rows[0], rows[1][:len(rows[0])], rows[2][:len(rows[0])]
	var here, next float32
	for i := ch; i < len(top); i += c {
		p, q, r := top[i], mid[i], low[i]
		if i >= c {
			out[i-c] = here + (p*w2 + q*w5 + r*w8)
		}
		here = next + (p*w1 + q*w4 + r*w7)
		next = p*w0 + q*w3 + r*w6
	}
	out[len(top)-c+ch] = here
}

// slide2 is stride 2 along one row of channel ch.
func slide2(out []float32, rows [3][]float32, taps *[9]float32, c, ch int) {
	w0, w1, w2, w3, w4, w5, w6, w7, w8 := taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8]
	top, mid, low := rows[0], rows[1][:len(rows[0])], rows[2][:len(rows[0])]
	var next float32
	for i, o := ch, ch; i < len(top); i, o = i+2*c, o+c {
		sum := next + (top[i]*w1 + mid[i]*w4 + low[i]*w7)
		if j := i + c; j < len(top) {
			p, q, r := top[j], mid[j], low[j]
			sum += p*w2 + q*w5 + r*w8
			next = p*w0 + q*w3 + r*w6
		}
		out[o] = sum
	}
}

// DepthwiseDX writes the gradient by x for the rows [r0, r1) of the input's N·H. dx is (N, H, W, c), dy (N, OutH, OutW, c).
func DepthwiseDX(dx, dy, w []float32, g Window, c, r0, r1 int) {
	if s := active(); s != generic {
		depthwiseDXSIMD(s, dx, dy, w, g, c, r0, r1)
		return
	}
	for r := r0; r < r1; r++ {
		out := dx[r*g.W*c:][:g.W*c]
		if g.Stride == 1 {
			rows, live := threeRows(dy, g.OutH, g.OutW*c, r/g.H, r%g.H-1)
			for ch := range c {
				taps := taps9(w, c, ch, [3]bool{live[2], live[1], live[0]})
				for i := range 4 { // the filter turned by half a circle
					taps[i], taps[8-i] = taps[8-i], taps[i]
				}
				slide(out, rows, &taps, c, ch)
			}
			continue
		}
		rows, taps0, live := g.twoRows(dy, c, r)
		for ch := range c {
			var taps [6]float32
			for i := range taps {
				if live[i/3] {
					taps[i] = w[(taps0[i/3]+i%3)*c+ch]
				}
			}
			spread(out, rows, &taps, c, ch)
		}
	}
}

// twoRows are the rows of dy that meet input row r at stride 2, with the first tap of the filter's row that each meets it
// under, and whether there are such rows.
func (g Window) twoRows(dy []float32, c, r int) (rows [2][]float32, taps [2]int, live [2]bool) {
	image, y := r/g.H, r%g.H
	tapRows := [2]int{1, -1} // an even row lies under the filter's middle only
	if y%2 == 1 {
		tapRows = [2]int{2, 0}
	}
	for i, ky := range tapRows {
		oy := (y + 1 - ky) / 2
		live[i] = ky >= 0 && oy < g.OutH
		if !live[i] {
			oy, ky = 0, 0
		}
		rows[i], taps[i] = dy[(image*g.OutH+oy)*g.OutW*c:][:g.OutW*c], 3*ky
	}
	return rows, taps, live
}

// spread is the gradient by one input row at stride 2: even columns lie under the middle of the filter, odd ones under its
// right side and, for the next output, its left.
func spread(out []float32, rows [2][]float32, taps *[6]float32, c, ch int) {
	a0, a1, a2, b0, b1, b2 := taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]
	first, second := rows[0], rows[1][:len(rows[0])]
	for i, o := ch, ch; i < len(first); i, o = i+c, o+2*c {
		p, q := first[i], second[i]
		if o >= c {
			out[o-c] += p*a0 + q*b0
		}
		out[o] = p*a1 + q*b1
		if o+c < len(out) {
			out[o+c] = p*a2 + q*b2
		}
	}
}

// DepthwiseDW writes the gradient by the filters of the channels [c0, c1), summed over the rows [r0, r1) of the output's
// N·OutH. dw is (9, c).
func DepthwiseDW(dw, x, dy []float32, g Window, c, r0, r1, c0, c1 int) {
	if s := active(); s != generic {
		depthwiseDWSIMD(s, dw, x, dy, g, c, r0, r1, c0, c1)
		return
	}
	for t := range 9 {
		clear(dw[t*c+c0 : t*c+c1])
	}
	for r := r0; r < r1; r++ {
		rows, live := threeRows(x, g.H, g.W*c, r/g.OutH, r%g.OutH*g.Stride-1)
		grad := dy[r*g.OutW*c:][:g.OutW*c]
		for ch := c0; ch < c1; ch++ {
			var sums [9]float32
			if g.Stride == 1 {
				gather(&sums, rows, grad, c, ch)
			} else {
				gather2(&sums, rows, grad, c, ch)
			}
			for t, s := range sums {
				if live[t/3] {
					dw[t*c+ch] += s
				}
			}
		}
	}
}

// gather sums input times gradient along one row at stride 1; sums are in registers.
func gather(sums *[9]float32, rows [3][]float32, grad []float32, c, ch int) {
	var s0, s1, s2, s3, s4, s5, s6, s7, s8, left float32
	top, mid, low := rows[0][:len(grad)], rows[1][:len(grad)], rows[2][:len(grad)]
	here := grad[ch]
	for i := ch; i < len(grad); i += c {
		var right float32
		if i+c < len(grad) {
			right = grad[i+c]
		}
		v := top[i]
		s0 += v * right
		s1 += v * here
		s2 += v * left
		v = mid[i]
		s3 += v * right
		s4 += v * here
		s5 += v * left
		v = low[i]
		s6 += v * right
		s7 += v * here
		s8 += v * left
		left, here = here, right
	}
	*sums = [9]float32{s0, s1, s2, s3, s4, s5, s6, s7, s8}
}

// gather2 is gather at stride 2.
func gather2(sums *[9]float32, rows [3][]float32, grad []float32, c, ch int) {
	var s0, s1, s2, s3, s4, s5, s6, s7, s8 float32
	top, mid, low := rows[0], rows[1][:len(rows[0])], rows[2][:len(rows[0])]
	for o, i := ch, ch; o < len(grad); o, i = o+c, i+2*c {
		d := grad[o]
		s1 += top[i] * d
		s4 += mid[i] * d
		s7 += low[i] * d
		if j := i - c; j >= 0 {
			s0 += top[j] * d
			s3 += mid[j] * d
			s6 += low[j] * d
		}
		if j := i + c; j < len(top) {
			s2 += top[j] * d
			s5 += mid[j] * d
			s8 += low[j] * d
		}
	}
	*sums = [9]float32{s0, s1, s2, s3, s4, s5, s6, s7, s8}
}
