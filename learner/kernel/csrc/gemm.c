// c = a·b or c += a·b for one panel of at most NVMAX vectors of columns and at most DEEP products, which are summed in
// order by one accumulator whatever the tile, so that a tile's size cannot be seen in the result.
#include "simd.h"

#define DEEP 256

struct gemm {
	const float *a, *b;
	float *c;
	word m, n, k, arow, acol, brow, crow, add;
};

// ROWS(v) is how many rows a tile of v vectors has: as many accumulators as registers allow.
#if VL == 16
#define NVMAX 4
#elif VL == 8
#define NVMAX 2
#else
#define NVMAX 4
#endif

// storeRow writes n of the nv vectors' columns.
INLINE void store_row(float *c, const vec *acc, const int nv, word n, word add) {
	const word last = n - (nv - 1) * VL;
	UNROLL for (int j = 0; j < nv; j++) {
		vec x = acc[j];
		if (j < nv - 1 || last == VL) {
			if (add) x += LOAD(vec, c + j * VL);
			STORE(vec, c + j * VL, x);
			continue;
		}
#if VL == 16
		typedef float fixed __attribute__((vector_size(64)));
		const unsigned short mask = (unsigned short)((1u << last) - 1);
		float *at = c + j * VL;
		vec y = 0;
		__asm__("kmovw %2, %%k1\n\tvmovups %1, %0%{%%k1%}%{z%}" : "=v"(*(fixed *)&y) : "m"(*at), "r"((unsigned)mask) : "k1");
		(void)y;
#endif
		for (word l = 0; l < last; l++) c[j * VL + l] = add ? c[j * VL + l] + x[l] : x[l];
	}
}
