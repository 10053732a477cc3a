/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flush that has to follow clear_refs (host_age.c), where nothing is mapped huge that could serve: by two base
 * pages.
 *
 * process_madvise(MADV_COLD) of a stretch takes every accessed entry out and gathers what has to be flushed: from the
 * first such page to the last. For more than 33 pages x86 flushes the process's whole address space. So two pages are
 * looked for that have been accessed since the bits were cleared, far enough apart, in one page table and one VMA
 * (another VMA is another gather). A guest that is at work has such pages within some milliseconds; for that long it
 * is waited. Both were accessed before and are not after: so the flush did happen, and it comes after the clearing.
 * What the stretch is seen to have been accessed until then is lost, and that is before the time that counts begins.
 *
 * Left out is what is one folio for the kernel: it would be split, since only a part of it is named.
 *
 * A guest that uses fewer pages than that shows nothing of what its processors have cached, and nothing is flushed.
 * Base pages do not push one another out of the caches for certain: a small working set stays there, and a hypervisor
 * that keeps shadow page tables for this host caches as much as it likes. (Measured on such a host: a process that read
 * all of its 64 MiB of base pages every 11 ms had 1.3 to 64 MiB of them accessed 20 ms to 2 s after clear_refs, and
 * that not in the order of the times.) What is not seen accessed is unknown then, unless no thread has run meanwhile
 * (host_rest.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/times.h"
#include "base/vmas.h"
#include "host_internal.h"

#define WAIT_US     10000
#define STEP_US     250
#define MAX_STRETCH 8                /* that one flush tries */
#define APART       400              /* pages: x86 flushes all for more than 33 (tlb_single_page_flush_ceiling) */
#define PER_LOOK    HS_WALK_MAX_REQS /* page tables read at once */
#define MAX_TABLES  (16 * PER_LOOK)  /* page tables read for one flush, some 10 us each with their copy */

struct stretch {
	hs_huge_nr huge;
	unsigned int first, last; /* base pages */
};

struct look {
	struct hs_host_view *v;
	hs_huge_nr huge[PER_LOOK];
	size_t nr; /* tables read */
	struct stretch found;
	bool any;
};

static bool is_young(uint64_t e)
{
	return (e & (HS_X86_PRESENT | HS_X86_WRITE | HS_X86_ACCESSED)) ==
		   (HS_X86_PRESENT | HS_X86_WRITE | HS_X86_ACCESSED) &&
	       !((e >> HS_X86_SPECIAL_BIT) & 1);
}

/* The two that are nearest to one another, but far enough apart. */
static bool find_pair(const uint64_t *page, struct stretch *s)
{
	const int end = HS_BASE_PER_HUGE;
	int young[HS_BASE_PER_HUGE], nr = 0, best = end;

	for (int b = 0; b < end; b++)
		if (is_young(page[b]))
			young[nr++] = b;
	for (int lo = 0, hi = 0; hi < nr; hi++) {
		while (lo < hi && young[hi] - young[lo + 1] >= APART)
			lo++;
		if (young[hi] - young[lo] >= APART && young[hi] - young[lo] < best) {
			best = young[hi] - young[lo];
			s->first = (unsigned int)young[lo];
			s->last = (unsigned int)young[hi];
		}
	}
	return best < end;
}

static void take_table(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct look *l = ctx;

	if (l->any || req->status != HS_WALK_COPIED)
		return;
	l->found.huge = l->huge[i];
	l->any = find_pair(page, &l->found);
}

struct ends {
	struct stretch s;
	bool both_old;
};

static void take_ends(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct ends *e = ctx;

	(void)i;
	e->both_old = req->status == HS_WALK_COPIED && (page[e->s.first] & HS_X86_PRESENT) &&
		      (page[e->s.last] & HS_X86_PRESENT) && !hs_x86_accessed(page[e->s.first]) &&
		      !hs_x86_accessed(page[e->s.last]);
}

/* Whether all of it is in one VMA, and nothing of it is more than a base page for the kernel. */
static bool is_plain(struct hs_host_view *v, const struct stretch *s, uint64_t start, uint64_t end)
{
	struct hs_frame frames[HS_BASE_PER_HUGE] = { { 0 } };
	struct hs_error err = { "" };
	struct hs_vma_list maps;
	bool plain;
	size_t i;

	if (hs_host_frames(&v->view, s->huge, frames, &err))
		return false;
	for (unsigned int b = s->first; b <= s->last; b++)
		if (frames[b].flags & HS_FRAME_HUGE)
			return false;
	if (hs_vmas_read(&maps, v->dir_fd, "maps"))
		return false;
	i = hs_vmas_above(&maps, start);
	plain = i < maps.nr && maps.vma[i].start <= start && maps.vma[i].end >= end;
	hs_vmas_finish(&maps);
	return plain;
}

/* 1: flushed; 0: it did not serve; -errno. */
static int flush_by(struct hs_host_view *v, const struct stretch *s)
{
	const uint64_t va = hs_view_hva(&v->view, s->huge).v, start = va + s->first * HS_BASE_SIZE,
		       end = va + (s->last + 1) * HS_BASE_SIZE;
	struct hs_walk_req req = { .va = va, .kind = HS_WALK_PTE_PAGE };
	struct iovec part = { (void *)(uintptr_t)start, end - start };
	struct ends after = { .s = *s };
	int rc;

	if (!is_plain(v, s, start, end))
		return 0;
	if (syscall(SYS_process_madvise, v->pidfd, &part, 1, MADV_COLD, 0) < 0)
		return errno == ENOMEM || errno == EINVAL ? 0 : -errno; /* unmapped meanwhile, or locked */
	rc = hs_walk_run(v->walk, v->mm, &req, 1, take_ends, &after);
	return rc ? rc : after.both_old && is_plain(v, s, start, end);
}

/* Reads the next page tables from flush_next on. Those of whole huge pages that are split for a moment are passed over.
 */
static int look_on(struct hs_host_view *v, struct look *l, uint32_t *nr_seen)
{
	struct hs_walk_req reqs[PER_LOOK];
	size_t nr = 0;

	l->any = false;
	for (; nr < PER_LOOK && *nr_seen < v->view.nr_huge; (*nr_seen)++) {
		const hs_huge_nr h = v->flush_next < v->view.nr_huge ? v->flush_next : 0;

		v->flush_next = h + 1;
		if (hs_host_is_off_limits(v, h) || hs_bit_test(v->split, h))
			continue;
		l->huge[nr] = h;
		reqs[nr++] = (struct hs_walk_req){ .va = hs_view_hva(&v->view, h).v, .kind = HS_WALK_PTE_PAGE };
	}
	l->nr = nr;
	return hs_walk_run(v->walk, v->mm, reqs, nr, take_table, l);
}

int hs_host_flush_base(struct hs_host_view *v, bool *flushed)
{
	const uint64_t until_us = hs_monotonic_us() + WAIT_US;
	struct look *l = calloc(1, sizeof(*l));
	uint32_t nr_seen = 0;
	unsigned int nr_tried = 0;
	size_t nr_tables = 0;
	bool runs = true;
	int rc = l ? 0 : -ENOMEM;

	*flushed = false;
	v->rest.nr = 0;
	while (!rc && !*flushed && nr_tried < MAX_STRETCH && nr_tables < MAX_TABLES) {
		rc = look_on(v, l, &nr_seen);
		nr_tables += l->nr;
		if (!rc && l->any) {
			nr_tried++;
			rc = flush_by(v, &l->found);
			*flushed = rc > 0;
			rc = rc < 0 ? rc : 0;
		} else if (!rc && nr_seen >= v->view.nr_huge) {
			/* All were seen, and none serves yet. Who rests accesses nothing. */
			runs = !hs_host_rest_begin(&v->rest, v->dir_fd, hs_walk_users(v->walk, v->mm));
			if (!runs || hs_monotonic_us() >= until_us)
				break;
			(void)usleep(STEP_US);
			nr_seen = 0;
		}
	}
	free(l);
	/* From here on it counts, when it rests: what it touched before may be hidden, and is not asked for. */
	if (!rc && !*flushed && runs)
		(void)hs_host_rest_begin(&v->rest, v->dir_fd, hs_walk_users(v->walk, v->mm));
	return rc;
}
