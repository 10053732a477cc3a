/* SPDX-License-Identifier: Apache-2.0 */
/* Whose memory is mergeable, of others; and what of our own an earlier life left in a process. */
#include "hs/share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/vmas.h"
#include "foreign.h"
#include "mark_record.h"

int hs_foreign_add(struct hs_ksm_foreign **list, size_t *nr, const struct hs_host *host,
		   const struct hs_mergeable_vma *vma, uint64_t bytes)
{
	struct hs_ksm_foreign *f, *grown = reallocarray(*list, *nr + 1, sizeof(*grown));
	ssize_t n;

	if (!grown)
		return -ENOMEM;
	*list = grown;
	f = &grown[*nr];
	*f = (struct hs_ksm_foreign){
		.pid = vma->pid, .mergeable_bytes = bytes, .start = vma->start, .end = vma->end, .armed = vma->armed
	};
	n = hs_hostfile_read_pid(host, f->pid, "comm", f->comm, sizeof(f->comm));
	if (n == -ENOENT || n == -ESRCH)
		return 0; /* vanished just now */
	if (n < 0)
		(void)snprintf(f->comm, sizeof(f->comm), "?"); /* who it is cannot be read; its memory is there */
	++*nr;
	return 0;
}

int hs_ksm_find_foreign(const struct hs_host *host, const pid_t *pids, size_t nr_pids, struct hs_ksm_foreign **out,
			size_t *nr, struct hs_error *err)
{
	struct hs_mergeable look;
	int rc = hs_mergeable_look(host, 0, &look, err);

	*out = NULL;
	*nr = 0;
	for (size_t i = 0, end; i < look.nr && !rc; i = end) {
		struct hs_mergeable_vma first = { 0 };
		uint64_t bytes = 0;
		bool ours = false;

		for (end = i; end < look.nr && look.vma[end].space == look.vma[i].space; end++) {
			const struct hs_mergeable_vma *v = &look.vma[end];

			for (size_t k = 0; k < nr_pids; k++)
				ours |= pids[k] == v->pid;
			if (!v->mergeable || (end > i && v[-1].start == v->start))
				continue;
			if (!bytes)
				first = *v;
			first.armed |= v->armed;
			bytes += v->end - v->start;
		}
		if (bytes && !ours)
			rc = hs_foreign_add(out, nr, host, &first, bytes);
	}
	hs_mergeable_finish(&look);
	if (rc) {
		free(*out);
		*out = NULL;
		*nr = 0;
		if (rc == -ENOMEM)
			(void)hs_error_set(err, rc, "out of memory");
	}
	return rc;
}

/* ---- what an earlier life of ours left in a process ---- */

struct ours {
	struct hs_mark_record record;
	uint64_t bytes, never_huge; /* MERGEABLE; NOHUGEPAGE */
};

static int add_ours(void *ctx, const struct hs_vma *vma)
{
	struct ours *o = ctx;

	for (uint64_t at = vma->start, stop; vma->mergeable && at < vma->end; at = stop)
		if (hs_mark_record_holds(&o->record, at, vma->end, &stop))
			o->bytes += stop - at;
	for (size_t i = o->record.nr_mergeable; vma->nohugepage && i < o->record.nr; i++) {
		const struct hs_mark_range *m = &o->record.ranges[i];
		const uint64_t from = m->start > vma->start ? m->start : vma->start;
		const uint64_t to = m->end < vma->end ? m->end : vma->end;

		if (m->kind & (HS_MARK_PLAIN | HS_MARK_HUGEPAGE) && from < to)
			o->never_huge += to - from;
	}
	return 0;
}

int hs_share_find_marked(const struct hs_host *host, pid_t pid, uint64_t *bytes, struct hs_error *err)
{
	struct ours o = { 0 };
	int rc = hs_mark_record_read(host, pid, &o.record, err);

	if (!rc && o.record.nr) {
		rc = hs_vmas_each(host, pid, add_ours, &o);
		if (rc)
			(void)hs_error_set(err, rc, "cannot read the memory map of process %d: %s", (int)pid,
					   strerror(-rc));
	}
	*bytes = rc ? 0 : o.bytes ? o.bytes : o.never_huge;
	hs_mark_record_finish(&o.record);
	return rc;
}
