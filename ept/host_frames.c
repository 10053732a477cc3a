/* What the kernel says of page frames, from /proc/kpageflags: one 64-bit word a frame. */
#include <errno.h>
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
