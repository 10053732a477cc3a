/* SPDX-License-Identifier: Apache-2.0 */
/* What processes share by our marks, whoever follows it now: the records name them, the kernel says how much it is. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hs/share.h"
#include "mark_record.h"

/* The sum of `key`'s numbers in /proc/PID/FILE, times `unit`; false: the file is not there, or has no such key. */
static bool read_key(const struct hs_host *host, pid_t pid, const char *file, const char *key, uint64_t unit,
		     uint64_t *sum)
{
	char path[PATH_MAX], line[256];
	const size_t len = strlen(key);
	bool found = false;
	uint64_t v;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%d/%s", host->proc_dir, (int)pid, file);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, len) == 0 && sscanf(line + len, "%" SCNu64, &v) == 1) {
			*sum += v * unit;
			found = true;
		}
	if (f)
		(void)fclose(f);
	return found;
}

/* From page tables where the kernel has that (6.8); else as KSM counts it, which is too much until ksmd runs again. */
static uint64_t shared_of(const struct hs_host *host, pid_t pid)
{
	uint64_t bytes = 0;

	if (!read_key(host, pid, "smaps_rollup", "KSM:", 1024, &bytes))
		(void)read_key(host, pid, "ksm_merging_pages", "", HS_BASE_SIZE, &bytes);
	(void)read_key(host, pid, "ksm_stat", "ksm_zero_pages", HS_BASE_SIZE, &bytes);
	return bytes;
}

int hs_share_find_kept(const struct hs_host *host, struct hs_share_kept *out)
{
	DIR *d = opendir(host->state_dir);
	struct dirent *e;
	int rc = 0;

	*out = (struct hs_share_kept){ 0 };
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		static const char prefix[] = "marks-";
		struct hs_mark_record record;
		uint64_t bytes = 0;
		char *end;
		long pid;
		int one;

		if (strncmp(e->d_name, prefix, sizeof(prefix) - 1) != 0)
			continue;
		pid = strtol(e->d_name + sizeof(prefix) - 1, &end, 10);
		if (*end || pid <= 0 || pid > INT_MAX)
			continue;
		one = hs_mark_record_read(host, (pid_t)pid, &record, NULL);
		/* One that cannot be believed says that there was something. */
		if (one == -EBADMSG || (!one && record.nr))
			bytes = shared_of(host, (pid_t)pid);
		else if (one && one != -ESRCH)
			rc = one;
		hs_mark_record_finish(&record);
		out->bytes += bytes;
		out->nr_processes += bytes != 0;
	}
	(void)closedir(d);
	return rc;
}
