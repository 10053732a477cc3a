/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splitting and restoring mappings, never pages.
 *
 * Splitting. A huge entry maps 2 MiB of one VMA. When a VMA border comes to lie within these 2 MiB, the kernel replaces
 * the huge entry by a table of 512 base entries; the page behind it stays huge. So, inside the guest's process:
 *  1. MADV_DONTDUMP on the first base page: its VMA parts, the mapping splits;
 *  2. MADV_DODUMP on it: the parts are alike again and join. The table of base entries stays.
 * Where the VMA has DONTDUMP already (libvirt's dumpCore='off'), the other way round. The flag only says what a core
 * dump contains, and it is back after a fraction of a millisecond. Nothing else changes: no content, no page, no number
 * of VMAs. All first steps of a batch are made before all second ones, so that the calls of a kind can go in one; a
 * batch is small enough that its 2 further VMAs for each huge page are far from any limit.
 *
 * What can go wrong between the steps is noted (`dump_pending`), put right at once, or at the next occasion, at the
 * latest when the view is closed; after a crash, when the next view is opened (host_dontdump.c). Our knowledge of the
 * flags may be old: if the guest has changed them itself, step 2 leaves a page with a flag of its own, and the guest
 * has more VMAs than before: then the flags are read again, and such pages put right.
 *
 * Restoring is process_madvise(MADV_COLLAPSE), from outside: the kernel copies the 512 pages into a new huge page (even
 * where the old one is whole), KSM's included, whose sharing this ends. It works whatever the THP settings are, but not
 * where the VMA says NOHUGEPAGE (-EINVAL). Many kernels (6.12 is one, 6.18 is not) refuse with the same word where none
 * of the 512 entries is writable: after KSM's pages were taken apart, which 6.2 and later do without a write, and where
 * NUMA balancing has made them all PROT_NONE. So one of them is made writable then, and the collapse tried again. What
 * a fork of the guest has in common with it is not brought back: the copy would be memory more, for as long as the
 * other process keeps the old page. Neither is it split.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hs/remote.h"
#include "base/vmas.h"
#include "host_internal.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define BATCH 128U /* huge pages a batch: 256 VMAs more for a moment */

/* ---- splitting ---- */

struct split_batch {
	hs_huge_nr huge[BATCH];
	size_t slot[BATCH]; /* in the caller's list */
	size_t nr;
	struct hs_remote_op ops[2 * BATCH]; /* [nr] first steps, then [nr] second steps */
};

static void make_ops(struct hs_host_view *v, struct split_batch *b, const bool *dontdump)
{
	for (size_t i = 0; i < b->nr; i++) {
		uint64_t start = hs_view_hva(&v->view, b->huge[i]).v;

		for (size_t step = 0; step < 2; step++)
			b->ops[step * b->nr + i] = (struct hs_remote_op){
				.start = start,
				.end = start + HS_BASE_SIZE,
				.advice = dontdump[i] == (step != 0) ? MADV_DONTDUMP : MADV_DODUMP,
				.result = -ECANCELED,
			};
	}
}

/*
 * Whether another huge page than these is mapped huge: ageing flushes by one (host_age.c). Without it nothing would be
 * known of those that are split, of a guest that runs.
 */
static int leaves_one(struct hs_host_view *v, const hs_huge_nr *huge, size_t nr, bool *leaves)
{
	uint64_t *named = calloc(((size_t)v->view.nr_huge + 63) / 64, sizeof(*named));
	int rc = named ? 0 : -ENOMEM;

	*leaves = false;
	for (size_t i = 0; i < nr && !rc; i++)
		hs_bit_put(named, huge[i], true);
	for (hs_huge_nr h = 0; h < v->view.nr_huge && !rc && !*leaves;) {
		hs_huge_nr others[BATCH];
		uint8_t states[BATCH];
		size_t n = 0;

		for (; h < v->view.nr_huge && n < BATCH; h++)
			if (!hs_bit_test(named, h) && !hs_host_is_off_limits(v, h))
				others[n++] = h;
		rc = n ? hs_host_entries(v, others, n, states) : 0;
		for (size_t i = 0; i < n && !rc; i++)
			*leaves |= states[i] == HS_MAP_HUGE;
	}
	free(named);
	return rc;
}

/*
 * Of the next BATCH huge pages, those that are mapped huge go into the batch, the others get their result. The first is
 * left out where none would be left.
 */
static int pick(struct hs_host_view *v, const hs_huge_nr *huge, size_t first, size_t nr, int *results,
		struct split_batch *b, bool *leaves)
{
	uint8_t states[BATCH];
	bool dontdump[BATCH];
	int rc;

	b->nr = 0;
	rc = hs_host_entries(v, huge + first, nr, states);
	for (size_t i = 0; i < nr && !rc; i++) {
		results[first + i] = -ENOENT;
		if (states[i] != HS_MAP_HUGE)
			continue;
		/* Nothing would be seen of its accesses; or it could not be brought back as long as another process has
		 * it, where one page speaks for all of them. */
		if (v->has_vm || hs_host_is_common(v, huge[first + i], 1)) {
			results[first + i] = -EAGAIN;
			continue;
		}
		if (!*leaves) {
			*leaves = true;
			results[first + i] = -EAGAIN;
			continue;
		}
		rc = hs_host_dontdump_flag(v, huge[first + i], &dontdump[b->nr]);
		if (rc == -ENOENT) {
			rc = 0;
			continue;
		}
		b->huge[b->nr] = huge[first + i];
		b->slot[b->nr++] = first + i;
	}
	if (!rc)
		make_ops(v, b, dontdump);
	return rc;
}

/* 0: attempted; -errno: not one call was made. */
static int split_batch(struct hs_host_view *v, struct split_batch *b, int *results, struct hs_error *err)
{
	uint8_t states[BATCH];
	struct hs_error why = { "" }; /* what was tried again and succeeded is not worth a word */
	int before = 0, after = 0, rc;
	bool touched = false, pending = false;

	rc = hs_walk_alive(v->walk, v->mm, &before);
	if (rc)
		return hs_host_error(v, rc, "split its mappings", err);
	rc = hs_remote_madvise(v->remote, b->ops, 2 * b->nr, &why);
	for (size_t i = 0; i < b->nr; i++) {
		bool first = !b->ops[i].result, second = !b->ops[b->nr + i].result;

		touched |= b->ops[i].result != -ECANCELED;
		results[b->slot[i]] = first ? 0 : b->ops[i].result == -ECANCELED && rc ? rc : b->ops[i].result;
		if (first && !second) {
			hs_bit_put(v->dump_pending, b->huge[i], true);
			pending = true;
		}
	}
	if (rc && hs_walk_alive(v->walk, v->mm, NULL)) /* a process that is ending is refused in many ways */
		return hs_host_error(v, -ESRCH, "split its mappings", err);
	if (rc == -ESRCH || (rc && !touched))
		return hs_error_set(err, rc, "%s", why.text);
	if (pending)
		(void)hs_host_dontdump_repair(v);
	rc = hs_host_entries(v, b->huge, b->nr, states);
	if (rc)
		return hs_host_error(v, rc, "read its page tables", err);
	for (size_t i = 0; i < b->nr; i++) {
		int *result = &results[b->slot[i]];

		if (states[i] == HS_MAP_SPLIT) {
			*result = 0;
			hs_bit_put(v->split, b->huge[i], true);
		} else if (!*result) {
			*result = -EAGAIN; /* huge again already, or gone */
		}
	}
	if (!hs_walk_alive(v->walk, v->mm, &after) && after > before)
		(void)hs_host_dontdump_find(v, NULL);
	return 0;
}

int hs_host_split(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	struct split_batch *b;
	int *own = NULL;
	bool began = false, leaves = true;
	int rc = 0;

	if (!v->remote)
		return hs_error_set(err, -ENOTSUP,
				    "splitting mappings needs system calls inside process %d, and the view was opened "
				    "without the means",
				    (int)view->pid);
	b = malloc(sizeof(*b));
	own = results ? NULL : malloc(nr * sizeof(*own));
	if (!b || (!results && !own)) {
		rc = hs_host_error(v, -ENOMEM, "split its mappings", err);
		goto out;
	}
	results = results ? results : own;
	for (size_t i = 0; i < nr; i++)
		results[i] = -ECANCELED;
	(void)hs_host_dontdump_repair(v);
	(void)hs_host_armed_look(v);
	if (!v->flush_optional)
		rc = leaves_one(v, huge, nr, &leaves);
	if (rc)
		(void)hs_host_error(v, rc, "split its mappings", err);
	for (size_t i = 0; i < nr && !rc; i += BATCH) {
		rc = pick(v, huge, i, nr - i < BATCH ? nr - i : BATCH, results, b, &leaves);
		if (rc)
			(void)hs_host_error(v, rc, "split its mappings", err);
		else if (b->nr) {
			rc = split_batch(v, b, results, err);
			began |= !rc;
		}
	}
	if (rc && rc != -ESRCH && began) {
		for (size_t i = 0; i < nr; i++)
			if (results[i] == -ECANCELED)
				results[i] = rc;
		rc = 0;
	}
out:
	free(b);
	free(own);
	return rc;
}

/* ---- restoring ---- */

/* One call for as many as it takes; it ends at the first that fails, which is then asked alone for its errno. */
static int collapse(struct hs_host_view *v, const struct iovec *pages, size_t nr, int *results)
{
	bool writable = false; /* the page at `done` was made so */
	int tries = 0;

	for (size_t done = 0; done < nr;) {
		long n = syscall(SYS_process_madvise, v->pidfd, pages + done, nr - done, MADV_COLLAPSE, 0);

		if (n >= (long)HS_HUGE_SIZE) {
			for (size_t i = 0; i < (size_t)n / HS_HUGE_SIZE; i++)
				results[done + i] = 0;
			done += (size_t)n / HS_HUGE_SIZE;
			tries = 0;
			writable = false;
			continue;
		}
		if (n < 0 && errno == ESRCH)
			return -ESRCH;
		if (n < 0 && errno == EINTR)
			continue;
		/* A page locked or isolated for a moment: once more, before it becomes a matter for a later round. */
		if (n < 0 && (errno == EAGAIN || errno == EBUSY) && tries++ < 2)
			continue;
		if (n < 0 && errno == EINVAL && !writable) {
			writable = true;
			if (!hs_host_make_writable(v, (uint64_t)(uintptr_t)pages[done].iov_base))
				continue;
			errno = EINVAL;
		}
		results[done++] = n < 0 && errno != EBUSY ? -errno : -EAGAIN;
		tries = 0;
		writable = false;
	}
	return 0;
}

static int restore_batch(struct hs_host_view *v, const hs_huge_nr *huge, size_t nr, int *results)
{
	struct iovec pages[BATCH];
	size_t slot[BATCH], n = 0;
	int collapsed[BATCH];
	uint8_t states[BATCH];
	bool elsewhere[BATCH];
	int rc;

	rc = hs_host_entries(v, huge, nr, states);
	if (!rc)
		hs_host_elsewhere(v, huge, nr, elsewhere);
	for (size_t i = 0; i < nr && !rc; i++) {
		results[i] = states[i] == HS_MAP_HUGE ? 0 : states[i] == HS_MAP_ABSENT ? -ENOENT : -EAGAIN;
		if (hs_bit_test(v->gone, huge[i])) /* unknown for ever: no later round could do better */
			results[i] = -ENOENT;
		if (states[i] != HS_MAP_SPLIT)
			continue;
		if (elsewhere[i]) {
			results[i] = -EXDEV;
			continue;
		}
		if (hs_host_is_common(v, huge[i], HS_BASE_PER_HUGE))
			continue;
		pages[n] = (struct iovec){ (void *)(uintptr_t)hs_view_hva(&v->view, huge[i]).v, HS_HUGE_SIZE };
		collapsed[n] = -EAGAIN;
		slot[n++] = i;
	}
	if (!rc && n)
		rc = collapse(v, pages, n, collapsed);
	if (!rc && n)
		rc = hs_host_entries(v, huge, nr, states);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++)
		results[slot[i]] = states[slot[i]] == HS_MAP_HUGE ? 0 : collapsed[i] ? collapsed[i] : -EAGAIN;
	for (size_t i = 0; i < nr; i++)
		if (!results[i] || results[i] == -ENOENT)
			hs_bit_put(v->split, huge[i], false);
	return 0;
}

int hs_host_restore(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	int own[BATCH];
	int rc = 0;

	(void)hs_host_dontdump_repair(v);
	(void)hs_host_armed_look(v);
	for (size_t i = 0; i < nr && !rc; i += BATCH)
		rc = restore_batch(v, huge + i, nr - i < BATCH ? nr - i : BATCH, results ? results + i : own);
	return rc ? hs_host_error(v, rc, "restore its huge mappings", err) : 0;
}

/* ---- the page itself ---- */

/*
 * MADV_COLD on a part of a huge page splits it, since the kernel can age only whole pages; where several processes map
 * it, or somebody holds it, it is left whole, which is no error.
 */
int hs_host_split_page(struct hs_view *view, hs_huge_nr huge, unsigned int base, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	const struct iovec page = { (void *)(uintptr_t)(hs_view_hva(view, huge).v + base * HS_BASE_SIZE),
				    HS_BASE_SIZE };

	hs_host_armed_look_again(v);
	if (hs_host_is_off_limits(v, huge))
		return hs_error_set(err, -EAGAIN, "huge page %u of process %d is left alone: %s", huge, (int)view->pid,
				    hs_view_reason_text(hs_view_why(view, huge)));
	if (syscall(SYS_process_madvise, v->pidfd, &page, 1, MADV_COLD, 0) < 0)
		return hs_host_error(v, errno == ENOMEM ? -EAGAIN : -errno, "split its huge pages", err);
	hs_bit_put(v->split, huge, false); /* nothing is to be brought back when the view is closed */
	return 0;
}

/* ---- closing ---- */

/* Marked NOHUGEPAGE since: it was given over to sharing, which wants it split. */
static bool is_given_over(struct hs_host_view *v, const struct hs_vma_list *smaps, hs_huge_nr huge)
{
	uint64_t start = hs_view_hva(&v->view, huge).v;

	for (size_t i = hs_vmas_above(smaps, start); i < smaps->nr && smaps->vma[i].start < start + HS_HUGE_SIZE; i++)
		if (smaps->vma[i].nohugepage)
			return true;
	return false;
}

/*
 * Restores what we split and what is as we left it: 512 base entries. A table with holes is the guest's own doing (it
 * gave memory back, which splits a huge mapping anyway): making it huge would take that memory again.
 */
void hs_host_restore_all(struct hs_host_view *v)
{
	struct hs_vma_list smaps = { 0 };
	uint32_t failed = 0;
	int last = 0;

	for (hs_huge_nr h = 0; v->split && h < v->view.nr_huge; h++) {
		struct hs_base_sample now;
		int result = 0;

		if (!hs_bit_test(v->split, h))
			continue;
		if (hs_host_sample_presence(v, h, &now, NULL))
			break; /* the guest is gone */
		if (now.state != HS_MAP_SPLIT && now.state != HS_MAP_UNKNOWN)
			continue;
		if (!smaps.vma && hs_vmas_read(&smaps, v->dir_fd, "smaps"))
			break;
		if (is_given_over(v, &smaps, h))
			continue;
		if (hs_view_restore(&v->view, &h, 1, &result, NULL))
			break;
		if (result && result != -ENOENT) {
			failed++;
			last = result;
		}
	}
	hs_vmas_finish(&smaps);
	if (failed)
		(void)fprintf(stderr,
			      "hs: process %d: %u huge mappings that were split could not be restored (%s); khugepaged "
			      "will do it in time\n",
			      (int)v->view.pid, failed, strerror(-last));
	if (v->dump_pending && hs_host_dontdump_repair(v) && !hs_walk_alive(v->walk, v->mm, NULL))
		(void)fprintf(
		    stderr,
		    "hs: process %d: a core-dump flag (MADV_DONTDUMP) of its memory could not be put back; the "
		    "next run will\n",
		    (int)v->view.pid);
}
