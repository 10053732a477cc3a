/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a process's VMAs are guest memory. */
#ifndef HS_EPT_HOST_REGIONS_H
#define HS_EPT_HOST_REGIONS_H

#include "hs/error.h"
#include "hs/types.h"
#include "hs/view.h"
#include "base/vmas.h"

/*
 * The regions of guest memory, as hs_view_open_host defines them. *out is malloc'ed. -ENODATA with a text that says
 * what was found instead (hugetlbfs is known by flags that only smaps has).
 */
HS_MUST_USE int hs_host_regions_find(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_region **out,
				     size_t *nr, uint32_t *nr_huge, struct hs_error *err);

/* What of the process's writable memory is in no region. */
void hs_host_regions_left_out(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_left_out *out);

/* One huge page of a region whose memory is not guest memory any more is `gone`. */
typedef void (*hs_host_regions_gone_fn)(void *ctx, hs_huge_nr huge, bool gone);

/*
 * Compares regions with the VMAs as they are now: reports to `gone` each huge page, and answers whether anything
 * changed: something gone, or new guest memory of at least min_bytes.
 */
bool hs_host_regions_compare(const struct hs_vma_list *l, uint64_t min_bytes, const struct hs_region *regions,
			     size_t nr, hs_host_regions_gone_fn gone, void *ctx);

#endif
