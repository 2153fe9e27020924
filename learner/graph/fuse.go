package graph

import "slices"

// fusion says which steps are fused.
type fusion struct {
	on     bool
	pixels int // convolutions with fewer pixels an image are left alone: what they write stays in the caches
}

// unit is a convolution with the batch norm behind it, as they are in the expression: forward y = conv(x), stats(y) and
// norm(y); backward sums, the gradient dy of y, and from that those of x, if anybody needs it, and of the filter.
type unit struct {
	conv, stats, norm, sums, dy, dx, dw int // steps; dx is -1 where there is none
	before                              *unit
	lost                                bool // y is not kept: it is computed again from x where it is read
}

// fuser looks for units among the steps of a plan, and puts fused steps in their places.
type fuser struct {
	*planner
	fusion fusion
	maker  map[*buffer]int   // the step that writes it
	users  map[*buffer][]int // the steps that read it
	units  []*unit
	at     map[*buffer]*unit // by the normalised result
	gone   []bool
}

// fuse replaces the steps of units by two: streamY and streamBack, or bandY and bandBack. Where nobody but a unit reads
// what a norm writes, that norm goes, and the unit reads what it would have read.
func (p *planner) fuse(how fusion) {
	if !how.on {
		return
	}
	f := &fuser{planner: p, fusion: how, maker: map[*buffer]int{}, users: map[*buffer][]int{}, at: map[*buffer]*unit{}, gone: make([]bool, len(p.steps))}
	for i, s := range p.steps {
		f.maker[s.out] = i
		for _, in := range s.in {
			f.users[in] = append(f.users[in], i)
		}
	}
	for i := range p.steps {
		if u := f.unit(i); u != nil {
			f.units = append(f.units, u)
			f.at[p.steps[u.norm].out] = u
		}
	}
	for _, u := range f.units {
		if u.before = f.before(u); u.before != nil {
			u.before.lost = f.cheap(u.before)
		}
	}
	for _, u := range f.units {
		if u.lost { // x must be in memory
			u.before = nil
		}
	}
	for _, u := range f.units {
		f.forward(u)
		f.backward(u)
	}
	f.compact()
}

// user is the only step of those that read b whose kernel is a K, or -1.
func user[K runner](f *fuser, b *buffer) int {
	found := -1
	for _, i := range f.users[b] {
		if _, ok := f.steps[i].kernel.(K); ok {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

// unit is the unit whose convolution is step i, or nil.
func (f *fuser) unit(i int) *unit {
	y := f.steps[i].out
	if !f.fusible(f.steps[i].kernel) || len(f.users[y]) != 4 {
		return nil
	}
	u := &unit{conv: i, dx: -1, stats: user[*statistics](f, y), norm: user[*normalize](f, y), sums: user[*normSums](f, y), dy: user[*normDX](f, y)}
	if min(u.stats, u.norm, u.sums, u.dy) < 0 {
		return nil
	}
	x, w := f.steps[i].in[0], f.steps[i].in[1]
	for _, j := range f.users[f.steps[u.dy].out] {
		switch s := f.steps[j]; {
		case s.in[0] == x:
			u.dw = j
		case len(s.in) == 2 && s.in[1] == w:
			u.dx = j
		default:
			return nil
		}
	}
	_, stem := f.steps[i].kernel.(*stemY)
	if u.dw == 0 || stem != (u.dx < 0) {
		return nil
	}
	return u
}

// fusible says whether there is a fused kernel for a convolution.
func (f *fuser) fusible(k runner) bool {
	switch k := k.(type) {
	case *pointwise:
		return k.pixels >= f.fusion.pixels
	case *stemY:
		return bandHeight(k.g, k.in) > 0 && k.g.OutH*k.g.OutW >= f.fusion.pixels
	case *depthwiseKernel:
		return k.what == depthwiseY && bandHeight(k.g, k.c) > 0 && k.g.OutH*k.g.OutW >= f.fusion.pixels
	}
	return false
}

// before is the unit whose norm u applies while it reads, or nil: one whose result nobody else reads, and which adds no
// skip connection to it.
func (f *fuser) before(u *unit) *unit {
	x := f.steps[u.conv].in[0]
	b := f.at[x]
	if b == nil || len(f.steps[b.norm].in) != 3 || len(f.users[x]) != 2 || !slices.Contains(f.users[x], u.dw) {
		return nil
	}
	if len(f.users[f.steps[u.dx].out]) != 2 || f.steps[b.sums].in[0] != f.steps[u.dx].out {
		return nil
	}
	return b
}

// cheapChannels is how many channels of x let y be computed in less time than it is read in: a core takes in some ten
// bytes of far memory in the time of sixteen multiply-adds.
const cheapChannels = 16

// cheap says whether y takes less time to compute again than to write and read.
func (f *fuser) cheap(u *unit) bool {
	k, ok := f.steps[u.conv].kernel.(*pointwise)
	return ok && k.in <= cheapChannels && k.out >= 4*k.in
}

// reader is how u reads its input of c channels, and the operands for that.
func (f *fuser) reader(u *unit, c int) (reader, []*buffer) {
	b := u.before
	if b == nil {
		return reader{c: c}, nil
	}
	norm := f.steps[b.norm]
	r := reader{norm: &norm.kernel.(*normalize).normLayer, c: c}
	in := []*buffer{norm.in[0], norm.in[1], norm.in[2]}
	if conv := f.steps[b.conv]; b.lost {
		r.from = conv.in[0].len * c / norm.in[0].len // both have a row for each pixel
		in[0] = conv.in[0]
		in = append(in, conv.in[1])
	}
	return r, in
}

// forward puts the fused convolution in the place of the plain one.
func (f *fuser) forward(u *unit) {
	s, after := &f.steps[u.conv], f.steps[u.stats].kernel.(*statistics)
	stats := f.steps[u.stats].out
	f.gone[u.stats] = true
	if u.before != nil {
		f.gone[u.before.norm] = true
	}
	switch k := s.kernel.(type) {
	case *pointwise:
		r, x := f.reader(u, k.in)
		s.kernel, s.in = newStreamY(k, r, after, u.lost), operands(s.in, x)
	case *depthwiseKernel:
		r, x := f.reader(u, k.c)
		s.kernel, s.in = newBandY(k, r, after), operands(s.in, x)
	case *stemY:
		s.kernel = newStemY(k.padded, after)
	}
	if s.kind += "+"; u.lost {
		s.out = stats
	} else {
		s.more = append(s.more, stats)
	}
}

// operands are x and the filter, and after them what else x is read with.
func operands(in, x []*buffer) []*buffer {
	if x == nil {
		return in
	}
	return append([]*buffer{x[0], in[1]}, x[1:]...)
}

// backward puts the fused gradient in the place of that by x. The kernel of the filter's gradient knows the shapes.
func (f *fuser) backward(u *unit) {
	dy, dw := f.steps[u.dy], f.steps[u.dw]
	after := &dy.kernel.(*normDX).normLayer
	f.gone[u.dy] = true
	if k, ok := dw.kernel.(*stemDW); ok {
		s := &f.steps[u.dw]
		s.kernel, s.kind = newStemDW(k.padded, after, f.net.spec.Batch), s.kind+"+"
		s.in = append(slices.Clone(dy.in), dw.in[0])
		return
	}
	f.gone[u.dw] = true
	s := &f.steps[u.dx]
	s.more = append(s.more, dw.out)
	if u.before != nil {
		s.more = append(s.more, f.steps[u.before.sums].out)
		f.gone[u.before.sums] = true
	}
	in, x := append(slices.Clone(dy.in), s.in[1]), []*buffer(nil)
	switch k := dw.kernel.(type) {
	case *pointwiseDW:
		var r reader
		r, x = f.reader(u, k.in)
		s.kernel = newStreamBack(&k.pointwise, r, after, u.lost)
	case *depthwiseKernel:
		var r reader
		r, x = f.reader(u, k.c)
		s.kernel = newBandBack(k, r, after)
	}
	if x == nil {
		x = []*buffer{dw.in[0]}
	}
	if u.lost {
		in[1] = dw.in[0]
	}
	s.in = append(in, x...)
	s.kind, s.macs = s.kind+"+", s.macs+dw.macs
}

// compact drops the steps that are gone, and says anew when scratch and results come to be.
func (f *fuser) compact() {
	steps := f.steps[:0]
	f.all = nil
	for i, s := range f.steps {
		if f.gone[i] {
			continue
		}
		at := len(steps)
		s.out.first = at
		for _, b := range s.more {
			b.first = at
		}
		s.scratch = nil
		if n := s.kernel.scratch(f.workers); n > 0 {
			s.scratch = &buffer{len: n, first: at, last: at, name: "scratch"}
			f.all = append(f.all, s.scratch)
		}
		steps = append(steps, s)
	}
	f.steps = steps
}
