// c = a·b or c += a·b for one panel of at most NVMAX vectors of columns and at most DEEP products. One accumulator sums an
// element in order of k, CHAIN products at a time, whatever the tile, so that how the matrix was cut into tiles cannot be
// seen in the result.
#include "simd.h"

#define CHAIN 48
#define DEEP 240
#define NVMAX (VL == 8 ? 2 : 4)

struct gemm {
	const float *a, *b;
	float *c;
	word m, n, k, arow, acol, brow, crow, add;
	// What a later call reads is fetched into the second cache meanwhile: soons rows of SOON floats, and its panel of b.
	const float *soon, *right;
	word soonrow, soons;
};

#define SOON 96

// STEP is how many rows of a share a pointer; the others are reached by a stride.
#if VL == 4
#define STEP 1
#else
#define STEP 3
#endif

#define POINTERS ((16 + STEP - 1) / STEP)

// products sums k products of mr rows of nv vectors: of the rows that begin at, with the strides arow and acol, and of b,
// which is copied to keep, if there is one.
INLINE void products(vec acc[16][4], const float *at[POINTERS], const float *b, const int mr, const int nv, word arow, word acol, word brow, word k, float *keep) {
	EACH(i, mr) EACH(j, nv) acc[i][j] = 0;
#if VL == 4
	if (arow == 1 && mr % 4 == 0) { // four rows in one vector: multiplied by lane
		const float *a = at[0];
		ROLLED for (; k > 0; k--, a += acol, b += brow) {
			vec x[4];
			EACH(i, mr / 4) x[i] = LOAD(vec, a + 4 * i);
			EACH(j, nv) {
				vec y = LOAD(vec, b + j * VL);
				EACH(i, mr) acc[i][j] = FMA((vec)(x[i / 4][i % 4]), y, acc[i][j]);
			}
		}
		at[0] = a;
	} else if (acol == 1) { // four products of a row in one vector
		ROLLED for (; k >= 4; k -= 4) {
			vec x[16];
			EACH(i, mr) {
				x[i] = LOAD(vec, at[i]);
				at[i] += 4;
			}
			EACH(l, 4) {
				EACH(j, nv) {
					vec y = LOAD(vec, b + j * VL);
					EACH(i, mr) acc[i][j] = FMA((vec)(x[i][l]), y, acc[i][j]);
				}
				b += brow;
			}
		}
	}
#endif
	ROLLED for (; k > 0; k--, b += brow) {
		vec y[4];
		EACH(j, nv) y[j] = LOAD(vec, b + j * VL);
		if (keep) {
			EACH(j, nv) STORE(vec, keep + j * VL, y[j]);
			keep += nv * VL;
		}
		EACH(i, mr) {
			vec x = (vec)(at[i / STEP][i % STEP * arow]);
			EACH(j, nv) acc[i][j] = FMA(x, y[j], acc[i][j]);
		}
		EACH(i, (mr + STEP - 1) / STEP) at[i] += acol;
	}
}

// tile is mr rows of nv vectors, the last of which has edge columns. b is packed, or has whole vectors and is packed into
// keep, if there is one.
INLINE void tile(const struct gemm *g, const float *a, const float *b, float *c, const int mr, const int nv, word brow, word edge, float *keep) {
	vec acc[16][4];
	const float *at[POINTERS];
	word arow = g->arow, acol = g->acol, add = g->add;
	const word crow = g->crow;
	EACH(i, (mr + STEP - 1) / STEP) {
		at[i] = a + i * STEP * arow;
		HIDE(at[i]);
	}
	HIDE(arow);
	HIDE(acol);
	ROLLED for (word k = g->k; k > 0; k -= CHAIN, b += CHAIN * brow, add = 1) {
		products(acc, at, b, mr, nv, arow, acol, brow, k < CHAIN ? k : CHAIN, keep);
		if (keep) keep += CHAIN * nv * VL;
		EACH(i, mr) {
			float *row = c + i * crow;
			EACH(j, nv) {
				float *to = row + j * VL;
				const word n = j < nv - 1 ? VL : edge;
				vec x = acc[i][j];
				if (n == VL) {
					if (add) x = LOAD(vec, to) + x;
					STORE(vec, to, x);
				} else {
					if (add) x = load_some(to, n) + x;
					store_some(to, x, n);
				}
			}
		}
	}
}

// pack copies the panel, with zeros for the columns that it lacks.
INLINE void pack(float *to, const struct gemm *g, const int nv, word edge) {
	const float *b = g->b;
	for (word p = 0; p < g->k; p++, b += g->brow, to += nv * VL) {
		EACH(j, nv - 1) STORE(vec, to + j * VL, LOAD(vec, b + j * VL));
		const float *last = b + (nv - 1) * VL;
		STORE(vec, to + (nv - 1) * VL, edge == VL ? LOAD(vec, last) : load_some(last, edge));
	}
}

// fetch asks for one row of so many bytes.
INLINE void fetch(const float *row, const int bytes) {
	EACH(i, bytes / 64) __builtin_prefetch((const char *)row + 64 * i, 0, 2);
}

// panel is the whole of it: tiles of mr rows, then of 4, 2 and 1. A few rows do not pay for packing.
INLINE void panel(const struct gemm *g, const int nv, const int mr) {
	float packed[DEEP * NVMAX * VL] __attribute__((aligned(64)));
	const word edge = g->n - (nv - 1) * VL;
	const float *a = g->a, *b = g->b;
	float *c = g->c;
	word brow = g->brow, m = g->m;
	if (edge < VL || (brow != nv * VL && m > 3 * mr)) {
		if (VL == 4 || edge < VL || m < mr) {
			pack(packed, g, nv, edge);
		} else { // while the first tile is computed
			tile(g, a, b, c, mr, nv, brow, edge, packed);
			m -= mr;
			a += mr * g->arow;
			c += mr * g->crow;
		}
		b = packed;
		brow = nv * VL;
	}
	// With every tile a share of what comes next is fetched.
	const float *soon = g->soon, *right = g->right;
	const word tiles = m / mr + 1;
	word soons = g->soons, rights = right ? g->k : 0;
#define TILES(rows) \
	for (; m >= rows; m -= rows, a += rows * g->arow, c += rows * g->crow) { \
		if (VL >= 8 && nv == NVMAX) { \
			for (word i = g->soons; i > 0 && soons > 0; i -= tiles, soons--, soon += g->soonrow) fetch(soon, 4 * SOON); \
			for (word i = g->k; i > 0 && rights > 0; i -= tiles, rights--, right += g->brow) fetch(right, 4 * nv * VL); \
		} \
		tile(g, a, b, c, rows, nv, brow, edge, 0); \
	}
	TILES(mr)
	if (mr > 8) { TILES(8) }
	if (mr > 4) { TILES(4) }
	TILES(2)
	TILES(1)
}

void gemm(const struct gemm *g) {
	switch ((g->n + VL - 1) / VL) {
#if VL == 16
	case 1: panel(g, 1, 16); break;
	case 2: panel(g, 2, 12); break;
	case 3: panel(g, 3, 8); break;
	case 4: panel(g, 4, 6); break;
#elif VL == 8
	case 1: panel(g, 1, 8); break;
	case 2: panel(g, 2, 6); break;
#else
	case 1: panel(g, 1, 12); break;
	case 2: panel(g, 2, 8); break;
	case 3: panel(g, 3, 6); break;
	case 4: panel(g, 4, 4); break;
#endif
	}
}

struct gather {
	const float *from;
	float *to;
	word n, stride;
};

// n rows of SOON floats, stride apart, are copied to lie side by side.
void gather(const struct gather *g) {
	const float *from = g->from;
	float *to = g->to;
	ROLLED for (word i = g->n; i > 0; i--, from += g->stride, to += SOON) {
		EACH(j, SOON / VL) STORE(vec, to + j * VL, LOAD(vec, from + j * VL));
	}
}
