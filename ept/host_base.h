/* SPDX-License-Identifier: Apache-2.0 */
/* Where the kernel maps physical memory, found by trial. Pure: how a guess is tried comes from the caller. */
#ifndef HS_EPT_HOST_BASE_H
#define HS_EPT_HOST_BASE_H

#include "hs/error.h"
#include "hs/types.h"

struct hs_base {
	uint64_t base;      /* virtual address of physical address 0 in the kernel's direct map */
	uint64_t phys_mask; /* see hs_x86_phys_mask */
	uint32_t levels;    /* of page tables: 4 or 5 */
};

/* Whether a walk of our own page tables under this guess ends at a page whose content we know. */
typedef bool (*hs_base_try_fn)(void *ctx, const struct hs_base *guess);

struct hs_base_search {
	uint64_t pgd;           /* the kernel's virtual address of the top page table */
	unsigned int phys_bits; /* of a physical address */
	uint32_t likely_levels; /* 4 or 5, tried first */
	hs_base_try_fn try_guess;
	void *ctx;
	unsigned int nr_tries; /* out */
};

/* 0, or -ENOENT when no guess was right: *out is left as it was then. */
HS_MUST_USE int hs_base_find(struct hs_base_search *s, struct hs_base *out);

#endif
