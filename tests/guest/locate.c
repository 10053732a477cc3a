/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the workload's huge pages are in the guest's process. A process guest tells its own addresses; a machine tells
 * guest-physical ones, and its RAM is looked up in QEMU's process. Either is believed only when the bytes there are
 * those that the layout says.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "guest_private.h"

#define LAYOUT_TIMEOUT_MS 30000
#define MADV_COLLAPSE_1   25 /* MADV_COLLAPSE, which older headers lack */

static bool read_memory(pid_t pid, uint64_t at, void *buf, size_t size)
{
	struct iovec local = { buf, size };
	struct iovec remote = { (void *)(uintptr_t)at, size };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

/* QEMU's RAM: the anonymous private memory that it asked huge pages for, of this size, on a huge-page border. */
static int find_ram(struct hs_guest *g, struct hs_error *err)
{
	char path[64], line[1024];
	uint64_t start = 0, end = 0;
	bool private_anonymous = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)g->pid);
	f = fopen(path, "re");
	if (!f)
		return hs_error_set(err, -errno, "%s: %s", path, strerror(errno));
	while (!g->ram_hva && fgets(line, sizeof(line), f)) {
		uint64_t s, e, inode;
		char flags[5];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &s, &e, flags, &inode) == 4) {
			start = s;
			end = e;
			private_anonymous = !inode && !strcmp(flags, "rw-p");
		} else if (!strncmp(line, "VmFlags:", 8) && private_anonymous && strstr(line, " hg") &&
			   end - start >= g->ram_bytes && start % HS_HUGE_SIZE == 0) {
			g->ram_hva = start;
		}
	}
	(void)fclose(f);
	if (!g->ram_hva)
		return hs_error_set(err, -ENODATA, "guest %s: QEMU (pid %d) has no private RAM of %" PRIu64 " MiB",
				    g->name, (int)g->pid, g->ram_bytes >> 20);
	return 0;
}

/* {"huge":[[address,count],...]} into g->hva, as the guest numbers addresses. */
static int parse_runs(struct hs_guest *g, const char *json)
{
	const char *p = strchr(json, '[');
	uint32_t nr = 0;

	if (!p)
		return -EPROTO;
	for (p = strchr(p + 1, '['); p; p = strchr(p + 1, '[')) {
		uint64_t at;
		uint32_t count;

		if (sscanf(p, "[%" SCNu64 ",%" SCNu32 "]", &at, &count) != 2 || count > g->layout.nr_huge - nr)
			return -EPROTO;
		for (uint32_t i = 0; i < count; i++)
			g->hva[nr++].v = at + i * HS_HUGE_SIZE;
	}
	return nr == g->layout.nr_huge ? 0 : -EPROTO;
}

/* The first page of each huge page, and the last of all, hold what they should. */
static int prove(struct hs_guest *g, struct hs_error *err)
{
	uint64_t buf[HS_BASE_SIZE / sizeof(uint64_t)];

	for (uint32_t h = 0; h <= g->layout.nr_huge; h++) {
		uint32_t page = h < g->layout.nr_huge ? h * HS_BASE_PER_HUGE : g->layout.nr_pages - 1;
		uint64_t at = g->hva[page / HS_BASE_PER_HUGE].v + page % HS_BASE_PER_HUGE * HS_BASE_SIZE;

		if (!read_memory(g->pid, at, buf, sizeof(buf)) ||
		    !hs_guest_page_matches(&g->layout.pages[page], buf, true))
			return hs_error_set(err, -EPROTO, "guest %s (pid %d): page %u is not at %#" PRIx64, g->name,
					    (int)g->pid, page, at);
	}
	return 0;
}

int hs_guest_locate(struct hs_guest *g, struct hs_error *err)
{
	char *json = NULL;
	int ret = hs_guest_send(g, "layout\n", err);

	if (!ret)
		ret = hs_guest_receive(g, "layout", LAYOUT_TIMEOUT_MS, &json, err);
	if (ret)
		return ret;
	ret = parse_runs(g, json);
	free(json);
	if (ret)
		return hs_error_set(err, ret, "guest %s: the layout that it tells is none", g->name);
	if (g->kind == HS_GUEST_QEMU) {
		if (!g->ram_hva)
			ret = find_ram(g, err);
		for (uint32_t h = 0; h < g->layout.nr_huge && !ret; h++) {
			if (g->hva[h].v > g->ram_bytes - HS_HUGE_SIZE)
				ret = hs_error_set(err, -EPROTO, "guest %s: guest-physical %#" PRIx64 " is no RAM",
						   g->name, g->hva[h].v);
			g->hva[h].v += g->ram_hva;
		}
	}
	return ret ? ret : prove(g, err);
}

int hs_guest_make_whole(struct hs_guest *g, struct hs_error *err)
{
	int pidfd = (int)syscall(SYS_pidfd_open, g->pid, 0);
	uint32_t nr_pieces = 0;
	int first = 0;

	if (pidfd < 0)
		return hs_error_set(err, -errno, "guest %s (pid %d): %s", g->name, (int)g->pid, strerror(errno));
	for (uint32_t h = 0; h < g->layout.nr_huge; h++) {
		struct iovec v = { (void *)(uintptr_t)g->hva[h].v, HS_HUGE_SIZE };

		if (syscall(SYS_process_madvise, pidfd, &v, 1UL, MADV_COLLAPSE_1, 0U) == (long)HS_HUGE_SIZE)
			continue;
		first = first ? first : errno;
		nr_pieces++;
	}
	(void)close(pidfd);
	if (nr_pieces)
		return hs_error_set(err, -EAGAIN,
				    "guest %s: %u of its %u huge pages are in pieces on the host (%s); look at "
				    "/sys/kernel/mm/transparent_hugepage/enabled and at the free memory",
				    g->name, nr_pieces, g->layout.nr_huge, strerror(first));
	return 0;
}

int hs_guest_verify_from_host(const struct hs_guest *g, struct hs_guest_verified *out, struct hs_error *err)
{
	char *buf = malloc(HS_HUGE_SIZE);
	int ret = 0;

	if (!buf)
		return hs_error_set(err, -ENOMEM, "no memory");
	*out = (struct hs_guest_verified){ .first_bad = UINT32_MAX };
	for (uint32_t h = 0; h < g->layout.nr_huge && !ret; h++) {
		if (!read_memory(g->pid, g->hva[h].v, buf, HS_HUGE_SIZE)) {
			ret = hs_error_set(err, kill(g->pid, 0) ? -ESRCH : -EFAULT,
					   "guest %s (pid %d): cannot read the huge page at %#" PRIx64, g->name,
					   (int)g->pid, g->hva[h].v);
			break;
		}
		for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++) {
			uint32_t nr = h * HS_BASE_PER_HUGE + i;
			char *page = buf + i * HS_BASE_SIZE;
			bool good = hs_guest_page_matches(&g->layout.pages[nr], page, true);

			/* The guest may have written while the bytes were copied: look again. */
			for (int again = 0; !good && g->layout.pages[nr].writable && again < 3; again++)
				good = read_memory(g->pid, g->hva[h].v + i * HS_BASE_SIZE, page, HS_BASE_SIZE) &&
				       hs_guest_page_matches(&g->layout.pages[nr], page, true);
			out->checked_pages++;
			if (!good && !out->bad_pages++)
				out->first_bad = nr;
		}
	}
	free(buf);
	return ret;
}
