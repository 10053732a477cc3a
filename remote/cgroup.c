/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a process frozen by a cgroup (docker pause, systemctl freeze, virsh with the LXC driver)? Such a process looks
 * asleep. Under version 2 of cgroups it even stops for ptrace, but never makes a call; under version 1 it does neither.
 * So the files of its cgroup are read, as the process itself shows nothing of it.
 *
 * The freezers' mount points are looked up once for each handle; which cgroup the process is in is read each time, as
 * it can be moved. Where the files cannot be found (another cgroup namespace), the answer is no, and the deadline of
 * each call (deadline.c) is what holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "remote_internal.h"

/* Field nr (from 0) of a line of blank-separated words; *len its length. */
static const char *word(const char *line, int nr, size_t *len)
{
	for (; nr > 0; nr--) {
		line += strcspn(line, " ");
		line += strspn(line, " ");
	}
	*len = strcspn(line, " \n");
	return line;
}

/* One line of mountinfo: ID PARENT DEV ROOT POINT OPTIONS... - TYPE SOURCE SUPER_OPTIONS */
static void take_mount(struct hs_remote_freezers *f, const char *line)
{
	const char *dash = strstr(line, " - "), *root, *point, *options;
	size_t root_len, point_len, len;
	struct hs_remote_mount *m;

	if (!dash)
		return;
	root = word(line, 3, &root_len);
	point = word(line, 4, &point_len);
	if (root > dash || point > dash)
		return;
	dash += 3;
	if (strncmp(dash, "cgroup2 ", 8) == 0) {
		m = &f->v2;
	} else if (strncmp(dash, "cgroup ", 7) == 0) {
		options = word(dash, 2, &len);
		if (!memmem(options, len, "freezer", 7))
			return;
		m = &f->v1;
	} else {
		return;
	}
	if (m->point[0] || root_len >= sizeof(m->root) || point_len >= sizeof(m->point))
		return;
	memcpy(m->point, point, point_len);
	memcpy(m->root, root, root_len);
	m->point[point_len] = '\0';
	m->root[root_len == 1 ? 0 : root_len] = '\0'; /* "/" is a prefix of no length */
}

void hs_remote_freezers_find(struct hs_remote_freezers *f, const char *proc_dir)
{
	char path[PATH_MAX], *line = NULL;
	size_t size = 0;
	FILE *file;

	memset(f, 0, sizeof(*f));
	(void)snprintf(path, sizeof(path), "%s/self/mountinfo", proc_dir);
	file = fopen(path, "re");
	if (!file)
		return;
	while (getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		take_mount(f, line);
	}
	free(line);
	(void)fclose(file);
}

/* The word in a cgroup's file; "" where there is none. */
static void read_word(const char *dir, const char *name, char out[16])
{
	char path[2 * PATH_MAX];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	n = hs_remote_read_file(AT_FDCWD, path, out, 16);
	out[n > 0 ? strcspn(out, "\n") : 0] = '\0';
}

/* The folder of a cgroup below its mount; false: not to be found from here. */
static bool folder(const struct hs_remote_mount *m, const char *cgroup, size_t len, char out[PATH_MAX])
{
	size_t root = strlen(m->root);

	if (!m->point[0] || len < root || strncmp(cgroup, m->root, root) != 0 || memmem(cgroup, len, "/..", 3))
		return false;
	return (size_t)snprintf(out, PATH_MAX, "%s%.*s", m->point, (int)(len - root), cgroup + root) < PATH_MAX;
}

/* Version 2: a cgroup freezes with all below it, so each one from the process's up is asked. */
static bool frozen_v2(const struct hs_remote_mount *m, char dir[PATH_MAX])
{
	const size_t top = strlen(m->point);

	for (;;) {
		char value[16], *slash = strrchr(dir, '/');

		read_word(dir, "cgroup.freeze", value);
		if (strcmp(value, "1") == 0)
			return true;
		if (!slash || (size_t)(slash - dir) < top)
			return false;
		*slash = '\0';
	}
}

bool hs_remote_is_frozen(const struct hs_remote *r, char *cgroup, size_t size)
{
	char text[8192], dir[PATH_MAX], value[16];

	if (hs_remote_read_file(r->proc_fd, "cgroup", text, sizeof(text)) < 0)
		return false;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
		size_t len = at ? strcspn(at + 1, "\n") : 0;
		bool frozen = false;

		if (!at)
			continue;
		if (at == names + 1) { /* "0::/...": version 2 */
			frozen = folder(&r->freezers.v2, at + 1, len, dir) && frozen_v2(&r->freezers.v2, dir);
		} else if (memmem(names, (size_t)(at - names), "freezer", 7)) {
			if (folder(&r->freezers.v1, at + 1, len, dir)) {
				read_word(dir, "freezer.state", value);
				frozen = strcmp(value, "FROZEN") == 0 || strcmp(value, "FREEZING") == 0;
			}
		}
		if (frozen) {
			(void)snprintf(cgroup, size, "%.*s", (int)len, at + 1);
			return true;
		}
	}
	return false;
}
