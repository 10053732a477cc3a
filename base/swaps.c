/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/swaps: a line of titles, then for each area its name (blanks in it as \040), type, and in KiB its size and what
 * is used of it, then its priority.
 *
 * A zram device may have a limit of memory (mem_limit, third and fourth number of its mm_stat: used, limit). Above it
 * writes fail, and what the kernel has unmapped for them stays in memory; so what is left below the limit counts as
 * free, as if nothing could be compressed.
 */
#include "swaps.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "hostfile.h"

#define SWAPS_TEXT 16384

static uint8_t kind_of(const char *name, const char *type)
{
	if (!strncmp(name, "/dev/zram", strlen("/dev/zram")))
		return HS_SWAP_ZRAM;
	if (!strcmp(type, "partition"))
		return HS_SWAP_PARTITION;
	return strcmp(type, "file") ? HS_SWAP_UNKNOWN : HS_SWAP_FILE;
}

static void ask_zram(const struct hs_host *host, struct hs_swap_area *a)
{
	char dir[PATH_MAX], text[256];
	unsigned long long used, limit;
	uint64_t left;

	if (!host->sys_dir)
		return;
	(void)snprintf(dir, sizeof(dir), "%s/block/%s", host->sys_dir, a->name + strlen("/dev/"));
	if (hs_hostfile_read(dir, "mm_stat", text, sizeof(text)) <= 0 ||
	    sscanf(text, "%*u %*u %llu %llu", &used, &limit) != 2 || !limit)
		return;
	a->memory_limit_bytes = limit;
	left = limit > used ? limit - used : 0;
	if (left < a->free_bytes)
		a->free_bytes = left;
}

static bool zswap_is_on(const struct hs_host *host)
{
	char dir[PATH_MAX], text[16];

	if (!host->sys_dir)
		return false;
	(void)snprintf(dir, sizeof(dir), "%s/module/zswap/parameters", host->sys_dir);
	return hs_hostfile_read(dir, "enabled", text, sizeof(text)) > 0 && text[0] == 'Y';
}

static int parse(const char *line, struct hs_swap_area *out)
{
	unsigned long long size, used;
	char type[32];

	if (sscanf(line, "%127s %31s %llu %llu %d", out->name, type, &size, &used, &out->priority) != 5 || used > size)
		return -EPROTO;
	out->kind = kind_of(out->name, type);
	out->size_bytes = size * 1024;
	out->free_bytes = (size - used) * 1024;
	return 0;
}

/* Whether `a` is filled before `b`. */
static bool goes_first(const struct hs_swap_area *a, const struct hs_swap_area *b)
{
	if (!a->free_bytes != !b->free_bytes)
		return a->free_bytes != 0;
	return a->priority > b->priority;
}

int hs_swaps_next(const struct hs_host *host, struct hs_swap_area *out)
{
	char text[SWAPS_TEXT], *rest = text, *line;
	uint64_t all = 0, all_free = 0;
	bool any = false;
	ssize_t n = hs_hostfile_read(host->proc_dir, "swaps", text, sizeof(text));

	memset(out, 0, sizeof(*out));
	if (n < 0) /* a kernel without swap has no such file */
		return (int)n;
	if ((size_t)n >= sizeof(text) - 1)
		return -EPROTO;
	(void)strsep(&rest, "\n");
	while ((line = strsep(&rest, "\n"))) {
		struct hs_swap_area one = { .kind = HS_SWAP_UNKNOWN };

		if (!*line)
			continue;
		if (parse(line, &one)) {
			memset(out, 0, sizeof(*out));
			return -EPROTO;
		}
		if (one.kind == HS_SWAP_ZRAM)
			ask_zram(host, &one);
		all += one.size_bytes;
		all_free += one.free_bytes;
		if (!any || goes_first(&one, out))
			*out = one;
		any = true;
	}
	out->all_bytes = all;
	out->all_free_bytes = all_free;
	out->zswap = any && zswap_is_on(host);
	return any ? 0 : -ENOENT;
}
