/* SPDX-License-Identifier: Apache-2.0 */
#include "descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

void hs_descriptors_raise(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur == l.rlim_max)
		return;
	l.rlim_cur = l.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &l);
}

/* Linux 6.2 and later report the number as the folder's size; before, it is counted. */
static uint64_t count(const struct hs_host *host)
{
	char path[4200];
	struct stat st;
	uint64_t nr = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/self/fd", host->proc_dir);
	if (stat(path, &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	d = opendir(path);
	while (d && readdir(d))
		nr++;
	if (d)
		(void)closedir(d);
	return nr > 3 ? nr - 3 : 0; /* ".", "..", and the folder itself */
}

void hs_descriptors_read(const struct hs_host *host, uint64_t *nr_open, uint64_t *limit)
{
	struct rlimit l;

	*nr_open = count(host);
	*limit = getrlimit(RLIMIT_NOFILE, &l) ? 0 : l.rlim_cur;
}

int hs_descriptors_for_guest(const struct hs_host *host, struct hs_error *err)
{
	uint64_t nr_open, limit;

	hs_descriptors_read(host, &nr_open, &limit);
	if (!limit || nr_open + HS_DESCRIPTORS_OF_GUEST + HS_DESCRIPTORS_RESERVE <= limit)
		return 0;
	return hs_error_set(err, -EMFILE,
			    "%" PRIu64 " of %" PRIu64
			    " file descriptors are open, and the rest is kept for requests and for undoing: raise "
			    "LimitNOFILE of the service (some 16 for each guest)",
			    nr_open, limit);
}
