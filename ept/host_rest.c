/* SPDX-License-Identifier: Apache-2.0 */
#include "host_rest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hostfile.h"

#define NR_COUNTS 3 /* for each thread */

/* 1; 0: it has ended; -errno. The state comes first: what is woken after it was read counts one run more. */
static int read_thread(int task_fd, const char *tid, uint64_t counts[NR_COUNTS])
{
	char path[288], buf[512];
	const char *state;
	unsigned long long ran, waited, times;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/stat", tid);
	n = hs_hostfile_read_at(&hs_hostfile_kernel, task_fd, path, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	state = strrchr(buf, ')'); /* the name before it may contain anything */
	if (!state || state[1] != ' ')
		return -EPROTO;
	if (strchr("ZX", state[2]))
		return 0; /* it has ended, and has no memory */
	if (!strchr("SDITt", state[2]))
		return -EBUSY;
	(void)snprintf(path, sizeof(path), "%s/schedstat", tid);
	n = hs_hostfile_read_at(&hs_hostfile_kernel, task_fd, path, buf, sizeof(buf));
	if (n < 0)
		return n == -ENOENT ? -ENOTSUP : (int)n;
	if (sscanf(buf, "%llu %llu %llu", &ran, &waited, &times) != 3)
		return -EPROTO;
	if (!times) /* who sleeps has run before: it is not counted */
		return -ENOTSUP;
	counts[0] = strtoull(tid, NULL, 10);
	counts[1] = ran;
	counts[2] = times;
	return 1;
}

static int read_all(struct hs_host_rest *r, int proc_dir_fd, int nr_users)
{
	int fd = openat(proc_dir_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	r->nr = 0;
	if (!dir) {
		rc = -errno;
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	while (rc >= 0 && (e = readdir(dir))) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		if (r->nr == r->room) {
			const size_t room = r->room ? 2 * r->room : 16;
			uint64_t *more = realloc(r->counts, room * NR_COUNTS * sizeof(*more));

			if (!more) {
				rc = -ENOMEM;
				break;
			}
			r->counts = more;
			r->room = room;
		}
		rc = read_thread(dirfd(dir), e->d_name, r->counts + r->nr * NR_COUNTS);
		if (rc > 0) {
			r->nr++;
			rc = 0;
		}
	}
	(void)closedir(dir);
	if (!rc && (!r->nr || nr_users > (int)r->nr))
		rc = -EBUSY;
	if (rc)
		r->nr = 0;
	return rc;
}

bool hs_host_rest_begin(struct hs_host_rest *r, int proc_dir_fd, int nr_users)
{
	return !read_all(r, proc_dir_fd, nr_users);
}

bool hs_host_rest_lasts(const struct hs_host_rest *r, int proc_dir_fd, int nr_users)
{
	struct hs_host_rest now = { .nr = 0 };
	bool same;

	if (!r->nr)
		return false;
	same = !read_all(&now, proc_dir_fd, nr_users) && now.nr == r->nr &&
	       memcmp(now.counts, r->counts, r->nr * NR_COUNTS * sizeof(*r->counts)) == 0;
	hs_host_rest_finish(&now);
	return same;
}

void hs_host_rest_finish(struct hs_host_rest *r)
{
	free(r->counts);
	*r = (struct hs_host_rest){ .nr = 0 };
}
