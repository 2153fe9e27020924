package kernel

// Add adds x to dst, element by element; they have the same length and may be the same slice.
func Add(dst, x []float32) {
	if s := active(); s != generic {
		sumSIMD(s, dst, dst, x)
		return
	}
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += x[i]
	}
}

// Sum writes x + y to dst, which may be either of them; all have the same length.
func Sum(dst, x, y []float32) {
	if s := active(); s != generic {
		sumSIMD(s, dst, x, y)
		return
	}
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] + y[i]
	}
}

// Axpy adds a·x to dst; they have the same length and may be the same slice.
func Axpy(dst []float32, a float32, x []float32) {
	if s := active(); s != generic {
		axpySIMD(s, dst, a, x)
		return
	}
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += a * x[i]
	}
}

// Scale multiplies dst by a.
func Scale(dst []float32, a float32) {
	if s := active(); s != generic {
		scaleSIMD(s, dst, a)
		return
	}
	for i := range dst {
		dst[i] *= a
	}
}

// Descend is one step of stochastic gradient descent with momentum as PyTorch defines it, in place: g += decay·w,
// v = momentum·v + g, and w -= rate·v, or with nesterov w -= rate·(g + momentum·v). w, v and g have the same length; g
// is left alone.
func Descend(w, v, g []float32, rate, momentum, decay float32, nesterov bool) {
	if s := active(); s != generic {
		descendSIMD(s, w, v, g, rate, momentum, decay, nesterov)
		return
	}
	v, g = v[:len(w)], g[:len(w)]
	if nesterov {
		for i := range w {
			d := g[i] + decay*w[i]
			v[i] = momentum*v[i] + d
			w[i] -= rate * (d + momentum*v[i])
		}
		return
	}
	for i := range w {
		v[i] = momentum*v[i] + (g[i] + decay*w[i])
		w[i] -= rate * v[i]
	}
}
