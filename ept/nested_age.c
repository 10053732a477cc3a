/*
 * Ageing of nested entries: what makes the next access to a page visible again.
 *
 * Where the kernel has page_idle, that clears the accessed bits themselves, and costs no fault: nested_idle.c. Debian's
 * kernels have not. KVM itself offers no such call. But the kernel tells KVM when it is about to change how a range of
 * the process's memory is mapped, and KVM drops its entries for that range, flushes, and maps each page again when the
 * guest touches it next. So the entry's being there is the accessed bit: each entry that is touched costs one fault,
 * 2 MiB at a time where the host's page is huge and nothing is logged. Two calls do that while they leave the process's
 * own mappings as they are:
 *
 *  PAGEMAP_SCAN   (Linux 6.7) with PM_SCAN_WP_MATCHING on /proc/PID/pagemap. It write-protects for a userfaultfd in
 *                 asynchronous mode, which guests' memory has not: nothing is protected, but the range's entries are
 *                 dropped first in any case.
 *  clear_refs 4   (soft dirty) drops all entries of the process, and write-protects all its memory: the VMM's own next
 *                 write to each page costs a fault as well. Another user of soft dirty (CRIU) on this guest would lose
 *                 what it tracks.
 *
 * The VMM's own accesses (emulated devices, vhost) go through the host's page tables: these are aged too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dirty_log_guard.h"
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

enum hs_nested_ageing hs_nested_choose_ageing(const struct hs_host *host, int *idle_fd, struct hs_error *why)
{
	bool scan = has_scan(host);
	int fd = hs_nested_idle_open(host, why);

	*idle_fd = -1;
	if (fd >= 0 && scan) {
		*idle_fd = fd;
		return HS_NESTED_AGE_IDLE;
	}
	if (fd >= 0) {
		close(fd);
		(void)hs_error_set(why, -ENOTSUP,
				   "page_idle leaves cached translations, which nothing flushes without PAGEMAP_SCAN "
				   "(Linux 6.7)");
	}
	if (scan)
		return HS_NESTED_AGE_SCAN;
	if (has_soft_dirty(host))
		return HS_NESTED_AGE_SOFT_DIRTY;
	(void)hs_error_set(why, -ENOTSUP,
			   "this kernel offers no way to age a KVM guest's nested page tables: use Linux 6.7 or later, "
			   "or one with CONFIG_MEM_SOFT_DIRTY=y");
	return HS_NESTED_AGE_NONE;
}

bool hs_nested_ages_ranges(enum hs_nested_ageing ageing)
{
	return ageing == HS_NESTED_AGE_IDLE || ageing == HS_NESTED_AGE_SCAN;
}

const char *hs_nested_ageing_name(enum hs_nested_ageing ageing)
{
	switch (ageing) {
	case HS_NESTED_AGE_IDLE:
		return "page_idle";
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
	int idle_fd;
	enum hs_nested_ageing ageing = hs_nested_choose_ageing(host, &idle_fd, err);

	if (idle_fd >= 0)
		close(idle_fd);
	*fine = hs_nested_ages_ranges(ageing) && hs_dirty_log_guard_can_pin();
	return ageing == HS_NESTED_AGE_NONE ? NULL : hs_nested_ageing_name(ageing);
}

/* ---- doing it ---- */

int hs_nested_drop(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	uint64_t start = hs_view_hva(&v->view, first).v;

	return drop_range(hs_nested_host(v)->pagemap_fd, start, start + nr * HS_HUGE_SIZE);
}

int hs_nested_drop_base(struct hs_nested_view *v, hs_huge_nr huge, unsigned int first, unsigned int nr)
{
	uint64_t start = hs_view_hva(&v->view, huge).v + first * HS_BASE_SIZE;

	return drop_range(hs_nested_host(v)->pagemap_fd, start, start + nr * HS_BASE_SIZE);
}

typedef int (*run_fn)(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr);

/*
 * While dirty logging is on, what is dropped comes back in base pages: then only what is meant to. Of what is blind
 * nothing is said at the sample; and a display's memory, which the VMM logs, would come back so.
 */
static bool is_aged(const struct hs_nested_view *v, hs_huge_nr huge)
{
	return !hs_bit_test(v->blind, huge) && (!v->log.open || hs_bit_test(v->split, huge));
}

/* All huge pages that an ageing is of, a run at a time, each within its region, until one fails. */
static int each_run(struct hs_nested_view *v, run_fn fn)
{
	int rc = 0;

	for (size_t i = 0; i < v->view.nr_regions && !rc; i++) {
		const struct hs_region *r = &v->view.regions[i];

		for (hs_huge_nr h = r->first_huge, end = h + r->nr_huge, to; h < end && !rc; h = to + 1) {
			for (to = h; to < end && is_aged(v, to); to++)
				;
			if (to > h)
				rc = fn(v, h, to - h);
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

/* What KVM records without the hardware's help has no accessed bit. */
static bool keeps_bits(const struct hs_kvm_seen *now)
{
	for (uint32_t i = 0; i < now->look.nr_roots; i++)
		if (now->roots[i].ad_disabled && !now->roots[i].invalid)
			return false;
	return true;
}

/* The steps of nested_idle.c. */
static int age_by_bit(struct hs_nested_view *v, struct hs_error *err)
{
	int rc = each_run(v, hs_nested_idle_clear);

	if (rc)
		return hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err);
	rc = hs_view_age(v->inner, err);
	if (rc)
		return rc;
	v->flushed = false;
	rc = each_run(v, hs_nested_idle_drop_left);
	if (!rc)
		rc = each_run(v, hs_nested_idle_flush);
	if (rc == -EAGAIN) { /* the tables are being built anew: the next sample knows nothing */
		v->has_aged = false;
		return 0;
	}
	return rc ? hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err) : 0;
}

static int age_by_presence(struct hs_nested_view *v, struct hs_error *err)
{
	int rc = hs_view_age(v->inner, err);

	if (rc)
		return rc;
	rc = v->ageing == HS_NESTED_AGE_SOFT_DIRTY ? drop_process(v) : each_run(v, hs_nested_drop);
	return rc ? hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err) : 0;
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
	rc = hs_nested_dirty_log_check(v, err);
	if (!rc)
		rc = hs_nested_look(v, &now, err);
	if (!rc && v->nr_logged && !v->log.open) {
		hs_nested_dirty_log_recover(v);
		rc = hs_nested_look(v, &now, err);
	}
	if (rc)
		return rc;
	if (v->logs_ram && !v->log.open)
		return hs_error_set(err, -EBUSY,
				    "process %d logs the pages that its guest writes (a migration, or a dirty-rate "
				    "calculation): its guest is left alone meanwhile",
				    (int)view->pid);
	v->aged = now;
	v->has_aged = true;
	v->by_bit = v->ageing == HS_NESTED_AGE_IDLE && keeps_bits(&now);
	rc = v->by_bit ? age_by_bit(v, err) : age_by_presence(v, err);
	v->has_aged &= !rc;
	return rc;
}
