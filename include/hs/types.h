/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes, page numbers, ranges and the 512-bit set that every stage shares.
 *
 * A guest's memory is numbered densely: huge page h of a view holds the base pages h * 512 .. h * 512 + 511. These
 * numbers, not addresses, are what the stages pass on; only a view and the merge engine turn them into addresses.
 * All ranges are half open: [start, end).
 */
#ifndef HS_TYPES_H
#define HS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HS_BASE_SHIFT    12
#define HS_HUGE_SHIFT    21
#define HS_BASE_SIZE     (UINT64_C(1) << HS_BASE_SHIFT) /* bytes */
#define HS_HUGE_SIZE     (UINT64_C(1) << HS_HUGE_SHIFT) /* bytes */
#define HS_BASE_PER_HUGE 512U

typedef uint32_t hs_huge_nr; /* a huge page of one view, 0 .. nr_huge - 1 */
typedef uint32_t hs_base_nr; /* a base page of one view, 0 .. nr_huge * 512 - 1 */

/* A virtual address in the guest's process on the host, and a guest-physical address: never mixed up. */
typedef struct {
	uint64_t v;
} hs_hva;
typedef struct {
	uint64_t v;
} hs_gpa;

/* Three answers; 0 is "unknown", so that cleared memory promises nothing. Unknown always means: leave it alone. */
enum hs_tri { HS_UNKNOWN = 0, HS_NO = 1, HS_YES = 2 };

/* One bit for each base page of a huge page. */
struct hs_bits512 {
	uint64_t w[8];
};

static inline bool hs_bits_test(const struct hs_bits512 *b, unsigned int i)
{
	return (b->w[i >> 6] >> (i & 63)) & 1;
}

static inline void hs_bits_set(struct hs_bits512 *b, unsigned int i)
{
	b->w[i >> 6] |= UINT64_C(1) << (i & 63);
}

static inline void hs_bits_clear(struct hs_bits512 *b, unsigned int i)
{
	b->w[i >> 6] &= ~(UINT64_C(1) << (i & 63));
}

/* All of them, as hs_bits_clear does one. */
static inline void hs_bits_clear_all(struct hs_bits512 *b)
{
	for (int i = 0; i < 8; i++)
		b->w[i] = 0;
}

/* Bits [start, end); nothing when start is not below end. */
static inline void hs_bits_set_range(struct hs_bits512 *b, unsigned int start, unsigned int end)
{
	while (start < end) {
		const unsigned int in = start & 63, n = end - start < 64 - in ? end - start : 64 - in;

		b->w[start >> 6] |= (~UINT64_C(0) >> (64 - n)) << in;
		start += n;
	}
}

static inline unsigned int hs_bits_count(const struct hs_bits512 *b)
{
	unsigned int n = 0;

	for (int i = 0; i < 8; i++)
		n += (unsigned int)__builtin_popcountll(b->w[i]);
	return n;
}

static inline bool hs_bits_any(const struct hs_bits512 *b)
{
	uint64_t any = 0;

	for (int i = 0; i < 8; i++)
		any |= b->w[i];
	return any != 0;
}

static inline bool hs_bits_none(const struct hs_bits512 *b)
{
	return !hs_bits_any(b);
}

static inline bool hs_bits_equal(const struct hs_bits512 *a, const struct hs_bits512 *b)
{
	uint64_t differ = 0;

	for (int i = 0; i < 8; i++)
		differ |= a->w[i] ^ b->w[i];
	return !differ;
}

/* Whether every bit of `a` is one of `of`, too. */
static inline bool hs_bits_subset(const struct hs_bits512 *a, const struct hs_bits512 *of)
{
	uint64_t beyond = 0;

	for (int i = 0; i < 8; i++)
		beyond |= a->w[i] & ~of->w[i];
	return !beyond;
}

/* The first bit at or after `i` that is set, or that is clear; 512: none. */
static inline unsigned int hs_bits_next(const struct hs_bits512 *b, unsigned int i)
{
	while (i < HS_BASE_PER_HUGE) {
		const uint64_t word = b->w[i >> 6] >> (i & 63);

		if (word)
			return i + (unsigned int)__builtin_ctzll(word);
		i = (i | 63) + 1;
	}
	return HS_BASE_PER_HUGE;
}

static inline unsigned int hs_bits_next_clear(const struct hs_bits512 *b, unsigned int i)
{
	while (i < HS_BASE_PER_HUGE) {
		const uint64_t word = ~b->w[i >> 6] >> (i & 63);

		if (word)
			return i + (unsigned int)__builtin_ctzll(word);
		i = (i | 63) + 1;
	}
	return HS_BASE_PER_HUGE;
}

/* Runs the statement that follows for each set bit of *b, in ascending order; `i` is declared by it. The statement may
 * clear bits, and set some that come later: the set is asked again for each next one. */
#define hs_bits_for_each(i, b)                                                                                         \
	for (unsigned int i = hs_bits_next((b), 0); i < HS_BASE_PER_HUGE; i = hs_bits_next((b), i + 1))

static inline struct hs_bits512 hs_bits_and(struct hs_bits512 a, struct hs_bits512 b)
{
	for (int i = 0; i < 8; i++)
		a.w[i] &= b.w[i];
	return a;
}

static inline struct hs_bits512 hs_bits_or(struct hs_bits512 a, struct hs_bits512 b)
{
	for (int i = 0; i < 8; i++)
		a.w[i] |= b.w[i];
	return a;
}

/* a without b */
static inline struct hs_bits512 hs_bits_andnot(struct hs_bits512 a, struct hs_bits512 b)
{
	for (int i = 0; i < 8; i++)
		a.w[i] &= ~b.w[i];
	return a;
}

static inline struct hs_bits512 hs_bits_empty(void)
{
	return (struct hs_bits512){ { 0 } };
}

static inline struct hs_bits512 hs_bits_full(void)
{
	struct hs_bits512 b;

	for (int i = 0; i < 8; i++)
		b.w[i] = ~UINT64_C(0);
	return b;
}

#endif
