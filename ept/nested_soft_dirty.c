/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ageing of nested entries by clear_refs 4 (soft dirty), where the kernel has nothing that takes a range.
 *
 * It drops all nested entries of the process, for the reason that nested_drop.c gives, and write-protects all its
 * memory: the VMM's own next write to each page costs a fault as well. Another user of soft dirty (CRIU) on this guest
 * would lose what it tracks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nested_internal.h"

/* A kernel with soft dirty gives a new mapping that flag. */
static int open_soft_dirty(const struct hs_host *host, int *fd, struct hs_error *why)
{
	char path[512], *line = NULL;
	bool found = false;
	size_t room = 0;
	FILE *f;

	*fd = -1;
	(void)snprintf(path, sizeof(path), "%s/self/smaps", host->proc_dir);
	f = fopen(path, "re");
	while (f && !found && getline(&line, &room, f) > 0)
		found = !strncmp(line, "VmFlags:", 8) && strstr(line, " sd");
	free(line);
	if (f)
		(void)fclose(f);
	return found ? 0 : hs_error_set(why, -ENOTSUP, "this kernel has no soft dirty (CONFIG_MEM_SOFT_DIRTY)");
}

static int age(struct hs_nested_view *v, struct hs_error *err)
{
	int rc = hs_view_age(v->inner, err);
	bool cleared; /* if not, what was accessed since the last time counts as accessed still */

	if (rc)
		return rc;
	rc = hs_host_clear_refs(hs_nested_host(v), HS_CLEAR_SOFT_DIRTY, &cleared);
	return rc ? hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err) : 0;
}

const struct hs_nested_ageing hs_nested_age_soft_dirty = { .name = "soft dirty", .open = open_soft_dirty, .age = age };
