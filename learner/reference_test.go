package learner

import (
	"fmt"
	"math"
)

// reference is a dumb framework: images in planes, a loop for every index, one closure for every gradient. In float64 it
// is what the learner is measured against, in float32 it says how far float32 may be from that.
type reference[T float32 | float64] struct {
	params, grads, running map[string][]T
	train                  bool
	epsilon, decay         T
	back                   []func()
}

// plane is a feature map (N, C, H, W) and its gradient.
type plane[T float32 | float64] struct {
	n, c, h, w int
	v, d       []T
}

func newPlane[T float32 | float64](n, c, h, w int) *plane[T] {
	return &plane[T]{n, c, h, w, make([]T, n*c*h*w), make([]T, n*c*h*w)}
}

func (p *plane[T]) at(n, c, y, x int) int { return ((n*p.c+c)*p.h+y)*p.w + x }

// conv is any convolution, by filters (out, in/groups, size, size); a linear layer is one of 1×1.
func (r *reference[T]) conv(name string, x *plane[T], out, size, stride, pad, groups int) *plane[T] {
	w, dw := r.params[name+".weight"], r.grads[name+".weight"]
	y := newPlane[T](x.n, out, (x.h+2*pad-size)/stride+1, (x.w+2*pad-size)/stride+1)
	in := x.c / groups
	each := func(visit func(yi, xi, wi int)) {
		for i := range y.v {
			ox, oy, o, n := i%y.w, i/y.w%y.h, i/(y.w*y.h)%out, i/(y.w*y.h*out)
			for t := range size * size {
				iy, ix := oy*stride-pad+t/size, ox*stride-pad+t%size
				if iy < 0 || iy >= x.h || ix < 0 || ix >= x.w {
					continue
				}
				from := x.at(n, o/(out/groups)*in, iy, ix)
				for c := range in {
					visit(i, from+c*x.h*x.w, (o*in+c)*size*size+t)
				}
			}
		}
	}
	each(func(yi, xi, wi int) { y.v[yi] += x.v[xi] * w[wi] })
	r.back = append(r.back, func() {
		each(func(yi, xi, wi int) {
			x.d[xi] += y.d[yi] * w[wi]
			dw[wi] += y.d[yi] * x.v[xi]
		})
	})
	return y
}

// norm is batch norm with the biased variance, and the unbiased one in the running statistics.
func (r *reference[T]) norm(name string, x *plane[T]) *plane[T] {
	y := newPlane[T](x.n, x.c, x.h, x.w)
	for c := range x.c {
		var at []int
		for i := range x.v {
			if i/(x.h*x.w)%x.c == c {
				at = append(at, i)
			}
		}
		mean, variance := r.running[name+".running_mean"][c], r.running[name+".running_var"][c]
		count := T(len(at))
		if r.train {
			mean, variance = r.moments(name, x, c, at)
		}
		gamma, beta := &r.params[name+".weight"][c], &r.params[name+".bias"][c]
		inverse := T(1 / math.Sqrt(float64(variance+r.epsilon)))
		for _, i := range at {
			y.v[i] = (x.v[i]-mean)*inverse**gamma + *beta
		}
		r.back = append(r.back, func() {
			var sum, product T
			for _, i := range at {
				sum += y.d[i]
				product += y.d[i] * (x.v[i] - mean) * inverse
			}
			for _, i := range at {
				x.d[i] += *gamma * inverse * (y.d[i] - sum/count - (x.v[i]-mean)*inverse*product/count)
			}
			r.grads[name+".weight"][c] += product
			r.grads[name+".bias"][c] += sum
		})
	}
	return y
}

// moments are mean and biased variance of the values at some places; the running ones follow.
func (r *reference[T]) moments(name string, x *plane[T], c int, at []int) (mean, variance T) {
	count := T(len(at))
	for _, i := range at {
		mean += x.v[i] / count
	}
	for _, i := range at {
		variance += (x.v[i] - mean) * (x.v[i] - mean) / count
	}
	unbiased := variance
	if count > 1 {
		unbiased *= count / (count - 1)
	}
	m, v := &r.running[name+".running_mean"][c], &r.running[name+".running_var"][c]
	*m, *v = r.decay**m+(1-r.decay)*mean, r.decay**v+(1-r.decay)*unbiased
	return mean, variance
}

func (r *reference[T]) bias(name string, x *plane[T]) *plane[T] {
	y := newPlane[T](x.n, x.c, x.h, x.w)
	b, db := r.params[name+".bias"], r.grads[name+".bias"]
	channel := func(i int) int { return i / (x.h * x.w) % x.c }
	for i, v := range x.v {
		y.v[i] = v + b[channel(i)]
	}
	r.back = append(r.back, func() {
		for i, d := range y.d {
			x.d[i] += d
			db[channel(i)] += d
		}
	})
	return y
}

// clamp is ReLU, or ReLU6 with limit 6.
func (r *reference[T]) clamp(x *plane[T], limit T) *plane[T] {
	y := newPlane[T](x.n, x.c, x.h, x.w)
	for i, v := range x.v {
		y.v[i] = min(max(v, 0), limit)
	}
	r.back = append(r.back, func() {
		for i, v := range x.v {
			if v > 0 && v < limit {
				x.d[i] += y.d[i]
			}
		}
	})
	return y
}

func (r *reference[T]) add(a, b *plane[T]) *plane[T] {
	y := newPlane[T](a.n, a.c, a.h, a.w)
	for i := range y.v {
		y.v[i] = a.v[i] + b.v[i]
	}
	r.back = append(r.back, func() {
		for i, d := range y.d {
			a.d[i] += d
			b.d[i] += d
		}
	})
	return y
}

func (r *reference[T]) concat(a, b *plane[T]) *plane[T] {
	y := newPlane[T](a.n, a.c+b.c, a.h, a.w)
	each := func(visit func(from *plane[T], i, j int)) {
		for _, part := range []struct {
			from *plane[T]
			base int
		}{{a, 0}, {b, a.c}} {
			for i := range part.from.v {
				n, c := i/(a.h*a.w)/part.from.c, i/(a.h*a.w)%part.from.c
				visit(part.from, i, y.at(n, part.base+c, 0, 0)+i%(a.h*a.w))
			}
		}
	}
	each(func(from *plane[T], i, j int) { y.v[j] = from.v[i] })
	r.back = append(r.back, func() { each(func(from *plane[T], i, j int) { from.d[i] += y.d[j] }) })
	return y
}

// pool is a maximum of 3×3, stride 2, where the last window may stick out.
func (r *reference[T]) pool(x *plane[T]) *plane[T] {
	y := newPlane[T](x.n, x.c, (x.h-2)/2+1, (x.w-2)/2+1)
	place := make([]int, len(y.v))
	for i := range y.v {
		ox, oy, c, n := i%y.w, i/y.w%y.h, i/(y.w*y.h)%y.c, i/(y.w*y.h*y.c)
		place[i] = x.at(n, c, 2*oy, 2*ox)
		for iy := 2 * oy; iy < min(2*oy+3, x.h); iy++ {
			for ix := 2 * ox; ix < min(2*ox+3, x.w); ix++ {
				if at := x.at(n, c, iy, ix); x.v[at] > x.v[place[i]] {
					place[i] = at
				}
			}
		}
		y.v[i] = x.v[place[i]]
	}
	r.back = append(r.back, func() {
		for i, d := range y.d {
			x.d[place[i]] += d
		}
	})
	return y
}

func (r *reference[T]) average(x *plane[T]) *plane[T] {
	y := newPlane[T](x.n, x.c, 1, 1)
	area := x.h * x.w
	for i, v := range x.v {
		y.v[i/area] += v / T(area)
	}
	r.back = append(r.back, func() {
		for i := range x.d {
			x.d[i] += y.d[i/area] / T(area)
		}
	})
	return y
}

// loss is the mean softmax cross-entropy; its gradient is left in the logits.
func (r *reference[T]) loss(logits *plane[T], labels []int32) (loss float64) {
	for n, label := range labels {
		row := logits.v[n*logits.c:][:logits.c]
		var sum float64
		for _, v := range row {
			sum += math.Exp(float64(v))
		}
		loss += (math.Log(sum) - float64(row[label])) / float64(len(labels))
		for i, v := range row {
			logits.d[n*logits.c+i] = T(math.Exp(float64(v)) / sum / float64(len(labels)))
		}
		logits.d[n*logits.c+int(label)] -= T(1 / float64(len(labels)))
	}
	return loss
}

// backward runs the gradients in reverse, into grads, from that of the last result.
func (r *reference[T]) backward() {
	for i := len(r.back) - 1; i >= 0; i-- {
		r.back[i]()
	}
}

// forward is a model's logits for images (N, 3, H, W).
func (r *reference[T]) forward(cfg Config, classes int, x *plane[T]) *plane[T] {
	r.back = nil
	for _, g := range r.grads {
		clear(g)
	}
	if cfg.Model == SqueezeNet11 {
		return r.squeezeNet(classes, x)
	}
	return r.mobileNet(cfg.Width, classes, x)
}

func (r *reference[T]) mobileNet(width float64, classes int, x *plane[T]) *plane[T] {
	wide := func(v float64) int {
		c := math.Max(8, math.Floor((v*width+4)/8)*8)
		if c < 0.9*v*width {
			c += 8
		}
		return int(c)
	}
	unit := func(conv, norm string, x *plane[T], out, size, stride, groups int) *plane[T] {
		return r.clamp(r.norm(norm, r.conv(conv, x, out, size, stride, size/2, groups)), 6)
	}
	x = unit("features.0.0", "features.0.1", x, wide(32), 3, 2, 1)
	layer := 1
	for _, s := range [][4]int{{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}} {
		for b := range s[2] {
			name, stride, out := fmt.Sprintf("features.%d.conv.", layer), s[3], wide(float64(s[1]))
			if b > 0 {
				stride = 1
			}
			y, i := x, 0
			if s[0] > 1 {
				y, i = unit(name+"0.0", name+"0.1", y, x.c*s[0], 1, 1, 1), 1
			}
			y = unit(fmt.Sprint(name, i, ".0"), fmt.Sprint(name, i, ".1"), y, y.c, 3, stride, y.c)
			y = r.norm(fmt.Sprint(name, i+2), r.conv(fmt.Sprint(name, i+1), y, out, 1, 1, 0, 1))
			if stride == 1 && out == x.c {
				y = r.add(x, y)
			}
			x = y
			layer++
		}
	}
	head := int(1280 * max(1, width))
	if width > 1 {
		head = wide(1280)
	}
	x = unit("features.18.0", "features.18.1", x, head, 1, 1, 1)
	return r.bias("classifier.1", r.conv("classifier.1", r.average(x), classes, 1, 1, 0, 1))
}

func (r *reference[T]) squeezeNet(classes int, x *plane[T]) *plane[T] {
	unit := func(name string, x *plane[T], out, size, stride, pad int) *plane[T] {
		return r.clamp(r.bias(name, r.conv(name, x, out, size, stride, pad, 1)), T(math.Inf(1)))
	}
	x = r.pool(unit("features.0", x, 64, 3, 2, 0))
	for _, f := range [][3]int{{3, 16, 64}, {4, 16, 64}, {0}, {6, 32, 128}, {7, 32, 128}, {0}, {9, 48, 192}, {10, 48, 192}, {11, 64, 256}, {12, 64, 256}} {
		if f[0] == 0 {
			x = r.pool(x)
			continue
		}
		name := fmt.Sprintf("features.%d.", f[0])
		s := unit(name+"squeeze", x, f[1], 1, 1, 0)
		x = r.concat(unit(name+"expand1x1", s, f[2], 1, 1, 0), unit(name+"expand3x3", s, f[2], 3, 1, 1))
	}
	return r.average(unit("classifier.1", x, classes, 1, 1, 0))
}

// descend is one step of SGD; velocity is kept by the caller.
func (r *reference[T]) descend(o SGD, velocity map[string][]T) {
	for name, w := range r.params {
		if velocity[name] == nil {
			velocity[name] = make([]T, len(w))
		}
		for i, v := range velocity[name] {
			d := r.grads[name][i] + T(o.WeightDecay)*w[i]
			v = T(o.Momentum)*v + d
			velocity[name][i] = v
			if o.Nesterov {
				v = d + T(o.Momentum)*v
			}
			w[i] -= T(o.Rate) * v
		}
	}
}
