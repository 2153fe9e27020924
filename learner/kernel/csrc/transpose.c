// dst (cols, rows) is the transpose of src (rows, cols), both row-major.
#include "simd.h"

struct transpose {
	const float *src;
	float *dst;
	word rows, cols, r0, r1; // the rows of src to do
};

#define BLOCK 16 // both sides of a block stay in the first cache

void transpose(const struct transpose *g) {
	const word rows = g->rows, cols = g->cols;
	for (word r0 = g->r0; r0 < g->r1; r0 += BLOCK) {
		const word r1 = r0 + BLOCK < g->r1 ? r0 + BLOCK : g->r1;
		for (word c0 = 0; c0 < cols; c0 += BLOCK) {
			const word c1 = c0 + BLOCK < cols ? c0 + BLOCK : cols;
			word r = r0;
			for (; r + 4 <= r1; r += 4) {
				word c = c0;
				for (; c + 4 <= c1; c += 4) square(g->dst + c * rows + r, rows, g->src + r * cols + c, cols);
				ROLLED for (; c < c1; c++) EACH(i, 4) g->dst[c * rows + r + i] = g->src[(r + i) * cols + c];
			}
			for (; r < r1; r++) ROLLED for (word c = c0; c < c1; c++) g->dst[c * rows + r] = g->src[r * cols + c];
		}
	}
}
