/* SPDX-License-Identifier: Apache-2.0 */
#include "hostfile.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_in(const char *dir, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int hs_hostfile_open(const char *dir, const char *name)
{
	return open_in(dir, name, O_RDONLY);
}

/* To the end, and closes it. */
static ssize_t read_whole(int fd, char *buf, size_t size, ssize_t (*read_call)(int fd, void *buf, size_t size))
{
	size_t len = 0;

	while (len < size - 1) {
		ssize_t n = read_call(fd, buf + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int rc = -errno;

			(void)close(fd);
			return rc;
		}
		if (!n)
			break;
		len += (size_t)n;
	}
	(void)close(fd);
	while (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return (ssize_t)len;
}

ssize_t hs_hostfile_read(const char *dir, const char *name, char *buf, size_t size)
{
	int fd = open_in(dir, name, O_RDONLY);

	return fd < 0 ? fd : read_whole(fd, buf, size, read);
}

static int kernel_openat(int dir_fd, const char *path, int flags)
{
	return openat(dir_fd, path, flags);
}

const struct hs_hostfile_calls hs_hostfile_kernel = { .openat = kernel_openat, .read = read };

ssize_t hs_hostfile_read_at(const struct hs_hostfile_calls *calls, int dir_fd, const char *path, char *buf, size_t size)
{
	int fd = calls->openat(dir_fd, path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : read_whole(fd, buf, size, calls->read);
}

int hs_hostfile_write(const char *dir, const char *name, const char *text)
{
	size_t len = strlen(text);
	int fd = open_in(dir, name, O_WRONLY | O_TRUNC), rc = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	do {
		n = write(fd, text, len);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		rc = -errno;
	else if ((size_t)n != len)
		rc = -EIO;
	(void)close(fd);
	return rc;
}

int hs_hostfile_parse_u64(const char *text, const char **end, uint64_t *out)
{
	char *stop;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &stop, 10);
	if (errno)
		return -ERANGE;
	if (end)
		*end = stop;
	return 0;
}

int hs_hostfile_u64(const char *dir, const char *name, uint64_t *out)
{
	char buf[64];
	const char *end;
	ssize_t n = hs_hostfile_read(dir, name, buf, sizeof(buf));
	int rc;

	if (n < 0)
		return (int)n;
	rc = hs_hostfile_parse_u64(buf, &end, out);
	return rc ? rc : *end ? -EINVAL : 0;
}

int hs_hostfile_write_u64(const char *dir, const char *name, uint64_t value)
{
	char buf[32];

	(void)snprintf(buf, sizeof(buf), "%" PRIu64 "\n", value);
	return hs_hostfile_write(dir, name, buf);
}

ssize_t hs_hostfile_read_pid(const struct hs_host *host, pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%d/%s", (int)pid, name);
	return hs_hostfile_read(host->proc_dir, path, buf, size);
}

int hs_hostfile_field(const char *text, const char *key, uint64_t *out)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, key, len))
			return hs_hostfile_parse_u64(line + len + strspn(line + len, " \t"), NULL, out);
	}
	return -ENOENT;
}

int hs_hostfile_each_pid(const struct hs_host *host, int (*visit)(void *ctx, pid_t pid), void *ctx)
{
	DIR *dir = opendir(host->proc_dir);
	struct dirent *e;
	int rc = 0;

	if (!dir)
		return -errno;
	while (!rc && (errno = 0, e = readdir(dir))) {
		const char *end;
		uint64_t pid;

		if (!hs_hostfile_parse_u64(e->d_name, &end, &pid) && !*end && pid > 0 && pid <= INT_MAX)
			rc = visit(ctx, (pid_t)pid);
	}
	/* A list that cannot be read to its end is not all of them. */
	if (!rc)
		rc = -errno;
	(void)closedir(dir);
	return rc;
}
