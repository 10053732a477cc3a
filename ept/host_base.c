/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's direct map: physical memory as one stretch of kernel addresses. Page-table entries hold physical
 * addresses, so whoever wants to follow them has to know where that stretch begins.
 *
 * Without KASLR it begins at a fixed address. With it, the start is random but lies on a 1 GiB border, and the top page
 * table of every process (mm->pgd, which we can read) lies within the stretch: so the start is one of the GiB borders
 * below it, at most as many steps down as there are GiB below that table. A guess proves itself: a walk of our own page
 * tables under it has to end at a page that we filled with random bytes. A wrong guess ends nowhere or at other bytes.
 *
 * The kernel's own variable (page_offset_base) would say it at once, but only kernels that publish all their symbols
 * show it, and libbpf would read the whole symbol table to find it: that takes longer than the trial.
 */
#include "host_base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "x86_entry.h"

#define GIB       (UINT64_C(1) << 30)
#define FIXED_4   UINT64_C(0xffff888000000000) /* without KASLR, 4 levels */
#define FIXED_5   UINT64_C(0xff11000000000000) /* without KASLR, 5 levels */
#define KERNEL_4  UINT64_C(0xffff800000000000) /* where the kernel's half begins */
#define KERNEL_5  UINT64_C(0xff00000000000000)
#define MAX_STEPS (128U << 10) /* 128 TiB, more than any machine has; ends a search that cannot succeed */

static bool try_one(struct hs_base_search *s, const struct hs_base *guess)
{
	s->nr_tries++;
	return s->try_guess(s->ctx, guess);
}

static bool try_levels(struct hs_base_search *s, uint32_t levels, struct hs_base *out)
{
	uint64_t lowest = levels == 5 ? KERNEL_5 : KERNEL_4, pgd = s->pgd;
	struct hs_base guess = { .base = levels == 5 ? FIXED_5 : FIXED_4,
				 .phys_mask = hs_x86_phys_mask(s->phys_bits),
				 .levels = levels };
	uint64_t span = guess.phys_mask | (HS_BASE_SIZE - 1); /* the highest physical address there can be */

	if (pgd < lowest)
		return false;
	if (pgd >= guess.base && pgd - guess.base <= span && try_one(s, &guess))
		goto found;
	guess.base = pgd & ~(GIB - 1);
	for (unsigned int i = 0; i < MAX_STEPS && guess.base >= lowest && pgd - guess.base <= span; i++) {
		if (try_one(s, &guess))
			goto found;
		guess.base -= GIB;
	}
	return false;
found:
	*out = guess;
	return true;
}

int hs_base_find(struct hs_base_search *s, struct hs_base *out)
{
	const uint32_t other = s->likely_levels == 5 ? 4 : 5;

	s->nr_tries = 0;
	return try_levels(s, s->likely_levels, out) || try_levels(s, other, out) ? 0 : -ENOENT;
}
