/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a descriptor of the guest is, as far as it decides how a call that waits on it takes an interruption. Files that
 * are not known to restart such a call are unknown: a FUSE file system is notified of the interruption, a driver may
 * answer EINTR.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "remote_internal.h"

/* Reads of these restart, whatever interrupts them (tests/remote/test_blocked.c has each). */
static const char *const restarting[] = {
	"pipe:[",
	"/dev/pts/",
	"anon_inode:[eventfd]",
	"anon_inode:[signalfd]",
	"anon_inode:[timerfd]",
	"anon_inode:inotify",
};

static int64_t limit_ms(int fd, int option)
{
	struct timeval t = { 0 };
	socklen_t size = sizeof(t);

	if (getsockopt(fd, SOL_SOCKET, option, &t, &size))
		return HS_REMOTE_LIMIT_UNKNOWN;
	if (t.tv_sec == 0 && t.tv_usec == 0)
		return HS_REMOTE_LIMIT_NONE;
	return (int64_t)t.tv_sec * 1000 + t.tv_usec / 1000;
}

/* A socket's time limits are asked of a copy of the descriptor, held for microseconds. inode: which one it has to be.
 */
static void ask_socket(const struct hs_remote *r, int nr, unsigned long inode, struct hs_remote_fd *out)
{
	int pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, nr, 0);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == inode) {
		out->kind = HS_REMOTE_FD_SOCKET;
		out->receive_ms = limit_ms(fd, SO_RCVTIMEO);
		out->send_ms = limit_ms(fd, SO_SNDTIMEO);
	}
	if (fd >= 0)
		(void)close(fd);
	if (pidfd >= 0)
		(void)close(pidfd);
}

void hs_remote_read_fd(const struct hs_remote *r, pid_t tid, uint64_t fd, struct hs_remote_fd *out)
{
	char path[64], target[128];
	struct stat st;
	ssize_t n;

	*out = (struct hs_remote_fd){ .kind = HS_REMOTE_FD_UNKNOWN };
	(void)snprintf(path, sizeof(path), "task/%d/fd/%d", tid, (int)fd);
	n = readlinkat(r->proc_fd, path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	if (strncmp(target, "socket:[", 8) == 0) {
		ask_socket(r, (int)fd, strtoul(target + 8, NULL, 10), out);
		return;
	}
	for (size_t i = 0; i < sizeof(restarting) / sizeof(*restarting); i++)
		if (strncmp(target, restarting[i], strlen(restarting[i])) == 0)
			out->kind = HS_REMOTE_FD_RESTARTS;
	if (fstatat(r->proc_fd, path, &st, 0) == 0 && S_ISFIFO(st.st_mode))
		out->kind = HS_REMOTE_FD_RESTARTS;
}
