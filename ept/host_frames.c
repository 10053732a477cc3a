/* SPDX-License-Identifier: Apache-2.0 */
/* Page frames: which ones the tables name, and what the kernel says of each, from /proc/kpageflags: one 64-bit word a
 * frame. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host_internal.h"
#include "x86_entry.h"

int hs_host_page_flags(int kpageflags_fd, uint64_t pfn, size_t nr, uint64_t *flags)
{
	ssize_t want = (ssize_t)(nr * sizeof(*flags));
	ssize_t got;

	do {
		got = pread(kpageflags_fd, flags, (size_t)want, (off_t)(pfn * sizeof(*flags)));
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return got == want ? 0 : -EIO; /* short: past the end of memory, so it was no frame */
}

struct framed {
	uint64_t pfn;
	unsigned int page;
};

static int by_pfn(const void *a, const void *b)
{
	const struct framed *x = a, *y = b;

	return (x->pfn > y->pfn) - (x->pfn < y->pfn);
}

#define FLAGS_GAP  64U   /* frames that cost as much to read for nothing as a read of its own */
#define FLAGS_MOST 1024U /* frames a read */

int hs_host_frame_flags(int kpageflags_fd, const uint64_t pfn[HS_BASE_PER_HUGE], uint64_t flags[HS_BASE_PER_HUGE],
			struct hs_bits512 *bad)
{
	struct framed order[HS_BASE_PER_HUGE];
	uint64_t words[FLAGS_MOST];
	size_t nr = 0;

	hs_bits_clear_all(bad);
	for (unsigned int b = 0; b < HS_BASE_PER_HUGE; b++)
		if (pfn[b])
			order[nr++] = (struct framed){ pfn[b], b };
	qsort(order, nr, sizeof(order[0]), by_pfn);
	for (size_t i = 0, end; i < nr; i = end) {
		const uint64_t first = order[i].pfn;
		int rc;

		for (end = i + 1; end < nr && order[end].pfn - order[end - 1].pfn <= FLAGS_GAP &&
				  order[end].pfn - first < FLAGS_MOST;)
			end++;
		rc = hs_host_page_flags(kpageflags_fd, first, (size_t)(order[end - 1].pfn - first) + 1, words);
		if (rc && rc != -EIO)
			return rc;
		for (size_t k = i; k < end; k++)
			if (rc)
				hs_bits_set(bad, order[k].page);
			else
				flags[order[k].page] = words[order[k].pfn - first];
	}
	return 0;
}

/*
 * A read of memory that was never written can map the huge zero page: a huge entry, but no memory. The kernel maps it
 * read-only, which other huge pages of a guest hardly ever are: only such entries are looked up, and the frame is asked
 * about each time, since the kernel may free that page and use it for something else.
 */
bool hs_host_is_zero_entry(struct hs_host_view *v, uint64_t entry)
{
	uint64_t pfn, flags;

	if (entry & (HS_X86_WRITE | HS_X86_ANY_DIRTY))
		return false;
	pfn = hs_x86_pmd_pfn(entry, hs_walk_base(v->walk)->phys_mask);
	if (hs_host_page_flags(v->kpageflags_fd, pfn, 1, &flags))
		return false;
	return (flags & HS_KPF_ZERO) != 0;
}

/* ---- of a huge page ---- */

struct frame_job {
	uint64_t pfn[HS_BASE_PER_HUGE]; /* 0: none, or unknown */
	struct hs_bits512 own;          /* cannot be KSM's */
	uint64_t phys_mask;
};

/*
 * KSM's pages are mapped neither writable nor dirty. A PROT_NONE entry has lost its write bit; NUMA balancing passes
 * KSM's pages over, and what a guest has written to is dirty.
 */
static bool is_own(uint64_t entry)
{
	return (entry & HS_X86_WRITE) || (hs_x86_is_protnone(entry) && (entry & HS_X86_ANY_DIRTY));
}

static void take_frames(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct frame_job *j = ctx;

	(void)i;
	memset(j->pfn, 0, sizeof(j->pfn));
	if (req->status == HS_WALK_ENTRY && hs_x86_pmd(req->entry) == HS_X86_PAGE) {
		for (unsigned int b = 0; b < HS_BASE_PER_HUGE; b++)
			j->pfn[b] = hs_x86_pmd_pfn(req->entry, j->phys_mask) + b;
		if (is_own(req->entry))
			j->own = hs_bits_full();
	} else if (req->status == HS_WALK_COPIED) {
		for (unsigned int b = 0; b < HS_BASE_PER_HUGE; b++)
			if (hs_x86_pte(page[b]) == HS_X86_PAGE) {
				j->pfn[b] = hs_x86_pte_pfn(page[b], j->phys_mask);
				if (is_own(page[b]))
					hs_bits_set(&j->own, b);
			}
	}
}

/*
 * Linux 6.12 says of every anonymous page that it is KSM's (fs/proc/page.c compares one bit too few). But KSM's pages
 * are never mapped writable, and others nearly always are. (What a fork shares, and what ksmd has just looked at, is
 * not: it is taken for KSM's there until it is written to.)
 */
static void put_flags(struct hs_frame *f, uint64_t flags, bool own)
{
	f->flags = ((flags & HS_KPF_KSM) && !own ? (uint32_t)HS_FRAME_KSM : 0) |
		   (flags & HS_KPF_ZERO ? (uint32_t)HS_FRAME_ZERO : 0) |
		   (flags & HS_KPF_HUGE_FOLIO ? (uint32_t)HS_FRAME_HUGE : 0) |
		   (flags & HS_KPF_LOCKED ? (uint32_t)HS_FRAME_LOCKED : 0);
}

/*
 * A frame may leave this guest and serve another while its flags are read. So the table is read again afterwards, and
 * what is not mapped to the same frame, in the same way, any more is unknown: for the rest, the flags were those of the
 * guest's page.
 */
int hs_host_frames(struct hs_view *view, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	struct hs_walk_req req = { .va = hs_view_hva(view, huge).v, .kind = HS_WALK_PTE_PAGE };
	struct frame_job before = { .phys_mask = hs_walk_base(v->walk)->phys_mask };
	struct frame_job after = before;
	uint64_t flags[HS_BASE_PER_HUGE];
	struct hs_bits512 bad;
	int rc;

	if (hs_bit_test(v->gone, huge))
		return 0;
	rc = hs_walk_run(v->walk, v->mm, &req, 1, take_frames, &before);
	if (rc)
		return hs_host_error(v, rc, "read its page tables", err);
	rc = hs_host_frame_flags(v->kpageflags_fd, before.pfn, flags, &bad);
	if (rc)
		return hs_host_error(v, rc, "read the flags of its page frames", err);
	for (unsigned int b = 0; b < HS_BASE_PER_HUGE; b++) {
		if (!before.pfn[b] || hs_bits_test(&bad, b))
			continue;
		out[b].pfn = before.pfn[b];
		put_flags(&out[b], flags[b], hs_bits_test(&before.own, b));
	}
	rc = hs_walk_run(v->walk, v->mm, &req, 1, take_frames, &after);
	for (unsigned int b = 0; b < HS_BASE_PER_HUGE; b++)
		if (rc || after.pfn[b] != out[b].pfn || hs_bits_test(&after.own, b) != hs_bits_test(&before.own, b))
			out[b] = (struct hs_frame){ 0 };
	return rc ? hs_host_error(v, rc, "read its page tables", err) : 0;
}
