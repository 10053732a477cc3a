/* SPDX-License-Identifier: Apache-2.0 */
/* What the pipeline knows, counted for reports. */
#include "pipeline_internal.h"

#include <string.h>

/* 0, 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64-127, 128-255, 256-511, 512 hot base pages. */
static unsigned int skew_bin(unsigned int nr_hot)
{
	return nr_hot ? 32U - (unsigned int)__builtin_clz(nr_hot) : 0;
}

static void count_huge(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_guest_report *out)
{
	const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);
	const struct page_record *pg = &g->pages[h];
	const bool hot = hs_coarse_heat(g->coarse, h) == HS_HEAT_HOT;
	uint32_t *skew = NULL;
	struct hs_bits512 indexed, any, cand;

	switch ((enum hs_map_state)r->state) {
	case HS_MAP_HUGE:
		out->mapped_huge++;
		out->hot_still_huge += hot;
		break;
	case HS_MAP_SPLIT:
	case HS_MAP_PARTIAL:
		out->mapped_split++;
		break;
	case HS_MAP_ABSENT:
		out->absent++;
		break;
	case HS_MAP_UNKNOWN:
		out->unknown++;
		if (!out->unknown_reason && hs_view_why(g->view, h) != HS_VIEW_NO_REASON)
			out->unknown_reason = hs_view_reason_text(hs_view_why(g->view, h));
		break;
	}
	switch (hs_coarse_heat(g->coarse, h)) {
	case HS_HEAT_HOT:
		out->hot++;
		skew = out->skew_hot;
		break;
	case HS_HEAT_WARM:
		out->warm++;
		skew = out->skew_warm;
		break;
	case HS_HEAT_COLD:
		out->cold++;
		skew = out->skew_cold;
		break;
	case HS_HEAT_UNKNOWN:
		if (r->state != HS_MAP_ABSENT) {
			out->undecided++;
			skew = out->skew_undecided;
		}
		break;
	}
	if (pg->fine) {
		out->fine_known++;
		out->skew[skew_bin(pg->fine->nr_hot)]++;
		if (skew)
			skew[skew_bin(pg->fine->nr_hot)]++;
		if (pg->fine->gave_up || pg->fine->nr_hot > p->cfg.policy.max_hot)
			out->evenly_hot++;
		else
			out->hot_bloat++;
	}
	out->by_reason[pg->decision.reason]++;
	hs_index_indexed(p->index, g->index_id, h, &indexed);
	hs_index_duplicates(p->index, g->index_id, h, &any);
	out->hashed_pages += hs_bits_count(&indexed) + hs_bits_count(&pg->zero_hint);
	out->zero_pages += hs_bits_count(&pg->zero_hint);
	out->duplicate_pages += hs_bits_count(&any);
	cand = hs_bits_or(hs_bits_and(pg->candidate, pg->same), pg->zero);
	out->cold_identical += hs_bits_count(&cand);
}

size_t hs_pipeline_report(struct hs_pipeline *p, struct hs_guest_report *out, size_t max)
{
	for (size_t i = 0; i < p->nr_guests && i < max; i++) {
		struct guest *g = p->guests[i];
		struct hs_guest_report *r = &g->last;

		if (!g->gone) {
			memset(r, 0, sizeof(*r));
			r->pid = g->pid;
			memcpy(r->name, g->name, sizeof(r->name));
			memcpy(r->group, g->group, sizeof(r->group));
			r->merge_obstacle = g->merge_obstacle;
			r->look_obstacle = g->look_obstacle;
			r->tier_obstacle = g->tier_obstacle;
			for (hs_huge_nr h = 0; g->cold_age && h < g->view->nr_huge; h++)
				r->demoted_pages += hs_bits_count(&g->cold_age[h].swapped);
			r->nr_demoted = g->nr_demoted;
			r->max_shared_bytes = g->max_shared_bytes;
			r->scope = g->scope;
			r->own_scope = g->own_scope;
			r->overcommit_full = g->overcommit_full;
			r->view_name = hs_view_name(g->view);
			r->nr_huge = g->view->nr_huge;
			r->bytes = g->view->nr_huge * HS_HUGE_SIZE;
			r->left_out = g->view->left_out;
			for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
				count_huge(p, g, h, r);
			r->sure = g->sure;
			r->at_most = g->at_most;
			r->looked = g->looked;
			r->could_save_bytes = hs_saving_bytes(&g->sure);
			r->could_save_at_most_bytes = hs_saving_bytes(&g->at_most);
			r->looked_save_bytes = hs_saving_bytes(&g->looked);
			r->looked_cycle = g->looked_cycle;
			r->nr_promising = g->nr_promising;
			r->nr_vmas_dropped = g->dropped;
			r->nr_pending = g->pending;
			memcpy(r->pending_reason, g->pending_reason, sizeof(r->pending_reason));
			(void)hs_merge_ledger(p, g, &r->ledger);
			if (g->remote)
				hs_remote_stats(g->remote, &r->remote);
		}
		r->sketch = g->gone ? NULL : g->sketch;
		out[i] = *r;
	}
	return p->nr_guests;
}

void hs_pipeline_totals(struct hs_pipeline *p, struct hs_pipeline_totals *out)
{
	struct hs_index_stats x;

	hs_index_stats(p->index, &x);
	hs_fine_stats(p->fine, &p->totals.fine);
	p->totals.index_bytes = x.bytes;
	p->totals.own_bytes = x.bytes + (p->owners ? hs_owners_bytes(p->owners) : 0);
	p->totals.nr_guests = hs_pipeline_nr_guests(p);
	for (size_t i = 0; i < p->nr_guests; i++) {
		const struct guest *g = p->guests[i];
		const uint64_t n = g->gone ? 0 : g->view->nr_huge;

		p->totals.own_bytes += n * (sizeof(struct page_record) + sizeof(struct hs_coarse_record));
		for (hs_huge_nr h = 0; h < n; h++)
			p->totals.own_bytes += (g->pages[h].fine ? sizeof(*g->pages[h].fine) : 0) +
					       (g->pages[h].keys ? HS_BASE_PER_HUGE * sizeof(hs_owners_key) : 0) +
					       hs_refused_bytes(&g->pages[h]);
	}
	if (hs_merge_ledger(p, NULL, &p->totals.ledger)) {
		p->totals.overcommit_bytes = p->totals.ledger.saved_bytes;
		/* Net of what we ourselves hold for it, too. */
		p->totals.ledger.metadata_bytes += p->totals.own_bytes;
		p->totals.ledger.net_saved_bytes -= (int64_t)p->totals.own_bytes;
	}
	*out = p->totals;
}
