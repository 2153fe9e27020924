// One source for every instruction set: vectors are clang's, VL floats wide, and the compiler's target gives VL. Products
// are fused by name only (-ffp-contract=off), so that an element has the same bits whether a vector or a scalar made it.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
#define ROLLED _Pragma("clang loop unroll(disable) vectorize(disable)")
#define TWICE _Pragma("clang loop unroll_count(2) vectorize(disable)")

#define LOAD(T, p) (*(const T *)(p))
#define STORE(T, p, x) (*(T *)(p) = (x))
#define FMA(x, y, z) __builtin_elementwise_fma(x, y, z)

// HIDE keeps the compiler from knowing how a pointer or a stride was computed: it would chain the sums of an address.
#define HIDE(x) __asm__("" : "+r"(x))

// load_some and store_some are the first n of VL floats; what load_some did not load is 0.
INLINE vec load_some(const float *p, word n) {
#if VL == 16
	return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
	float some[VL];
	STORE(vec, some, (vec)0);
	ROLLED for (word i = 0; i < n; i++) some[i] = p[i];
	return LOAD(vec, some);
#endif
}

INLINE void store_some(float *p, vec x, word n) {
#if VL == 16
	_mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#else
	float some[VL];
	STORE(vec, some, x);
	ROLLED for (word i = 0; i < n; i++) p[i] = some[i];
#endif
}

// get and put are n floats, and the whole vector where all says so; bodies are written once and inlined for both.
INLINE vec get(const float *p, word n, const int all) { return all ? LOAD(vec, p) : load_some(p, n); }
INLINE void put(float *p, vec x, word n, const int all) {
	if (all) STORE(vec, p, x);
	else store_some(p, x, n);
}

// VECTORS runs body(i, n, all) for the vectors of len floats, the last of which may have fewer.
#define VECTORS(len, body) \
	do { \
		word i = 0, left = (len); \
		ROLLED for (; left >= VL; left -= VL, i += VL) body(i, VL, 1); \
		if (left > 0) body(i, left, 0); \
	} while (0)

// OWN makes g a copy of a function's arguments: a compiler must read those again after each store, which might have
// changed them.
#define OWN(T) \
	const struct T own = *args; \
	const struct T *const g = &own

#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)

// Comparisons are written so that a NaN stays one, and does not pass a gate.
INLINE vec limited(vec x, vec lo, vec hi) {
	x = x < lo ? lo : x;
	return x > hi ? hi : x;
}
INLINE vec passed(vec d, vec z, vec top) { return ((z > (vec)0) & (z <= top)) ? d : (vec)0; }

typedef float quad VECTOR(4);

#define SHUFFLE __builtin_shufflevector

// square writes the transpose of 4 rows of 4 floats that begin from floats apart, as rows that begin to floats apart.
INLINE void square(float *dst, word to, const float *src, word from) {
	const quad a = LOAD(quad, src), b = LOAD(quad, src + from), c = LOAD(quad, src + 2 * from), d = LOAD(quad, src + 3 * from);
	const quad p = SHUFFLE(a, b, 0, 4, 1, 5), q = SHUFFLE(c, d, 0, 4, 1, 5);
	const quad r = SHUFFLE(a, b, 2, 6, 3, 7), s = SHUFFLE(c, d, 2, 6, 3, 7);
	STORE(quad, dst, SHUFFLE(p, q, 0, 1, 4, 5));
	STORE(quad, dst + to, SHUFFLE(p, q, 2, 3, 6, 7));
	STORE(quad, dst + 2 * to, SHUFFLE(r, s, 0, 1, 4, 5));
	STORE(quad, dst + 3 * to, SHUFFLE(r, s, 2, 3, 6, 7));
}
