// Package onnx writes trained models in the ONNX format, which most inference engines read. The input is "input",
// (N, 3, H, W) float32, normalised as for training; the output "logits", (N, classes). Filters, biases and batch norms
// keep torchvision's names, and the checkpoint's metadata become the model's.
package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"shoal/learner/safetensors"
)

// Keys of a checkpoint's metadata that decide how its tensors are used.
const (
	modelKey   = "model"
	inputKey   = "input"
	epsilonKey = "epsilon" // of batch norms
)

// defaultEpsilon is torchvision's, for checkpoints that do not say theirs.
const defaultEpsilon = 1e-5

// maxInput bounds the side of the images that a checkpoint may claim.
const maxInput = 1 << 14

// Encode is the model of a checkpoint as an ONNX file: the same bytes for the same checkpoint. Version says
// what wrote it. The metadata must name the model and the side of the input; its tensors must fit together. Optimiser state is left out.
func Encode(checkpoint *safetensors.File, version string) ([]byte, error) {
	meta := checkpoint.Metadata
	side, err := strconv.Atoi(meta[inputKey])
	if err != nil || side < 1 || side > maxInput {
		return nil, fmt.Errorf("export model: metadata %q is %q, not a side of 1..%d pixels; give a checkpoint that shoal wrote",
			inputKey, meta[inputKey], maxInput)
	}
	epsilon := defaultEpsilon
	if text, ok := meta[epsilonKey]; ok {
		if epsilon, err = strconv.ParseFloat(text, 64); err != nil || !(epsilon > 0 && epsilon < 1) {
			return nil, fmt.Errorf("export model: metadata %q is %q, not between 0 and 1", epsilonKey, text)
		}
	}
	g := &graph{file: checkpoint, epsilon: epsilon, used: map[string]bool{}}
	input := value{name: "input", channels: 3}
	var out value
	switch name := meta[modelKey]; name {
	case "mobilenet_v2":
		out = g.mobileNetV2(input)
	case "squeezenet1_1":
		out = g.squeezeNet11(input)
	default:
		return nil, fmt.Errorf("export model: metadata %q is %q, not mobilenet_v2 or squeezenet1_1; give a checkpoint that shoal wrote", modelKey, name)
	}
	if g.err != nil {
		return nil, fmt.Errorf("export model: %w", g.err)
	}
	var m message
	for _, node := range g.nodes {
		m.bytes(1, node)
	}
	m.string(2, meta[modelKey])
	for _, tensor := range g.tensors {
		m.bytes(5, tensor)
	}
	m.bytes(11, encodeValue(input.name, 3, side, side))
	m.bytes(12, encodeValue(out.name, out.channels))
	return encodeModel(m, version, meta), nil
}

// value is a result of the graph.
type value struct {
	name     string
	channels int
}

// graph grows node by node. After an error everything is skipped, and err is the first.
type graph struct {
	file    *safetensors.File
	epsilon float64
	nodes   []message
	tensors []message // initial values
	used    map[string]bool
	err     error
}

// node adds a node that is named like its result.
func (g *graph) node(kind, name string, channels int, in []string, attributes ...attribute) value {
	g.nodes = append(g.nodes, encodeNode(kind, name, name, in, attributes))
	return value{name, channels}
}

// tensor adds a tensor of the checkpoint as an initial value, and returns its shape, which must have as many dimensions;
// one that is not 0 in like must be the same.
func (g *graph) tensor(name string, like ...int) []int {
	none := make([]int, len(like))
	if g.err != nil {
		return none
	}
	t, ok := g.file.Find(name)
	if !ok {
		g.err = fmt.Errorf("tensor %q is missing", name)
		return none
	}
	fits := len(t.Shape) == len(like)
	for i, d := range like {
		fits = fits && t.Shape[i] > 0 && (d == 0 || t.Shape[i] == d)
	}
	if !fits {
		g.err = fmt.Errorf("tensor %q has shape %v; this model's is %v, where 0 may be anything", name, t.Shape, like)
		return none
	}
	if _, err := t.Float32s(); err != nil {
		g.err = fmt.Errorf("export %q: %w", name, err)
		return none
	}
	if !g.used[name] {
		g.used[name] = true
		g.tensors = append(g.tensors, encodeTensor(name, t.Shape, t.Data))
	}
	return t.Shape
}

// scalar adds a constant, and returns its name.
func (g *graph) scalar(name string, v float32) string {
	if !g.used[name] {
		g.used[name] = true
		g.tensors = append(g.tensors, encodeTensor(name, nil, binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))))
	}
	return name
}
