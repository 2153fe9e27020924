// Package kernel holds the inner loops of training, as plain functions over slices of float32.
//
// Images are (N, H, W, C), so that the channels of a pixel are contiguous and a vector unit takes several at once; a
// matrix of activations is (rows, C) with a row per pixel. Every function works on a range of rows, channels or elements,
// half-open, so that a pool of workers can share it; what an element of the result is does not depend on how the range
// was cut. Nothing here starts goroutines or keeps state, or allocates, but that large products keep room for packed
// operands for the next one. Slices must be long enough for the shapes given; the functions panic where they are not.
// Unless it is said, a result must not overlap the inputs.
//
// The loops of this package in Go are the specification. Vector code for AVX-512, AVX2 and NEON does the same within
// rounding; its products are fused, and it does the same operations in the same order in each of those sets, so that their
// results agree to the bit with each other; conversions for the wire and norms agree with the loops in Go as well. On amd64
// the kernels that train take numbers below 2⁻¹²⁶ as zero, since Intel's cores are slow with those; the kernels that
// averaging rests on do not. The
// best that the CPU has is used unless Choose is called. The code is C in csrc, compiled by gen into the assembly that is
// checked in. Build with -tags purego to have none.
package kernel
