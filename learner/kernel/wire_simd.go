package kernel

import "math"

// The arguments of csrc/wire.c.
type (
	encodeHalfArgs struct {
		src *float32
		dst *uint16
		n   int
	}
	decodeHalfArgs struct {
		src *uint16
		dst *float32
		n   int
	}
	encodeInt8Args struct {
		src     *float32
		dst     *int8
		n       int
		inverse float32
	}
	decodeInt8Args struct {
		src   *int8
		dst   *float32
		n     int
		scale float32
	}
	weighArgs struct {
		x     *float32
		n     int
		share float64
	}
	maxAbsArgs struct {
		x    *float32
		most *uint32
		n    int
	}
	sumSquaresArgs struct {
		x    *float32
		sums *[squareLanes]float64
		n    int
	}
	reduceArgs struct {
		y, x  *float32
		sums  *[squareLanes]float64
		n     int
		share float64
	}
)

func encodeHalfSIMD(s set, dst []uint16, src []float32) {
	src = src[:len(dst)]
	for i := 0; i < len(dst); i += callLen {
		s.encodeHalf(&encodeHalfArgs{&src[i], &dst[i], min(len(dst)-i, callLen)})
	}
}

func decodeHalfSIMD(s set, dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i := 0; i < len(dst); i += callLen {
		s.decodeHalf(&decodeHalfArgs{&src[i], &dst[i], min(len(dst)-i, callLen)})
	}
}

func encodeInt8SIMD(s set, dst []int8, src []float32, inverse float32) {
	src = src[:len(dst)]
	for i := 0; i < len(dst); i += callLen {
		s.encodeInt8(&encodeInt8Args{&src[i], &dst[i], min(len(dst)-i, callLen), inverse})
	}
}

func decodeInt8SIMD(s set, dst []float32, src []int8, scale float32) {
	src = src[:len(dst)]
	for i := 0; i < len(dst); i += callLen {
		s.decodeInt8(&decodeInt8Args{&src[i], &dst[i], min(len(dst)-i, callLen), scale})
	}
}

func weighSIMD(s set, x []float32, share float64) {
	for i := 0; i < len(x); i += callLen {
		s.weigh(&weighArgs{&x[i], min(len(x)-i, callLen), share})
	}
}

func maxAbsSIMD(s set, x []float32) float32 {
	var most uint32
	for i := 0; i < len(x); i += callLen {
		s.maxAbs(&maxAbsArgs{&x[i], &most, min(len(x)-i, callLen)})
	}
	return math.Float32frombits(most)
}

// sumSquaresSIMD adds to sums; a call's length is a multiple of theirs, so that each call begins with the first.
func sumSquaresSIMD(s set, sums *[squareLanes]float64, x []float32) {
	for i := 0; i < len(x); i += callLen {
		s.sumSquares(&sumSquaresArgs{&x[i], sums, min(len(x)-i, callLen)})
	}
}

// reduceSIMD adds to sums as sumSquaresSIMD does.
func reduceSIMD(s set, sums *[squareLanes]float64, y, x []float32, share float64) {
	y = y[:len(x)]
	for i := 0; i < len(x); i += callLen {
		s.reduce(&reduceArgs{&y[i], &x[i], sums, min(len(x)-i, callLen), share})
	}
}
