// dst (cols, rows) is the transpose of src (rows, cols), both row-major.
#include "simd.h"

struct transpose {
	const float *src;
	float *dst;
	word rows, cols, r0, r1; // the rows of src to do
};

typedef float four VECTOR(4);

#define SHUFFLE __builtin_shufflevector
#define BLOCK 16 // both sides of a block stay in the first cache

INLINE void square(float *dst, const float *src, word rows, word cols) {
	const four a = LOAD(four, src), b = LOAD(four, src + cols), c = LOAD(four, src + 2 * cols), d = LOAD(four, src + 3 * cols);
	const four p = SHUFFLE(a, b, 0, 4, 1, 5), q = SHUFFLE(c, d, 0, 4, 1, 5);
	const four r = SHUFFLE(a, b, 2, 6, 3, 7), s = SHUFFLE(c, d, 2, 6, 3, 7);
	STORE(four, dst, SHUFFLE(p, q, 0, 1, 4, 5));
	STORE(four, dst + rows, SHUFFLE(p, q, 2, 3, 6, 7));
	STORE(four, dst + 2 * rows, SHUFFLE(r, s, 0, 1, 4, 5));
	STORE(four, dst + 3 * rows, SHUFFLE(r, s, 2, 3, 6, 7));
}

void transpose(const struct transpose *g) {
	const word rows = g->rows, cols = g->cols;
	for (word r0 = g->r0; r0 < g->r1; r0 += BLOCK) {
		const word r1 = r0 + BLOCK < g->r1 ? r0 + BLOCK : g->r1;
		for (word c0 = 0; c0 < cols; c0 += BLOCK) {
			const word c1 = c0 + BLOCK < cols ? c0 + BLOCK : cols;
			word r = r0;
			for (; r + 4 <= r1; r += 4) {
				word c = c0;
				for (; c + 4 <= c1; c += 4) square(g->dst + c * rows + r, g->src + r * cols + c, rows, cols);
				ROLLED for (; c < c1; c++) EACH(i, 4) g->dst[c * rows + r + i] = g->src[(r + i) * cols + c];
			}
			for (; r < r1; r++) ROLLED for (word c = c0; c < c1; c++) g->dst[c * rows + r] = g->src[r * cols + c];
		}
	}
}
