/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes hs-shared one that sees simulated guests: linked with --wrap=hs_pipeline_add, so that the service, its threads
 * and the pipeline are the real ones, and only the memory behind each process is made up. A third of a guest's base
 * pages is zero, a third has contents that all guests have, the rest its own.
 */
#include <stdlib.h>

#include "hs/pipeline.h"
#include "hs/sim_view.h"

#define HUGE_EACH 4

int __wrap_hs_pipeline_add(struct hs_pipeline *p, pid_t pid, const struct hs_guest_options *opt, struct hs_error *err);

int __wrap_hs_pipeline_add(struct hs_pipeline *p, pid_t pid, const struct hs_guest_options *opt, struct hs_error *err)
{
	const struct hs_sim_config cfg = { .nr_huge = HUGE_EACH, .state = HS_MAP_HUGE, .guest = (uint32_t)pid };
	struct hs_view *view = NULL;
	int rc = hs_view_open_sim(&view, &cfg);

	if (rc)
		return hs_error_set(err, rc, "a simulated guest cannot be made");
	view->pid = pid;
	for (uint32_t page = 0; page < HUGE_EACH * HS_BASE_PER_HUGE; page++)
		if (page % 3)
			hs_sim_set(view, page, page % 3 == 1 ? page : ((uint64_t)(uint32_t)pid << 32) + page);
	return hs_pipeline_add_view_as(p, opt, view, err);
}
