/* SPDX-License-Identifier: Apache-2.0 */
/* What is read of one process, and whether it can be believed. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/vmas.h"
#include "process_internal.h"

#define DELETED          " (deleted)"
#define MAX_COMMAND_LINE 65536 /* QEMU's by libvirt has some 10 KiB */
#define MAX_CGROUP       8192

/* Root's own, and nobody else may write it. */
static bool of_root_alone(const struct stat *st)
{
	return st->st_uid == 0 && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* ---- pid files ---- */

static pid_t read_pid_file(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char text[32] = "";
	const char *end;
	struct stat st;
	uint64_t pid = 0;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !of_root_alone(&st) || read(fd, text, sizeof(text) - 1) <= 0 ||
	    hs_hostfile_parse_u64(text, &end, &pid) || (*end && !isspace((unsigned char)*end)) || pid > 0x3fffffff)
		pid = 0;
	(void)close(fd);
	return (pid_t)pid;
}

int hs_discovery_pid_files_read(struct hs_discovery_pid_files *out, const struct hs_rule *rule)
{
	struct hs_rule_captures c = { 0 };
	size_t room = 0;
	struct dirent *e;
	struct stat st;
	DIR *d;

	*out = (struct hs_discovery_pid_files){ 0 };
	if (!rule->has[HS_RULE_PID_FILE])
		return 0;
	d = opendir(rule->pid_dir);
	if (!d)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	/* Who may write the folder may put a file of root's into it by another name. */
	if (fstat(dirfd(d), &st) || !of_root_alone(&st)) {
		(void)closedir(d);
		return 0;
	}
	while ((e = readdir(d))) {
		struct hs_discovery_pid_file *grown;
		pid_t pid;

		if (!hs_rule_pattern_match(rule, HS_RULE_PID_FILE, e->d_name, true, &c))
			continue;
		pid = read_pid_file(dirfd(d), e->d_name);
		if (!pid)
			continue;
		if (out->nr == room) {
			room = room ? room * 2 : 64;
			grown = reallocarray(out->file, room, sizeof(*grown));
			if (!grown) {
				(void)closedir(d);
				return -ENOMEM;
			}
			out->file = grown;
		}
		out->file[out->nr].pid = pid;
		(void)snprintf(out->file[out->nr++].name, sizeof(out->file->name), "%s", e->d_name);
	}
	(void)closedir(d);
	return 0;
}

const char *hs_discovery_pid_file_of(const struct hs_discovery_pid_files *files, pid_t pid)
{
	for (size_t i = 0; i < files->nr; i++)
		if (files->file[i].pid == pid)
			return files->file[i].name;
	return NULL;
}

/* ---- who it is ---- */

bool hs_discovery_executable(int dir_fd, const char *exe, char out[PATH_MAX])
{
	const ssize_t n = readlinkat(dir_fd, exe, out, PATH_MAX - 1);
	const size_t tail = strlen(DELETED);
	struct stat st;

	if (n <= 0 || n == PATH_MAX - 1)
		return false;
	out[n] = '\0';
	/* An upgrade of the VMM deletes the file that its guests run. One that is only called so is still linked. */
	if ((size_t)n > tail && strcmp(out + n - tail, DELETED) == 0 && fstatat(dir_fd, exe, &st, 0) == 0 &&
	    !st.st_nlink)
		out[(size_t)n - tail] = '\0';
	return true;
}

static bool is_owner(const struct hs_rule *r, uid_t uid)
{
	for (size_t i = 0; i < r->nr_owners; i++)
		if (uid >= r->owner[i].first && uid <= r->owner[i].last)
			return true;
	return r->any_owner;
}

static bool read_uids(int dir_fd, unsigned int uid[4])
{
	int fd = openat(dir_fd, "status", O_RDONLY | O_CLOEXEC);
	char text[2048];
	const char *line;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		(void)close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	line = strstr(text, "\nUid:"); /* its name, in the first line, has line breaks written as \n */
	return line && sscanf(line, " Uid: %u %u %u %u", &uid[0], &uid[1], &uid[2], &uid[3]) == 4;
}

static bool in_host_namespace(int dir_fd, const struct hs_host *host)
{
	struct stat its, of_host;
	char path[4200];

	/* Not our own: systemd gives a service one. */
	(void)snprintf(path, sizeof(path), "%s/1/ns/mnt", host->proc_dir);
	return stat(path, &of_host) == 0 && fstatat(dir_fd, "ns/mnt", &its, 0) == 0 && its.st_ino == of_host.st_ino &&
	       its.st_dev == of_host.st_dev;
}

bool hs_discovery_unsafe(int dir_fd, const struct hs_host *host, const struct hs_rule *rule, char why[256])
{
	unsigned int uid[4];
	struct stat st;

	why[0] = '\0';
	if (!read_uids(dir_fd, uid))
		(void)snprintf(why, 256, "who runs it cannot be told");
	for (int i = 0; i < 4 && !why[0]; i++)
		if (!is_owner(rule, uid[i]))
			(void)snprintf(why, 256,
				       "user %u runs it: anybody may start a program by this name. owner in the rule "
				       "names who runs guests",
				       uid[i]);
	if (!why[0] && (fstatat(dir_fd, "exe", &st, 0) || !S_ISREG(st.st_mode) || !of_root_alone(&st)))
		(void)snprintf(why, 256,
			       "the file that it runs is not root's alone: whoever may write it decides what it says");
	if (!why[0] && !rule->any_namespace && !in_host_namespace(dir_fd, host))
		(void)snprintf(why, 256,
			       "it runs in a mount namespace of its own, a container's for example, where the path of "
			       "its program proves nothing. mount_namespace = any in the rule allows that");
	return why[0] != '\0';
}

/* ---- what it says ---- */

static char *read_all(int dir_fd, const char *name, size_t max, size_t *len, int *rc)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	char *buf = fd < 0 ? NULL : malloc(max + 1);
	ssize_t n = 0;

	*len = 0;
	*rc = fd < 0 ? -errno : buf ? 0 : -ENOMEM;
	while (buf && !*rc && *len < max && (n = read(fd, buf + *len, max - *len)) != 0) {
		if (n < 0 && errno != EINTR)
			*rc = -errno;
		*len += n > 0 ? (size_t)n : 0;
	}
	if (!*rc && *len == max)
		*rc = -E2BIG; /* what is cut off could be what matters */
	if (fd >= 0)
		(void)close(fd);
	if (*rc) {
		free(buf);
		return NULL;
	}
	buf[*len] = '\0';
	return buf;
}

char *hs_discovery_command_line(int dir_fd, int *rc)
{
	size_t len;
	char *text = read_all(dir_fd, "cmdline", MAX_COMMAND_LINE, &len, rc);

	while (text && len && !text[len - 1])
		len--; /* the last argument's end */
	for (size_t i = 0; text && i < len; i++) {
		/* So that nothing inside an argument, a name of a tenant's choice perhaps, passes for an argument. */
		if (isspace((unsigned char)text[i]))
			text[i] = '_';
		else if (!text[i])
			text[i] = ' ';
	}
	return text;
}

/* The path in the one hierarchy of cgroup 2; where that is not in use, in the memory controller's of cgroup 1. */
char *hs_discovery_cgroup(int dir_fd, int *rc)
{
	size_t len;
	char *text = read_all(dir_fd, "cgroup", MAX_CGROUP, &len, rc), *save = NULL, *found = NULL;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		controllers++;
		if (!found || (!*controllers && strcmp(path, "/") != 0) || strstr(controllers, "memory"))
			found = path;
		if (!*controllers && strcmp(path, "/") != 0)
			break;
	}
	found = found ? strdup(found) : NULL;
	free(text);
	if (!found && !*rc)
		*rc = -ENOENT;
	return found;
}

/* ---- its memory ---- */

/*
 * As large as a guest's, whatever it is: where it is memory that cannot be merged, the guest is taken in and refused
 * with that reason. Neighbours that are anonymous are one piece: marking cuts a guest's memory into many.
 */
int hs_discovery_has_memory(int dir_fd, uint64_t min_bytes)
{
	struct hs_vma_list l;
	uint64_t start = 0, end = 0;
	int rc = hs_vmas_read(&l, dir_fd, "maps");

	if (rc)
		return rc;
	for (size_t i = 0; i < l.nr && !rc; i++) {
		const struct hs_vma *v = &l.vma[i];

		if (!v->write || v->exec)
			continue;
		if (v->start != end || v->shared || v->file)
			start = v->start;
		end = v->end;
		rc = end - start >= min_bytes;
	}
	hs_vmas_finish(&l);
	return rc;
}
