/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zero pages alone, without KSM: huge pages that hold base pages of zeros are split from outside, and the kernel frees
 * those zeros (Linux 6.12 and later). Nothing is marked, no call is made inside a guest, and no content is compared
 * with any other: the kernel asks of each base page by itself whether it is all zeros, while nobody can write it.
 *
 * What was freed comes back when the guest writes it, a base page at a time. khugepaged may make a huge page whole
 * again, which takes all of it back; that counts as breaks. Which huge pages were split is on record in the state
 * folder (zeros-PID), before they are, so that they can be made huge again by whoever comes next. One thread at a time.
 */
#ifndef HS_ZERO_H
#define HS_ZERO_H

#include "hs/share.h"

struct hs_zero;

/* Whether this kernel can: -ENOTSUP with the reason. */
HS_MUST_USE int hs_zero_supported(struct hs_error *err);

/* min_free_percent and dry_run of the configuration count here. Errors as hs_zero_supported; -ENOMEM. */
HS_MUST_USE int hs_zero_create(struct hs_zero **out, const struct hs_host *host, const struct hs_share_config *cfg,
			       struct hs_error *err);
void hs_zero_destroy(struct hs_zero *z); /* what is freed stays so; takes NULL */

/* Takes a guest; what is on record of it is read back. `id`: small number, reused. guest->remote is not used. -ENOTSUP:
 * it is no process; -EBADMSG: there is a record that cannot be read. */
HS_MUST_USE int hs_zero_add_guest(struct hs_zero *z, const struct hs_share_guest *guest, uint32_t *id,
				  struct hs_error *err);
void hs_zero_remove_guest(struct hs_zero *z, uint32_t id);

/* Base pages of zeros that are to be freed of one huge page from now on; replaces what was wanted before. */
HS_MUST_USE int hs_zero_want(struct hs_zero *z, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages);

/* As of the last verify; `shared`: freed, by us. Sets all but out->huge. */
void hs_zero_state(const struct hs_zero *z, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out);

/* Splits what has to be split for what is wanted. pages_marked: base pages in it; nr_tried, nr_applied: huge pages. */
HS_MUST_USE int hs_zero_apply(struct hs_zero *z, uint32_t id, struct hs_share_applied *out, struct hs_error *err);

/* Reads page frames, and books what is free. */
HS_MUST_USE int hs_zero_verify(struct hs_zero *z, uint32_t id, struct hs_error *err);

/* As hs_share_unshare: the huge pages that were split are made huge again, as far as memory is there for it. */
HS_MUST_USE int hs_zero_unshare(struct hs_zero *z, uint32_t id, const hs_huge_nr *huge, size_t nr,
				struct hs_share_unshared *out, struct hs_error *err);

/* Of one guest, or of all (UINT32_MAX), as of the last verify: zero, wanted, broken, saved, metadata. */
void hs_zero_ledger(const struct hs_zero *z, uint32_t id, struct hs_ledger *out);

/* Bytes of the process's huge pages that are on record as split. -ESRCH; -EBADMSG. */
HS_MUST_USE int hs_zero_find_left(const struct hs_host *host, pid_t pid, uint64_t *bytes, struct hs_error *err);

#endif
