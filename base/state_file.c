/* SPDX-License-Identifier: Apache-2.0 */
#include "state_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostfile.h"

#define NEW ".new" /* behind the name of a file while it is written */

/* The folder's entry, so that the rename survives a power cut where the state folder is on a disk. */
static void flush_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		(void)fsync(fd);
		(void)close(fd);
	}
}

static int put(const struct hs_host *host, const char *name, hs_state_file_print *print, const void *ctx, bool flush)
{
	char path[PATH_MAX], tmp[PATH_MAX + sizeof(NEW)];
	int fd, rc = 0;
	FILE *f;

	if (mkdir(host->state_dir, 0700) && errno != EEXIST)
		return -errno;
	(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, name);
	(void)snprintf(tmp, sizeof(tmp), "%s" NEW, path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f) {
		rc = -errno;
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	print(f, ctx);
	errno = 0;
	if (fflush(f) || ferror(f) || (flush && fsync(fd)))
		rc = errno ? -errno : -EIO;
	(void)fclose(f);
	if (!rc && rename(tmp, path))
		rc = -errno;
	if (rc)
		(void)unlink(tmp); /* it may have taken the last of the room */
	else if (flush)
		flush_dir(host->state_dir);
	return rc;
}

int hs_state_file_put(const struct hs_host *host, const char *name, hs_state_file_print *print, const void *ctx)
{
	return put(host, name, print, ctx, true);
}

int hs_state_file_put_for_boot(const struct hs_host *host, const char *name, hs_state_file_print *print,
			       const void *ctx)
{
	return put(host, name, print, ctx, false);
}

int hs_state_file_remove(const struct hs_host *host, const char *name)
{
	char path[PATH_MAX], tmp[PATH_MAX + sizeof(NEW)];

	(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, name);
	(void)snprintf(tmp, sizeof(tmp), "%s" NEW, path);
	(void)unlink(tmp);
	return unlink(path) && errno != ENOENT ? -errno : 0;
}

/* ---- whose it is ---- */

int hs_state_file_boot(const struct hs_host *host, char out[HS_STATE_BOOT_MAX])
{
	ssize_t n = hs_hostfile_read(host->proc_dir, "sys/kernel/random/boot_id", out, HS_STATE_BOOT_MAX);

	if (n < 0 && n != -ENOENT)
		return (int)n;
	/* A host that does not say which boot it is has one name for all: the rest is left. */
	if (n <= 0 || strchr(out, ' '))
		(void)snprintf(out, HS_STATE_BOOT_MAX, "unknown");
	return 0;
}

int hs_state_owner_now(const struct hs_host *host, pid_t pid, struct hs_state_owner *out)
{
	int rc = hs_state_file_boot(host, out->boot);

	return rc ? rc : hs_process_id_read(host, pid, &out->process);
}

void hs_state_owner_print(FILE *f, pid_t pid, const struct hs_state_owner *owner)
{
	(void)fprintf(f, "pid %d started %" PRIu64 " boot %s program %" PRIx64 "\n", (int)pid, owner->process.started,
		      owner->boot, owner->process.program);
}

int hs_state_owner_parse(const char *line, pid_t pid, struct hs_state_owner *out)
{
	int number = 0;

	memset(out, 0, sizeof(*out));
	return sscanf(line, "pid %d started %" SCNu64 " boot %63s program %" SCNx64, &number, &out->process.started,
		      out->boot, &out->process.program) >= 2 &&
		       number == pid && out->process.started
		   ? 0
		   : -EBADMSG;
}

bool hs_state_owner_same(const struct hs_state_owner *a, const struct hs_state_owner *b)
{
	return hs_process_id_same(&a->process, &b->process) && a->boot[0] && strcmp(a->boot, b->boot) == 0;
}

int hs_state_file_each(const struct hs_host *host, const char *prefix,
		       void (*visit)(void *ctx, const struct hs_host *host, pid_t pid, const char *path), void *ctx)
{
	DIR *d = opendir(host->state_dir);
	struct dirent *e;
	int rc;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (errno = 0, (e = readdir(d))) {
		char path[PATH_MAX], *end;
		long pid;

		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, e->d_name);
		pid = strtol(e->d_name + strlen(prefix), &end, 10);
		if (strcmp(end, NEW) == 0)
			(void)unlink(path); /* by a killed one: nothing was done yet */
		else if (!*end && pid > 0 && pid <= INT_MAX)
			visit(ctx, host, (pid_t)pid, path);
	}
	rc = -errno;
	(void)closedir(d);
	return rc;
}
