/*
 * Ageing of nested entries: what makes the next access to a page visible again.
 *
 * KVM offers no call that clears the accessed bits of a guest's nested entries from outside. But the kernel tells KVM
 * when it is about to change how a range of the process's memory is mapped, and KVM drops its entries for that range,
 * flushes, and maps each page again when the guest touches it next. So the entry's being there is the accessed bit:
 * each entry that is touched costs one fault, 2 MiB at a time where the host's page is huge and nothing is logged. Two
 * calls do that while they leave the process's own mappings as they are:
 *
 *  PAGEMAP_SCAN   (Linux 6.7) with PM_SCAN_WP_MATCHING on /proc/PID/pagemap. It write-protects for a userfaultfd in
 *                 asynchronous mode, which guests' memory has not: nothing is protected, but the range's entries are
 *                 dropped first in any case.
 *  clear_refs 4   (soft dirty) drops all entries of the process, and write-protects all its memory: the VMM's own next
 *                 write to each page costs a fault as well. Another user of soft dirty (CRIU) on this guest would lose
 *                 what it tracks.
 *
 * The VMM's own accesses (emulated devices, vhost) go through the host's page tables: these are aged too, first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_guard.h"
#include "nested_view.h"

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
#define SCAN             _IOWR('f', 16, struct scan_arg)
#define SCAN_WP_MATCHING (1U << 0)

/* ---- what there is ---- */

static int drop_range(int pagemap_fd, uint64_t start, uint64_t end)
{
	struct scan_arg arg = { .size = sizeof(arg), .flags = SCAN_WP_MATCHING, .start = start, .end = end };
	int rc;

	do {
		rc = ioctl(pagemap_fd, SCAN, &arg);
	} while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

/* Tried on a page of our own that nobody uses. */
static bool has_scan(const struct hs_host *host)
{
	void *page = NULL;
	char path[512];
	int fd, rc = -1;

	(void)snprintf(path, sizeof(path), "%s/self/pagemap", host->proc_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !posix_memalign(&page, HS_BASE_SIZE, HS_BASE_SIZE))
		rc = drop_range(fd, (uint64_t)(uintptr_t)page, (uint64_t)(uintptr_t)page + HS_BASE_SIZE);
	free(page);
	if (fd >= 0)
		close(fd);
	return rc == 0;
}

/* A kernel with soft dirty gives a new mapping that flag. */
static bool has_soft_dirty(const struct hs_host *host)
{
	char path[512], *line = NULL;
	bool found = false;
	size_t room = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/self/smaps", host->proc_dir);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && getline(&line, &room, f) > 0)
		found = !strncmp(line, "VmFlags:", 8) && strstr(line, " sd");
	free(line);
	(void)fclose(f);
	return found;
}

enum hs_nested_ageing hs_nested_choose_ageing(const struct hs_host *host, struct hs_error *err)
{
	if (has_scan(host))
		return HS_NESTED_AGE_SCAN;
	if (has_soft_dirty(host))
		return HS_NESTED_AGE_SOFT_DIRTY;
	(void)hs_error_set(err, -ENOTSUP,
			   "this kernel offers no way to age a KVM guest's nested page tables: use Linux 6.7 or later, "
			   "or one with CONFIG_MEM_SOFT_DIRTY=y");
	return HS_NESTED_AGE_NONE;
}

const char *hs_nested_ageing_name(enum hs_nested_ageing ageing)
{
	switch (ageing) {
	case HS_NESTED_AGE_SCAN:
		return "PAGEMAP_SCAN";
	case HS_NESTED_AGE_SOFT_DIRTY:
		return "soft dirty";
	case HS_NESTED_AGE_NONE:
		break;
	}
	return "none";
}

const char *hs_view_nested_ageing(const struct hs_host *host, bool *fine, struct hs_error *err)
{
	enum hs_nested_ageing ageing = hs_nested_choose_ageing(host, err);

	*fine = ageing == HS_NESTED_AGE_SCAN && hs_kvm_guard_can_pin();
	return ageing == HS_NESTED_AGE_NONE ? NULL : hs_nested_ageing_name(ageing);
}

/* ---- doing it ---- */

int hs_nested_drop(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	uint64_t start = hs_view_hva(&v->view, first).v;

	return drop_range(hs_nested_host(v)->pagemap_fd, start, start + nr * HS_HUGE_SIZE);
}

static int drop_regions(struct hs_nested_view *v)
{
	int rc = 0;

	for (size_t i = 0; i < v->view.nr_regions && !rc; i++)
		rc = hs_nested_drop(v, v->view.regions[i].first_huge, v->view.regions[i].nr_huge);
	return rc;
}

/* Runs of what is split, each within its region. */
static int drop_split(struct hs_nested_view *v)
{
	int rc = 0;

	for (size_t i = 0; i < v->view.nr_regions && !rc; i++) {
		const struct hs_region *r = &v->view.regions[i];

		for (hs_huge_nr h = r->first_huge, end = h + r->nr_huge, to; h < end && !rc; h = to + 1) {
			for (to = h; to < end && hs_bit_test(v->split, to); to++)
				;
			if (to > h)
				rc = hs_nested_drop(v, h, to - h);
		}
	}
	return rc;
}

static int drop_process(struct hs_nested_view *v)
{
	ssize_t n;

	do {
		n = pwrite(hs_nested_host(v)->clear_refs_fd, "4", 1, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* While dirty logging is on, what is dropped comes back in base pages: then only what is meant to. */
static int drop(struct hs_nested_view *v)
{
	if (v->ageing == HS_NESTED_AGE_SOFT_DIRTY)
		return drop_process(v);
	return v->log.open ? drop_split(v) : drop_regions(v);
}

/*
 * The look comes first: what changes after it (slots, sets of tables) is noticed at the sample, which then knows
 * nothing.
 */
int hs_nested_age(struct hs_view *view, struct hs_error *err)
{
	struct hs_nested_view *v = hs_nested_view(view);
	struct hs_kvm_seen now;
	int rc;

	v->has_aged = false;
	rc = hs_nested_log_check(v, err);
	if (!rc)
		rc = hs_nested_look(v, &now, err);
	if (!rc && v->nr_logged && !v->log.open) {
		hs_nested_log_recover(v);
		rc = hs_nested_look(v, &now, err);
	}
	if (rc)
		return rc;
	if (v->nr_logged && !v->log.open)
		return hs_error_set(err, -EBUSY,
				    "process %d logs the pages that its guest writes (a migration, or a dirty-rate "
				    "calculation): its guest is left alone meanwhile",
				    (int)view->pid);
	rc = hs_view_age(v->inner, err);
	if (rc)
		return rc;
	rc = drop(v);
	if (rc)
		return hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err);
	v->aged = now;
	v->has_aged = true;
	return 0;
}
