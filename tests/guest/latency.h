/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long batches took: a histogram with 32 steps to each power of two (3% wide), written by one thread and read by
 * another without a lock. It only ever grows; a reader keeps a copy and takes the difference.
 */
#ifndef HS_TESTS_GUEST_LATENCY_H
#define HS_TESTS_GUEST_LATENCY_H

#include <stdint.h>

#define HS_LATENCY_SUB_BITS 5
#define HS_LATENCY_BUCKETS  ((64 - HS_LATENCY_SUB_BITS + 1) << HS_LATENCY_SUB_BITS)

struct hs_latency {
	uint64_t buckets[HS_LATENCY_BUCKETS]; /* counts */
};

/* Adds one value; only the histogram's own thread does. */
static inline void hs_latency_add(struct hs_latency *l, uint64_t ns)
{
	unsigned int e = ns < (1U << HS_LATENCY_SUB_BITS) ? 0 : 63U - (unsigned int)__builtin_clzll(ns);
	uint64_t at = e ? ((uint64_t)(e - HS_LATENCY_SUB_BITS + 1) << HS_LATENCY_SUB_BITS) +
			      ((ns >> (e - HS_LATENCY_SUB_BITS)) & ((1U << HS_LATENCY_SUB_BITS) - 1))
			: ns;

	__atomic_store_n(&l->buckets[at], l->buckets[at] + 1, __ATOMIC_RELAXED);
}

/* The upper end of bucket `at`. */
static inline uint64_t hs_latency_upper(uint64_t at)
{
	uint64_t group = at >> HS_LATENCY_SUB_BITS;
	uint64_t sub = at & ((1U << HS_LATENCY_SUB_BITS) - 1);

	if (!group)
		return at;
	return ((((UINT64_C(1) << HS_LATENCY_SUB_BITS) + sub + 1) << (group - 1))) - 1;
}

/* The value below which `per_mille` of the `total` counts lie; 0 when there are none. */
static inline uint64_t hs_latency_at(const struct hs_latency *l, uint64_t total, unsigned int per_mille)
{
	uint64_t want = (total * per_mille + 999) / 1000;
	uint64_t seen = 0;

	if (!total)
		return 0;
	for (uint64_t i = 0; i < HS_LATENCY_BUCKETS; i++) {
		seen += l->buckets[i];
		if (seen >= want)
			return hs_latency_upper(i);
	}
	return hs_latency_upper(HS_LATENCY_BUCKETS - 1);
}

#endif
