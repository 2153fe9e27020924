// Depthwise 3×3, padding 1, stride 1 or 2, row by row: one or two vectors of channels walk along a row with their filter and
// sums in registers. Rows outside the image are stood in for by one inside, with zeros for their taps.
#include "simd.h"

#if VL == 8
#define WIDE 1 // vectors at once: 9 taps each, of 16 registers
#else
#define WIDE 2 // of 32
#endif

struct depthwise {
	const float *x, *w; // the gradients by the input and by the filter have dy as x and w
	float *y;
	word c, h, width, outH, outWidth, stride, r0, r1, from, to;
};

// rows are three rows of an image, and whether they are inside it.
struct rows {
	const float *at[3];
	int live[3];
};

INLINE struct rows rows3(const float *x, word image, word top, word h, word len) {
	struct rows r;
	EACH(i, 3) {
		word y = top + i;
		r.live[i] = y >= 0 && y < h;
		y = y < 0 ? 0 : y >= h ? h - 1 : y;
		r.at[i] = x + (image * h + y) * len;
	}
	return r;
}

// taps loads 9·nv vectors of the filter; flip turns it by half a circle.
INLINE void taps(vec t[9][2], const struct rows *r, const float *w, word c, const int flip, const int nv, word n, const int all) {
	EACH(i, 9) EACH(v, nv) t[i][v] = r->live[i / 3] ? get(w + (flip ? 8 - i : i) * c + v * VL, n, all) : (vec)0;
}

// slide1 is stride 1: each column of inputs ends one output, continues the next and begins the one after.
INLINE void slide1(const struct rows *r, const float *w, float *out, word c, word width, word ch, const int flip, const int nv, word n, const int all) {
	vec t[9][2], here[2] = {0}, next[2] = {0};
	taps(t, r, w + ch, c, flip, nv, n, all);
	const float *top = r->at[0] + ch, *mid = r->at[1] + ch, *low = r->at[2] + ch;
	out += ch;
	for (word x = 0; x < width; x++, top += c, mid += c, low += c) {
		EACH(v, nv) {
			vec p = get(top + v * VL, n, all), q = get(mid + v * VL, n, all), s = get(low + v * VL, n, all);
			if (x > 0) put(out + v * VL, FMA(s, t[8][v], FMA(q, t[5][v], FMA(p, t[2][v], here[v]))), n, all);
			here[v] = FMA(s, t[7][v], FMA(q, t[4][v], FMA(p, t[1][v], next[v])));
			next[v] = FMA(s, t[6][v], FMA(q, t[3][v], p * t[0][v]));
		}
		if (x > 0) out += c;
	}
	EACH(v, nv) put(out + v * VL, here[v], n, all);
}

INLINE void slide2(const struct rows *r, const float *w, float *out, word c, word width, word outWidth, word ch, const int nv, word n, const int all) {
	vec t[9][2], next[2] = {0};
	taps(t, r, w + ch, c, 0, nv, n, all);
	const float *top = r->at[0] + ch, *mid = r->at[1] + ch, *low = r->at[2] + ch;
	out += ch;
	for (word x = 0; x < outWidth; x++, out += c, top += 2 * c, mid += 2 * c, low += 2 * c) {
		const int right = 2 * x + 1 < width;
		EACH(v, nv) {
			vec p = get(top + v * VL, n, all), q = get(mid + v * VL, n, all), s = get(low + v * VL, n, all);
			vec sum = FMA(s, t[7][v], FMA(q, t[4][v], FMA(p, t[1][v], next[v])));
			if (right) {
				p = get(top + c + v * VL, n, all), q = get(mid + c + v * VL, n, all), s = get(low + c + v * VL, n, all);
				sum = FMA(s, t[8][v], FMA(q, t[5][v], FMA(p, t[2][v], sum)));
				next[v] = FMA(s, t[6][v], FMA(q, t[3][v], p * t[0][v]));
			}
			put(out + v * VL, sum, n, all);
		}
	}
}

// CHANNELS runs f(channel, vectors, n, all) for the channels [from, to), wide vectors at once.
#define CHANNELS(f, from, to, wide) \
	do { \
		word ch = (from); \
		if (wide > 1) ROLLED for (; ch + wide * VL <= (to); ch += wide * VL) f(ch, wide, VL, 1); \
		ROLLED for (; ch + VL <= (to); ch += VL) f(ch, 1, VL, 1); \
		if (ch < (to)) f(ch, 1, (to) - ch, 0); \
	} while (0)

// depthwise writes the rows [r0, r1) of the output.
void depthwise(const struct depthwise *g) {
	const word c = g->c;
	for (word i = g->r0; i < g->r1; i++) {
		struct rows r = rows3(g->x, i / g->outH, i % g->outH * g->stride - 1, g->h, g->width * c);
		float *out = g->y + i * g->outWidth * c;
#define SLIDE1(ch, nv, n, all) slide1(&r, g->w, out, c, g->width, ch, 0, nv, n, all)
#define SLIDE2(ch, nv, n, all) slide2(&r, g->w, out, c, g->width, g->outWidth, ch, nv, n, all)
		if (g->stride == 1) CHANNELS(SLIDE1, 0, c, WIDE);
		else CHANNELS(SLIDE2, 0, c, WIDE);
	}
}

// spread is the gradient by an input row at stride 2, from the two rows that meet it: even columns lie under the middle of
// the filter, odd ones under its right side and, for the next output, its left.
INLINE void spread(const float *const rows[2], const float *const w[2], const int live[2], float *out, word c, word width, word inWidth, word ch, const int nv, word n, const int all) {
	vec t[6][2], odd[2] = {0};
	EACH(i, 6) EACH(v, nv) t[i][v] = live[i / 3] ? get(w[i / 3] + i % 3 * c + ch + v * VL, n, all) : (vec)0;
	const float *first = rows[0] + ch, *second = rows[1] + ch;
	out += ch;
	for (word x = 0; x < inWidth; x++, first += c, second += c, out += 2 * c) {
		EACH(v, nv) {
			vec p = get(first + v * VL, n, all), q = get(second + v * VL, n, all);
			if (x > 0) put(out - c + v * VL, FMA(q, t[3][v], FMA(p, t[0][v], odd[v])), n, all);
			put(out + v * VL, FMA(q, t[4][v], p * t[1][v]), n, all);
			odd[v] = FMA(q, t[5][v], p * t[2][v]);
		}
	}
	if (2 * inWidth <= width) EACH(v, nv) put(out - c + v * VL, odd[v], n, all);
}

// depthwiseDX writes the rows [r0, r1) of the gradient by the input.
void depthwiseDX(const struct depthwise *g) {
	const word c = g->c, len = g->outWidth * c;
	for (word i = g->r0; i < g->r1; i++) {
		const word image = i / g->h, y = i % g->h;
		float *out = g->y + i * g->width * c;
		if (g->stride == 1) {
			struct rows r = rows3(g->x, image, y - 1, g->outH, len);
#define TURNED(ch, nv, n, all) slide1(&r, g->w, out, c, g->width, ch, 1, nv, n, all)
			CHANNELS(TURNED, 0, c, WIDE);
			continue;
		}
		const word ky[2] = {y & 1 ? 2 : 1, y & 1 ? 0 : -1}; // an even row lies under the filter's middle only
		const float *rows[2], *w[2];
		int live[2];
		EACH(j, 2) {
			const word oy = (y + 1 - ky[j]) / 2;
			live[j] = ky[j] >= 0 && oy < g->outH;
			rows[j] = g->x + (image * g->outH + (live[j] ? oy : 0)) * len;
			w[j] = g->w + (live[j] ? 3 * ky[j] * c : 0);
		}
#define SPREAD(ch, nv, n, all) spread(rows, w, live, out, c, g->width, g->outWidth, ch, nv, n, all)
		CHANNELS(SPREAD, 0, c, WIDE);
	}
}

// keep adds a row's sums to the gradient of the filter.
INLINE void keep(float *dw, const struct rows *r, word c, const vec s[9], word n, const int all) {
	EACH(i, 9) {
		float *at = dw + i * c;
		if (r->live[i / 3]) put(at, get(at, n, all) + s[i], n, all);
	}
}

INLINE void gather1(const struct rows *r, const float *dy, float *dw, word c, word width, word ch, word n, const int all) {
	const float *top = r->at[0] + ch, *mid = r->at[1] + ch, *low = r->at[2] + ch;
	dy += ch;
	vec s[9], left = 0, here = get(dy, n, all);
	EACH(i, 9) s[i] = 0;
	for (word x = 0; x < width; x++, top += c, mid += c, low += c) {
		dy += c;
		vec right = x + 1 < width ? get(dy, n, all) : (vec)0;
		vec p = get(top, n, all), q = get(mid, n, all), t = get(low, n, all);
		s[0] = FMA(p, right, s[0]), s[1] = FMA(p, here, s[1]), s[2] = FMA(p, left, s[2]);
		s[3] = FMA(q, right, s[3]), s[4] = FMA(q, here, s[4]), s[5] = FMA(q, left, s[5]);
		s[6] = FMA(t, right, s[6]), s[7] = FMA(t, here, s[7]), s[8] = FMA(t, left, s[8]);
		left = here, here = right;
	}
	keep(dw + ch, r, c, s, n, all);
}

INLINE void gather2(const struct rows *r, const float *dy, float *dw, word c, word width, word outWidth, word ch, word n, const int all) {
	const float *at[3];
	vec s[9];
	EACH(i, 3) at[i] = r->at[i] + ch;
	EACH(i, 9) s[i] = 0;
	dy += ch;
	for (word x = 0; x < outWidth; x++, dy += c) {
		const vec d = get(dy, n, all);
		EACH(i, 3) {
			s[3 * i + 1] = FMA(get(at[i], n, all), d, s[3 * i + 1]);
			if (x > 0) s[3 * i] = FMA(get(at[i] - c, n, all), d, s[3 * i]);
			if (2 * x + 1 < width) s[3 * i + 2] = FMA(get(at[i] + c, n, all), d, s[3 * i + 2]);
			at[i] += 2 * c;
		}
	}
	keep(dw + ch, r, c, s, n, all);
}

// depthwiseDW adds the gradient by the filters of the channels [from, to) over the rows [r0, r1) of the output.
void depthwiseDW(const struct depthwise *g) {
	const word c = g->c;
	for (word i = g->r0; i < g->r1; i++) {
		struct rows r = rows3(g->x, i / g->outH, i % g->outH * g->stride - 1, g->h, g->width * c);
		const float *dy = g->w + i * g->outWidth * c;
#define GATHER1(ch, nv, n, all) gather1(&r, dy, g->y, c, g->width, ch, n, all)
#define GATHER2(ch, nv, n, all) gather2(&r, dy, g->y, c, g->width, g->outWidth, ch, n, all)
		if (g->stride == 1) CHANNELS(GATHER1, g->from, g->to, 1); // nine sums keep the multipliers busy
		else CHANNELS(GATHER2, g->from, g->to, 1);
	}
}
