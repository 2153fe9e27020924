// One source for every instruction set: vectors are clang's, VL floats wide, and the compiler's target gives VL. Products are
// fused by name only (-ffp-contract=off), so that an element has the same bits whether a vector or a scalar computed it.
#pragma once

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif

#define VECTOR(n) __attribute__((ext_vector_type(n), aligned(4))) // loads and stores need no alignment
typedef float vec VECTOR(VL);
typedef int ivec VECTOR(VL);
typedef long word;

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

#define LOAD(T, p) (*(const T *)(p))
#define STORE(T, p, x) (*(T *)(p) = (x))
#define FMA(x, y, z) __builtin_elementwise_fma(x, y, z)
