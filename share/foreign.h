/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of mergeable memory that is not ours. */
#ifndef HS_SHARE_FOREIGN_H
#define HS_SHARE_FOREIGN_H

#include "hs/share.h"
#include "mergeable.h"

/* Adds one address space, named by a VMA of it, with so many mergeable bytes; not when its process has vanished.
 * -ENOMEM. */
HS_MUST_USE int hs_foreign_add(struct hs_ksm_foreign **list, size_t *nr, const struct hs_host *host,
			       const struct hs_mergeable_vma *vma, uint64_t bytes);

#endif
