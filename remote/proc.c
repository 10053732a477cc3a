/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc of the guest. Everything is opened relative to the folder that was opened first, which goes stale with the
 * process: a pid that is used again is never taken for the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/vmas.h"
#include "remote_internal.h"

ssize_t hs_remote_read_file(int dir_fd, const char *path, char *buf, size_t size)
{
	const struct hs_hostfile_calls calls = { .openat = hs_remote_sys->openat, .read = hs_remote_sys->read };
	ssize_t n = hs_hostfile_read_at(&calls, dir_fd, path, buf, size);

	return n == -ENOENT ? -ESRCH : n;
}

/* The value of one line "name:\tvalue", or NULL. */
static const char *field(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		if (strncmp(p, name, len) == 0 && p[len] == ':')
			return p + len + 1 + strspn(p + len + 1, " \t");
	}
	return NULL;
}

int hs_remote_read_status(int proc_fd, pid_t tid, struct hs_remote_status *out)
{
	char path[64] = "status", buf[8192];
	const char *v;
	ssize_t n;

	if (tid)
		(void)snprintf(path, sizeof(path), "task/%d/status", tid);
	n = hs_remote_read_file(proc_fd, path, buf, sizeof(buf));
	if (n < 0)
		return (int)n;

	*out = (struct hs_remote_status){ .state = '?' };
	if ((v = field(buf, "Name")))
		(void)snprintf(out->comm, sizeof(out->comm), "%.*s", (int)strcspn(v, "\n"), v);
	if ((v = field(buf, "State")))
		out->state = *v;
	if ((v = field(buf, "Tgid")))
		out->tgid = (pid_t)strtol(v, NULL, 10);
	if ((v = field(buf, "TracerPid")))
		out->tracer = (pid_t)strtol(v, NULL, 10);
	if ((v = field(buf, "Seccomp")))
		out->seccomp = (int)strtol(v, NULL, 10);
	if ((v = field(buf, "voluntary_ctxt_switches")))
		out->switches = strtoul(v, NULL, 10);
	if ((v = field(buf, "x86_Thread_features"))) {
		const char *hit = strstr(v, "shstk");

		out->shadow_stack = hit && hit < v + strcspn(v, "\n");
	}
	return 0;
}

bool hs_remote_is_ours(pid_t tid)
{
	return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

void hs_remote_comm(const char *proc_dir, pid_t pid, char comm[17])
{
	char path[256], buf[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/%d/comm", proc_dir, pid);
	n = hs_remote_read_file(AT_FDCWD, path, buf, sizeof(buf));
	(void)snprintf(comm, 17, "%.*s", n > 0 ? (int)strcspn(buf, "\n") : 1, n > 0 ? buf : "?");
}

int hs_remote_read_doing(int proc_fd, pid_t tid, struct hs_remote_doing *out)
{
	char path[64], buf[512], *p;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "task/%d/syscall", tid);
	n = hs_remote_read_file(proc_fd, path, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	*out = (struct hs_remote_doing){ .running = true, .nr = -1 };
	if (strncmp(buf, "running", 7) == 0)
		return 0;
	out->nr = strtol(buf, &p, 10);
	if (out->nr < 0)
		return 0; /* blocked, but in no call: a page fault */
	for (int i = 0; i < 6; i++)
		out->args[i] = strtoull(p, &p, 16);
	out->sp = strtoull(p, &p, 16);
	out->running = false;
	return 0;
}

/* Flags of struct task_struct, in field 9 of stat. */
#define TASK_IO_WORKER   0x10UL
#define TASK_USER_WORKER 0x4000UL
#define TASK_KTHREAD     0x200000UL /* vhost before 6.4, in the memory of its VMM */

bool hs_remote_is_worker(int proc_fd, pid_t tid)
{
	char path[64], buf[1024], *p;
	unsigned long flags = 0;

	(void)snprintf(path, sizeof(path), "task/%d/stat", tid);
	if (hs_remote_read_file(proc_fd, path, buf, sizeof(buf)) < 0)
		return false;  /* it has ended */
	p = strrchr(buf, ')'); /* a name may hold anything */
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %lu", &flags) != 1)
		return true;
	return (flags & (TASK_IO_WORKER | TASK_USER_WORKER | TASK_KTHREAD)) != 0;
}

int hs_remote_open_maps(int proc_fd, pid_t tid)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "task/%d/maps", tid);
	fd = hs_remote_sys->openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return fd;
}

struct each {
	int (*fn)(const struct hs_remote_vma *vma, void *ctx);
	void *ctx;
};

static int visit(void *ctx, const struct hs_vma *v)
{
	const struct each *e = ctx;
	struct hs_remote_vma vma = { .start = v->start,
				     .end = v->end,
				     .read = v->read,
				     .write = v->write,
				     .exec = v->exec,
				     .shared = v->shared,
				     .file = v->file };

	(void)snprintf(vma.name, sizeof(vma.name), "%s", v->name);
	return e->fn(&vma, e->ctx);
}

int hs_remote_each_vma(int maps_fd, int (*fn)(const struct hs_remote_vma *vma, void *ctx), void *ctx)
{
	struct each e = { fn, ctx };

	return hs_vmas_each_fd(maps_fd, visit, &e);
}

struct find {
	uint64_t addr;
	struct hs_remote_vma *vma, *below;
	struct hs_remote_vma last;
};

static int find_one(const struct hs_remote_vma *vma, void *ctx)
{
	struct find *f = ctx;

	if (vma->start > f->addr)
		return -ENOENT;
	if (f->addr < vma->end) {
		*f->vma = *vma;
		if (f->last.end == vma->start)
			*f->below = f->last;
		return 1;
	}
	f->last = *vma;
	return 0;
}

/* ioctl of /proc/PID/maps, kernel 6.11 and later: one VMA without reading tens of thousands of lines. */
struct maps_query {
	uint64_t size, flags, addr;
	uint64_t start, end, vma_flags, page_size, offset, inode;
	uint32_t major, minor, name_size, build_id_size;
	uint64_t name_addr, build_id_addr;
};
#define MAPS_QUERY    _IOWR('f', 17, struct maps_query)
#define MAPS_Q_READ   0x01U
#define MAPS_Q_WRITE  0x02U
#define MAPS_Q_EXEC   0x04U
#define MAPS_Q_SHARED 0x08U

static int query(int fd, uint64_t addr, struct hs_remote_vma *vma)
{
	struct maps_query q = { .size = sizeof(q), .addr = addr };

	q.name_size = sizeof(vma->name);
	q.name_addr = (uint64_t)(uintptr_t)vma->name;
	vma->name[0] = 0;
	if (hs_remote_sys->ioctl(fd, MAPS_QUERY, &q)) {
		if (errno != ENAMETOOLONG)
			return -errno;
		q = (struct maps_query){ .size = sizeof(q), .addr = addr };
		if (hs_remote_sys->ioctl(fd, MAPS_QUERY, &q))
			return -errno;
	}
	vma->start = q.start;
	vma->end = q.end;
	vma->read = q.vma_flags & MAPS_Q_READ;
	vma->write = q.vma_flags & MAPS_Q_WRITE;
	vma->exec = q.vma_flags & MAPS_Q_EXEC;
	vma->shared = q.vma_flags & MAPS_Q_SHARED;
	vma->file = q.inode != 0;
	return 0;
}

bool hs_remote_maps_gone(int maps_fd, bool no_query, uint64_t addr)
{
	struct hs_remote_vma vma;
	char c;

	if (!no_query) {
		int rc = query(maps_fd, addr, &vma);

		if (rc != -ENOTTY && rc != -EINVAL)
			return rc == -ESRCH;
	}
	return pread(maps_fd, &c, 1, 0) <= 0;
}

int hs_remote_find_vma(int maps_fd, bool no_query, uint64_t addr, struct hs_remote_vma *vma,
		       struct hs_remote_vma *below)
{
	int rc;

	*below = (struct hs_remote_vma){ .start = 0 };
	if (!no_query) {
		rc = query(maps_fd, addr, vma);
		if (rc == 0 && vma->start > 0 && query(maps_fd, vma->start - 1, below) != 0)
			*below = (struct hs_remote_vma){ .start = 0 };
		if (rc != -ENOTTY && rc != -EINVAL)
			return rc;
	}

	struct find f = { .addr = addr, .vma = vma, .below = below };

	rc = hs_remote_each_vma(maps_fd, find_one, &f);
	if (rc == 0)
		return -ENOENT;
	return rc == 1 ? 0 : rc;
}
