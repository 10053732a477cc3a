/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For how long each base page has not been accessed, as far as demoting asks: whether it is `demote_after_s`, or less.
 *
 * Two sets a huge page do for that: what was accessed in this period, and in the one before, each of which lasts
 * demote_after_s at least and has a whole coarse window in it. What is in neither was not seen accessed for a period
 * and what has passed of the next. A round that says nothing counts as an access of all. Between two windows nobody
 * looks: what is accessed then alone is not seen, as everywhere in the coarse phase.
 */
#include "pipeline_internal.h"

#include <stdlib.h>

/* A page that the kernel kept so many times in a row is left alone for so many cycles; as in refused.c. */
#define KEPT_TIMES   3
#define STUCK_CYCLES 64

void hs_cold_age_begin(struct hs_pipeline *p, struct guest *g)
{
	if (g->cold_age)
		return;
	/* Without memory for it nothing is known to be cold for long: nothing is demoted. */
	g->cold_age = calloc(g->view->nr_huge, sizeof(*g->cold_age));
	if (!g->cold_age)
		return;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
		g->cold_age[h].before = hs_bits_full();
	g->age_from_us = p->clock->now_us(p->clock->ctx);
	g->age_rounds = 0;
}

static struct hs_bits512 accessed_in_round(const struct guest *g, hs_huge_nr h)
{
	const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);
	const struct page_record *pg = &g->pages[h];

	if (pg->early || !r->nr_known)
		return hs_bits_full();
	switch ((enum hs_map_state)r->state) {
	case HS_MAP_HUGE:
		return r->nr_accessed ? hs_bits_full() : hs_bits_empty();
	case HS_MAP_SPLIT:
	case HS_MAP_PARTIAL:
		return pg->accessed;
	case HS_MAP_ABSENT:
		return hs_bits_empty();
	case HS_MAP_UNKNOWN:
		break;
	}
	return hs_bits_full();
}

void hs_cold_age_round(struct hs_pipeline *p, struct guest *g)
{
	const uint64_t now = p->clock->now_us(p->clock->ctx);
	bool next;

	if (!g->cold_age)
		return;
	next = now - g->age_from_us >= p->cfg.policy.demote_after_s * UINT64_C(1000000) &&
	       g->age_rounds >= p->cfg.coarse.rounds;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct cold_age *a = &g->cold_age[h];

		if (next) {
			a->before = a->now;
			a->now = hs_bits_empty();
		}
		a->now = hs_bits_or(a->now, accessed_in_round(g, h));
	}
	if (next) {
		g->age_from_us = now;
		g->age_rounds = 0;
	}
	g->age_rounds++;
}

int hs_cold_age_look(struct guest *g, struct hs_error *err)
{
	for (hs_huge_nr h = 0; g->cold_age && h < g->view->nr_huge; h++) {
		const uint8_t state = hs_coarse_get(g->coarse, h)->state;
		struct hs_base_sample s;
		int rc;

		hs_bits_clear_all(&g->cold_age[h].swapped);
		if (state != HS_MAP_PARTIAL && state != HS_MAP_ABSENT)
			continue;
		rc = hs_view_sample_base(g->view, &h, 1, &s, err);
		if (rc)
			return rc;
		g->cold_age[h].swapped = s.swapped;
	}
	return 0;
}

void hs_cold_age_input(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h, struct hs_policy_input *in)
{
	const struct cold_age *a = g->cold_age ? &g->cold_age[h] : NULL;
	uint64_t now;

	if (!a)
		return;
	now = p->clock->now_us(p->clock->ctx);
	in->swapped = a->swapped;
	in->idle = hs_bits_andnot(in->present, hs_bits_or(a->now, a->before));
	in->idle_s = p->cfg.policy.demote_after_s + (uint32_t)((now - g->age_from_us) / 1000000);
	in->watched_s = a->watched_us ? (uint32_t)((now - a->watched_us) / 1000000) : 0;
	in->compressed_percent = a->compressed_percent;
	in->pressure = p->pressure;
	if (a->stuck_until > p->totals.cycles)
		in->stuck = a->stuck;
}

void hs_cold_age_note_moved(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *moved,
			    const struct hs_bits512 *kept)
{
	struct cold_age *a = &g->cold_age[h];

	a->swapped = hs_bits_or(a->swapped, *moved);
	if (hs_bits_any(moved))
		a->watched_us = 0;
	if (hs_bits_none(kept)) {
		a->nr_kept = 0;
		return;
	}
	if (++a->nr_kept < KEPT_TIMES)
		return;
	a->nr_kept = 0;
	a->stuck = a->stuck_until > p->totals.cycles ? hs_bits_or(a->stuck, *kept) : *kept;
	a->stuck_until = p->totals.cycles + STUCK_CYCLES;
}
