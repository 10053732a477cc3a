/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropping the nested entries of chosen ranges, and ageing by it.
 *
 * The kernel notifies KVM when it is about to change how a range of the process's memory is mapped, and KVM drops its
 * entries for that range, flushes, and maps each page again when the guest touches it next. So the entry's being there
 * is the accessed bit: each entry that is touched costs one fault, 2 MiB at a time where the host's page is huge and
 * nothing is logged.
 *
 * PAGEMAP_SCAN (Linux 6.7) with PM_SCAN_WP_MATCHING on /proc/PID/pagemap notifies KVM, and then write-protects what
 * matches, for a userfaultfd in asynchronous mode. Nothing may ever match: a VMM that tracks its writes that way (for a
 * snapshot, say) would lose what it has tracked. That is not left to a look beforehand, after which the VMM may begin:
 * the call itself asks for pages that cannot be (of memory that cannot be write-protected so, which this flag passes
 * over; and present and swapped out at once). It has to ask for their list, too: without a list, the kernel protects
 * all there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "nested_internal.h"

/* linux/fs.h since 6.7; older headers lack it. */
struct scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};
struct scan_region {
	uint64_t start, end, categories;
};
#define SCAN             _IOWR('f', 16, struct scan_arg)
#define SCAN_WP_MATCHING (1U << 0)
#define IS_WP_ALLOWED    (1U << 0)
#define IS_PRESENT       (1U << 3)
#define IS_SWAPPED       (1U << 4)

int hs_nested_drop_range(int pagemap_fd, uint64_t start, uint64_t end)
{
	struct scan_region none;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.flags = SCAN_WP_MATCHING,
		.start = start,
		.end = end,
		.vec = (uint64_t)(uintptr_t)&none,
		.vec_len = 1,
		.category_inverted = IS_WP_ALLOWED,
		.category_mask = IS_WP_ALLOWED | IS_PRESENT | IS_SWAPPED,
		.return_mask = IS_PRESENT,
	};
	int rc;

	do {
		rc = ioctl(pagemap_fd, SCAN, &arg);
	} while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

int hs_nested_drop(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	uint64_t start = hs_view_hva(&v->view, first).v;

	return hs_nested_drop_range(hs_nested_host(v)->pagemap_fd, start, start + nr * HS_HUGE_SIZE);
}

int hs_nested_drop_base(struct hs_nested_view *v, hs_huge_nr huge, unsigned int first, unsigned int nr)
{
	uint64_t start = hs_view_hva(&v->view, huge).v + first * HS_BASE_SIZE;

	return hs_nested_drop_range(hs_nested_host(v)->pagemap_fd, start, start + nr * HS_BASE_SIZE);
}

/* Tried on a page of our own that nobody uses. */
static int open_scan(const struct hs_host *host, int *fd, struct hs_error *why)
{
	void *page = NULL;
	char path[512];
	int pagemap_fd, rc = -EACCES;

	*fd = -1; /* the guest's own pagemap does */
	(void)snprintf(path, sizeof(path), "%s/self/pagemap", host->proc_dir);
	pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap_fd >= 0 && !posix_memalign(&page, HS_BASE_SIZE, HS_BASE_SIZE))
		rc = hs_nested_drop_range(pagemap_fd, (uint64_t)(uintptr_t)page,
					  (uint64_t)(uintptr_t)page + HS_BASE_SIZE);
	free(page);
	if (pagemap_fd >= 0)
		close(pagemap_fd);
	return rc ? hs_error_set(why, -ENOTSUP, "this kernel has no PAGEMAP_SCAN (Linux 6.7)") : 0;
}

bool hs_nested_can_drop(const struct hs_host *host)
{
	int fd;

	return !open_scan(host, &fd, NULL);
}

static int age(struct hs_nested_view *v, struct hs_error *err)
{
	int rc = hs_view_age(v->inner, err);

	if (rc)
		return rc;
	rc = hs_nested_each_run(v, hs_nested_drop);
	return rc ? hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err) : 0;
}

const struct hs_nested_ageing hs_nested_age_scan = {
	.name = "PAGEMAP_SCAN", .ranges = true, .open = open_scan, .age = age
};
