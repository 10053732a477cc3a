/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/cgroup names the process's cgroup in each hierarchy: "4:memory:/machine.slice/vm1" where v1 has the memory
 * controller, "0::/machine.slice/vm1" for v2. Where both lines are there, v1 has it (a controller belongs to one
 * hierarchy only). Every level from that cgroup up to the root is asked: the limits of all of them hold.
 */
#include "room.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostfile.h"
#include "meminfo.h"
#include "swaps.h"

#define CGROUP_TEXT 8192

/* One limit of one level, and what is used of it. */
struct limit_files {
	const char *limit, *used;
};

static const struct limit_files v1_files[] = {
	{ "memory.limit_in_bytes", "memory.usage_in_bytes" },
	{ "memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes" },
};
static const struct limit_files v2_files[] = {
	{ "memory.max", "memory.current" },
	{ "memory.high", "memory.current" },
};
/* v1 has no limit of swap alone: what moves there from memory stays within that of both. */
static const struct limit_files v2_swap_files[] = {
	{ "memory.swap.max", "memory.swap.current" },
	{ "memory.swap.high", "memory.swap.current" },
};

/* Names in memory.stat that are sums over the level and all below it. */
struct stat_names {
	const char *inactive_file, *dirty, *writeback;
};
static const struct stat_names v1_stat = { "total_inactive_file ", "total_dirty ", "total_writeback " };
static const struct stat_names v2_stat = { "inactive_file ", "file_dirty ", "file_writeback " };

struct hierarchy {
	const struct limit_files *files;
	size_t nr_files;
	const struct stat_names *stat; /* NULL: no cache counts against these limits */
};
static const struct hierarchy v1 = { v1_files, sizeof(v1_files) / sizeof(v1_files[0]), &v1_stat };
static const struct hierarchy v2 = { v2_files, sizeof(v2_files) / sizeof(v2_files[0]), &v2_stat };
static const struct hierarchy v1_swap = { NULL, 0, NULL };
static const struct hierarchy v2_swap = { v2_swap_files, sizeof(v2_swap_files) / sizeof(v2_swap_files[0]), NULL };

static void take_least(struct hs_room *room, const struct hs_room *one)
{
	if (one->bytes < room->bytes)
		*room = *one;
}

struct hs_room hs_room_below(uint64_t limit, uint64_t left, unsigned int keep_percent)
{
	struct hs_room r = { .limit = limit, .left = left, .keep = limit / 100 * keep_percent };

	r.bytes = left > r.keep ? left - r.keep : 0;
	return r;
}

static int host_room(const struct hs_host *host, unsigned int keep_percent, struct hs_room *out, struct hs_error *err)
{
	struct hs_meminfo m;
	int rc = hs_meminfo_read(host, &m);

	if (rc)
		return hs_error_set(err, rc, "cannot read %s/meminfo", host->proc_dir);
	*out = hs_room_below(m.total_bytes, m.available_bytes, keep_percent);
	(void)snprintf(out->where, sizeof(out->where), "the host");
	return 0;
}

/* Half of the clean file cache that was not used of late. Missing figures: none of it. */
static uint64_t reclaimable(const char *dir, const struct stat_names *names)
{
	uint64_t cache, dirty = 0, writeback = 0;
	char text[CGROUP_TEXT];

	if (!names || hs_hostfile_read(dir, "memory.stat", text, sizeof(text)) <= 0 ||
	    hs_hostfile_field(text, names->inactive_file, &cache) || hs_hostfile_field(text, names->dirty, &dirty) ||
	    hs_hostfile_field(text, names->writeback, &writeback))
		return 0;
	return cache > dirty + writeback ? (cache - dirty - writeback) / 2 : 0;
}

/* A limit: a number, or "max" (UINT64_MAX). v1 says "no limit" by a number above any memory. */
static int read_limit(const char *dir, const char *name, uint64_t *out)
{
	char text[64];
	const char *end;
	ssize_t n = hs_hostfile_read(dir, name, text, sizeof(text));

	if (n < 0)
		return (int)n;
	if (!strcmp(text, "max")) {
		*out = UINT64_MAX;
		return 0;
	}
	if (hs_hostfile_parse_u64(text, &end, out) || *end)
		return -EINVAL;
	if (*out >= (uint64_t)INT64_MAX / 2)
		*out = UINT64_MAX;
	return 0;
}

/* The last `len` characters at most: where a cgroup's name is. */
static const char *tail_of(const char *text, size_t len)
{
	size_t all = strlen(text);

	return all > len ? text + all - len : text;
}

/* One level. A file that is not there is a limit that is not there: at the root, without swap accounting. */
static int level_room(const char *dir, const struct hierarchy *h, unsigned int keep_percent, struct hs_room *room,
		      struct hs_error *err)
{
	for (size_t i = 0; i < h->nr_files; i++) {
		uint64_t limit, used, cache, charged;
		struct hs_room one;
		int rc = read_limit(dir, h->files[i].limit, &limit);

		if (rc == -ENOENT || (!rc && limit == UINT64_MAX))
			continue;
		if (!rc)
			rc = hs_hostfile_u64(dir, h->files[i].used, &used);
		if (rc)
			return hs_error_set(err, rc, "cannot read %s/%s, or %s beside it: %s", dir, h->files[i].limit,
					    h->files[i].used, strerror(-rc));
		cache = reclaimable(dir, h->stat);
		charged = used > cache ? used - cache : 0;
		one = hs_room_below(limit, limit > charged ? limit - charged : 0, keep_percent);
		(void)snprintf(one.where, sizeof(one.where), "%.160s/%s", tail_of(dir, 160), h->files[i].limit);
		take_least(room, &one);
	}
	return 0;
}

/* All levels from dir/path to dir itself. */
static int path_room(const char *dir, const char *path, const struct hierarchy *h, unsigned int keep_percent,
		     struct hs_room *room, struct hs_error *err)
{
	char at[PATH_MAX];
	const size_t root = strlen(dir);
	int rc;

	/* "/../x": a process outside of our cgroup namespace; its limits are out of our sight. */
	if (path[0] != '/' || strstr(path, "/..") || (size_t)snprintf(at, sizeof(at), "%s%s", dir, path) >= sizeof(at))
		return hs_error_set(err, -ENODATA, "the memory cgroup %s cannot be looked into from here", path);
	for (size_t len = strlen(at); len > root && at[len - 1] == '/'; len--)
		at[len - 1] = '\0';
	if (access(at, F_OK))
		return hs_error_set(err, -ENODATA,
				    "the memory cgroup %s is not there (%s), so its limit is not known: mount the "
				    "cgroup file system",
				    at, strerror(errno));
	for (;;) {
		char *slash;

		rc = level_room(at, h, keep_percent, room, err);
		if (rc || strlen(at) <= root)
			return rc;
		slash = strrchr(at, '/');
		*slash = '\0';
	}
}

/* Whether `list`, "cpu,memory", holds the word. */
static bool has_controller(const char *list, size_t len, const char *word)
{
	const size_t n = strlen(word);

	for (const char *p = list; p + n <= list + len;) {
		const char *comma = memchr(p, ',', (size_t)(list + len - p));
		const char *end = comma ? comma : list + len;

		if ((size_t)(end - p) == n && !strncmp(p, word, n))
			return true;
		if (!comma)
			break;
		p = comma + 1;
	}
	return false;
}

/* The cgroup's path in v1's memory hierarchy and in v2's; NULL where there is none. Cuts `text` up. */
static void find_paths(char *text, char **v1_path, char **v2_path)
{
	char *line;

	*v1_path = *v2_path = NULL;
	while ((line = strsep(&text, "\n"))) {
		char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;

		if (!path)
			continue;
		list++;
		if (has_controller(list, (size_t)(path - list), "memory"))
			*v1_path = path + 1;
		else if (path == list && !strncmp(line, "0:", 2))
			*v2_path = path + 1;
	}
}

/*
 * Where v1's memory hierarchy is mounted: at its usual place, or wherever the list of mounts has it as a whole. Where
 * it is mounted nowhere, `dir` is the usual place, which the error then names.
 */
static void find_v1_mount(const struct hs_host *host, char *dir, size_t size)
{
	char path[PATH_MAX], *line = NULL;
	size_t room = 0;
	FILE *f;

	(void)snprintf(dir, size, "%s/fs/cgroup/memory", host->sys_dir);
	(void)snprintf(path, sizeof(path), "%s/self/mountinfo", host->proc_dir);
	if (access(dir, F_OK) == 0)
		return;
	f = fopen(path, "re");
	while (f && getline(&line, &room, f) > 0) {
		char root[PATH_MAX], at[PATH_MAX], options[512];
		const char *rest = strstr(line, " - cgroup ");

		if (rest && sscanf(line, "%*d %*d %*s %4095s %4095s", root, at) == 2 && !strcmp(root, "/") &&
		    sscanf(rest, " - cgroup %*s %511s", options) == 1 &&
		    has_controller(options, strlen(options), "memory")) {
			(void)snprintf(dir, size, "%s", at);
			break;
		}
	}
	free(line);
	if (f)
		(void)fclose(f);
}

/* Takes the least of *out and of what the limits above the process leave; `h1`, `h2`: which ones. */
static int cgroup_room(const struct hs_host *host, pid_t pid, const struct hierarchy *h1, const struct hierarchy *h2,
		       unsigned int keep_percent, struct hs_room *out, struct hs_error *err)
{
	char text[CGROUP_TEXT], dir[PATH_MAX], *v1_path, *v2_path;
	ssize_t n = hs_hostfile_read_pid(host, pid, "cgroup", text, sizeof(text));

	if (n == -ENOENT && access(host->proc_dir, F_OK) == 0) {
		(void)snprintf(dir, sizeof(dir), "%s/%d", host->proc_dir, (int)pid);
		if (access(dir, F_OK))
			return hs_error_set(err, -ESRCH, "process %d is gone", (int)pid);
		return 0; /* a kernel without cgroups */
	}
	if (n < 0)
		return n == -ESRCH ? hs_error_set(err, -ESRCH, "process %d is gone", (int)pid)
				   : hs_error_set(err, (int)n, "cannot read %s/%d/cgroup: %s", host->proc_dir, (int)pid,
						  strerror((int)-n));
	if ((size_t)n >= sizeof(text) - 1)
		return hs_error_set(err, -ENODATA, "%s/%d/cgroup is longer than it can be read", host->proc_dir,
				    (int)pid);
	if (!host->sys_dir)
		return hs_error_set(err, -ENODATA, "where the memory cgroups are is not known");
	find_paths(text, &v1_path, &v2_path);
	if (v1_path) {
		find_v1_mount(host, dir, sizeof(dir));
		return path_room(dir, v1_path, h1, keep_percent, out, err);
	}
	if (!v2_path)
		return 0;
	/* v2 alone, or beside v1 hierarchies of other controllers. */
	(void)snprintf(dir, sizeof(dir), "%s/fs/cgroup/unified", host->sys_dir);
	if (access(dir, F_OK))
		(void)snprintf(dir, sizeof(dir), "%s/fs/cgroup", host->sys_dir);
	return path_room(dir, v2_path, h2, keep_percent, out, err);
}

int hs_room_of(const struct hs_host *host, pid_t pid, unsigned int keep_percent, struct hs_room *out,
	       struct hs_error *err)
{
	const int rc = host_room(host, keep_percent, out, err);

	return rc || !pid ? rc : cgroup_room(host, pid, &v1, &v2, keep_percent, out, err);
}

int hs_room_in_swap(const struct hs_host *host, pid_t pid, unsigned int keep_percent, struct hs_room *out,
		    struct hs_error *err)
{
	struct hs_swap_area now;
	int rc = hs_swaps_next(host, &now);

	if (rc && rc != -ENOENT)
		return hs_error_set(err, rc, "cannot read %s/swaps: %s", host->proc_dir, strerror(-rc));
	if (rc)
		now = (struct hs_swap_area){ 0 };
	*out = hs_room_below(now.all_bytes, now.all_free_bytes, keep_percent);
	(void)snprintf(out->where, sizeof(out->where), rc ? "swap, of which there is none," : "swap");
	return pid ? cgroup_room(host, pid, &v1_swap, &v2_swap, keep_percent, out, err) : 0;
}
