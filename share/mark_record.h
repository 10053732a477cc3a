/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we marked in a process, on record: a file of the state folder, marks-PID, on the disk before the first mark is
 * made.
 *
 * A mark says by itself nothing about who made it: QEMU's postcopy and allocators under PR_SET_MEMORY_MERGE set
 * MERGEABLE with NOHUGEPAGE too. So after a restart only what is on record is ours, and only what it says was there
 * before is put back. The record is bound to the process, its program and this boot (base/state_file.h). It may name
 * more than there is (it is written before the marks are made, and made smaller after they were taken away), never
 * less.
 *
 * A file that is not whole says nothing (-EBADMSG): what it was about is left alone.
 */
#ifndef HS_SHARE_MARK_RECORD_H
#define HS_SHARE_MARK_RECORD_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"
#include "base/procstat.h"

enum {
	HS_MARK_MERGEABLE = 1U << 0,  /* MERGEABLE by us */
	HS_MARK_PLAIN = 1U << 1,      /* NOHUGEPAGE by us, where no advice on huge pages was before */
	HS_MARK_HUGEPAGE = 1U << 2,   /* NOHUGEPAGE by us, where HUGEPAGE was before */
	HS_MARK_WHOLE_HUGE = 1U << 3, /* was one huge page before the first mark: collapsed again in the end */
};

/* A range of the process, half open, bytes. MERGEABLE stands alone; the others go together, and are of whole huge
 * pages, but for pieces of NOHUGEPAGE that are left of a huge page of which the guest has unmapped the rest. */
struct hs_mark_range {
	uint64_t start, end;
	uint32_t kind; /* HS_MARK_... */
};

struct hs_mark_record {
	pid_t pid;
	struct hs_process_id id; /* of a record to be written: whose it is; 0: of who has the pid now */
	struct hs_mark_range *ranges;
	size_t nr, room;
	size_t nr_mergeable; /* of a record that was read: the first ones, sorted, apart from one another; the rest is
				sorted, too */
};

void hs_mark_record_finish(struct hs_mark_record *r);

/* Adds a range; one that goes on where the last one of all ended, with the same kind, is joined to it. -ENOMEM. */
HS_MUST_USE int hs_mark_record_add(struct hs_mark_record *r, uint64_t start, uint64_t end, uint32_t kind);

/* The same for any list of ranges. */
HS_MUST_USE int hs_mark_range_add(struct hs_mark_range **ranges, size_t *nr, size_t *room, struct hs_mark_range range);

/*
 * The process's record. nr 0: there is none, or it is about a process that had the number before, or about a program
 * that the process does not run any more. -EBADMSG: there is one, and it cannot be believed; the text names it. -ESRCH:
 * no such process. Another error: it cannot be read now. *out is the caller's to finish, after an error too.
 */
HS_MUST_USE int hs_mark_record_read(const struct hs_host *host, pid_t pid, struct hs_mark_record *out,
				    struct hs_error *err);

/* Puts the record on the disk in place of the one before; nr 0 removes it. Makes the state folder when it is not there.
 * -ESRCH: the process is gone, or runs another program; who has its number by now is left with what there is about him.
 */
HS_MUST_USE int hs_mark_record_write(const struct hs_host *host, const struct hs_mark_record *r, struct hs_error *err);

/* Removes the records of processes that are gone, and files half written. */
void hs_mark_record_clean(const struct hs_host *host);

/* Whether `start` is on record as MERGEABLE, and up to where (*stop, at most `end`) that answer is the same. Of a
 * record that was read. */
bool hs_mark_record_holds(const struct hs_mark_record *r, uint64_t start, uint64_t end, uint64_t *stop);

#endif
