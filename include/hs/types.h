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

static inline unsigned int hs_bits_count(const struct hs_bits512 *b)
{
	unsigned int n = 0;

	for (int i = 0; i < 8; i++)
		n += (unsigned int)__builtin_popcountll(b->w[i]);
	return n;
}

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

static inline struct hs_bits512 hs_bits_full(void)
{
	struct hs_bits512 b;

	for (int i = 0; i < 8; i++)
		b.w[i] = ~UINT64_C(0);
	return b;
}

#endif
