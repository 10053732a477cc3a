/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel saves of some processes by merging, computed from their page tables alone: base pages on KSM frames,
 * less the frames, and pages on the zero page. usage: hs-frames PID...; prints bytes. Only writable private anonymous
 * memory of 1 MiB and more is looked at; a page that was only read there counts as zero page, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE     4096U
#define CHUNK    512U
#define MIN_SIZE (1U << 20)

/* /proc/PID/pagemap and /proc/kpageflags: Documentation/admin-guide/mm/pagemap.rst */
#define PM_PRESENT  (UINT64_C(1) << 63)
#define PM_PFN_MASK ((UINT64_C(1) << 55) - 1)
#define KPF_KSM     (UINT64_C(1) << 21)
#define KPF_ZERO    (UINT64_C(1) << 24)

struct frames {
	uint64_t *pfns; /* of KSM, one for each base page */
	size_t nr, room;
	uint64_t nr_zero;
	int flags_fd;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "hs-frames: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void look(struct frames *f, uint64_t entry)
{
	const uint64_t pfn = entry & PM_PFN_MASK;
	uint64_t flags;

	if (!(entry & PM_PRESENT))
		return;
	if (pread(f->flags_fd, &flags, sizeof(flags), (off_t)(pfn * sizeof(flags))) != (ssize_t)sizeof(flags))
		die("/proc/kpageflags");
	f->nr_zero += (flags & KPF_ZERO) != 0;
	if (!(flags & KPF_KSM) || (flags & KPF_ZERO))
		return;
	if (f->nr == f->room) {
		f->room = f->room ? f->room * 2 : 65536;
		f->pfns = reallocarray(f->pfns, f->room, sizeof(*f->pfns));
		if (!f->pfns)
			die("memory");
	}
	f->pfns[f->nr++] = pfn;
}

static void look_at_range(struct frames *f, int pagemap, uint64_t start, uint64_t end)
{
	uint64_t entries[CHUNK];

	for (uint64_t at = start; at < end; at += CHUNK * PAGE) {
		const uint64_t nr = (end - at) / PAGE < CHUNK ? (end - at) / PAGE : CHUNK;
		const ssize_t want = (ssize_t)(nr * sizeof(entries[0]));

		if (pread(pagemap, entries, (size_t)want, (off_t)(at / PAGE * sizeof(entries[0]))) != want)
			die("pagemap");
		for (uint64_t i = 0; i < nr; i++)
			look(f, entries[i]);
	}
}

/* Neighbouring pieces of one kind count as one: marks part a guest's memory into many. */
static void look_at_process(struct frames *f, const char *pid)
{
	uint64_t start = 0, end = 0, from, to, inode;
	char path[64], line[512], perms[5];
	FILE *maps;
	int pagemap;

	(void)snprintf(path, sizeof(path), "/proc/%s/pagemap", pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "re");
	if (pagemap < 0 || !maps)
		die(path);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &from, &to, perms, &inode) != 4 ||
		    strcmp(perms, "rw-p") != 0 || inode)
			continue;
		if (from == end) {
			end = to;
			continue;
		}
		if (end - start >= MIN_SIZE)
			look_at_range(f, pagemap, start, end);
		start = from;
		end = to;
	}
	if (end - start >= MIN_SIZE)
		look_at_range(f, pagemap, start, end);
	(void)fclose(maps);
	(void)close(pagemap);
}

static int by_pfn(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	struct frames f = { .flags_fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC) };
	uint64_t distinct = 0;

	if (f.flags_fd < 0)
		die("/proc/kpageflags");
	for (int i = 1; i < argc; i++)
		look_at_process(&f, argv[i]);
	if (f.nr)
		qsort(f.pfns, f.nr, sizeof(*f.pfns), by_pfn);
	for (size_t i = 0; i < f.nr; i++)
		distinct += !i || f.pfns[i] != f.pfns[i - 1];
	(void)printf("%" PRIu64 "\n", (f.nr - distinct + f.nr_zero) * PAGE);
	free(f.pfns);
	(void)close(f.flags_fd);
	return 0;
}
