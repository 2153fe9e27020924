package kernel

import "math"

// The forms of this file are what vectors are sent in. Unlike sums of products, they have the same bits in every
// instruction set, generic Go included.

// EncodeHalf writes src as IEEE 754 binary16 to dst: rounded to nearest, ties to even, to infinity from 65520 on, and to
// zero up to 2⁻²⁵. A NaN stays one, quiet, with the upper bits of its payload. dst and src have the same length.
func EncodeHalf(dst []uint16, src []float32) {
	if s := active(); s != generic {
		encodeHalfSIMD(s, dst, src)
		return
	}
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = half(src[i])
	}
}

// DecodeHalf writes src, which is IEEE 754 binary16, to dst: exactly, but for NaN, which comes out quiet. dst and src have
// the same length.
func DecodeHalf(dst []float32, src []uint16) {
	if s := active(); s != generic {
		decodeHalfSIMD(s, dst, src)
		return
	}
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = single(src[i])
	}
}

// half is x as binary16, by the arithmetic of integers.
func half(x float32) uint16 {
	const (
		infinity = 0x7f80_0000      // binary32's
		least    = (127 - 14) << 23 // 2⁻¹⁴, binary16's least normal number
		rebias   = (127 - 15) << 23 // between the two exponents
		drop     = 23 - 10          // bits of mantissa
		step     = 0.5              // its last bit is 2⁻²⁴, binary16's least number
		most     = (127 + 16) << 23 // 2¹⁶, which rounds to infinity as what follows 65520 does
	)
	bits := math.Float32bits(x)
	sign, size := uint16(bits>>16)&0x8000, bits&0x7fff_ffff
	switch {
	case size > infinity:
		return sign | 0x7e00 | uint16(size>>drop)&0x3ff
	case size >= most:
		return sign | 0x7c00
	case size < least:
		sum := math.Float32frombits(size) + step // which rounds
		return sign | uint16(math.Float32bits(sum)-math.Float32bits(step))
	}
	odd := size >> drop & 1
	return sign | uint16((size-rebias+1<<(drop-1)-1+odd)>>drop)
}

// single is binary16 as float32.
func single(h uint16) float32 {
	const (
		drop   = 23 - 10
		rebias = (127 - 15) << 23
	)
	sign, size := uint32(h&0x8000)<<16, uint32(h&0x7fff)<<drop
	switch exponent := h & 0x7c00; {
	case exponent == 0x7c00 && h&0x3ff != 0:
		return math.Float32frombits(sign | size | 0x7fc0_0000)
	case exponent == 0x7c00:
		return math.Float32frombits(sign | 0x7f80_0000)
	case exponent == 0:
		return math.Float32frombits(sign | math.Float32bits(float32(h&0x3ff)*0x1p-24))
	}
	return math.Float32frombits(sign | size + rebias)
}

// int8Most is the largest magnitude of an int8 on the wire; −128 is not used, so that the form is symmetric.
const int8Most = 127

// roundEven pushes what is behind the point out of a float32 of less than 2²², rounding to nearest, ties to even, and its
// lower bits are then the integer.
const roundEven = 3 << 22

// EncodeInt8 writes src·inverse to dst, rounded to nearest, ties to even, and limited to ±127; NaN becomes 0. inverse is
// one over the scale that decodes them, 127 over MaxAbs for instance. dst and src have the same length.
func EncodeInt8(dst []int8, src []float32, inverse float32) {
	if s := active(); s != generic {
		encodeInt8SIMD(s, dst, src, inverse)
		return
	}
	src = src[:len(dst)]
	for i := range dst {
		v := float32(src[i] * inverse) // not fused with the sum below
		switch {
		case v != v:
			v = 0
		case v < -int8Most:
			v = -int8Most
		case v > int8Most:
			v = int8Most
		}
		dst[i] = int8(math.Float32bits(v + roundEven))
	}
}

// DecodeInt8 writes scale·src to dst. dst and src have the same length.
func DecodeInt8(dst []float32, src []int8, scale float32) {
	if s := active(); s != generic {
		decodeInt8SIMD(s, dst, src, scale)
		return
	}
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = float32(src[i]) * scale
	}
}

// Weigh multiplies x by share in float64, so that an element is rounded only once.
func Weigh(x []float32, share float64) {
	if s := active(); s != generic {
		weighSIMD(s, x, share)
		return
	}
	for i, v := range x {
		x[i] = float32(float64(v) * share)
	}
}

// MaxAbs is the largest magnitude in x, 0 if x is empty and NaN if any element is.
func MaxAbs(x []float32) float32 {
	if s := active(); s != generic {
		return maxAbsSIMD(s, x)
	}
	var most uint32 // of the bits, among which a NaN's are the greatest
	for _, v := range x {
		most = max(most, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(most)
}

// squareLanes is into how many sums SumSquares adds, in turns.
const squareLanes = 16

// SumSquares is Σxᵢ² in float64, in which squares are exact: element i goes to sum i mod 16, and these are added in order,
// so that the result is the same everywhere. It is not finite just where an element is not.
func SumSquares(x []float32) float64 {
	var sums [squareLanes]float64
	if s := active(); s != generic {
		sumSquaresSIMD(s, &sums, x)
	} else {
		for len(x) >= squareLanes {
			for i, v := range x[:squareLanes] {
				sums[i] += float64(v) * float64(v)
			}
			x = x[squareLanes:]
		}
		for i, v := range x {
			sums[i] += float64(v) * float64(v)
		}
	}
	return inOrder(&sums)
}

// inOrder is the sum of sums.
func inOrder(sums *[squareLanes]float64) (total float64) {
	for _, v := range sums {
		total += v
	}
	return total
}

// Reduce is Weigh of y by share and the addition of x to it, in one pass that also finds SumSquares of x: what an exchange
// does with what it receives. y and x have the same length.
func Reduce(y, x []float32, share float64) float64 {
	var sums [squareLanes]float64
	if s := active(); s != generic {
		reduceSIMD(s, &sums, y, x, share)
		return inOrder(&sums)
	}
	y = y[:len(x)]
	for i, v := range x {
		y[i] = float32(float64(y[i])*share) + v
		sums[i%squareLanes] += float64(v) * float64(v)
	}
	return inOrder(&sums)
}
