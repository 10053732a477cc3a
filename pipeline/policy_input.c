/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of one huge page, put together for the policy. */
#include "pipeline_internal.h"

struct hs_bits512 hs_pipeline_cold_zero(const struct guest *g, hs_huge_nr h)
{
	const struct page_record *pg = &g->pages[h];

	/* Of what is mapped huge, the fine phase knows which are hot. */
	return hs_coarse_get(g->coarse, h)->state == HS_MAP_HUGE ? pg->zero : hs_bits_andnot(pg->zero, pg->recent);
}

const struct hs_policy_config *hs_pipeline_policy(const struct hs_pipeline *p, const struct guest *g)
{
	return g->tier && g->cold_age ? &p->demoting : &p->cfg.policy;
}

struct hs_policy_input hs_pipeline_policy_input(struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
{
	const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);
	const struct page_record *pg = &g->pages[h];
	struct hs_policy_input in = {
		.state = r->state,
		.heat = (uint8_t)hs_coarse_heat(g->coarse, h),
		.cold_rounds = r->cold_rounds,
		.nr_accessed_rounds = hs_coarse_count(r),
		.fine = pg->fine,
		.present = pg->present,
		.hashed = pg->hashed,
		.zero = hs_pipeline_cold_zero(g, h),
		.accessed = pg->accessed,
		.refused = hs_refused_pages(pg),
		.nr_unshared = pg->nr_unshared,
		.new_left = pg->new_until > p->totals.cycles ? pg->new_until - p->totals.cycles : 0,
		.ban_left = pg->ban_until > p->totals.cycles ? pg->ban_until - p->totals.cycles : 0,
	};

	hs_cold_age_input(p, g, h, &in);
	if (g->shareable) {
		struct hs_shared_huge now;

		hs_merge_state(p, g, h, &now);
		in.wanted = now.wanted;
		in.shared = now.shared;
		in.breaks = now.breaks;
	}
	return in;
}

void hs_pipeline_policy_promise(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_policy_input *in)
{
	struct hs_bits512 candidates;

	hs_index_indexed(p->index, g->index_id, h, &in->hashed);
	in->zero = g->pages[h].zero_hint;
	hs_content_duplicates(p, g, h, &in->hashed, &in->duplicate, &candidates);
}
