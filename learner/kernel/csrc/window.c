// Windows over images: max-pooling, and patches of a convolution's input as rows of a matrix.
#include "simd.h"

// One window, all channels: height rows of width pixels, the first of which is at x.
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

struct patches {
	const float *x;
	float *dst;
	word c, h, width, outH, outWidth, size, stride, pad, r0, r1, t0, t1;
};

INLINE float *copy(float *to, const float *from, word len) {
#define COPY(i, some, all) put(to + i, get(from + i, some, all), some, all)
	VECTORS(len, COPY);
	return to + len;
}

INLINE float *zero(float *to, word len) {
#define ZERO(i, some, all) put(to + i, (vec)0, some, all)
	VECTORS(len, ZERO);
	return to + len;
}

// patches lays out the taps [t0, t1) of the windows of the output's pixels [r0, r1).
void patches(const struct patches *g) {
	const word c = g->c, size = g->size, len = g->width * c;
	const word ky0 = g->t0 / size, ky1 = (g->t1 + size - 1) / size; // the rows of the window, the first and last from and until
	const word from0 = g->t0 % size, until1 = g->t1 - (ky1 - 1) * size;
	float *to = g->dst;
	word ox = g->r0 % g->outWidth, row = g->r0 / g->outWidth;
	for (word r = g->r0; r < g->r1; row++, ox = 0) {
		const word y0 = row % g->outH * g->stride - g->pad, more = g->r1 - r;
		const float *x = g->x + (row / g->outH * g->h + y0) * len;
		const word end = ox + more < g->outWidth ? ox + more : g->outWidth;
		for (; ox < end; ox++, r++) {
			const word x0 = ox * g->stride - g->pad;
			const word left = x0 < 0 ? -x0 : 0, right = x0 + size > g->width ? g->width - x0 : size; // the taps inside
			for (word ky = ky0; ky < ky1; ky++) {
				const word from = ky == ky0 ? from0 : 0, until = ky == ky1 - 1 ? until1 : size;
				word lo = from > left ? from : left, hi = until < right ? until : right;
				if (y0 + ky < 0 || y0 + ky >= g->h || lo >= hi) lo = hi = until;
				if (lo > from) to = zero(to, (lo - from) * c);
				to = copy(to, x + ky * len + (x0 + lo) * c, (hi - lo) * c);
				if (hi < until) to = zero(to, (until - hi) * c);
			}
		}
	}
}

// patchesBack lays out, for the input's pixels [r0, r1), the output's that met them under each tap. x is the output.
void patchesBack(const struct patches *g) {
	const word c = g->c, size = g->size, stride = g->stride;
	float *to = g->dst;
	for (word r = g->r0; r < g->r1; r++) {
		const word ix = r % g->width, iy = r / g->width % g->h, image = r / (g->width * g->h);
		word oy = iy + g->pad;
		for (word ky = 0; ky < size; ky++, oy--) {
			const int row = oy >= 0 && oy % stride == 0 && oy / stride < g->outH;
			const float *x = g->x + (image * g->outH + oy / stride) * g->outWidth * c;
			word ox = ix + g->pad;
			for (word kx = 0; kx < size; kx++, ox--) {
				const int meets = row && ox >= 0 && ox % stride == 0 && ox / stride < g->outWidth;
				to = meets ? copy(to, x + ox / stride * c, c) : zero(to, c);
			}
		}
	}
}
