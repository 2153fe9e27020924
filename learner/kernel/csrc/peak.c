// What the arithmetic units can do at most.
#include "simd.h"

#if VL == 8
#define SUMS 12 // of 16 registers; two units of latency 4 want 8
#else
#define SUMS 24 // of 32
#endif

struct mulAdds {
	float *x;
	word n, rounds;
	float a, b;
};

// mulAdds is x += a·b, rounds times; n is a multiple of 24 vectors.
void mulAdds(const struct mulAdds *g) {
	const vec a = g->a, b = g->b;
	float *x = g->x;
	for (word left = g->n, rounds = g->rounds; left > 0; left -= SUMS * VL, x += SUMS * VL) {
		vec sum[SUMS];
		EACH(j, SUMS) sum[j] = LOAD(vec, x + j * VL);
		ROLLED for (word r = 0; r < rounds; r++) EACH(j, SUMS) sum[j] = FMA(a, b, sum[j]);
		EACH(j, SUMS) STORE(vec, x + j * VL, sum[j]);
	}
}
