/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the pipeline's table of merge operations, and what is done where an operation is missing. */
#include "pipeline_internal.h"

#include <errno.h>
#include <string.h>

const struct hs_merge_ops hs_merge_nothing = { .name = "nothing" };

int hs_pipeline_set_merge(struct hs_pipeline *p, const struct hs_merge *merge)
{
	if (p->merge.ops != &hs_merge_nothing || p->nr_guests)
		return -EBUSY;
	p->merge = *merge;
	p->merge_given = true;
	p->unsettled = true; /* nothing is known of bursts before */
	return 0;
}

int hs_merge_enter(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	const struct hs_merge_guest guest = { .name = g->name,
					      .view = g->view,
					      .remote = g->remote,
					      .group = g->group_nr,
					      .scope = g->scope,
					      .number = g->number };
	int rc;

	if (g->shareable || !p->merge.ops->enter)
		return 0;
	rc = p->merge.ops->enter(p->merge.ctx, &guest, &g->merge_id, err);
	g->shareable = !rc && g->merge_id != HS_MERGE_NO_GUEST;
	return rc;
}

int hs_merge_renew(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	const struct hs_merge_guest guest = {
		.name = g->name, .view = g->view, .remote = g->remote, .group = g->group_nr, .number = g->number
	};

	if (!g->shareable || !p->merge.ops->renew)
		return 0;
	return p->merge.ops->renew(p->merge.ctx, g->merge_id, &guest, err);
}

void hs_merge_leave(struct hs_pipeline *p, struct guest *g)
{
	if (g->shareable && p->merge.ops->leave)
		p->merge.ops->leave(p->merge.ctx, g->merge_id);
	g->shareable = false;
}

void hs_merge_state(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h, struct hs_shared_huge *out)
{
	if (p->merge.ops->state)
		p->merge.ops->state(p->merge.ctx, g->merge_id, h, out);
	else
		memset(out, 0, sizeof(*out));
	out->huge = h;
}

void hs_merge_claims(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h, struct hs_bits512 *out)
{
	struct hs_shared_huge now;

	if (p->merge.ops->claims) {
		p->merge.ops->claims(p->merge.ctx, g->merge_id, h, out);
		return;
	}
	hs_merge_state(p, g, h, &now);
	*out = now.wanted;
}

int hs_merge_want(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages,
		  const struct hs_bits512 *allowed)
{
	return p->merge.ops->want ? p->merge.ops->want(p->merge.ctx, g->merge_id, h, pages, allowed) : 0;
}

int hs_merge_forgo(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages)
{
	struct hs_shared_huge now;

	if (p->merge.ops->forgo)
		return p->merge.ops->forgo(p->merge.ctx, g->merge_id, h, pages);
	hs_merge_state(p, g, h, &now);
	now.wanted = hs_bits_andnot(now.wanted, *pages);
	return hs_merge_want(p, g, h, &now.wanted, NULL);
}

int hs_merge_unshare(struct hs_pipeline *p, struct guest *g, const hs_huge_nr *huge, size_t nr,
		     struct hs_share_unshared *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	return p->merge.ops->unshare ? p->merge.ops->unshare(p->merge.ctx, g->merge_id, huge, nr, out, err) : 0;
}

int hs_merge_verify(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	return p->merge.ops->verify ? p->merge.ops->verify(p->merge.ctx, g->merge_id, err) : 0;
}

int hs_merge_apply(struct hs_pipeline *p, struct guest *g, struct hs_share_applied *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	return p->merge.ops->apply ? p->merge.ops->apply(p->merge.ctx, g->merge_id, out, err) : 0;
}

int hs_merge_burst(struct hs_pipeline *p, struct hs_share_burst *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	p->nr_bursts++;
	return p->merge.ops->burst ? p->merge.ops->burst(p->merge.ctx, p->clock, out, err) : 0;
}

int hs_merge_burst_for(struct hs_pipeline *p, uint64_t us, struct hs_share_burst *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	p->nr_bursts++;
	return p->merge.ops->burst_for ? p->merge.ops->burst_for(p->merge.ctx, p->clock, us, out, err) : 0;
}

int hs_merge_burst_stop(struct hs_pipeline *p, struct hs_share_burst *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	return p->merge.ops->burst_stop ? p->merge.ops->burst_stop(p->merge.ctx, out, err) : 0;
}

int hs_merge_part_groups(struct hs_pipeline *p, struct hs_error *err)
{
	uint64_t parted;

	return p->merge.ops->part_groups ? p->merge.ops->part_groups(p->merge.ctx, &parted, err) : 0;
}

bool hs_merge_ledger(const struct hs_pipeline *p, const struct guest *g, struct hs_ledger *out)
{
	memset(out, 0, sizeof(*out));
	if (!p->merge.ops->ledger || (g && !g->shareable))
		return false;
	p->merge.ops->ledger(p->merge.ctx, g ? g->merge_id : UINT32_MAX, out);
	return true;
}
