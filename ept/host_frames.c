/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of page frames, from /proc/kpageflags: one 64-bit word a frame. */
#include <errno.h>
#include <stdlib.h>
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
