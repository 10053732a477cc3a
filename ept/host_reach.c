/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making pages reachable for ksmd.
 *
 * ksmd takes a page by follow_page(), which in Linux 6.1 to 6.5 passes over PROT_NONE entries: what NUMA balancing has
 * taken out of the hardware's reach, so just the cold memory, is never merged there. (Measured in 6.1 with two nodes:
 * of 9,704 pages that were to be shared, 14 were.) Since 6.6 it looks behind them.
 *
 * A read by process_vm_readv is an access as far as those kernels are concerned: it makes the entry present again, a
 * huge one by one byte of it. The kernel may take the chance to move the page to the node that we run on; it is about
 * to be merged with one that may lie anywhere. Until the next pass of NUMA balancing, which takes a process in the
 * order of its addresses and no faster than 256 MiB a second, the page stays reachable.
 */
#include <errno.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "base/host_facts.h"
#include "host_internal.h"

struct reach_job {
	const struct hs_bits512 *which;
	struct hs_bits512 pages;
};

static void take(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct reach_job *j = ctx;

	(void)i;
	if (req->status == HS_WALK_ENTRY && hs_x86_pmd(req->entry) == HS_X86_PAGE && hs_x86_is_protnone(req->entry))
		hs_bits_set(&j->pages, 0); /* one entry for all */
	else if (req->status == HS_WALK_COPIED)
		hs_bits_for_each (b, j->which)
			if (hs_x86_is_protnone(page[b]))
				hs_bits_set(&j->pages, b);
}

int hs_host_reach(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *which, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	const uint64_t hva = hs_view_hva(view, huge).v;
	struct hs_walk_req req = { .va = hva, .kind = HS_WALK_PTE_PAGE };
	struct reach_job j = { .which = which };
	struct iovec remote[HS_BASE_PER_HUGE], local;
	char bytes[HS_BASE_PER_HUGE];
	struct utsname u;
	size_t nr = 0;
	int rc;

	if (hs_host_is_off_limits(v, huge) || uname(&u) || !hs_facts_ksmd_is_blind(u.release))
		return 0;
	rc = hs_walk_run(v->walk, v->mm, &req, 1, take, &j);
	if (rc)
		return hs_host_error(v, rc, "read its page tables", err);
	hs_bits_for_each (b, &j.pages)
		remote[nr++] = (struct iovec){ (char *)(uintptr_t)hva + b * HS_BASE_SIZE, 1 };
	local = (struct iovec){ bytes, nr };
	/* Of another process that has taken its number nothing is read that anybody looks at. */
	if (nr && process_vm_readv(v->view.pid, &local, 1, remote, nr, 0) < 0 && errno != EFAULT)
		return hs_host_error(v, -errno, "reach its memory", err);
	return 0;
}
