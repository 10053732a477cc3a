/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bits of x86-64 page-table entries say; pure, so that tables of cases can test it.
 *
 * Present memory can hide from the hardware, with the present bit clear although the page is there.
 *
 * PROT_NONE entries. NUMA balancing makes them to learn who touches a page, and leaves what nobody touches so for ever:
 * on a host with several nodes that is just the cold memory. They are pages like others, and their accessed bit means
 * the same: making one keeps the bit (pte_modify), clear_refs clears it there too (pte_present and pmd_present count
 * them), no processor has a translation cached, and the first access makes the entry present again, with the bit set
 * (do_numa_page). What is lost is the write bit; and the address is stored inverted, against L1TF. A swapped-out or
 * migrating entry keeps bits 7 and 8 clear, so it is never taken for one.
 *
 * A huge entry that is just being changed (pmd_mkinvalid) has neither bit. What that says about accesses means nothing:
 * HIDDEN, which the view calls unknown.
 */
#ifndef HS_EPT_X86_ENTRY_H
#define HS_EPT_X86_ENTRY_H

#include "base/swaps.h"
#include "hs/types.h"

#define HS_X86_PRESENT      (UINT64_C(1) << 0)
#define HS_X86_WRITE        (UINT64_C(1) << 1)
#define HS_X86_ACCESSED     (UINT64_C(1) << 5)
#define HS_X86_DIRTY        (UINT64_C(1) << 6)
#define HS_X86_LEAF         (UINT64_C(1) << 7) /* PSE, in a PMD or PUD entry */
#define HS_X86_SPECIAL_BIT  9                  /* no struct page stands behind it for the kernel's walkers */
#define HS_X86_PROTNONE_BIT 8
#define HS_X86_PROTNONE     (UINT64_C(1) << HS_X86_PROTNONE_BIT) /* only when PRESENT is clear; "global" otherwise */
/* Since 6.6 the dirty bit of an entry that is not writable is kept in bit 58. */
#define HS_X86_ANY_DIRTY (HS_X86_DIRTY | UINT64_C(1) << 58)

enum hs_x86_kind {
	HS_X86_NONE,      /* empty. Erratum of Knights Landing: accessed and dirty may be set in an empty entry */
	HS_X86_TABLE,     /* PMD: points to a table of 512 base entries */
	HS_X86_PAGE,      /* maps a page, PROT_NONE or not: a base page, or in a PMD entry a huge page */
	HS_X86_HIDDEN,    /* PMD: a page is there, its accessed bit is not to be had */
	HS_X86_ELSEWHERE, /* swapped out, migrating, a marker: no memory is mapped */
};

static inline enum hs_x86_kind hs_x86_pte(uint64_t e)
{
	if (e & HS_X86_PRESENT)
		return HS_X86_PAGE;
	if (!(e & ~(HS_X86_ACCESSED | HS_X86_DIRTY)))
		return HS_X86_NONE;
	return (e & HS_X86_PROTNONE) ? HS_X86_PAGE : HS_X86_ELSEWHERE;
}

static inline enum hs_x86_kind hs_x86_pmd(uint64_t e)
{
	if (e & HS_X86_PRESENT)
		return (e & HS_X86_LEAF) ? HS_X86_PAGE : HS_X86_TABLE;
	if (!(e & ~(HS_X86_ACCESSED | HS_X86_DIRTY)))
		return HS_X86_NONE;
	if ((e & HS_X86_PROTNONE) && (e & HS_X86_LEAF))
		return HS_X86_PAGE;
	/* The kernel keeps PSE while it has an entry out of the hardware's sight for a moment. */
	return (e & (HS_X86_PROTNONE | HS_X86_LEAF)) ? HS_X86_HIDDEN : HS_X86_ELSEWHERE;
}

/* No processor can have it cached: an access of any kind goes through a fault. */
static inline bool hs_x86_is_protnone(uint64_t e)
{
	return (e & (HS_X86_PRESENT | HS_X86_PROTNONE)) == HS_X86_PROTNONE;
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

/* With the address as it is meant: of an entry that is not present, every bit of it is inverted. */
static inline uint64_t hs_x86_address(uint64_t e)
{
	return (e & HS_X86_PRESENT) ? e : ~e;
}

/* Frame number of the base page behind a base entry, and of the first base page behind a huge one: HS_X86_PAGE. */
static inline uint64_t hs_x86_pte_pfn(uint64_t e, uint64_t phys_mask)
{
	return (hs_x86_address(e) & phys_mask) >> HS_BASE_SHIFT;
}

/* Bit 12 of a huge entry is a flag (PAT), not an address. */
static inline uint64_t hs_x86_pmd_pfn(uint64_t e, uint64_t phys_mask)
{
	return (hs_x86_address(e) & phys_mask & ~(HS_HUGE_SIZE - 1)) >> HS_BASE_SHIFT;
}

struct hs_x86_table {
	struct hs_bits512 present;
	struct hs_bits512 accessed; /* subset of present */
};

/*
 * Decodes a table of base entries. In anonymous memory a special entry maps the zero page (a read fault made it, or
 * ksmd did). clear_refs passes special entries over, so their accessed bit, with which they are born, stays set for
 * ever: it says nothing and counts as not accessed. A write would have replaced the entry.
 */
static inline void hs_x86_decode_table(const uint64_t t[HS_BASE_PER_HUGE], struct hs_x86_table *out)
{
	for (unsigned int w = 0; w < 8; w++) {
		uint64_t present = 0, accessed = 0;

		for (unsigned int b = 0; b < 64; b++) {
			uint64_t e = t[w * 64 + b];

			present |= ((e | (e >> HS_X86_PROTNONE_BIT)) & 1) << b;
			accessed |= ((e >> 5) & ~(e >> HS_X86_SPECIAL_BIT) & 1) << b;
		}
		out->present.w[w] = present;
		out->accessed.w[w] = accessed & present;
	}
}

/*
 * What an entry that maps nothing stands for. A swapped-out page's entry has the number of its swap area in its five
 * highest bits; those from HS_SWAP_AREAS on stand for other things of the kernel's.
 */

static inline bool hs_x86_is_swapped(uint64_t e)
{
	return hs_x86_pte(e) == HS_X86_ELSEWHERE && e >> 59 < HS_SWAP_AREAS;
}

static inline void hs_x86_decode_absent(const uint64_t t[HS_BASE_PER_HUGE], struct hs_bits512 *swapped,
					struct hs_bits512 *empty)
{
	for (unsigned int w = 0; w < 8; w++) {
		swapped->w[w] = empty->w[w] = 0;
		for (unsigned int b = 0; b < 64; b++) {
			const uint64_t e = t[w * 64 + b];

			swapped->w[w] |= (uint64_t)hs_x86_is_swapped(e) << b;
			empty->w[w] |= (uint64_t)(hs_x86_pte(e) == HS_X86_NONE) << b;
		}
	}
}

#endif
