/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's figures of one process. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest_private.h"

struct line {
	const char *name;
	uint64_t *to;
	uint64_t unit;
};

/* Reads "name: number" or "name number" lines. */
static int read_lines(pid_t pid, const char *file, const struct line *lines, size_t nr)
{
	char path[64], text[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(text, sizeof(text), f)) {
		size_t len = strcspn(text, ": ");

		for (size_t i = 0; i < nr; i++)
			if (strlen(lines[i].name) == len && !strncmp(lines[i].name, text, len))
				*lines[i].to = strtoull(text + len + 1, NULL, 10) * lines[i].unit;
	}
	(void)fclose(f);
	return 0;
}

static int read_cpu(pid_t pid, uint64_t *cpu_ms)
{
	char path[64], text[1024];
	unsigned long user, sys;
	const char *p = NULL;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (fgets(text, sizeof(text), f))
		p = strrchr(text, ')'); /* the name in brackets may hold anything */
	(void)fclose(f);
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
		return -ESRCH;
	*cpu_ms = (uint64_t)(user + sys) * 1000U / (uint64_t)sysconf(_SC_CLK_TCK);
	return 0;
}

int hs_guest_memory(pid_t pid, struct hs_guest_memory *out, struct hs_error *err)
{
	struct hs_guest_memory m = { 0 };
	const struct line rollup[] = {
		{ "Rss", &m.rss_bytes, 1024 },
		{ "Pss", &m.pss_bytes, 1024 },
		{ "Anonymous", &m.anonymous_bytes, 1024 },
		{ "AnonHugePages", &m.huge_bytes, 1024 },
		{ "KSM", &m.ksm_bytes, 1024 },
	};
	const struct line ksm[] = {
		{ "ksm_merging_pages", &m.ksm_merging_pages, 1 },
		{ "ksm_rmap_items", &m.ksm_rmap_items, 1 },
		{ "ksm_zero_pages", &m.ksm_zero_pages, 1 },
	};
	int ret = read_lines(pid, "smaps_rollup", rollup, sizeof(rollup) / sizeof(rollup[0]));

	if (!ret)
		ret = read_cpu(pid, &m.cpu_ms);
	if (ret)
		return hs_error_set(err, ret == -ENOENT ? -ESRCH : ret, "process %d: %s", (int)pid, strerror(-ret));
	ret = read_lines(pid, "ksm_stat", ksm, sizeof(ksm) / sizeof(ksm[0]));
	if (ret == -ENOENT) /* before 6.1 */
		ret = 0;
	if (ret)
		return hs_error_set(err, ret, "process %d: ksm_stat: %s", (int)pid, strerror(-ret));
	*out = m;
	return 0;
}
