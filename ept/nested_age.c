/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ageing of nested entries: what makes the next access to a page visible again.
 *
 * KVM offers no call for it. Kernels differ in what does it from outside, so each way is a file with one row in the
 * table below (struct hs_nested_ageing): the first that works on this kernel is used. A further one (DAMON's, say) is a
 * further file and a further row.
 *
 * The VMM's own accesses (emulated devices, vhost) go through the host's page tables: these are aged too.
 */
#include <errno.h>
#include <unistd.h>

#include "nested_internal.h"

/* The best first. */
static const struct hs_nested_ageing *const ways[] = { &hs_nested_age_idle, &hs_nested_age_scan,
						       &hs_nested_age_soft_dirty };
enum { NR_WAYS = sizeof(ways) / sizeof(ways[0]) };

const struct hs_nested_ageing *hs_nested_choose_ageing(const struct hs_host *host, int *fd, struct hs_error *why)
{
	for (size_t i = 0; i < NR_WAYS; i++)
		if (!ways[i]->open(host, fd,
				   i ? NULL : why)) /* why not the best is what a person can do something about */
			return ways[i];
	(void)hs_error_set(why, -ENOTSUP,
			   "this kernel offers no way to age a KVM guest's nested page tables: use Linux 6.7 or later, "
			   "or one with CONFIG_MEM_SOFT_DIRTY=y");
	return NULL;
}

const char *hs_view_nested_ageing(const struct hs_host *host, bool *fine, struct hs_error *err)
{
	int fd = -1;
	const struct hs_nested_ageing *ageing = hs_nested_choose_ageing(host, &fd, err);

	if (fd >= 0)
		close(fd);
	*fine = ageing && ageing->ranges && hs_dirty_log_guard_can_pin();
	return ageing ? ageing->name : NULL;
}

/*
 * While dirty logging is on, what is dropped comes back in base pages: then only what is meant to. Of what is blind
 * nothing is said at the sample; and a display's memory, which the VMM logs, would come back so.
 */
static bool is_aged(struct hs_nested_view *v, hs_huge_nr huge)
{
	return !hs_bit_test(v->blind, huge) && !hs_host_is_off_limits(hs_nested_host(v), huge) &&
	       (!v->log.open || hs_bit_test(v->split, huge));
}

/* All huge pages that an ageing is of, a run at a time, each within its region, until one fails. */
int hs_nested_each_run(struct hs_nested_view *v, hs_nested_run_fn fn)
{
	int rc = 0;

	for (size_t i = 0; i < v->view.nr_regions && !rc; i++) {
		const struct hs_region *r = &v->view.regions[i];

		for (hs_huge_nr h = r->first_huge, end = h + r->nr_huge, to; h < end && !rc; h = to + 1) {
			for (to = h; to < end && is_aged(v, to); to++)
				;
			if (to > h)
				rc = fn(v, h, to - h);
		}
	}
	return rc;
}

/*
 * The look comes first: what changes after it (slots, sets of tables) is noticed at the sample, which then knows
 * nothing.
 */
int hs_nested_age(struct hs_view *view, struct hs_error *err)
{
	struct hs_nested_view *v = hs_nested_view(view);
	struct hs_kvm_seen now;
	int rc;

	rc = hs_nested_dirty_log_check(v, err);
	v->has_aged = false;
	if (!rc)
		rc = hs_nested_look(v, &now, err);
	if (!rc && v->nr_logged && !v->log.open) {
		hs_nested_dirty_log_recover(v);
		rc = hs_nested_look(v, &now, err);
	}
	if (rc)
		return rc;
	if (v->logs_ram && !v->log.open)
		return hs_error_set(err, -EBUSY,
				    "process %d logs the pages that its guest writes (a migration, or a dirty-rate "
				    "calculation): its guest is left alone meanwhile",
				    (int)view->pid);
	(void)hs_host_armed_look(hs_nested_host(v));
	v->aged = now;
	v->has_aged = true;
	v->by_bit = false;
	rc = v->ageing->age(v, err);
	v->has_aged &= !rc;
	return rc;
}
