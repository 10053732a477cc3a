/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The view over the host's page tables: right for guests whose memory the process itself touches, be it a VMM with
 * software emulation or any other process that opted in. (A KVM guest's accesses go through nested tables, which have
 * accessed bits of their own.)
 *
 * The parts: host_walk.c reads page tables by BPF, host_sample.c says what they mean, host_age.c clears accessed bits,
 * host_mapping.c splits and restores mappings, host_dontdump.c keeps the flags that splitting changes in order,
 * host_read.c copies bytes, host_nodes.c says where they are, host_reach.c helps ksmd to them, host_regions.c finds
 * guest memory, host_vmm.c says which pieces of it are too small, host_armed.c what of it is not to be touched,
 * host_frames.c asks for page frames.
 *
 * One process id can become another process's while we work. So every handle is bound to the process itself: a pidfd,
 * the /proc folder held open, the address space pinned by an open file. They are opened in this order: the pidfd first,
 * the folder after it, then the question whether the pidfd's process still lives: if it does, the folder is its own.
 */
#include "host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host_regions.h"

struct hs_walk_req *hs_host_scratch(struct hs_host_view *v, size_t nr)
{
	struct hs_walk_req *bigger;

	if (nr <= v->nr_reqs)
		return v->reqs;
	bigger = realloc(v->reqs, nr * sizeof(*bigger));
	if (!bigger)
		return NULL;
	v->reqs = bigger;
	v->nr_reqs = nr;
	return bigger;
}

int hs_host_error(const struct hs_host_view *v, int rc, const char *what, struct hs_error *err)
{
	if (rc == -ESRCH)
		return hs_error_set(err, rc, "process %d has ended, or left the memory it was opened with",
				    (int)v->view.pid);
	return hs_error_set(err, rc, "process %d: cannot %s: %s", (int)v->view.pid, what, strerror(-rc));
}

/* ---- opening ---- */

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

static int open_in(const struct hs_host_view *v, const char *name, int mode, int *out, struct hs_error *err)
{
	*out = openat(v->dir_fd, name, mode | O_CLOEXEC);
	if (*out >= 0)
		return 0;
	switch (errno) {
	case ESRCH:
		return hs_host_error(v, -ESRCH, "open", err);
	case ENOENT:
		if (has_ended(v->pidfd))
			return hs_host_error(v, -ESRCH, "open", err);
		return hs_error_set(err, -ENOTSUP,
				    "this kernel has no /proc/%d/%s, which it needs CONFIG_PROC_PAGE_MONITOR=y for",
				    (int)v->view.pid, name);
	case EACCES:
	case EPERM:
		return hs_error_set(err, -EPERM, "not allowed to open /proc/%d/%s: run as root, or with CAP_SYS_PTRACE",
				    (int)v->view.pid, name);
	default:
		return hs_error_set(err, -errno, "cannot open /proc/%d/%s: %s", (int)v->view.pid, name,
				    strerror(errno));
	}
}

static int open_kpageflags(struct hs_host_view *v, const struct hs_host *host, struct hs_error *err)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/kpageflags", host->proc_dir);
	v->kpageflags_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (v->kpageflags_fd >= 0)
		return 0;
	if (errno == ENOENT)
		return hs_error_set(err, -ENOTSUP, "this kernel has no %s: use one with CONFIG_PROC_PAGE_MONITOR=y",
				    path);
	if (errno == EACCES || errno == EPERM)
		return hs_error_set(err, -EPERM, "not allowed to open %s: run as root", path);
	return hs_error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
}

static int open_process(struct hs_host_view *v, const struct hs_host *host, pid_t pid, struct hs_error *err)
{
	char path[512];
	int rc;

	v->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (v->pidfd < 0 && (errno == ESRCH || errno == EINVAL || errno == ENOENT))
		return hs_error_set(err, -ESRCH, "there is no process %d (a thread of one does not count)", (int)pid);
	if (v->pidfd < 0)
		return hs_error_set(err, -errno, "cannot open process %d: %s", (int)pid, strerror(errno));
	(void)snprintf(path, sizeof(path), "%s/%d", host->proc_dir, (int)pid);
	v->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->dir_fd < 0 && errno != ENOENT)
		return hs_error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	if (v->dir_fd < 0 || has_ended(v->pidfd))
		return hs_host_error(v, -ESRCH, "open", err);

	rc = open_in(v, "pagemap", O_RDONLY, &v->pagemap_fd, err);
	if (!rc)
		rc = open_in(v, "clear_refs", O_WRONLY, &v->clear_refs_fd, err);
	if (rc)
		return rc;
	rc = open_in(v, "mem", O_RDONLY, &v->mem_fd, err);
	if (rc)
		return rc;
	rc = hs_walk_find_mm(v->walk, v->pagemap_fd, v->mem_fd, &v->mm, err);
	if (rc == -ESRCH || (!rc && hs_walk_alive(v->walk, v->mm, NULL)))
		rc = hs_error_set(err, -ESRCH, "process %d has no memory: it has ended, or is a thread of the kernel",
				  (int)pid);
	return rc;
}

static int find_regions(struct hs_host_view *v, struct hs_vma_list *maps, struct hs_error *err)
{
	struct hs_error why = { "" };
	int rc = hs_vmas_read(maps, v->dir_fd, "maps");

	if (rc)
		return hs_host_error(v, rc, "read its memory map", err);
	hs_host_regions_left_out(maps, v->min_bytes, &v->view.left_out);
	rc = hs_host_regions_find(maps, v->min_bytes, &v->view.regions, &v->view.nr_regions, &v->view.nr_huge, &why);
	if (rc == -ENODATA || rc == -EMEDIUMTYPE) {
		/* Once more with what only smaps says (hugetlbfs), for the sake of the reason. */
		struct hs_vma_list smaps;
		int reason = 0;

		if (!hs_vmas_read(&smaps, v->dir_fd, "smaps"))
			reason = hs_host_regions_find(&smaps, v->min_bytes, &v->view.regions, &v->view.nr_regions,
						      &v->view.nr_huge, &why);
		rc = reason ? reason : rc;
		hs_vmas_finish(&smaps);
		free(v->view.regions);
		v->view.regions = NULL;
	}
	return rc ? hs_error_set(err, rc, "process %d: %s", (int)v->view.pid, why.text) : 0;
}

static int alloc_bits(struct hs_host_view *v)
{
	size_t words = ((size_t)v->view.nr_huge + 63) / 64;

	v->gone = calloc(words, sizeof(uint64_t));
	v->split = calloc(words, sizeof(uint64_t));
	v->dump_pending = calloc(words, sizeof(uint64_t));
	v->cold = calloc(words, sizeof(uint64_t));
	v->no_flush = calloc(words, sizeof(uint64_t));
	v->armed = calloc(words, sizeof(uint64_t));
	return v->gone && v->armed && v->split && v->dump_pending && v->cold && v->no_flush ? 0 : -ENOMEM;
}

/* ---- life ---- */

static void free_view(struct hs_host_view *v)
{
	const int fds[] = { v->pidfd, v->dir_fd, v->pagemap_fd, v->clear_refs_fd, v->mem_fd, v->kpageflags_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	hs_host_armed_finish(v);
	hs_walk_put(v->walk);
	if (v->unreadable)
		munmap(v->unreadable, HS_BASE_SIZE);
	hs_host_dontdump_forget(v);
	free(v->view.regions);
	free(v->reqs);
	hs_host_rest_finish(&v->rest);
	free(v->gone);
	free(v->armed);
	free(v->split);
	free(v->dump_pending);
	free(v->cold);
	free(v->no_flush);
	free(v);
}

static void close_view(struct hs_view *view)
{
	struct hs_host_view *v = hs_host_view(view);

	hs_host_restore_all(v);
	free_view(v);
}

/* ---- refreshing ---- */

static void note_gone(void *ctx, hs_huge_nr huge, bool gone)
{
	struct hs_host_view *v = ctx;

	/* What has gone once stays gone: it may come back as something else. */
	if (gone)
		hs_bit_put(v->gone, huge, true);
}

/*
 * A process may come to have a virtual machine after its view was opened: then what it accesses shows in nested tables,
 * and all would look cold here. From then on accesses are unknown; and as long as it cannot be told. The number of
 * them, or -errno. A view within one over nested tables is not asked.
 */
static int look_for_vm(struct hs_host_view *v)
{
	int fd, nr = v->flush_optional ? 0 : hs_host_vm_files(v, &fd, 1);

	v->has_vm = nr != 0;
	return nr;
}

static int refresh(struct hs_view *view, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	struct hs_vma_list maps;
	bool changed;
	int rc;

	rc = hs_walk_alive(v->walk, v->mm, NULL);
	if (!rc)
		rc = hs_vmas_read(&maps, v->dir_fd, "maps");
	if (rc)
		return hs_host_error(v, rc, "read its memory map", err);
	(void)hs_host_armed_look(v);
	rc = look_for_vm(v);
	if (rc == -ESRCH) {
		hs_vmas_finish(&maps);
		return hs_host_error(v, rc, "list its files", err);
	}
	hs_host_regions_left_out(&maps, v->min_bytes, &view->left_out);
	changed = hs_host_regions_compare(&maps, v->min_bytes, view->regions, view->nr_regions, note_gone, v);
	hs_vmas_finish(&maps);
	/* Not each time: reading the flags costs a walk of all tables, and old flags are noticed (host_mapping.c). */
	if (changed)
		hs_host_dontdump_forget(v);
	/* A map that was read while the process ended looks empty, not changed. */
	if (changed && hs_walk_alive(v->walk, v->mm, NULL))
		return hs_host_error(v, -ESRCH, "read its memory map", err);
	if (rc > 0)
		return hs_error_set(err, -ESTALE, "process %d has a virtual machine under KVM now: open a new view",
				    (int)view->pid);
	if (changed)
		return hs_error_set(err, -ESTALE, "the memory map of process %d has changed: open a new view",
				    (int)view->pid);
	return 0;
}

static enum hs_view_reason why(struct hs_view *view, hs_huge_nr huge)
{
	const struct hs_host_view *v = hs_host_view(view);

	if (hs_bit_test(v->gone, huge))
		return HS_VIEW_GONE;
	if (!hs_bit_test(v->armed, huge))
		return v->has_vm ? HS_VIEW_VMM_LOGS : HS_VIEW_NO_REASON;
	return v->armed_unknown ? HS_VIEW_FLAGS_UNREAD : HS_VIEW_USERFAULTFD;
}

static const struct hs_view_ops host_ops = {
	.name = "host page tables",
	.close = close_view,
	.refresh = refresh,
	.age = hs_host_age,
	.sample_huge = hs_host_sample_huge,
	.sample_base = hs_host_sample_base,
	.frames = hs_host_frames,
	.split = hs_host_split,
	.restore = hs_host_restore,
	.split_page = hs_host_split_page,
	.read = hs_host_read,
	.reach = hs_host_reach,
	.nodes = hs_host_nodes,
	.why = why,
};

int hs_view_open_host(struct hs_view **out, const struct hs_host *host, pid_t pid, struct hs_remote *remote,
		      uint64_t min_bytes, struct hs_error *err)
{
	struct hs_host_view *v = calloc(1, sizeof(*v));
	struct hs_vma_list maps = { 0 };
	int rc;

	if (!v)
		return hs_error_set(err, -ENOMEM, "no memory for the view of process %d", (int)pid);
	v->view.ops = &host_ops;
	v->view.pid = pid;
	v->remote = remote;
	v->min_bytes = min_bytes;
	v->pidfd = v->dir_fd = v->pagemap_fd = v->clear_refs_fd = v->mem_fd = v->kpageflags_fd = -1;

	rc = hs_walk_get(&v->walk, host, err);
	if (!rc)
		rc = open_process(v, host, pid, err);
	if (!rc)
		rc = open_kpageflags(v, host, err);
	if (!rc && !v->min_bytes)
		v->min_bytes = hs_host_default_min_bytes(v->dir_fd);
	if (!rc)
		rc = find_regions(v, &maps, err);
	if (!rc && alloc_bits(v))
		rc = hs_error_set(err, -ENOMEM, "no memory for the view of process %d", (int)pid);
	if (!rc)
		rc = hs_host_armed_open(v, err);
	if (!rc)
		(void)hs_host_armed_look(v);
	if (!rc) {
		rc = hs_host_dontdump_find(v, &maps);
		if (rc)
			(void)hs_host_error(v, rc, "put a flag of its memory back that an earlier run left changed",
					    err);
	}
	hs_vmas_finish(&maps);
	if (rc) {
		free_view(v);
		return rc;
	}
	*out = &v->view;
	return 0;
}
