package onnx

import (
	"encoding/binary"
	"math"
)

// message is an encoded protobuf message that grows field by field [protobuf.dev/programming-guides/encoding]. A key is
// the field's number times 8 plus the kind of value; the int 150 in field 1 is 08 96 01.
type message []byte

// Kinds of values.
const (
	kindVarint = 0
	kindBytes  = 2
	kindFixed4 = 5
)

func (m *message) key(field, kind int) { *m = binary.AppendUvarint(*m, uint64(field)<<3|uint64(kind)) }

// int adds an integer; negative ones take ten bytes.
func (m *message) int(field int, v int64) {
	m.key(field, kindVarint)
	*m = binary.AppendUvarint(*m, uint64(v))
}

// float adds a float32.
func (m *message) float(field int, v float32) {
	m.key(field, kindFixed4)
	*m = binary.LittleEndian.AppendUint32(*m, math.Float32bits(v))
}

// bytes adds bytes, a string, or another message.
func (m *message) bytes(field int, v []byte) {
	m.key(field, kindBytes)
	*m = binary.AppendUvarint(*m, uint64(len(v)))
	*m = append(*m, v...)
}

func (m *message) string(field int, v string) { m.bytes(field, []byte(v)) }
