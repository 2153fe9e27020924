package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"shoal/learner/safetensors"
)

// tensor is a value of the interpreter.
type tensor struct {
	shape []int
	data  []float64
}

// node is a decoded operation.
type node struct {
	kind, out string
	in        []string
	ints      map[string][]int
	float     map[string]float64
}

// program is a decoded model.
type program struct {
	ir, opset     uint64
	nodes         []node
	values        map[string]tensor
	metadata      map[string]string
	input, output string // "name [dims]"
}

// fields decodes one protobuf message: what stands in each field, in order.
func fields(t *testing.T, b []byte) map[int][]field {
	t.Helper()
	all := map[int][]field{}
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatalf("no key in % x", b[:min(len(b), 16)])
		}
		b = b[n:]
		var f field
		switch key & 7 {
		case kindVarint:
			f.number, n = binary.Uvarint(b)
		case kindBytes:
			length, m := binary.Uvarint(b)
			if m <= 0 || length > uint64(len(b)-m) {
				t.Fatalf("a field of %d bytes in %d", length, len(b))
			}
			f.bytes, n = b[m:m+int(length)], m+int(length)
		case kindFixed4:
			f.number, n = uint64(binary.LittleEndian.Uint32(b)), 4
		default:
			t.Fatalf("field %d has kind %d", key>>3, key&7)
		}
		if n <= 0 {
			t.Fatalf("field %d is cut", key>>3)
		}
		b = b[n:]
		all[int(key>>3)] = append(all[int(key>>3)], f)
	}
	return all
}

type field struct {
	number uint64
	bytes  []byte
}

// text is the first string of a field, or empty.
func text(f []field) string {
	if len(f) == 0 {
		return ""
	}
	return string(f[0].bytes)
}

// readModel decodes a model and checks that every operand is there before it is used, once.
func readModel(t *testing.T, b []byte) *program {
	t.Helper()
	m := fields(t, b)
	p := &program{ir: m[1][0].number, opset: fields(t, m[8][0].bytes)[2][0].number, values: map[string]tensor{}, metadata: map[string]string{}}
	for _, entry := range m[14] {
		e := fields(t, entry.bytes)
		p.metadata[text(e[1])] = text(e[2])
	}
	g := fields(t, m[7][0].bytes)
	for _, f := range g[5] {
		name, v := readTensor(t, f.bytes)
		if _, twice := p.values[name]; twice {
			t.Errorf("%q is there twice", name)
		}
		p.values[name] = v
	}
	p.input, p.output = readValue(t, g[11][0].bytes), readValue(t, g[12][0].bytes)
	known := map[string]bool{"input": true}
	for name := range p.values {
		known[name] = true
	}
	for _, f := range g[1] {
		n := readNode(t, f.bytes)
		for _, in := range n.in {
			if !known[in] {
				t.Errorf("%s %s: its operand %q is not there", n.kind, n.out, in)
			}
		}
		if known[n.out] {
			t.Errorf("%s %s: its name is taken", n.kind, n.out)
		}
		known[n.out] = true
		p.nodes = append(p.nodes, n)
	}
	if !strings.HasPrefix(p.output, p.nodes[len(p.nodes)-1].out+" ") {
		t.Errorf("the output is %s, the last node %s", p.output, p.nodes[len(p.nodes)-1].out)
	}
	return p
}

func readTensor(t *testing.T, b []byte) (string, tensor) {
	t.Helper()
	f := fields(t, b)
	var v tensor
	n := 1
	for _, d := range f[1] {
		v.shape = append(v.shape, int(d.number))
		n *= int(d.number)
	}
	floats, err := safetensors.Tensor{DType: "F32", Shape: []int{n}, Data: f[9][0].bytes}.Float32s()
	if err != nil || f[2][0].number != 1 {
		t.Fatalf("tensor %s of type %d: %v", text(f[8]), f[2][0].number, err)
	}
	for _, x := range floats {
		v.data = append(v.data, float64(x))
	}
	return text(f[8]), v
}

func readValue(t *testing.T, b []byte) string {
	t.Helper()
	f := fields(t, b)
	typ := fields(t, fields(t, f[2][0].bytes)[1][0].bytes)
	if typ[1][0].number != 1 {
		t.Errorf("%s has elements of type %d", text(f[1]), typ[1][0].number)
	}
	var dims []string
	for _, d := range fields(t, typ[2][0].bytes)[1] {
		dim := fields(t, d.bytes)
		if len(dim[2]) > 0 {
			dims = append(dims, text(dim[2]))
		} else {
			dims = append(dims, fmt.Sprint(dim[1][0].number))
		}
	}
	return fmt.Sprint(text(f[1]), " ", dims)
}

func readNode(t *testing.T, b []byte) node {
	t.Helper()
	f := fields(t, b)
	n := node{kind: text(f[4]), out: text(f[2]), ints: map[string][]int{}, float: map[string]float64{}}
	for _, in := range f[1] {
		n.in = append(n.in, string(in.bytes))
	}
	for _, a := range f[5] {
		m := fields(t, a.bytes)
		name := text(m[1])
		switch m[20][0].number {
		case 1:
			n.float[name] = float64(math.Float32frombits(uint32(m[2][0].number)))
		case 2:
			n.ints[name] = []int{int(m[3][0].number)}
		case 7:
			for _, v := range m[8] {
				n.ints[name] = append(n.ints[name], int(v.number))
			}
		default:
			t.Fatalf("%s: attribute %s has type %d", n.out, name, m[20][0].number)
		}
	}
	return n
}

// run interprets the model, slowly and in float64.
func (p *program) run(t *testing.T, input tensor) tensor {
	t.Helper()
	values := map[string]tensor{"input": input}
	for name, v := range p.values {
		values[name] = v
	}
	var out tensor
	for _, n := range p.nodes {
		in := make([]tensor, len(n.in))
		for i, name := range n.in {
			in[i] = values[name]
		}
		out = n.run(t, in)
		values[n.out] = out
	}
	return out
}

func (n node) run(t *testing.T, in []tensor) tensor {
	t.Helper()
	x := in[0]
	switch n.kind {
	case "Conv":
		return n.conv(in)
	case "MaxPool":
		return n.pool(x)
	case "Relu":
		return x.each(func(_ int, v float64) float64 { return max(v, 0) })
	case "Clip":
		return x.each(func(_ int, v float64) float64 { return min(max(v, in[1].data[0]), in[2].data[0]) })
	case "Add":
		return x.each(func(i int, v float64) float64 { return v + in[1].data[i] })
	case "BatchNormalization":
		plane := x.shape[2] * x.shape[3]
		return x.each(func(i int, v float64) float64 {
			c := i / plane % x.shape[1]
			return (v-in[3].data[c])/math.Sqrt(in[4].data[c]+n.float["epsilon"])*in[1].data[c] + in[2].data[c]
		})
	case "GlobalAveragePool":
		plane := x.shape[2] * x.shape[3]
		y := tensor{shape: []int{x.shape[0], x.shape[1], 1, 1}, data: make([]float64, x.shape[0]*x.shape[1])}
		for i, v := range x.data {
			y.data[i/plane] += v / float64(plane)
		}
		return y
	case "Flatten":
		return tensor{[]int{x.shape[0], len(x.data) / x.shape[0]}, x.data}
	case "Gemm":
		return gemm(in)
	case "Concat":
		return concat(in[0], in[1])
	}
	t.Fatalf("operation %s is unknown", n.kind)
	return tensor{}
}

func (x tensor) each(f func(i int, v float64) float64) tensor {
	y := tensor{x.shape, make([]float64, len(x.data))}
	for i, v := range x.data {
		y.data[i] = f(i, v)
	}
	return y
}

func (n node) conv(in []tensor) tensor {
	x, w := in[0], in[1]
	groups, stride, pad, size := n.ints["group"][0], n.ints["strides"][0], n.ints["pads"][0], n.ints["kernel_shape"][0]
	h, wide := (x.shape[2]+2*pad-size)/stride+1, (x.shape[3]+2*pad-size)/stride+1
	y := tensor{shape: []int{x.shape[0], w.shape[0], h, wide}}
	deep := w.shape[1]
	for image := range x.shape[0] {
		for o := range w.shape[0] {
			first := o / (w.shape[0] / groups) * deep
			for r := range h {
				for c := range wide {
					sum := 0.0
					if len(in) > 2 {
						sum = in[2].data[o]
					}
					for i := range deep {
						for k := range size * size {
							py, px := r*stride-pad+k/size, c*stride-pad+k%size
							if py >= 0 && px >= 0 && py < x.shape[2] && px < x.shape[3] {
								sum += w.data[(o*deep+i)*size*size+k] * x.data[((image*x.shape[1]+first+i)*x.shape[2]+py)*x.shape[3]+px]
							}
						}
					}
					y.data = append(y.data, sum)
				}
			}
		}
	}
	return y
}

func (n node) pool(x tensor) tensor {
	size, stride := n.ints["kernel_shape"][0], n.ints["strides"][0]
	out := func(side int) int {
		return (side-size+stride-1+stride*(1-n.ints["ceil_mode"][0]))/stride + n.ints["ceil_mode"][0]
	}
	h, wide := out(x.shape[2]), out(x.shape[3])
	y := tensor{shape: []int{x.shape[0], x.shape[1], h, wide}}
	for plane := range x.shape[0] * x.shape[1] {
		for r := range h {
			for c := range wide {
				most := math.Inf(-1)
				for py := r * stride; py < min(r*stride+size, x.shape[2]); py++ {
					for px := c * stride; px < min(c*stride+size, x.shape[3]); px++ {
						most = max(most, x.data[(plane*x.shape[2]+py)*x.shape[3]+px])
					}
				}
				y.data = append(y.data, most)
			}
		}
	}
	return y
}

// gemm is x·wᵀ + b.
func gemm(in []tensor) tensor {
	x, w, b := in[0], in[1], in[2]
	y := tensor{shape: []int{x.shape[0], w.shape[0]}}
	for i := range x.shape[0] {
		for o := range w.shape[0] {
			sum := b.data[o]
			for k := range w.shape[1] {
				sum += x.data[i*w.shape[1]+k] * w.data[o*w.shape[1]+k]
			}
			y.data = append(y.data, sum)
		}
	}
	return y
}

// concat joins channels.
func concat(a, b tensor) tensor {
	y := tensor{shape: slices.Clone(a.shape)}
	y.shape[1] += b.shape[1]
	for i := range a.shape[0] {
		la, lb := len(a.data)/a.shape[0], len(b.data)/b.shape[0]
		y.data = append(append(y.data, a.data[i*la:(i+1)*la]...), b.data[i*lb:(i+1)*lb]...)
	}
	return y
}
