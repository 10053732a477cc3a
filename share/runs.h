/*
 * Runs of set bits in the 512-bit set of a huge page: what the planner and the engine walk by.
 */
#ifndef HS_SHARE_RUNS_H
#define HS_SHARE_RUNS_H

#include "hs/types.h"

/* How many bits from `i` on are set without a break, up to the end of the huge page. */
static inline unsigned int hs_run_length(const struct hs_bits512 *b, unsigned int i)
{
	unsigned int start = i;

	while (i < HS_BASE_PER_HUGE) {
		uint64_t rest = ~(b->w[i >> 6] >> (i & 63));
		unsigned int n = rest ? (unsigned int)__builtin_ctzll(rest) : 64;
		unsigned int room = 64 - (i & 63);

		if (n < room)
			return i + n - start;
		i += room;
	}
	return HS_BASE_PER_HUGE - start;
}

/* How many runs there are. */
static inline size_t hs_run_count(const struct hs_bits512 *b)
{
	size_t n = 0;
	uint64_t carry = 0;

	for (int i = 0; i < 8; i++) {
		n += (size_t)__builtin_popcountll(b->w[i] & ~(b->w[i] << 1 | carry));
		carry = b->w[i] >> 63;
	}
	return n;
}

#endif
