package onnx

import (
	"maps"
	"slices"
)

// What a model says of itself. Operator set 13 is the first with everything that both nets need in its present form, and
// IR 8 is old enough for every runtime since 2021.
const (
	irVersion   = 8
	opset       = 13
	typeFloat   = 1 // of elements
	attrInt     = 2 // of attributes
	attrFloat   = 1
	attrInts    = 7
	batchSymbol = "N"
)

// attribute is a named constant of a node.
type attribute struct {
	name  string
	ints  []int64
	float float32
	kind  int
}

func number(name string, v int) attribute {
	return attribute{name: name, ints: []int64{int64(v)}, kind: attrInt}
}

func numbers(name string, v ...int64) attribute {
	return attribute{name: name, ints: v, kind: attrInts}
}

func real(name string, v float64) attribute {
	return attribute{name: name, float: float32(v), kind: attrFloat}
}

// encode is AttributeProto.
func (a attribute) encode() message {
	var m message
	m.string(1, a.name)
	switch a.kind {
	case attrFloat:
		m.float(2, a.float)
	case attrInt:
		m.int(3, a.ints[0])
	case attrInts:
		for _, v := range a.ints {
			m.int(8, v)
		}
	}
	m.int(20, int64(a.kind))
	return m
}

// encodeNode is NodeProto.
func encodeNode(kind, name, out string, in []string, attributes []attribute) message {
	var m message
	for _, v := range in {
		m.string(1, v)
	}
	m.string(2, out)
	m.string(3, name)
	m.string(4, kind)
	for _, a := range attributes {
		m.bytes(5, a.encode())
	}
	return m
}

// encodeTensor is TensorProto; data are float32, little-endian.
func encodeTensor(name string, shape []int, data []byte) message {
	var m message
	for _, d := range shape {
		m.int(1, int64(d))
	}
	m.int(2, typeFloat)
	m.string(8, name)
	m.bytes(9, data)
	return m
}

// encodeValue is ValueInfoProto of a tensor (N, shape...).
func encodeValue(name string, shape ...int) message {
	var batch, dims message
	batch.string(2, batchSymbol)
	dims.bytes(1, batch)
	for _, d := range shape {
		var dim message
		dim.int(1, int64(d))
		dims.bytes(1, dim)
	}
	var tensor, typ, m message
	tensor.int(1, typeFloat)
	tensor.bytes(2, dims)
	typ.bytes(1, tensor)
	m.string(1, name)
	m.bytes(2, typ)
	return m
}

// encodeModel is ModelProto.
func encodeModel(graph message, producer string, metadata map[string]string) message {
	var operators, m message
	operators.string(1, "") // the standard ones
	operators.int(2, opset)
	m.int(1, irVersion)
	m.string(2, "shoal")
	m.string(3, producer)
	m.bytes(7, graph)
	m.bytes(8, operators)
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		var entry message
		entry.string(1, key)
		entry.string(2, metadata[key])
		m.bytes(14, entry)
	}
	return m
}
