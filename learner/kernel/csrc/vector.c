// Element by element.
#include "simd.h"

struct sum {
	const float *x, *y;
	float *dst;
	word n;
};

// sum is dst = x + y.
void sum(const struct sum *args) {
	OWN(sum);
#define SUM(i, some, all) put(g->dst + i, get(g->x + i, some, all) + get(g->y + i, some, all), some, all)
	VECTORS(g->n, SUM);
}

struct axpy {
	const float *x;
	float *dst;
	word n;
	float a;
};

// axpy is dst += a·x.
void axpy(const struct axpy *args) {
	OWN(axpy);
	const vec a = g->a;
#define AXPY(i, some, all) put(g->dst + i, FMA(a, get(g->x + i, some, all), get(g->dst + i, some, all)), some, all)
	VECTORS(g->n, AXPY);
}

struct scale {
	float *dst;
	word n;
	float a;
};

// scale is dst *= a.
void scale(const struct scale *args) {
	OWN(scale);
	const vec a = g->a;
#define SCALE(i, some, all) put(g->dst + i, a * get(g->dst + i, some, all), some, all)
	VECTORS(g->n, SCALE);
}

struct descend {
	float *w, *v;
	const float *g;
	word n, nesterov;
	float rate, momentum, decay;
};

INLINE void descend_at(const struct descend *g, vec down, word i, word some, const int all, const int nesterov) {
	vec w = get(g->w + i, some, all), d = FMA((vec)(g->decay), w, get(g->g + i, some, all));
	vec v = FMA((vec)(g->momentum), get(g->v + i, some, all), d);
	put(g->v + i, v, some, all);
	if (nesterov) v = FMA((vec)(g->momentum), v, d);
	put(g->w + i, FMA(down, v, w), some, all);
}

// descend is a step of gradient descent.
void descend(const struct descend *args) {
	OWN(descend);
	int sign = 1 << 31; // which the compiler would have in memory
	HIDE(sign);
	const vec down = (vec)((ivec)(vec)(g->rate) ^ (ivec)sign);
#define NESTEROV(i, some, all) descend_at(g, down, i, some, all, 1)
#define PLAIN(i, some, all) descend_at(g, down, i, some, all, 0)
	if (g->nesterov) VECTORS(g->n, NESTEROV);
	else VECTORS(g->n, PLAIN);
}

struct mask {
	const float *dy, *y;
	float *dz;
	word n;
	float top;
};

// mask is dz = dy where 0 < y <= top.
void mask(const struct mask *args) {
	OWN(mask);
	const vec top = g->top;
#define MASK(i, some, all) put(g->dz + i, passed(get(g->dy + i, some, all), get(g->y + i, some, all), top), some, all)
	VECTORS(g->n, MASK);
}
