// Package safetensors reads and writes tensors in the safetensors format, which other frameworks read and write too: an
// 8-byte little-endian header length, a JSON header, then the tensors' bytes without gaps. A file with one float32
// vector "w" = [1 2] is
//
//	40 00 00 00 00 00 00 00  {"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}<space>…  00 00 80 3f 00 00 00 40
//
// where spaces pad the header to a multiple of 8, so that tensors begin aligned.
package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// maxHeaderBytes is the longest header that the format allows.
const maxHeaderBytes = 100_000_000

// maxFileBytes bounds what Read takes into memory: a hundred times our largest model, and an int on 32-bit machines.
const maxFileBytes = 1<<31 - 1

// metadataKey is the header's one key that names no tensor.
const metadataKey = "__metadata__"

// File is the content of one archive. Tensor names are distinct.
type File struct {
	Metadata map[string]string // free text about the whole; nil and empty are the same
	Tensors  []Tensor
}

// Tensor is one named array. Data is its elements, row-major and little-endian, len = element size · product of Shape;
// decoded tensors share the memory they were decoded from. A scalar has an empty Shape.
type Tensor struct {
	Name  string
	DType string // "F32", "I64", …
	Shape []int
	Data  []byte
}

// Find returns the tensor called name, and whether there is one.
func (f *File) Find(name string) (Tensor, bool) {
	i := slices.IndexFunc(f.Tensors, func(t Tensor) bool { return t.Name == name })
	if i < 0 {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

// Floats makes an F32 tensor with a copy of values.
func Floats(name string, shape []int, values []float32) Tensor {
	data := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return Tensor{Name: name, DType: "F32", Shape: slices.Clone(shape), Data: data}
}

// Ints makes an I64 tensor with a copy of values.
func Ints(name string, shape []int, values []int64) Tensor {
	data := make([]byte, 8*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint64(data[8*i:], uint64(v))
	}
	return Tensor{Name: name, DType: "I64", Shape: slices.Clone(shape), Data: data}
}

// Float32s returns a copy of an F32 tensor's elements, bit for bit. Other dtypes are errors.
func (t Tensor) Float32s() ([]float32, error) {
	if err := t.check("F32"); err != nil {
		return nil, err
	}
	values := make([]float32, len(t.Data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
	}
	return values, nil
}

// Int64s returns a copy of an I64 tensor's elements. Other dtypes are errors.
func (t Tensor) Int64s() ([]int64, error) {
	if err := t.check("I64"); err != nil {
		return nil, err
	}
	values := make([]int64, len(t.Data)/8)
	for i := range values {
		values[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
	}
	return values, nil
}

// check says whether t is a well-formed tensor of the wanted dtype.
func (t Tensor) check(dtype string) error {
	if t.DType != dtype {
		return fmt.Errorf("read tensor %q: its dtype is %s, not %s; convert it first", t.Name, t.DType, dtype)
	}
	return t.checkSize()
}

// checkSize says whether dtype, shape and data agree.
func (t Tensor) checkSize() error {
	want, err := byteLen(t.DType, t.Shape)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if want != len(t.Data) {
		return fmt.Errorf("tensor %q: wrong size: %s of shape %v takes %d bytes, but it has %d",
			t.Name, t.DType, t.Shape, want, len(t.Data))
	}
	return nil
}

// elementBytes is the size of one element, 0 for a dtype that we do not know. Sub-byte types are not supported.
func elementBytes(dtype string) int {
	switch dtype {
	case "U64", "I64", "F64", "C64":
		return 8
	case "F32", "U32", "I32":
		return 4
	case "BF16", "F16", "U16", "I16":
		return 2
	case "F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL":
		return 1
	}
	return 0
}

// byteLen is the number of bytes that a tensor takes, at most maxFileBytes.
func byteLen(dtype string, shape []int) (int, error) {
	size := elementBytes(dtype)
	if size == 0 {
		return 0, fmt.Errorf("unknown dtype %q", dtype)
	}
	if i := slices.IndexFunc(shape, func(d int) bool { return d < 0 }); i >= 0 {
		return 0, fmt.Errorf("shape %v has a negative dimension", shape)
	}
	if slices.Contains(shape, 0) {
		return 0, nil
	}
	for _, d := range shape {
		if size > maxFileBytes/d {
			return 0, fmt.Errorf("%s of shape %v takes more than %d bytes", dtype, shape, maxFileBytes)
		}
		size *= d
	}
	return size, nil
}
