/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order, and what each step closes. Taking: look, record, take; a crash after the record and before the call makes the
 * next engine set a mark that is there already, which is nothing. Giving back: call, then remove the record; a crash in
 * between does the same. The record names the process and its program (base/state_file.h): a number that was given to
 * another one since is never taken for it.
 */
#include "foreign_claim.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/state_file.h"

#define HEADER "hs-share claim 1"
#define PREFIX "claim-"

void hs_foreign_claim_finish(struct hs_foreign_claim *c)
{
	free(c->ranges);
	memset(c, 0, sizeof(*c));
}

static int add(struct hs_foreign_claim *c, uint64_t start, uint64_t end)
{
	return hs_mark_range_add(&c->ranges, &c->nr, &c->room, (struct hs_mark_range){ .start = start, .end = end });
}

int hs_foreign_claim_note(struct hs_foreign_claim *c, const struct hs_mark_record *ours, const struct hs_vma *vma)
{
	const size_t before = c->nr;
	bool any = false;
	int rc = 0;

	/* What a userfaultfd watches is left alone: the invariant keeps ksmd from it. */
	if (!vma->mergeable || hs_vma_has_uffd(vma))
		return 0;
	for (uint64_t at = vma->start, stop; at < vma->end && !rc; at = stop) {
		if (hs_mark_record_holds(ours, at, vma->end, &stop))
			continue;
		any = true;
		rc = add(c, at, stop);
	}
	if (any || c->nr != before)
		c->ksm_bytes += vma->ksm_bytes;
	return rc;
}

struct finding {
	struct hs_foreign_claim *claim;
	struct hs_mark_record ours;
};

static int visit(void *ctx, const struct hs_vma *vma)
{
	struct finding *f = ctx;

	return hs_foreign_claim_note(f->claim, &f->ours, vma);
}

int hs_foreign_claim_find(const struct hs_host *host, pid_t pid, struct hs_foreign_claim *out, struct hs_error *err)
{
	struct finding f = { .claim = out };
	int rc;

	memset(out, 0, sizeof(*out));
	out->pid = pid;
	rc = hs_process_id_read(host, pid, &out->id);
	if (rc)
		return hs_error_set(err, rc, "which process has the number %d cannot be told: %s", (int)pid,
				    strerror(-rc));
	rc = hs_mark_record_read(host, pid, &f.ours, err);
	if (!rc) {
		rc = hs_vmas_each(host, pid, visit, &f);
		if (rc)
			(void)hs_error_set(err, rc, "cannot read the memory map of process %d: %s", (int)pid,
					   strerror(-rc));
	}
	hs_mark_record_finish(&f.ours);
	if (rc)
		hs_foreign_claim_finish(out);
	return rc;
}

/* On frames of KSM's; `all` where the kernel does not say. */
static uint64_t merged_bytes(const struct hs_host *host, const struct hs_foreign_claim *c, uint64_t all)
{
	uint64_t pages;
	char text[4096];

	if (c->ksm_bytes)
		return c->ksm_bytes;
	if (hs_hostfile_read_pid(host, c->pid, "smaps_rollup", text, sizeof(text)) > 0 && strstr(text, "\nKSM:"))
		return 0;
	if (hs_hostfile_read_pid(host, c->pid, "ksm_merging_pages", text, sizeof(text)) > 0 &&
	    !hs_hostfile_parse_u64(text, NULL, &pages) && pages < all / HS_BASE_SIZE)
		return pages * HS_BASE_SIZE;
	return all;
}

/*
 * On the zero page by KSM's doing: no line of smaps counts these, and from Linux 6.6 on each of them gets a frame of
 * its own as well when it is unmerged. An older kernel, which leaves them where they are, does not count them.
 */
static uint64_t zero_bytes(const struct hs_host *host, const struct hs_foreign_claim *c, uint64_t all)
{
	char text[1024];
	const ssize_t n = hs_hostfile_read_pid(host, c->pid, "ksm_stat", text, sizeof(text));
	uint64_t pages;

	if (n < 0)
		return n == -ENOENT ? 0 : all;
	if (!strstr(text, "ksm_zero_pages"))
		return 0;
	return hs_hostfile_field(text, "ksm_zero_pages", &pages) || pages >= all / HS_BASE_SIZE ? all
												: pages * HS_BASE_SIZE;
}

uint64_t hs_foreign_claim_ksm_bytes(const struct hs_host *host, const struct hs_foreign_claim *c)
{
	uint64_t all = 0, merged, zero;

	for (size_t i = 0; i < c->nr; i++)
		all += c->ranges[i].end - c->ranges[i].start;
	merged = merged_bytes(host, c, all);
	zero = zero_bytes(host, c, all);
	return merged < all && zero < all - merged ? merged + zero : all;
}

static void record_name(pid_t pid, char out[NAME_MAX])
{
	(void)snprintf(out, NAME_MAX, PREFIX "%d", (int)pid);
}

/* A record that is whole and of the process that has the number now; 0, -ENOENT otherwise. Other errors: it is not
 * known. */
static int read_record(const struct hs_host *host, pid_t pid, struct hs_foreign_claim *out)
{
	char path[PATH_MAX], name[NAME_MAX], line[256];
	struct hs_state_owner now, owner;
	bool whole = false, io;
	uint64_t start, end;
	int rc;
	FILE *f;

	memset(out, 0, sizeof(*out));
	out->pid = pid;
	rc = hs_state_owner_now(host, pid, &now);
	if (rc && rc != -ESRCH)
		return rc;
	out->id = now.process;
	record_name(pid, name);
	(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, name);
	f = rc ? NULL : fopen(path, "re");
	if (!f)
		return rc || errno == ENOENT ? -ENOENT : -errno;
	if (!fgets(line, sizeof(line), f) || strcmp(line, HEADER "\n") != 0 || !fgets(line, sizeof(line), f) ||
	    hs_state_owner_parse(line, pid, &owner) || !hs_state_owner_same(&owner, &now))
		rc = -ENOENT;
	while (!rc && !whole && fgets(line, sizeof(line), f)) {
		whole = strcmp(line, "end\n") == 0;
		if (!whole)
			rc = sscanf(line, "%" SCNx64 " %" SCNx64, &start, &end) == 2 && start < end
				 ? add(out, start, end)
				 : -ENOENT;
	}
	io = ferror(f) != 0;
	(void)fclose(f);
	if (!rc && whole)
		return 0;
	hs_foreign_claim_finish(out);
	return rc == -ENOMEM ? rc : io ? -EIO : -ENOENT;
}

static bool has(const struct hs_foreign_claim *c, const struct hs_mark_range *r)
{
	for (size_t i = 0; i < c->nr; i++)
		if (c->ranges[i].start == r->start && c->ranges[i].end == r->end)
			return true;
	return false;
}

/* What is written, and whose it is. */
struct text {
	const struct hs_foreign_claim *old, *more;
	struct hs_state_owner owner;
};

static void print(FILE *f, const void *ctx)
{
	const struct text *t = ctx;

	(void)fprintf(f, HEADER "\n");
	hs_state_owner_print(f, t->more->pid, &t->owner);
	for (size_t i = 0; i < t->old->nr; i++)
		(void)fprintf(f, "%" PRIx64 " %" PRIx64 "\n", t->old->ranges[i].start, t->old->ranges[i].end);
	/* Recorded and then not taken it comes again, in each cycle while the process is held by a debugger. */
	for (size_t i = 0; i < t->more->nr; i++)
		if (!has(t->old, &t->more->ranges[i]))
			(void)fprintf(f, "%" PRIx64 " %" PRIx64 "\n", t->more->ranges[i].start, t->more->ranges[i].end);
	(void)fprintf(f, "end\n");
}

int hs_foreign_claim_record(const struct hs_host *host, const struct hs_foreign_claim *c, struct hs_error *err)
{
	struct hs_foreign_claim old;
	struct text t = { .old = &old, .more = c };
	char name[NAME_MAX];
	int rc = hs_state_owner_now(host, c->pid, &t.owner);

	if (rc == -ESRCH || (!rc && !hs_process_id_same(&t.owner.process, &c->id)))
		return hs_error_set(err, -ESRCH, "process %d is gone", (int)c->pid);
	record_name(c->pid, name);
	/* What was claimed before must not be lost. */
	if (!rc)
		rc = read_record(host, c->pid, &old);
	if (rc && rc != -ENOENT)
		return hs_error_set(err, rc, "cannot read %s/%s: %s", host->state_dir, name, strerror(-rc));
	if (rc)
		memset(&old, 0, sizeof(old));
	rc = hs_state_file_put(host, name, print, &t);
	hs_foreign_claim_finish(&old);
	return rc ? hs_error_set(err, rc, "cannot write %s/%s: %s", host->state_dir, name, strerror(-rc)) : 0;
}

/* The advice on all ranges; a range that the process has given back since is no error. */
static int advise(const struct hs_foreign_claim *c, struct hs_remote *remote, int advice, struct hs_error *err)
{
	struct hs_remote_op *ops = calloc(c->nr ? c->nr : 1, sizeof(*ops));
	int rc;

	if (!ops)
		return hs_error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < c->nr; i++)
		ops[i] =
		    (struct hs_remote_op){ .start = c->ranges[i].start, .end = c->ranges[i].end, .advice = advice };
	rc = hs_remote_madvise(remote, ops, c->nr, err);
	for (size_t i = 0; i < c->nr && !rc; i++)
		if (ops[i].result && ops[i].result != -ENOMEM)
			rc = hs_error_set(err, ops[i].result, "process %d: %s", (int)c->pid, strerror(-ops[i].result));
	free(ops);
	return rc;
}

static int with_remote(const struct hs_host *host, const struct hs_foreign_claim *c, struct hs_remote *remote,
		       int advice, struct hs_error *err)
{
	struct hs_remote *own = NULL;
	struct hs_process_id now;
	int rc = remote ? 0 : hs_remote_open(&own, host, c->pid, err);

	/* What was opened is the process that was looked at: its number, or its memory, may be another's by now. */
	if (!rc && own)
		rc = hs_process_id_read(host, c->pid, &now);
	if (!rc && own && !hs_process_id_same(&now, &c->id))
		rc = hs_error_set(err, -ESRCH, "process %d is gone", (int)c->pid);
	if (!rc)
		rc = advise(c, remote ? remote : own, advice, err);
	hs_remote_close(own);
	return rc;
}

int hs_foreign_claim_take(const struct hs_host *host, const struct hs_foreign_claim *c, struct hs_remote *remote,
			  struct hs_error *err)
{
	return with_remote(host, c, remote, MADV_UNMERGEABLE, err);
}

/* What may be given back now of what was recorded. */
struct giving {
	const struct hs_foreign_claim *recorded;
	struct hs_mark_record ours;
	struct hs_foreign_claim now;
	bool later; /* some of it carries our marks still */
};

/* Mergeable again all at once, what we share of it would count as shared by us, hot pages included: it waits. */
static int visit_giving(void *ctx, const struct hs_vma *vma)
{
	struct giving *g = ctx;

	for (size_t i = 0; i < g->recorded->nr; i++) {
		const struct hs_mark_range *r = &g->recorded->ranges[i];
		const uint64_t start = vma->start > r->start ? vma->start : r->start;
		const uint64_t end = vma->end < r->end ? vma->end : r->end;
		uint64_t stop;
		bool ours;
		int rc;

		if (start >= end)
			continue;
		ours = hs_mark_record_holds(&g->ours, start, end, &stop) || stop < end;
		for (size_t k = g->ours.nr_mergeable; k < g->ours.nr && !ours; k++)
			ours = g->ours.ranges[k].kind != HS_MARK_WHOLE_HUGE && g->ours.ranges[k].start < end &&
			       g->ours.ranges[k].end > start;
		if (ours) {
			g->later = true;
			continue;
		}
		rc = add(&g->now, start, end);
		if (rc)
			return rc;
	}
	return 0;
}

/* 0: all was given back; -EAGAIN: what is shared still comes later. */
static int give_back(const struct hs_host *host, const struct hs_foreign_claim *recorded)
{
	struct giving g = { .recorded = recorded, .now = { .pid = recorded->pid, .id = recorded->id } };
	int rc = hs_mark_record_read(host, recorded->pid, &g.ours, NULL);

	if (!rc)
		rc = hs_vmas_each(host, recorded->pid, visit_giving, &g);
	if (!rc && g.now.nr)
		rc = with_remote(host, &g.now, NULL, MADV_MERGEABLE, NULL);
	hs_foreign_claim_finish(&g.now);
	hs_mark_record_finish(&g.ours);
	return rc ? rc : g.later ? -EAGAIN : 0;
}

static void give_back_one(void *ctx, const struct hs_host *host, pid_t pid, const char *path)
{
	struct hs_foreign_claim c;
	size_t *nr = ctx;
	int rc = read_record(host, pid, &c);

	if (!rc) {
		rc = give_back(host, &c);
		hs_foreign_claim_finish(&c);
		*nr += !rc;
	}
	/* What cannot be read or done now is kept for the next time. */
	if (!rc || rc == -ENOENT || rc == -ESRCH)
		(void)unlink(path);
}

size_t hs_foreign_claim_give_back(const struct hs_host *host)
{
	size_t nr = 0;

	(void)!hs_state_file_each(host, PREFIX, give_back_one, &nr); /* what is left stays for the next time */
	return nr;
}
