package collective

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"shoal/learner/kernel"
)

// wire is what a number is between ranks. A segment on the wire is, little-endian,
//
//	fp32  its elements, 4 bytes each
//	fp16  a scale (4 bytes, float32), then elements of IEEE 754 binary16, 2 bytes each
//	int8  a scale (4 bytes, float32), then elements in two's complement, 1 byte each
//
// and an element's value is what is sent times the scale: of fp16 the power of two that puts the segment's largest
// magnitude below 2¹⁵, of int8 that magnitude / 127. So one encoding errs by at most 2⁻¹¹ of an element in fp16, and by
// 1/254 of the segment's largest magnitude in int8 ([Seide2014] for one scale per block and error feedback). For example
// the segment 1, -0.5, 0.25 is in int8, with scale 1/127 = 0.007874016:
//
//	04 02 01 3c  7f c0 20
type wire uint8

const (
	fp32 wire = iota
	fp16
	int8s
)

// headBytes is the scale before a segment's elements.
const headBytes = 4

// wireNames are the types that a number may have on the wire.
func wireNames() []string { return []string{"fp32", "fp16", "int8"} }

func wireNamed(name string) (wire, error) {
	for i, known := range wireNames() {
		if name == known {
			return wire(i), nil
		}
	}
	return 0, fmt.Errorf("wire type %q is unknown, give one of %v", name, wireNames())
}

// Bytes is how many bytes a vector of so many elements takes in segments of so many, whatever its chunks; 0 for a wire
// type that is unknown.
func Bytes(name string, elements, segment int) int {
	w, err := wireNamed(name)
	if err != nil || segment < 1 {
		return 0
	}
	return elements/segment*w.bytes(segment) + w.bytes(elements%segment)
}

// bytes is what a segment of so many elements takes; none takes nothing.
func (w wire) bytes(elements int) int {
	switch {
	case elements == 0:
		return 0
	case w == fp16:
		return headBytes + 2*elements
	case w == int8s:
		return headBytes + elements
	}
	return 4 * elements
}

// encode writes a segment to dst, which is w.bytes(len(src)) long. It fails where src is not finite, or
// 2¹²⁶ and more. Not for fp32, whose
// memory is its wire format.
func (w wire) encode(dst []byte, src []float32) error {
	most := kernel.MaxAbs(src)
	if !(most < tooLarge) {
		return errNotFinite
	}
	var scale, inverse float32 // both 0 where no element is to be told from 0
	switch {
	case w == fp16:
		e := max(math.Ilogb(float64(most)), leastExponent) - 14
		scale, inverse = float32(math.Ldexp(1, e)), float32(math.Ldexp(1, -e))
	case most >= leastScaled:
		scale, inverse = most/127, 127/most
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(scale))
	if w == fp16 {
		encodeHalf(halves(dst, len(src)), src, inverse)
	} else {
		kernel.EncodeInt8(int8Bytes(dst, len(src)), src, inverse)
	}
	return nil
}

const (
	// tooLarge is where encoding refuses: rounding, or what others add, might lead to infinity.
	tooLarge = 0x1p126
	// mostSquares is the largest norm that is taken in, squared, so that the sum with one's own can still be sent on.
	mostSquares = 0x1p240
	// leastExponent keeps the inverse of fp16's scale finite; what is smaller than 2⁻¹⁰⁰ loses digits.
	leastExponent = -100
	// leastScaled is the largest magnitude below which int8 sends zeros: 127 / it would be infinite.
	leastScaled = 1e-36
)

// decode reads a segment of len(dst) elements. It fails where the scale is none.
func (w wire) decode(dst []float32, src []byte) error {
	scale := math.Float32frombits(binary.LittleEndian.Uint32(src))
	if !(scale >= 0) || !finite32(scale) {
		return fmt.Errorf("a segment with scale %v", scale)
	}
	if w == fp16 {
		decodeHalf(dst, halves(src, len(dst)), scale)
	} else {
		kernel.DecodeInt8(dst, int8Bytes(src, len(dst)), scale)
	}
	return nil
}

// rescale multiplies an encoded segment.
func rescale(segment []byte, factor float64) {
	scale := math.Float32frombits(binary.LittleEndian.Uint32(segment))
	binary.LittleEndian.PutUint32(segment, math.Float32bits(float32(float64(scale)*factor)))
}

// halfLen is how many elements are scaled at a time on the way to fp16, on the stack.
const halfLen = 512

// encodeHalf is EncodeHalf of src·inverse, which is a power of two.
func encodeHalf(dst []uint16, src []float32, inverse float32) {
	var scaled [halfLen]float32
	for lo := 0; lo < len(src); lo += halfLen {
		part := scaled[:copy(scaled[:], src[lo:])]
		kernel.Scale(part, inverse)
		kernel.EncodeHalf(dst[lo:lo+len(part)], part)
	}
}

// decodeHalf is DecodeHalf times scale.
func decodeHalf(dst []float32, src []uint16, scale float32) {
	for lo := 0; lo < len(dst); lo += halfLen {
		part := dst[lo:min(lo+halfLen, len(dst))]
		kernel.DecodeHalf(part, src[lo:lo+len(part)])
		kernel.Scale(part, scale)
	}
}

func finite32(x float32) bool { return math.Float32bits(x)&0x7f800000 != 0x7f800000 }

// halves are the elements of an fp16 segment. Invariant: segments begin at even addresses.
func halves(segment []byte, n int) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(segment[headBytes:]))), n)
}

// int8Bytes are the elements of an int8 segment.
func int8Bytes(segment []byte, n int) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(segment[headBytes:]))), n)
}
