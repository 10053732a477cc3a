/* SPDX-License-Identifier: Apache-2.0 */
/* What the suites of the index share: digests to order, and a small random generator that repeats itself. */
#ifndef HS_TESTS_HASH_INDEX_HELP_H
#define HS_TESTS_HASH_INDEX_HELP_H

#include <check.h>

#include "hs/index.h"

/* As ck_assert, for loops of millions: that one writes to a pipe each time it passes. */
#define help_check(cond)                                                                                               \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			ck_abort_msg("%s", #cond);                                                                     \
	} while (0)

static inline uint64_t help_mix(uint64_t x)
{
	x += UINT64_C(0x9E3779B97F4A7C15);
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

/* A digest that looks like a real one; equal for equal contents. */
static inline struct hs_digest help_digest(uint64_t content)
{
	return (struct hs_digest){ .lo = help_mix(content), .hi = help_mix(~content) };
}

static inline uint64_t help_random(uint64_t *state)
{
	return help_mix((*state)++);
}

#endif
