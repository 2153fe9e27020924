// Package kernel holds the inner loops of training, as plain functions over slices of float32.
//
// Images are (N, H, W, C), so that the channels of a pixel are contiguous and a vector unit takes several at once; a
// matrix of activations is (rows, C) with a row per pixel. Every function works on a range of rows, channels or elements,
// half-open, so that a pool of workers can share it; what an element of the result is does not depend on how the range
// was cut. Nothing here allocates, starts goroutines or keeps state. Slices must be long enough for the shapes given;
// the functions panic where they are not. Unless it is said, a result must not overlap the inputs.
//
// The loops of this package in Go are the specification: vector code for an instruction set is chosen at run time by the
// exported functions, and must give the same numbers within rounding.
package kernel
