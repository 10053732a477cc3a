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

static bool try_levels(uint64_t pgd, unsigned int phys_bits, uint32_t levels, hs_base_try_fn try_guess, void *ctx,
		       struct hs_base *out, unsigned int *tries)
{
	uint64_t lowest = levels == 5 ? KERNEL_5 : KERNEL_4;
	struct hs_base guess = { .base = levels == 5 ? FIXED_5 : FIXED_4,
				 .phys_mask = hs_x86_phys_mask(phys_bits),
				 .levels = levels };
	uint64_t span = guess.phys_mask | (HS_BASE_SIZE - 1); /* the highest physical address there can be */

	if (pgd < lowest)
		return false;
	if (pgd >= guess.base && pgd - guess.base <= span) {
		++*tries;
		if (try_guess(ctx, &guess))
			goto found;
	}
	guess.base = pgd & ~(GIB - 1);
	for (unsigned int i = 0; i < MAX_STEPS && guess.base >= lowest && pgd - guess.base <= span; i++) {
		++*tries;
		if (try_guess(ctx, &guess))
			goto found;
		guess.base -= GIB;
	}
	return false;
found:
	*out = guess;
	return true;
}

int hs_base_search(uint64_t pgd, unsigned int phys_bits, uint32_t likely_levels, hs_base_try_fn try_guess, void *ctx,
		   struct hs_base *out, unsigned int *nr_tries)
{
	uint32_t other = likely_levels == 5 ? 4 : 5;
	unsigned int tries = 0;
	bool found;

	found = try_levels(pgd, phys_bits, likely_levels, try_guess, ctx, out, &tries) ||
		try_levels(pgd, phys_bits, other, try_guess, ctx, out, &tries);
	if (nr_tries)
		*nr_tries = tries;
	return found ? 0 : -ENOENT;
}
