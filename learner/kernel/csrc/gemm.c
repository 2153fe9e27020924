// c = a·b or c += a·b for one panel of at most NVMAX vectors of columns and at most DEEP products. One accumulator sums an
// element in order of k, CHAIN products at a time, whatever the tile, so that how the matrix was cut into tiles cannot be
// seen in the result.
#include "simd.h"

#define CHAIN 96
#define DEEP 288
#define NVMAX (VL == 8 ? 2 : 4)

struct gemm {
	const float *a, *b;
	float *c;
	word m, n, k, arow, acol, brow, crow, add;
};

// STEP is how many rows of a share a pointer; the others are reached by a stride.
#if VL == 4
#define STEP 1
#else
#define STEP 3
#endif

#define POINTERS ((16 + STEP - 1) / STEP)

// products sums k products of mr rows of nv vectors: of the rows that begin at, with the strides arow and acol, and of b,
// which is copied to keep, if there is one. Where elements of a column lie side by side, the next column's do so side floats
// on; 0 if they do not.
INLINE void products(vec acc[16][4], const float *at[POINTERS], const float *b, const int mr, const int nv, const int side, word arow, word acol, word brow, word k, float *keep) {
	EACH(i, mr) EACH(j, nv) acc[i][j] = 0;
	if (VL > 4 && side) {
		const float *a = at[0];
		TWICE for (; k > 0; k--, a += side, b += brow) {
			vec y[4];
			EACH(j, nv) y[j] = LOAD(vec, b + j * VL);
			EACH(i, mr) {
				vec x = (vec)(a[i]);
				EACH(j, nv) acc[i][j] = FMA(x, y[j], acc[i][j]);
			}
		}
		at[0] = a;
		return;
	}
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
// keep, if there is one. Between the chains the sums lie on the stack: the rows of c may be pages apart.
INLINE void tile(const float *a, word arow, word acol, const float *b, word brow, float *c, const word crow, const int mr, const int nv, const int side, word edge, word k, word add, float *keep) {
	vec acc[16][4];
	float sums[16 * NVMAX * VL] __attribute__((aligned(64)));
	const float *at[POINTERS], *from = c;
	word fromrow = crow;
	EACH(i, (mr + STEP - 1) / STEP) {
		at[i] = a + i * STEP * arow;
		HIDE(at[i]);
	}
	HIDE(arow);
	HIDE(acol);
	ROLLED for (; k > 0; k -= CHAIN, b += CHAIN * brow, add = 1, from = sums, fromrow = nv * VL) {
		products(acc, at, b, mr, nv, side, arow, acol, brow, k < CHAIN ? k : CHAIN, keep);
		if (keep) keep += CHAIN * nv * VL;
		float *to = k > CHAIN ? sums : c;
		const word torow = k > CHAIN ? nv * VL : crow;
		EACH(i, mr) EACH(j, nv) {
			const float *x = from + i * fromrow + j * VL;
			float *y = to + i * torow + j * VL;
			if (j < nv - 1 || edge == VL) STORE(vec, y, add ? LOAD(vec, x) + acc[i][j] : acc[i][j]);
			else store_some(y, add ? load_some(x, edge) + acc[i][j] : acc[i][j], edge);
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
			tile(a, g->arow, g->acol, b, brow, c, g->crow, mr, nv, 0, edge, g->k, g->add, packed);
			m -= mr;
			a += mr * g->arow;
			c += mr * g->crow;
		}
		b = packed;
		brow = nv * VL;
	}
#define TILES(rows) \
	for (; m >= rows; m -= rows, a += rows * g->arow, c += rows * g->crow) \
		tile(a, g->arow, g->acol, b, brow, c, g->crow, rows, nv, 0, edge, g->k, g->add, 0);
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

// Large products are cut the other way: b is packed as a whole, into panels of WIDE vectors, which lie in the second cache,
// and STRIP rows of a at a time, which lie in the first one, pass over it. So c is written along its rows.
#define WIDE 2
#define STRIP 12
#define STRIPMR (VL == 8 ? 6 : 12)

struct panels {
	const float *b;
	float *panels;
	word n, k, brow;
};

// panels packs k rows of n columns: panel after panel, with zeros for the columns that the last one lacks.
void panels(const struct panels *g) {
	const float *row = g->b;
	float *to = g->panels;
	const word panel = g->k * WIDE * VL;
	ROLLED for (word p = g->k; p > 0; p--, row += g->brow, to += WIDE * VL) {
		const float *b = row;
		float *at = to;
		word n = g->n;
		ROLLED for (; n >= WIDE * VL; n -= WIDE * VL, b += WIDE * VL, at += panel) EACH(j, WIDE) STORE(vec, at + j * VL, LOAD(vec, b + j * VL));
		if (n > 0) EACH(j, WIDE) {
			const word left = n - j * VL;
			STORE(vec, at + j * VL, load_some(b + j * VL, left < 0 ? 0 : left < VL ? left : VL));
		}
	}
}

struct strip {
	const float *a, *panels;
	float *c;
	const float *next; // the rows that a later call turns are fetched meanwhile, if there are some
	word m, n, k, arow, acol, crow, add;
};

// turn copies m rows of a so that the elements of a column lie side by side.
INLINE void turn(float *to, const struct strip *g) {
	const word arow = g->arow, acol = g->acol, k = g->k;
	word i = 0;
	if (arow == 1 && g->m == STRIP) { // they do already
		const float *a = g->a;
		ROLLED for (word p = 0; p < k; p++, a += acol, to += STRIP) EACH(j, STRIP / 4) STORE(quad, to + 4 * j, LOAD(quad, a + 4 * j));
		return;
	}
	if (acol == 1) ROLLED for (; i + 4 <= g->m; i += 4) {
		const float *a = g->a + i * arow;
		word p = 0;
		ROLLED for (; p + 4 <= k; p += 4) square(to + p * STRIP + i, STRIP, a + p, arow);
		ROLLED for (; p < k; p++) EACH(r, 4) to[p * STRIP + i + r] = a[r * arow + p];
	}
	ROLLED for (; i < g->m; i++) ROLLED for (word p = 0; p < k; p++) to[p * STRIP + i] = g->a[i * arow + p * acol];
}

// strip is at most STRIP rows of c.
void strip(const struct strip *g) {
	float turned[STRIP * DEEP] __attribute__((aligned(64)));
	turn(turned, g);
	const float *b = g->panels, *next = g->next;
	float *c = g->c;
	const word crow = g->crow, k = g->k, shares = (g->n + WIDE * VL - 1) / (WIDE * VL);
	const word line = 16, lines = STRIP * ((k + line - 1) / line);
	word at = 0, left = next ? lines : 0;
	ROLLED for (word n = g->n; n > 0; n -= WIDE * VL, b += k * WIDE * VL, c += WIDE * VL) {
		for (word i = lines; i > 0 && left > 0; i -= shares, left--) { // with every panel a share of them
			__builtin_prefetch(next + at, 0, 2);
			at += line;
			if (at >= k) at = 0, next += g->arow;
		}
		word m = g->m;
		const float *a = turned;
		float *row = c;
#define STRIPS(rows) \
	ROLLED for (; m >= rows; m -= rows, a += rows, row += rows * crow) { \
		if (n > VL) tile(a, 1, STRIP, b, WIDE * VL, row, crow, rows, WIDE, STRIP, n < WIDE * VL ? n - VL : VL, k, g->add, 0); \
		else tile(a, 1, STRIP, b, WIDE * VL, row, crow, rows, 1, STRIP, n, k, g->add, 0); \
	}
		STRIPS(STRIPMR)
		if (VL != 8) { STRIPS(8) }
		STRIPS(4)
		STRIPS(2)
		STRIPS(1)
	}
}
