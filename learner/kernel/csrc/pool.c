// Max-pooling of one window, all channels. The window is height rows of width pixels, whose first is at x.
#include "simd.h"

struct maxPool {
	const float *x;
	float *y;
	word c, row, height, width;
};

INLINE void max_at(const struct maxPool *g, word i, word some, const int all) {
	vec most = get(g->x + i, some, all);
	for (word r = 0; r < g->height; r++) {
		const float *x = g->x + r * g->row + i;
		for (word k = 0; k < g->width; k++, x += g->c) {
			vec v = get(x, some, all);
			most = ((v > most) | (v != v)) ? v : most;
		}
	}
	put(g->y + i, most, some, all);
}

void maxPool(const struct maxPool *g) {
#define MAX(i, some, all) max_at(g, i, some, all)
	VECTORS(g->c, MAX);
}

struct maxPoolDX {
	const float *x, *y, *dy;
	float *dx;
	word c, row, height, width;
};

// max_dx_at gives the gradient to the first place of the largest value.
INLINE void max_dx_at(const struct maxPoolDX *g, word i, word some, const int all) {
	vec y = get(g->y + i, some, all), d = get(g->dy + i, some, all);
	ivec left = (ivec)-1; // where the place was not found yet
	for (word r = 0; r < g->height; r++) {
		word at = r * g->row + i;
		for (word k = 0; k < g->width; k++, at += g->c) {
			ivec here = (get(g->x + at, some, all) == y) & left;
			vec sum = get(g->dx + at, some, all);
			put(g->dx + at, here ? sum + d : sum, some, all);
			left &= ~here;
		}
	}
}

void maxPoolDX(const struct maxPoolDX *g) {
#define MAX_DX(i, some, all) max_dx_at(g, i, some, all)
	VECTORS(g->c, MAX_DX);
}
