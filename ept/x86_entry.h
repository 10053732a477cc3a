/*
 * What the bits of x86-64 page-table entries say; pure, so that tables of cases can test it.
 *
 * Present memory can hide from the hardware: a PROT_NONE entry (NUMA balancing makes them to learn who touches a page)
 * and a huge entry that is just being changed have their present bit clear although the page is there. What such an
 * entry says about accesses means nothing: HIDDEN, which the view calls unknown.
 */
#ifndef HS_EPT_X86_ENTRY_H
#define HS_EPT_X86_ENTRY_H

#include "hs/types.h"

#define HS_X86_PRESENT     (UINT64_C(1) << 0)
#define HS_X86_WRITE       (UINT64_C(1) << 1)
#define HS_X86_ACCESSED    (UINT64_C(1) << 5)
#define HS_X86_DIRTY       (UINT64_C(1) << 6)
#define HS_X86_LEAF        (UINT64_C(1) << 7) /* PSE, in a PMD or PUD entry */
#define HS_X86_SPECIAL_BIT 9                  /* no struct page stands behind it for the kernel's walkers */
#define HS_X86_PROTNONE    (UINT64_C(1) << 8) /* only when PRESENT is clear; "global" otherwise */

enum hs_x86_kind {
	HS_X86_NONE,      /* empty. Erratum of Knights Landing: accessed and dirty may be set in an empty entry */
	HS_X86_TABLE,     /* PMD: points to a table of 512 base entries */
	HS_X86_PAGE,      /* maps a page: a base page, or in a PMD entry a huge page */
	HS_X86_HIDDEN,    /* a page is there, its accessed bit is not to be had */
	HS_X86_ELSEWHERE, /* swapped out, migrating, a marker: no memory is mapped */
};

static inline enum hs_x86_kind hs_x86_pte(uint64_t e)
{
	if (e & HS_X86_PRESENT)
		return HS_X86_PAGE;
	if (!(e & ~(HS_X86_ACCESSED | HS_X86_DIRTY)))
		return HS_X86_NONE;
	return (e & HS_X86_PROTNONE) ? HS_X86_HIDDEN : HS_X86_ELSEWHERE;
}

static inline enum hs_x86_kind hs_x86_pmd(uint64_t e)
{
	if (e & HS_X86_PRESENT)
		return (e & HS_X86_LEAF) ? HS_X86_PAGE : HS_X86_TABLE;
	if (!(e & ~(HS_X86_ACCESSED | HS_X86_DIRTY)))
		return HS_X86_NONE;
	/* The kernel keeps PSE while it has an entry out of the hardware's sight for a moment. */
	return (e & (HS_X86_PROTNONE | HS_X86_LEAF)) ? HS_X86_HIDDEN : HS_X86_ELSEWHERE;
}

static inline bool hs_x86_accessed(uint64_t e)
{
	return (e & HS_X86_ACCESSED) != 0;
}

/*
 * The bits of an entry that are a physical address, from the number that /proc/cpuinfo calls "bits physical". Memory
 * encryption (SME, SEV, MKTME, TDX) takes the topmost address bits for itself, and the kernel takes them off that
 * number: so the encryption bit falls out here without our knowing which it is. Bits 52 and up are flags (no-execute).
 */
static inline uint64_t hs_x86_phys_mask(unsigned int phys_bits)
{
	if (phys_bits > 52)
		phys_bits = 52;
	if (phys_bits <= HS_BASE_SHIFT)
		return 0;
	return ((UINT64_C(1) << phys_bits) - 1) & ~(HS_BASE_SIZE - 1);
}

/* Frame number of the base page behind a base entry, and of the first base page behind a huge one. */
static inline uint64_t hs_x86_pte_pfn(uint64_t e, uint64_t phys_mask)
{
	return (e & phys_mask) >> HS_BASE_SHIFT;
}

/* Bit 12 of a huge entry is a flag (PAT), not an address. */
static inline uint64_t hs_x86_pmd_pfn(uint64_t e, uint64_t phys_mask)
{
	return (e & phys_mask & ~(HS_HUGE_SIZE - 1)) >> HS_BASE_SHIFT;
}

struct hs_x86_table {
	struct hs_bits512 present;
	struct hs_bits512 accessed; /* subset of present */
	bool hidden;                /* at least one entry was HIDDEN */
};

/*
 * Decodes a table of base entries. In anonymous memory a special entry maps the zero page (a read fault made it, or
 * ksmd did). clear_refs passes special entries over, so their accessed bit, with which they are born, stays set for
 * ever: it says nothing and counts as not accessed. A write would have replaced the entry.
 */
static inline void hs_x86_decode_table(const uint64_t t[HS_BASE_PER_HUGE], struct hs_x86_table *out)
{
	uint64_t hidden = 0;

	for (unsigned int w = 0; w < 8; w++) {
		uint64_t present = 0, accessed = 0;

		for (unsigned int b = 0; b < 64; b++) {
			uint64_t e = t[w * 64 + b];

			present |= (e & 1) << b;
			accessed |= ((e >> 5) & ~(e >> HS_X86_SPECIAL_BIT) & 1) << b;
			hidden |= (e & (HS_X86_PRESENT | HS_X86_PROTNONE)) == HS_X86_PROTNONE;
		}
		out->present.w[w] = present;
		out->accessed.w[w] = accessed & present;
	}
	out->hidden = hidden != 0;
}

#endif
