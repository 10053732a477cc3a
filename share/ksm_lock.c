/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock of KSM's owner: flock on ksm.lock, at one place of the host whatever state folder an owner has. The kernel
 * lets it go with the process that has it.
 *
 * The file says who has it, for the error of who comes second, and where he keeps the settings to be given back, for
 * who comes after a crash: he may have another state folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/times.h"
#include "ksm.h"

#define NAME        "ksm.lock"
#define BUSY_US     500000 /* who looks at its start whether KSM's settings are to be given back has it for a moment */
#define BUSY_NAP_US 5000
#define REMOVED_US  1000000 /* somebody who removes the lock file again and again is not waited for longer */

static const char *lock_dir(const struct hs_host *host)
{
	return host->lock_dir ? host->lock_dir : host->state_dir;
}

static int make_dir(const struct hs_host *host, struct hs_error *err)
{
	const char *dir = lock_dir(host);

	if (mkdir(dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the folder %s: %s", dir, strerror(errno));
	return 0;
}

/* Somebody may have removed the file, or its folder, between our open and our lock: then the lock is worth nothing. */
static bool is_still_there(int fd, const char *path)
{
	struct stat ours, there;

	return !fstat(fd, &ours) && !stat(path, &there) && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

/* "PID\nSTATE_DIR\n" */
static void read_owner(int fd, struct hs_ksm_lock *out)
{
	char text[PATH_MAX + 32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	char *dir;

	text[n > 0 ? n : 0] = '\0';
	dir = strchr(text, '\n');
	if (dir)
		*dir++ = '\0';
	(void)snprintf(out->owner, sizeof(out->owner), "%.15s", text);
	out->left_dir[0] = '\0';
	if (dir && dir[0] == '/' && strchr(dir, '\n'))
		(void)snprintf(out->left_dir, sizeof(out->left_dir), "%.*s", (int)strcspn(dir, "\n"), dir);
}

static int write_owner(int fd, const struct hs_host *host)
{
	char text[PATH_MAX + 32];
	const int n = snprintf(text, sizeof(text), "%d\n%s\n", (int)getpid(), host->state_dir);

	errno = EIO;
	if (n < 0 || (size_t)n >= sizeof(text) || ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
		return -errno;
	return 0;
}

int hs_ksm_lock_take(const struct hs_host *host, struct hs_ksm_lock *out, struct hs_error *err)
{
	char path[PATH_MAX];
	const uint64_t start_us = hs_monotonic_us();
	int rc = make_dir(host, err);

	out->fd = -1;
	(void)snprintf(path, sizeof(path), "%s/" NAME, lock_dir(host));
	while (!rc) {
		out->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (out->fd < 0)
			return hs_error_set(err, -errno, "cannot open %s: %s%s", path, strerror(errno),
					    errno == EACCES || errno == EPERM ? "; run it as root" : "");
		if (flock(out->fd, LOCK_EX | LOCK_NB))
			rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
		else if (is_still_there(out->fd, path))
			break;
		if (rc == -EBUSY && hs_monotonic_us() < start_us + BUSY_US) {
			(void)usleep(BUSY_NAP_US);
			rc = 0;
		}
		if (!rc && hs_monotonic_us() >= start_us + REMOVED_US)
			rc = -ESTALE;
		if (!rc) {
			(void)close(out->fd);
			rc = make_dir(host, err);
		}
	}
	if (out->fd < 0)
		return rc;
	read_owner(out->fd, out);
	if (!rc)
		rc = write_owner(out->fd, host);
	if (!rc)
		return 0;
	(void)close(out->fd);
	out->fd = -1;
	if (rc == -EBUSY)
		return hs_error_set(err, rc, "another hs-share (pid %s) has KSM: end it first",
				    out->owner[0] ? out->owner : "unknown");
	return hs_error_set(err, rc, "cannot lock %s: %s", path, strerror(-rc));
}

void hs_ksm_lock_drop(struct hs_ksm_lock *lock)
{
	if (lock->fd < 0)
		return;
	/* Unlocked by hand, not only by closing: a child that was forked meanwhile may still have the descriptor. The
	 * file stays: to remove a lock file is a race. */
	(void)!ftruncate(lock->fd, 0);
	(void)flock(lock->fd, LOCK_UN);
	(void)close(lock->fd);
	lock->fd = -1;
}
