/* SPDX-License-Identifier: Apache-2.0 */
#include "address_space.h"

#include <errno.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "hostfile.h"

/* Are the numbers below proc_dir the ones that system calls of ours take? In a recorded tree they name nobody. */
static bool names_processes(const char *proc_dir)
{
	char path[PATH_MAX], self[32];
	struct statfs fs;
	ssize_t n;

	if (statfs(proc_dir, &fs) || fs.f_type != PROC_SUPER_MAGIC)
		return false;
	if ((size_t)snprintf(path, sizeof(path), "%s/self", proc_dir) >= sizeof(path))
		return false;
	n = readlink(path, self, sizeof(self) - 1);
	if (n <= 0)
		return false;
	self[n] = '\0';
	return strtol(self, NULL, 10) == getpid();
}

static int compare(pid_t a, pid_t b)
{
	long rc = syscall(SYS_kcmp, (long)a, (long)b, (long)KCMP_VM, 0L, 0L);

	return rc < 0 ? -errno : rc == 0;
}

/* What has ended (a zombie; a first thread, before the others) and the kernel's threads all have none: alike as well.
 */
static bool has_memory(const struct hs_host *host, pid_t pid)
{
	char text[128];

	return hs_hostfile_read_pid(host, pid, "statm", text, sizeof(text)) > 0 && strncmp(text, "0 ", 2) != 0;
}

int hs_same_address_space(const struct hs_host *host, pid_t pid_a, pid_t pid_b)
{
	int rc;

	if (!names_processes(host->proc_dir))
		return -ENOTSUP;
	rc = compare(pid_a, pid_b);
	return rc == 1 && !has_memory(host, pid_a) ? -ESRCH : rc;
}

struct walk {
	pid_t pid;
	int (*visit)(void *ctx, pid_t other);
	void *ctx;
};

static int look_at(void *ctx, pid_t other)
{
	const struct walk *w = ctx;

	return other != w->pid && compare(w->pid, other) == 1 ? w->visit(w->ctx, other) : 0;
}

int hs_address_space_each(const struct hs_host *host, pid_t pid, int (*visit)(void *ctx, pid_t other), void *ctx)
{
	struct walk w = { .pid = pid, .visit = visit, .ctx = ctx };
	int rc = hs_same_address_space(host, pid, pid);

	return rc < 0 ? rc : hs_hostfile_each_pid(host, look_at, &w);
}
