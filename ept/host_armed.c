/*
 * Memory that a userfaultfd is registered with: a VMM's background snapshot, its dirty tracking (write protection,
 * WP_ASYNC), an incoming postcopy migration. What happens to such pages is reported to somebody, or tracked by
 * somebody, who takes it for the guest's doing. So they are left alone: not aged, not split, not restored, and unknown.
 *
 * Which they are is read anew (armed_vmas.bpf.c) at each ageing, split and restore, before anything is done. Where it
 * cannot be read, all memory counts as such. A VMM that registers memory just after the look loses nothing: accessed
 * bits are no business of a userfaultfd, a nested entry that is dropped changes none of its marks (nested_drop.c), a
 * split or joined VMA keeps its registration, and the kernel itself refuses to collapse what is registered.
 *
 * The program is loaded once for the process and counted; the link, which names the guest's process, is the view's.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "armed_vmas.skel.h"

#include "base/bpf_load.h"
#include "host_internal.h"
#include "ept/bpf/armed_vmas_abi.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct armed_vmas_bpf *the_program;
static unsigned int nr_refs;

static int load(struct hs_error *err)
{
	int rc;

	hs_bpf_load_begin();
	the_program = armed_vmas_bpf__open();
	rc = the_program ? armed_vmas_bpf__load(the_program) : -errno;
	rc = hs_bpf_load_end(rc, "looks for userfaultfds", err);
	if (rc) {
		armed_vmas_bpf__destroy(the_program);
		the_program = NULL;
	}
	return rc;
}

static void put_program(void)
{
	pthread_mutex_lock(&lock);
	if (!--nr_refs) {
		armed_vmas_bpf__destroy(the_program);
		the_program = NULL;
	}
	pthread_mutex_unlock(&lock);
}

int hs_host_armed_open(struct hs_host_view *v, struct hs_error *err)
{
	union bpf_iter_link_info which = { .task = { .pid_fd = (__u32)v->pidfd } };
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &which, .link_info_len = sizeof(which));
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (!the_program)
		rc = load(err);
	if (!rc)
		nr_refs++;
	pthread_mutex_unlock(&lock);
	if (rc)
		return rc;
	v->armed_link = bpf_program__attach_iter(the_program->progs.hs_armed_vmas, &opts);
	if (v->armed_link)
		return 0;
	rc = -errno;
	put_program();
	return hs_error_set(err, rc == -ESRCH ? rc : -ENOTSUP,
			    "process %d: cannot look for memory that a userfaultfd is registered with (%s): it takes "
			    "Linux 6.1 or later",
			    (int)v->view.pid, strerror(-rc));
}

void hs_host_armed_finish(struct hs_host_view *v)
{
	if (!v->armed_link)
		return;
	(void)bpf_link__destroy(v->armed_link);
	v->armed_link = NULL;
	put_program();
}

/* Huge pages that have any of it. */
static void mark(struct hs_host_view *v, const struct hs_armed_vma *vma)
{
	for (size_t i = 0; i < v->view.nr_regions; i++) {
		const struct hs_region *r = &v->view.regions[i];
		const uint64_t end = r->hva.v + r->nr_huge * HS_HUGE_SIZE;
		uint64_t a = vma->start > r->hva.v ? vma->start : r->hva.v;
		const uint64_t b = vma->end < end ? vma->end : end;

		for (; a < b; a = (a | (HS_HUGE_SIZE - 1)) + 1) {
			const hs_huge_nr h = r->first_huge + (hs_huge_nr)((a - r->hva.v) >> HS_HUGE_SHIFT);

			v->nr_armed += !hs_bit_test(v->armed, h);
			hs_bit_put(v->armed, h, true);
		}
	}
}

/* 0: all that there are have been marked. */
static int read_all(struct hs_host_view *v, int fd)
{
	struct hs_armed_vma some[64];
	bool complete = false;
	size_t have = 0; /* bytes: a read may end within a record */

	for (;;) {
		ssize_t n = read(fd, (char *)some + have, sizeof(some) - have);
		size_t nr;

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return complete && !have ? 0 : -EPROTO;
		have += (size_t)n;
		nr = have / sizeof(some[0]);
		for (size_t i = 0; i < nr; i++) {
			if (some[i].end)
				mark(v, &some[i]);
			else
				complete = true;
		}
		have -= nr * sizeof(some[0]);
		memmove(some, (char *)some + nr * sizeof(some[0]), have);
	}
}

int hs_host_armed_look(struct hs_host_view *v)
{
	const size_t bytes = ((size_t)v->view.nr_huge + 63) / 64 * sizeof(*v->armed);
	int fd = bpf_iter_create(bpf_link__fd(v->armed_link)), rc;

	memset(v->armed, 0, bytes);
	v->nr_armed = 0;
	rc = fd < 0 ? fd : read_all(v, fd);
	if (fd >= 0)
		close(fd);
	v->armed_unknown = rc != 0;
	if (rc) {
		memset(v->armed, 0xff, bytes);
		v->nr_armed = v->view.nr_huge;
	}
	return rc;
}
