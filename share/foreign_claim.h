/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mergeable memory of others, claimed: made unmergeable inside its process for as long as the engine lives, and
 * mergeable again after it. What was taken stands in a file of the state folder, written before it is taken, so that
 * the next engine gives it back after a crash.
 */
#ifndef HS_SHARE_FOREIGN_CLAIM_H
#define HS_SHARE_FOREIGN_CLAIM_H

#include "hs/error.h"
#include "hs/host.h"
#include "hs/remote.h"
#include "base/procstat.h"
#include "base/vmas.h"
#include "mark_record.h"

/* Ranges of one process; their kind is 0. */
struct hs_foreign_claim {
	pid_t pid;
	struct hs_process_id id; /* as of before its memory was looked at */
	struct hs_mark_range *ranges;
	size_t nr, room;
	uint64_t ksm_bytes; /* of it merged when it was looked at: what unmerging needs */
};
void hs_foreign_claim_finish(struct hs_foreign_claim *c);

/* Adds what one VMA of the process has to be claimed, if anything: what is mergeable and not on our record. For who
 * goes over all of them anyway, in the order of addresses. -ENOMEM. */
HS_MUST_USE int hs_foreign_claim_note(struct hs_foreign_claim *c, const struct hs_mark_record *ours,
				      const struct hs_vma *vma);

/* The process's mergeable memory that is not on record as ours. nr 0: there is none. -ESRCH; -EBADMSG: our record
 * cannot be read. */
HS_MUST_USE int hs_foreign_claim_find(const struct hs_host *host, pid_t pid, struct hs_foreign_claim *out,
				      struct hs_error *err);

/* Bytes of it that are merged, zero pages included, at most: where the kernel does not say it of a VMA (before 6.7, and
 * of zero pages), what it says of the process. */
uint64_t hs_foreign_claim_ksm_bytes(const struct hs_host *host, const struct hs_foreign_claim *c);

/* Adds the claim to the process's record. 0 or -errno with the text; then nothing may be taken. -ESRCH: the process is
 * gone, or runs another program by now. */
HS_MUST_USE int hs_foreign_claim_record(const struct hs_host *host, const struct hs_foreign_claim *c,
					struct hs_error *err);

/* Takes it: unmergeable. The record has to be written. `remote` NULL: opened for this. */
HS_MUST_USE int hs_foreign_claim_take(const struct hs_host *host, const struct hs_foreign_claim *c,
				      struct hs_remote *remote, struct hs_error *err);

/*
 * Gives back, to every process that has a record, what was taken, and removes the records. A process that cannot be
 * stopped now, or shares some of it for us still, keeps its record for the next time. The number of processes that got
 * theirs back.
 */
size_t hs_foreign_claim_give_back(const struct hs_host *host);

#endif
