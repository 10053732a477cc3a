/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of set bits in the 512-bit set of a huge page: what the planner and the engine walk by.
 */
#ifndef HS_SHARE_RUNS_H
#define HS_SHARE_RUNS_H

#include "hs/types.h"

/* How many bits from `i` on are set without a break, up to the end of the huge page. */
static inline unsigned int hs_run_length(const struct hs_bits512 *b, unsigned int i)
{
	return hs_bits_next_clear(b, i) - i;
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
