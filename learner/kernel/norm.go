package kernel

import "math"

// Clamp says which activation follows: values below 0 become 0, and those above Clamp become Clamp. None leaves them.
type Clamp float32

// The activations of our models.
const (
	None  Clamp = -1
	ReLU  Clamp = math.MaxFloat32
	ReLU6 Clamp = 6
)

// limits are the interval that an activation clamps to.
func (k Clamp) limits() (lo, hi float32) {
	switch k {
	case None:
		return float32(math.Inf(-1)), float32(math.Inf(1))
	case ReLU:
		return 0, float32(math.Inf(1))
	}
	return 0, float32(k)
}

// A gradient passes where 0 < z < Clamp. Positive floats are ordered as their bits are, so with one subtracted, z passes
// if its bits are below bound's as unsigned integers: zero wraps around to the largest, and negative numbers and NaN lie
// above. A difference in 64 bits makes a mask of that without a branch.

// bound is one less than the bits of the first float that does not pass; for None, above all.
func (k Clamp) bound() uint64 {
	switch k {
	case None:
		return math.MaxUint32 + 1
	case ReLU:
		return uint64(math.Float32bits(float32(math.Inf(1)))) // +Inf passes
	}
	return uint64(math.Float32bits(float32(k))) - 1
}

// pass is d where z lets it through, and 0 elsewhere.
func pass(d, z float32, bound uint64) float32 {
	mask := uint32((uint64(math.Float32bits(z)-1) - bound) >> 32)
	return math.Float32frombits(math.Float32bits(d) & mask)
}

// Moments writes the sum of each channel over the rows [r0, r1) of x, (rows, c), to part[:c], and the sum of squares
// about those rows' mean to part[c:2c].
func Moments(part, x []float32, c, r0, r1 int) {
	if s := active(); s != generic {
		momentsSIMD(s, part, x, c, r0, r1)
		return
	}
	sum, square := part[:c], part[c:2*c]
	columnSums(sum, x, c, r0, r1)
	clear(square)
	over := 1 / float32(r1-r0)
	r := r0
	for ; r+2 <= r1; r += 2 {
		a, b := x[r*c:][:c], x[(r+1)*c:][:c]
		for i := range square {
			mean := sum[i] * over
			p, q := a[i]-mean, b[i]-mean
			square[i] += p*p + q*q
		}
	}
	for ; r < r1; r++ {
		for i, v := range x[r*c:][:c] {
			p := v - sum[i]*over
			square[i] += p * p
		}
	}
}

// columnSums writes the sum of each channel over the rows [r0, r1).
func columnSums(sum, x []float32, c, r0, r1 int) {
	if s := active(); s != generic {
		columnsSIMD(s, sum[:c], x, nil, 0, c, r0, r1)
		return
	}
	clear(sum[:c])
	sum = sum[:c]
	r := r0
	for ; r+4 <= r1; r += 4 {
		p, q, s, t := x[r*c:][:len(sum)], x[(r+1)*c:][:len(sum)], x[(r+2)*c:][:len(sum)], x[(r+3)*c:][:len(sum)]
		for i := range sum {
			sum[i] += (p[i] + q[i]) + (s[i] + t[i])
		}
	}
	for ; r < r1; r++ {
		Add(sum, x[r*c:][:len(sum)])
	}
}

// MergeMoments merges what Moments wrote for consecutive blocks of rows, the last of which may be short, into each
// channel's mean and biased variance, for the channels [c0, c1) [Chan, Golub & LeVeque 1979]. parts is (blocks, 2, c).
func MergeMoments(mean, variance, parts []float32, c, rows, block, c0, c1 int) {
	blocks := (rows + block - 1) / block
	for i := c0; i < c1; i++ {
		var sum, square float64
		for b := range blocks {
			sum += float64(parts[2*b*c+i])
		}
		m := sum / float64(rows)
		for b := range blocks {
			n := float64(min(block, rows-b*block))
			d := float64(parts[2*b*c+i])/n - m
			square += float64(parts[(2*b+1)*c+i]) + n*d*d
		}
		mean[i], variance[i] = float32(m), float32(square/float64(rows))
	}
}

// Normalize writes clamp(x·scale + shift + skip) for the rows [r0, r1); skip may be nil. x, y and skip are (rows, c),
// scale and shift (c); y may be x.
func Normalize(y, x, skip, scale, shift []float32, c int, act Clamp, r0, r1 int) {
	if s := active(); s != generic {
		normalizeSIMD(s, y, x, skip, scale, shift, c, act, r0, r1)
		return
	}
	lo, hi := act.limits()
	scale, shift = scale[:c], shift[:c]
	for r := r0; r < r1; r++ {
		in, out := x[r*c:][:c], y[r*c:][:c]
		switch {
		case skip != nil:
			more := skip[r*c:][:c]
			for i := range out {
				out[i] = in[i]*scale[i] + shift[i] + more[i]
			}
		case act == None:
			for i := range out {
				out[i] = in[i]*scale[i] + shift[i]
			}
		default:
			for i := range out {
				out[i] = min(max(in[i]*scale[i]+shift[i], lo), hi)
			}
		}
	}
}

// NormSums writes, over the rows [r0, r1), the sums that the gradient of a normalisation needs: Σ dz·(x-mean) to part[:c]
// and Σ dz to part[c:2c], where dz is dy where the activation lets it through.
func NormSums(part, dy, x, mean, scale, shift []float32, c int, act Clamp, r0, r1 int) {
	if s := active(); s != generic {
		normSumsSIMD(s, part, dy, x, mean, scale, shift, c, act, r0, r1)
		return
	}
	bound := act.bound()
	product, sum := part[:c], part[c:2*c]
	clear(part[:2*c])
	mean, scale, shift = mean[:c], scale[:c], shift[:c]
	for r := r0; r < r1; r++ {
		in, grad := x[r*c:][:c], dy[r*c:][:c]
		for i, v := range in {
			dz := grad[i]
			if act != None {
				dz = pass(dz, v*scale[i]+shift[i], bound)
			}
			product[i] += dz * (v - mean[i])
			sum[i] += dz
		}
	}
}

// NormDX writes the gradient by x for the rows [r0, r1): dz·scale + x·slope + offset. dx may be dy.
func NormDX(dx, dy, x, scale, shift, slope, offset []float32, c int, act Clamp, r0, r1 int) {
	if s := active(); s != generic {
		normDXSIMD(s, dx, dy, x, scale, shift, slope, offset, c, act, r0, r1)
		return
	}
	bound := act.bound()
	scale, shift, slope, offset = scale[:c], shift[:c], slope[:c], offset[:c]
	for r := r0; r < r1; r++ {
		in, grad, out := x[r*c:][:c], dy[r*c:][:c], dx[r*c:][:c]
		for i, v := range in {
			dz := grad[i]
			if act != None {
				dz = pass(dz, v*scale[i]+shift[i], bound)
			}
			out[i] = dz*scale[i] + v*slope[i] + offset[i]
		}
	}
}

// Bias writes clamp(x + b) for the rows [r0, r1). x and y are (rows, c), b (c); y may be x.
func Bias(y, x, b []float32, c int, act Clamp, r0, r1 int) {
	if s := active(); s != generic {
		biasSIMD(s, y, x, b, c, act, r0, r1)
		return
	}
	lo, hi := act.limits()
	b = b[:c]
	for r := r0; r < r1; r++ {
		in, out := x[r*c:][:c], y[r*c:][:c]
		for i := range out {
			out[i] = min(max(in[i]+b[i], lo), hi)
		}
	}
}

// Mask writes dy where the activation whose result was y lets it through. dz may be dy; all have the same length.
func Mask(dz, dy, y []float32, act Clamp) {
	if s := active(); s != generic {
		maskSIMD(s, dz, dy, y, act)
		return
	}
	bound := act.bound()
	dy, y = dy[:len(dz)], y[:len(dz)]
	for i := range dz {
		dz[i] = pass(dy[i], y[i], bound)
	}
}

// BiasJoin writes clamp(x + b) for the rows [r0, r1) beside other channels: x is (rows, c), b (c), and y (rows, stride), of
// which the columns from from on are written.
func BiasJoin(y, x, b []float32, c, from, stride int, act Clamp, r0, r1 int) {
	if s := active(); s != generic {
		biasJoinSIMD(s, y, x, b, c, from, stride, act, r0, r1)
		return
	}
	for r := r0; r < r1; r++ {
		Bias(y[r*stride+from:][:c], x[r*c:][:c], b, c, act, 0, 1)
	}
}

// MaskCut writes what Mask does for the rows [r0, r1) of c columns among others, from from on: dy and y are (rows, stride),
// dz is (rows, c).
func MaskCut(dz, dy, y []float32, c, from, stride int, act Clamp, r0, r1 int) {
	if s := active(); s != generic {
		maskCutSIMD(s, dz, dy, y, c, from, stride, act, r0, r1)
		return
	}
	for r := r0; r < r1; r++ {
		Mask(dz[r*c:][:c], dy[r*stride+from:][:c], y[r*stride+from:][:c], act)
	}
}

// Columns writes the sum of each channel over the rows [r0, r1) of x, (rows, c).
func Columns(sum, x []float32, c, r0, r1 int) { columnSums(sum, x, c, r0, r1) }
