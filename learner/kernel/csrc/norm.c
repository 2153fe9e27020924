// Normalisation and its gradient: n floats whose parameters repeat every c; n need not be a multiple of c.
#include "simd.h"

// PERIODS runs body, as VECTORS does, for each run of c floats; the run begins at.
#define PERIODS(g, body) \
	for (word at = 0; at < (g)->n; at += (g)->c) { \
		const word len = (g)->n - at < (g)->c ? (g)->n - at : (g)->c; \
		VECTORS(len, body); \
	}

struct normalize {
	const float *x, *skip, *scale, *shift;
	float *y;
	word n, c, limited;
	float lo, hi;
};

void normalize(const struct normalize *args) {
	OWN(normalize);
	const vec lo = g->lo, hi = g->hi;
#define AFFINE(i, some, all) FMA(get(g->x + at + i, some, all), get(g->scale + i, some, all), get(g->shift + i, some, all))
#define SKIP(i, some, all) put(g->y + at + i, AFFINE(i, some, all) + get(g->skip + at + i, some, all), some, all)
#define PLAIN(i, some, all) put(g->y + at + i, AFFINE(i, some, all), some, all)
#define LIMITED(i, some, all) put(g->y + at + i, limited(AFFINE(i, some, all), lo, hi), some, all)
	if (g->skip) { PERIODS(g, SKIP) }
	else if (!g->limited) { PERIODS(g, PLAIN) }
	else { PERIODS(g, LIMITED) }
}

struct bias {
	const float *x, *b;
	float *y;
	word n, c;
	float lo, hi;
};

void bias(const struct bias *args) {
	OWN(bias);
	const vec lo = g->lo, hi = g->hi;
#define BIAS(i, some, all) \
	put(g->y + at + i, limited(get(g->x + at + i, some, all) + get(g->b + i, some, all), lo, hi), some, all)
	PERIODS(g, BIAS)
}

// Rows of c floats beside others: those of y, dy are stride apart, those of x, dz are adjacent.
struct biasJoin {
	const float *x, *b;
	float *y;
	word rows, c, stride;
	float lo, hi;
};

void biasJoin(const struct biasJoin *args) {
	OWN(biasJoin);
	const vec lo = g->lo, hi = g->hi;
	const float *x = g->x;
	float *y = g->y;
	for (word r = 0; r < g->rows; r++, x += g->c, y += g->stride) {
#define JOIN(i, some, all) put(y + i, limited(get(x + i, some, all) + get(g->b + i, some, all), lo, hi), some, all)
		VECTORS(g->c, JOIN);
	}
}

struct maskCut {
	const float *dy, *y;
	float *dz;
	word rows, c, stride;
	float top;
};

void maskCut(const struct maskCut *args) {
	OWN(maskCut);
	const vec top = g->top;
	const float *dy = g->dy, *y = g->y;
	float *dz = g->dz;
	for (word r = 0; r < g->rows; r++, dy += g->stride, y += g->stride, dz += g->c) {
#define CUT(i, some, all) put(dz + i, passed(get(dy + i, some, all), get(y + i, some, all), top), some, all)
		VECTORS(g->c, CUT);
	}
}

struct normSums {
	const float *dy, *x, *mean, *scale, *shift;
	float *product, *sum;
	word n, c, gated;
	float top;
};

// COLUMNS runs body(i, vectors, n, all) for the columns of a period, wide vectors at once. Sums stay in registers while
// body walks down the rows: four of each, for every fourth row, whatever the vectors, so that all sets give the same bits.
#define COLUMNS(len, wide, body) \
	do { \
		word i = 0; \
		if (wide > 1) ROLLED for (; i + wide * VL <= (len); i += wide * VL) body(i, wide, VL, 1); \
		ROLLED for (; i + VL <= (len); i += VL) body(i, 1, VL, 1); \
		if (i < (len)) body(i, 1, (len) - i, 0); \
	} while (0)

#if VL == 8 // of 16 registers
#define WIDE_SUMS 1
#define WIDE_COLUMNS 2
#else
#define WIDE_SUMS 2
#define WIDE_COLUMNS 4
#endif

INLINE vec four(const vec x[4][4], int v) { return (x[0][v] + x[1][v]) + (x[2][v] + x[3][v]); }

INLINE void more(float *sum, vec x, word some, const int all) { put(sum, get(sum, some, all) + x, some, all); }

// norm_sums_at adds the rows' sums, step rows at once: four, or one.
INLINE void norm_sums_at(const struct normSums *g, word at, word rows, word i, const int step, const int nv, word some, const int all, const int gated) {
	const word c = g->c;
	const float *x = g->x + at + i, *dy = g->dy + at + i;
	vec mean[4], scale[4], shift[4], product[4][4] = {0}, sum[4][4] = {0};
	EACH(v, nv) {
		mean[v] = get(g->mean + i + v * VL, some, all);
		if (gated) scale[v] = get(g->scale + i + v * VL, some, all), shift[v] = get(g->shift + i + v * VL, some, all);
	}
	ROLLED for (word r = 0; r < rows; r += step, x += step * c, dy += step * c) {
		EACH(j, step) EACH(v, nv) {
			const vec a = get(x + j * c + v * VL, some, all);
			vec d = get(dy + j * c + v * VL, some, all);
			if (gated) d = passed(d, FMA(a, scale[v], shift[v]), (vec)(g->top));
			product[j][v] = FMA(d, a - mean[v], product[j][v]);
			sum[j][v] += d;
		}
	}
	EACH(v, nv) {
		more(g->product + i + v * VL, step == 4 ? four(product, v) : product[0][v], some, all);
		more(g->sum + i + v * VL, step == 4 ? four(sum, v) : sum[0][v], some, all);
	}
}

// normSums adds to product and sum.
void normSums(const struct normSums *args) {
	OWN(normSums);
	const word rows = g->n / (4 * g->c) * 4, at = rows * g->c;
#define FOUR_GATED(i, nv, some, all) norm_sums_at(g, 0, rows, i, 4, nv, some, all, 1)
#define FOUR_OPEN(i, nv, some, all) norm_sums_at(g, 0, rows, i, 4, nv, some, all, 0)
	if (g->gated) COLUMNS(g->c, WIDE_SUMS, FOUR_GATED);
	else COLUMNS(g->c, WIDE_SUMS, FOUR_OPEN);
	ROLLED for (word to = at; to < g->n; to += g->c) {
		const word len = g->n - to < g->c ? g->n - to : g->c;
#define ONE_GATED(i, some, all) norm_sums_at(g, to, 1, i, 1, 1, some, all, 1)
#define ONE_OPEN(i, some, all) norm_sums_at(g, to, 1, i, 1, 1, some, all, 0)
		if (g->gated) VECTORS(len, ONE_GATED);
		else VECTORS(len, ONE_OPEN);
	}
}

struct normDX {
	const float *dy, *x, *scale, *shift, *slope, *offset;
	float *dx;
	word n, c, gated;
	float top;
};

INLINE void norm_dx_at(const struct normDX *g, word at, word i, word some, const int all, const int gated) {
	vec x = get(g->x + at + i, some, all), d = get(g->dy + at + i, some, all), scale = get(g->scale + i, some, all);
	if (gated) d = passed(d, FMA(x, scale, get(g->shift + i, some, all)), (vec)(g->top));
	put(g->dx + at + i, FMA(d, scale, FMA(x, get(g->slope + i, some, all), get(g->offset + i, some, all))), some, all);
}

void normDX(const struct normDX *args) {
	OWN(normDX);
#define GATED_DX(i, some, all) norm_dx_at(g, at, i, some, all, 1)
#define DX(i, some, all) norm_dx_at(g, at, i, some, all, 0)
	if (g->gated) { PERIODS(g, GATED_DX) }
	else { PERIODS(g, DX) }
}

struct columns {
	const float *x, *sums;
	float *sum;
	word n, c;
	float over;
};

INLINE void columns_at(const struct columns *g, word at, word rows, word i, const int step, const int nv, word some, const int all, const int square) {
	const word c = g->c;
	const float *x = g->x + at + i;
	vec mean[4], sum[4][4] = {0};
	if (square) EACH(v, nv) mean[v] = get(g->sums + i + v * VL, some, all) * (vec)(g->over);
	ROLLED for (word r = 0; r < rows; r += step, x += step * c) {
		EACH(j, step) EACH(v, nv) {
			vec y = get(x + j * c + v * VL, some, all);
			if (square) y -= mean[v], sum[j][v] = FMA(y, y, sum[j][v]);
			else sum[j][v] += y;
		}
	}
	EACH(v, nv) more(g->sum + i + v * VL, step == 4 ? four(sum, v) : sum[0][v], some, all);
}

// columns adds to sum: the sums of the columns or, given those, the sums of squares about sums·over.
void columns(const struct columns *args) {
	OWN(columns);
	const word rows = g->n / (4 * g->c) * 4, at = rows * g->c;
#define FOUR_SUMS(i, nv, some, all) columns_at(g, 0, rows, i, 4, nv, some, all, 0)
#define FOUR_SQUARES(i, nv, some, all) columns_at(g, 0, rows, i, 4, nv, some, all, 1)
	if (g->sums) COLUMNS(g->c, WIDE_COLUMNS, FOUR_SQUARES);
	else COLUMNS(g->c, WIDE_COLUMNS, FOUR_SUMS);
	ROLLED for (word to = at; to < g->n; to += g->c) {
		const word len = g->n - to < g->c ? g->n - to : g->c;
#define ONE_SUM(i, some, all) columns_at(g, to, 1, i, 1, 1, some, all, 0)
#define ONE_SQUARE(i, some, all) columns_at(g, to, 1, i, 1, 1, some, all, 1)
		if (g->sums) VECTORS(len, ONE_SQUARE);
		else VECTORS(len, ONE_SUM);
	}
}
