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

void normalize(const struct normalize *g) {
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

void bias(const struct bias *g) {
	const vec lo = g->lo, hi = g->hi;
#define BIAS(i, some, all) \
	put(g->y + at + i, limited(get(g->x + at + i, some, all) + get(g->b + i, some, all), lo, hi), some, all)
	PERIODS(g, BIAS)
}

struct normSums {
	const float *dy, *x, *mean, *scale, *shift;
	float *product, *sum;
	word n, c, gated;
	float top;
};

INLINE void norm_sums_at(const struct normSums *g, word at, word i, const int rows, word some, const int all, const int gated) {
	const vec mean = get(g->mean + i, some, all);
	vec scale, shift, d[4], p[4];
	if (gated) scale = get(g->scale + i, some, all), shift = get(g->shift + i, some, all);
	EACH(r, rows) {
		const vec x = get(g->x + at + r * g->c + i, some, all);
		d[r] = get(g->dy + at + r * g->c + i, some, all);
		if (gated) d[r] = passed(d[r], FMA(x, scale, shift), (vec)(g->top));
		p[r] = x - mean;
	}
	vec product = d[0] * p[0], sum = d[0];
	if (rows == 4) {
		product = FMA(d[1], p[1], product) + FMA(d[3], p[3], d[2] * p[2]);
		sum = (d[0] + d[1]) + (d[2] + d[3]);
	}
	put(g->product + i, get(g->product + i, some, all) + product, some, all);
	put(g->sum + i, get(g->sum + i, some, all) + sum, some, all);
}

// normSums adds to product and sum, four periods at once.
void normSums(const struct normSums *g) {
	word at = 0;
#define FOUR_GATED(i, some, all) norm_sums_at(g, at, i, 4, some, all, 1)
#define FOUR_OPEN(i, some, all) norm_sums_at(g, at, i, 4, some, all, 0)
#define ONE_GATED(i, some, all) norm_sums_at(g, at, i, 1, some, all, 1)
#define ONE_OPEN(i, some, all) norm_sums_at(g, at, i, 1, some, all, 0)
	for (; at + 4 * g->c <= g->n; at += 4 * g->c) {
		if (g->gated) VECTORS(g->c, FOUR_GATED);
		else VECTORS(g->c, FOUR_OPEN);
	}
	for (; at < g->n; at += g->c) {
		const word len = g->n - at < g->c ? g->n - at : g->c;
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

void normDX(const struct normDX *g) {
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

INLINE void columns_at(const struct columns *g, const float *x, word i, const int rows, word some, const int all, const int square) {
	vec y[4];
	EACH(r, rows) y[r] = get(x + r * g->c + i, some, all);
	if (square) {
		const vec mean = get(g->sums + i, some, all) * (vec)(g->over);
		EACH(r, rows) y[r] = (y[r] - mean) * (y[r] - mean);
	}
	put(g->sum + i, get(g->sum + i, some, all) + (rows == 4 ? (y[0] + y[1]) + (y[2] + y[3]) : y[0]), some, all);
}

// columns adds to sum: the sums of the columns or, given those, the sums of squares about sums·over. Four periods at once.
void columns(const struct columns *g) {
	word at = 0;
#define FOUR_SUMS(i, some, all) columns_at(g, g->x + at, i, 4, some, all, 0)
#define FOUR_SQUARES(i, some, all) columns_at(g, g->x + at, i, 4, some, all, 1)
#define ONE_SUM(i, some, all) columns_at(g, g->x + at, i, 1, some, all, 0)
#define ONE_SQUARE(i, some, all) columns_at(g, g->x + at, i, 1, some, all, 1)
	for (; at + 4 * g->c <= g->n; at += 4 * g->c) {
		if (g->sums) VECTORS(g->c, FOUR_SQUARES);
		else VECTORS(g->c, FOUR_SUMS);
	}
	for (; at < g->n; at += g->c) {
		const word len = g->n - at < g->c ? g->n - at : g->c;
		if (g->sums) VECTORS(len, ONE_SQUARE);
		else VECTORS(len, ONE_SUM);
	}
}
