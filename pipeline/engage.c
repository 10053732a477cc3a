/* SPDX-License-Identifier: Apache-2.0 */
/* The merge engine comes and goes with the mode, while the guests stay. */
#include "pipeline_internal.h"

#include <errno.h>
#include <string.h>

int hs_pipeline_share_enter(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	return g->gone ? 0 : hs_merge_enter(p, g, err);
}

bool hs_pipeline_share_enter_or_note(struct hs_pipeline *p, struct guest *g)
{
	struct hs_error why = { "" };
	int rc = hs_pipeline_share_enter(p, g, &why);

	if (hs_pipeline_guest_failed(p, g, rc))
		return false;
	if (rc)
		hs_obstacle_set(&g->merge_obstacle, rc, &why);
	return true;
}

int hs_pipeline_share_again(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	(void)err;
	if (g->shareable)
		return 0;
	if (!hs_pipeline_share_enter_or_note(p, g))
		return -ESRCH;
	if (g->shareable) {
		hs_obstacle_clear(&g->merge_obstacle);
		p->unsettled = true; /* as when the engine comes */
	}
	return 0;
}

static void on_unshare(void *ctx, uint64_t done, uint64_t total)
{
	hs_pipeline_note_progress(ctx, HS_STAGE_UNSHARE, done, total);
}

static int pace(void *ctx)
{
	return hs_pipeline_pace(ctx);
}

int hs_pipeline_engage(struct hs_pipeline *p, struct hs_error *err)
{
	const struct hs_merge_engine_hooks hooks = { .progress = on_unshare, .pace = pace, .ctx = p };
	int rc;

	if (p->merge_given)
		return hs_error_set(err, -EBUSY, "this pipeline's decisions go elsewhere: it takes no merge engine");
	rc = p->merge.ops->merges ? 0 : hs_merge_scoped_open(&p->merge, &p->host, &p->cfg, &hooks, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < p->nr_guests; i++) {
		hs_pipeline_note_progress(p, HS_STAGE_VERIFY, i, p->nr_guests);
		(void)hs_pipeline_share_enter_or_note(p, p->guests[i]);
	}
	p->unsettled = true; /* what was marked before may not have been merged to the end */
	return 0;
}

void hs_pipeline_disengage(struct hs_pipeline *p)
{
	for (size_t i = 0; i < p->nr_guests; i++)
		hs_pipeline_share_leave(p, p->guests[i]);
	if (p->merge.ops->close)
		p->merge.ops->close(p->merge.ctx);
	p->merge = (struct hs_merge){ .ops = &hs_merge_nothing };
	p->merge_given = p->unsettled = false;
	/* What stays shared is the kernel's from now on: nobody follows it, so nothing is reported of it. */
	memset(&p->totals.ledger, 0, sizeof(p->totals.ledger));
	p->totals.overcommit_bytes = p->totals.max_overcommit_bytes = 0;
	p->totals.overcommit_full = 0;
}

int hs_pipeline_ready(struct hs_pipeline *p, struct hs_error *err)
{
	return p->merge.ops->ready ? p->merge.ops->ready(p->merge.ctx, err) : 0;
}

bool hs_pipeline_engaged(const struct hs_pipeline *p)
{
	return p->merge.ops->merges;
}
