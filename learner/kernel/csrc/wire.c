// The forms that vectors are sent in, and their sizes: the same bits in every set. A vector's remainder is copied, because
// load_some has floats only.
#include "simd.h"

#if VL == 4
#include <arm_neon.h>
#endif

typedef unsigned short halves VECTOR(VL);
typedef signed char bytes VECTOR(VL);
typedef unsigned int uvec VECTOR(VL);

// PARTS is VECTORS for a source and a destination of any two types.
#define PARTS(g, S, D, body) \
	do { \
		word i = 0; \
		ROLLED for (; i + VL <= (g)->n; i += VL) body((g)->src + i, (g)->dst + i); \
		if (i < (g)->n) { \
			const word rest = (g)->n - i; \
			S from[VL]; \
			D to[VL]; \
			ROLLED for (word j = 0; j < VL; j++) from[j] = 0; \
			ROLLED for (word j = 0; j < rest; j++) from[j] = (g)->src[i + j]; \
			body(from, to); \
			ROLLED for (word j = 0; j < rest; j++) (g)->dst[i + j] = to[j]; \
		} \
	} while (0)

struct encodeHalf {
	const float *src;
	unsigned short *dst;
	word n;
};

void encodeHalf(const struct encodeHalf *args) {
	OWN(encodeHalf);
#if VL == 16
#define HALVES(x) (halves)_mm512_cvtps_ph((__m512)(x), _MM_FROUND_TO_NEAREST_INT)
#elif VL == 8
#define HALVES(x) (halves)_mm256_cvtps_ph((__m256)(x), _MM_FROUND_TO_NEAREST_INT)
#else
	typedef _Float16 half4 VECTOR(4);
#define HALVES(x) (halves)__builtin_convertvector(x, half4)
#endif
#define ENCODE_HALF(from, to) STORE(halves, to, HALVES(LOAD(vec, from)))
	PARTS(g, float, unsigned short, ENCODE_HALF);
}

struct decodeHalf {
	const unsigned short *src;
	float *dst;
	word n;
};

void decodeHalf(const struct decodeHalf *args) {
	OWN(decodeHalf);
#if VL == 16
#define SINGLES(x) (vec)_mm512_cvtph_ps((__m256i)(x))
#elif VL == 8
#define SINGLES(x) (vec)_mm256_cvtph_ps((__m128i)(x))
#else
	typedef _Float16 half4 VECTOR(4);
#define SINGLES(x) __builtin_convertvector((half4)(x), vec)
#endif
#define DECODE_HALF(from, to) STORE(vec, to, SINGLES(LOAD(halves, from)))
	PARTS(g, unsigned short, float, DECODE_HALF);
}

struct encodeInt8 {
	const float *src;
	signed char *dst;
	word n;
	float inverse;
};

// narrow is integers of a byte's range as bytes; a compiler's shuffle would want a constant in memory.
INLINE bytes narrow(ivec x) {
#if VL == 16
	return (bytes)_mm512_cvtepi32_epi8((__m512i)x);
#elif VL == 8
	const __m128i both = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
	const long low = _mm_cvtsi128_si64(_mm_packs_epi16(both, both));
	return LOAD(bytes, &low);
#else
	return __builtin_convertvector(x, bytes);
#endif
}

void encodeInt8(const struct encodeInt8 *args) {
	OWN(encodeInt8);
	int lo = 0xc2fe0000, hi = 0x42fe0000, even = 0x4b400000; // the bits of ±127 and of 3·2²²
	HIDE(lo);
	HIDE(hi);
	HIDE(even);
	const vec inverse = g->inverse, least = (vec)(ivec)lo, most = (vec)(ivec)hi, round = (vec)(ivec)even;
#define ENCODE_INT8(from, to) do { \
		vec x = LOAD(vec, from) * inverse; \
		x = limited(x == x ? x : (vec)0, least, most); \
		STORE(bytes, to, narrow((ivec)(x + round) - (ivec)round)); \
	} while (0)
	PARTS(g, float, signed char, ENCODE_INT8);
}

struct decodeInt8 {
	const signed char *src;
	float *dst;
	word n;
	float scale;
};

void decodeInt8(const struct decodeInt8 *args) {
	OWN(decodeInt8);
	const vec scale = g->scale;
#if VL == 16
#define WIDER(p) (ivec)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(p)))
#elif VL == 8
#define WIDER(p) (ivec)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p)))
#else
	typedef int four __attribute__((may_alias, aligned(1)));
#define WIDER(p) (ivec)vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(LOAD(four, p))))))
#endif
#define DECODE_INT8(from, to) STORE(vec, to, __builtin_convertvector(WIDER(from), vec) * scale)
	PARTS(g, signed char, float, DECODE_INT8);
}

// doubles are half a vector's floats.
typedef double doubles __attribute__((ext_vector_type(VL / 2), aligned(8)));
typedef float pair __attribute__((ext_vector_type(VL / 2), aligned(4)));

struct weigh {
	float *x;
	word n;
	double share;
};

void weigh(const struct weigh *args) {
	OWN(weigh);
	const doubles share = g->share;
	word i = 0;
	ROLLED for (; i + VL <= g->n; i += VL) EACH(h, 2) {
		float *x = g->x + i + h * (VL / 2);
		STORE(pair, x, __builtin_convertvector(__builtin_convertvector(LOAD(pair, x), doubles) * share, pair));
	}
	ROLLED for (; i < g->n; i++) g->x[i] = (float)((double)g->x[i] * g->share);
}

struct maxAbs {
	const float *x;
	unsigned *most;
	word n;
};

// maxAbs compares bits without their sign, which are in order, NaN last.
void maxAbs(const struct maxAbs *args) {
	OWN(maxAbs);
	unsigned mask = 0x7fffffff;
	HIDE(mask);
	const uvec size = (uvec)mask;
	uvec most[4];
	EACH(j, 4) most[j] = 0;
	word i = 0;
#define SIZES(p) ((uvec)LOAD(vec, p) & size)
	ROLLED for (; i + 4 * VL <= g->n; i += 4 * VL) EACH(j, 4) most[j] = __builtin_elementwise_max(most[j], SIZES(g->x + i + j * VL));
#define MOST(i, some, all) most[0] = __builtin_elementwise_max(most[0], (uvec)get(g->x + i, some, all) & size)
	ROLLED for (; i + VL <= g->n; i += VL) MOST(i, VL, 1);
	if (i < g->n) MOST(i, g->n - i, 0);
	EACH(j, 3) most[0] = __builtin_elementwise_max(most[0], most[j + 1]);
	unsigned lanes[VL], all = *g->most;
	STORE(uvec, lanes, most[0]);
	ROLLED for (word j = 0; j < VL; j++) all = lanes[j] > all ? lanes[j] : all;
	*g->most = all;
}

struct sumSquares {
	const float *x;
	double *sums;
	word n;
};

#define SQUARES (16 / (VL / 2))

// sumSquares adds the square of element i to sum i mod 16.
void sumSquares(const struct sumSquares *args) {
	OWN(sumSquares);
	doubles sums[SQUARES];
	EACH(j, SQUARES) sums[j] = LOAD(doubles, g->sums + j * (VL / 2));
	word i = 0;
	ROLLED for (; i + 16 <= g->n; i += 16) EACH(j, SQUARES) {
		const doubles x = __builtin_convertvector(LOAD(pair, g->x + i + j * (VL / 2)), doubles);
		sums[j] = FMA(x, x, sums[j]);
	}
	EACH(j, SQUARES) STORE(doubles, g->sums + j * (VL / 2), sums[j]);
	ROLLED for (word j = 0; i + j < g->n; j++) g->sums[j] += (double)g->x[i + j] * (double)g->x[i + j];
}

struct reduce {
	float *y;
	const float *x;
	double *sums;
	word n;
	double share;
};

// reduce is weigh of y, adding x, and sumSquares of x.
void reduce(const struct reduce *args) {
	OWN(reduce);
	const doubles share = g->share;
	doubles sums[SQUARES];
	EACH(j, SQUARES) sums[j] = LOAD(doubles, g->sums + j * (VL / 2));
	word i = 0;
	ROLLED for (; i + 16 <= g->n; i += 16) EACH(j, SQUARES) {
		const pair x = LOAD(pair, g->x + i + j * (VL / 2));
		float *y = g->y + i + j * (VL / 2);
		STORE(pair, y, __builtin_convertvector(__builtin_convertvector(LOAD(pair, y), doubles) * share, pair) + x);
		const doubles wide = __builtin_convertvector(x, doubles);
		sums[j] = FMA(wide, wide, sums[j]);
	}
	EACH(j, SQUARES) STORE(doubles, g->sums + j * (VL / 2), sums[j]);
	ROLLED for (word j = 0; i < g->n; i++, j++) {
		const float x = g->x[i];
		g->y[i] = (float)((double)g->y[i] * g->share) + x;
		g->sums[j] += (double)x * (double)x;
	}
}
