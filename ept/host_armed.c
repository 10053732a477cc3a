/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that a userfaultfd is registered with: a VMM's background snapshot, its dirty tracking (write protection,
 * WP_ASYNC), an incoming postcopy migration. What happens to such pages is reported to somebody, or tracked by
 * somebody, who takes it for the guest's doing. So they are left alone: not aged, not split, not restored, and unknown.
 *
 * Which they are is read anew (base/vma_marks.h) at each ageing, split and restore, before anything is done. Where it
 * cannot be read, all memory counts as such. A VMM that registers memory just after the look loses nothing: accessed
 * bits are no business of a userfaultfd, a nested entry that is dropped changes none of its marks (nested_drop.c), a
 * split or joined VMA keeps its registration, and the kernel itself refuses to collapse what is registered. Splitting a
 * huge page itself is another matter: some kernels (6.12 and later, for a while) lose the protection of those of its
 * pages that they map to the zero page. Before that the look is at most 10 ms old.
 *
 * The program is loaded once for the process and counted; the link, which names the guest's process, is the view's.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/times.h"
#include "base/vma_marks.h"
#include "host_internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hs_vma_marks_program *the_program;
static unsigned int nr_refs;

static void put_program(void)
{
	pthread_mutex_lock(&lock);
	if (!--nr_refs) {
		hs_vma_marks_unload(the_program);
		the_program = NULL;
	}
	pthread_mutex_unlock(&lock);
}

int hs_host_armed_open(struct hs_host_view *v, struct hs_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (!the_program)
		rc = hs_vma_marks_load(&the_program, HS_VMA_ARMED, "looks for userfaultfds", err);
	if (!rc)
		nr_refs++;
	pthread_mutex_unlock(&lock);
	if (rc)
		return rc;
	rc = hs_vma_marks_attach(the_program, 0, v->pidfd, &v->armed_link);
	if (!rc)
		return 0;
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
	hs_vma_marks_detach(v->armed_link);
	v->armed_link = NULL;
	put_program();
}

/* Huge pages that have any of it. */
static int mark(void *ctx, const struct hs_vma_marks *vma)
{
	struct hs_host_view *v = ctx;

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
	return 0;
}

int hs_host_armed_look(struct hs_host_view *v)
{
	const size_t bytes = ((size_t)v->view.nr_huge + 63) / 64 * sizeof(*v->armed);
	int rc;

	memset(v->armed, 0, bytes);
	v->nr_armed = 0;
	rc = hs_vma_marks_read(v->armed_link, mark, v);
	v->armed_unknown = rc != 0;
	v->armed_us = hs_monotonic_us();
	if (rc) {
		memset(v->armed, 0xff, bytes);
		v->nr_armed = v->view.nr_huge;
	}
	return rc;
}

void hs_host_armed_look_again(struct hs_host_view *v)
{
	if (hs_monotonic_us() - v->armed_us >= HS_ARMED_FRESH_US)
		(void)hs_host_armed_look(v);
}
