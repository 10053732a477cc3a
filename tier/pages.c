/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of a guest's base pages, and advice on runs of them. */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/pagemap.h"
#include "base/swaps.h"
#include "tier_internal.h"

int hs_tier_read_map(const struct hs_tier_guest *g, hs_huge_nr huge, struct hs_tier_map *out)
{
	const uint64_t first = hs_view_hva(g->view, huge).v >> HS_BASE_SHIFT;
	uint64_t entry[HS_BASE_PER_HUGE];
	ssize_t n;

	memset(out, 0, sizeof(*out));
	do {
		n = pread(g->pagemap_fd, entry, sizeof(entry), (off_t)(first * sizeof(entry[0])));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != sizeof(entry)) /* the address space has no users any more */
		return -ESRCH;
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		const uint64_t e = entry[i];

		if (e & HS_PM_PRESENT) {
			hs_bits_set(&out->present, i);
			out->pfn[i] = e & HS_PM_PFN;
			if ((e & HS_PM_EXCLUSIVE) && !(e & HS_PM_FILE))
				hs_bits_set(&out->alone, i);
		} else if (e & HS_PM_SWAP) {
			if ((e & HS_PM_SWAP_TYPE) < HS_SWAP_AREAS)
				hs_bits_set(&out->swapped, i);
		} else {
			hs_bits_set(&out->empty, i);
		}
	}
	return 0;
}

int hs_tier_advise(const struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, int advice)
{
	const uint64_t hva = hs_view_hva(g->view, huge).v;
	struct iovec runs[HS_BASE_PER_HUGE / 2];
	size_t nr = 0, done = 0;

	for (unsigned int i = hs_bits_next(pages, 0), end; i < HS_BASE_PER_HUGE; i = hs_bits_next(pages, end)) {
		end = hs_bits_next_clear(pages, i);
		runs[nr++] = (struct iovec){ (void *)(uintptr_t)(hva + i * HS_BASE_SIZE), (end - i) * HS_BASE_SIZE };
	}
	while (done < nr) {
		const long n = syscall(SYS_process_madvise, g->pidfd, runs + done, nr - done, advice, 0);
		size_t left = n > 0 ? (size_t)n : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == ESRCH || errno == EPERM || errno == ENOSYS))
			return -errno;
		/* It ends at the first run that it refuses, which is passed over. */
		for (; done < nr && left >= runs[done].iov_len; done++)
			left -= runs[done].iov_len;
		if (done < nr)
			done++;
	}
	return 0;
}
