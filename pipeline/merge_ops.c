/*
 * What follows from decisions: the merge engine, or what stands in for it where guests are simulated or recorded. The
 * pipeline above asks here and does not know which of the two it has.
 */
#include "pipeline_internal.h"

#include <errno.h>

int hs_pipeline_set_effects(struct hs_pipeline *p, const struct hs_pipeline_effects *effects)
{
	if (p->share || p->nr_guests)
		return -EBUSY;
	p->effects = *effects;
	p->has_effects = true;
	return 0;
}

void hs_effects_state(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_bits512 *wanted,
		      struct hs_bits512 *shared, uint32_t *breaks)
{
	if (p->has_effects)
		p->effects.state(p->effects.ctx, g->share_id, h, wanted, shared, breaks);
	else
		hs_share_state(p->share, g->share_id, h, wanted, shared, breaks);
}

void hs_effects_claims(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_bits512 *out)
{
	if (p->has_effects)
		p->effects.state(p->effects.ctx, g->share_id, h, out, NULL, NULL);
	else
		hs_share_claims(p->share, g->share_id, h, out);
}

int hs_effects_forgo(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages)
{
	struct hs_bits512 wanted;

	if (!p->has_effects)
		return hs_share_forgo(p->share, g->share_id, h, pages);
	p->effects.state(p->effects.ctx, g->share_id, h, &wanted, NULL, NULL);
	wanted = hs_bits_andnot(wanted, *pages);
	return p->effects.want(p->effects.ctx, g->share_id, h, &wanted);
}

int hs_effects_want(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages)
{
	if (p->has_effects)
		return p->effects.want(p->effects.ctx, g->share_id, h, pages);
	return hs_share_want(p->share, g->share_id, h, pages, NULL);
}

int hs_effects_unshare(struct hs_pipeline *p, struct guest *g, const hs_huge_nr *huge, size_t nr,
		       struct hs_share_unshared *out, struct hs_error *err)
{
	if (p->has_effects)
		return p->effects.unshare(p->effects.ctx, g->share_id, huge, nr, out, err);
	return hs_share_unshare(p->share, g->share_id, huge, nr, out, err);
}
