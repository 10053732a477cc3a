/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers that follow from a seed and a place, so that no order of asking changes them. */
#ifndef HS_LAB_RANDOM_H
#define HS_LAB_RANDOM_H

#include <math.h>
#include <stdint.h>

static inline uint64_t hs_lab_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* splitmix64: a stream from one state. */
static inline uint64_t hs_lab_next(uint64_t *state)
{
	uint64_t x = *state;

	*state += UINT64_C(0x9e3779b97f4a7c15);
	return hs_lab_mix(x);
}

static inline uint64_t hs_lab_place(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
	return hs_lab_mix(hs_lab_mix(hs_lab_mix(seed ^ a) ^ (b << 1)) ^ (c << 2));
}

/* [0, 1) */
static inline double hs_lab_unit(uint64_t random)
{
	return (double)(random >> 11) * 0x1p-53;
}

/* [0, n), n below 2^32 */
static inline uint32_t hs_lab_below(uint64_t random, uint32_t n)
{
	return (uint32_t)(((random >> 32) * n) >> 32);
}

/* How many events with this mean: Poisson's; from a mean of 32 on by the normal distribution. */
static inline uint32_t hs_lab_poisson(uint64_t *state, double mean)
{
	double p, limit;
	uint32_t n = 0;

	if (mean <= 0)
		return 0;
	if (mean > 32) {
		/* twelve evenly distributed numbers: near enough to the normal distribution */
		double sum = -6;

		for (int i = 0; i < 12; i++)
			sum += hs_lab_unit(hs_lab_next(state));
		sum = mean + sum * sqrt(mean);
		return sum < 0 ? 0 : (uint32_t)(sum + 0.5);
	}
	limit = exp(-mean);
	for (p = hs_lab_unit(hs_lab_next(state)); p > limit; p *= hs_lab_unit(hs_lab_next(state)))
		n++;
	return n;
}

#endif
