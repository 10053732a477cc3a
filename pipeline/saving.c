/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sharing saves, or would save: for each content one frame stays, all other pages that hold it go.
 *
 * A content is counted once, with all its holders, at the first of its pages that is met: so the whole takes time in
 * proportion to the pages that could be shared, however many copies there are of one. Only what is shared with is
 * counted: a holder that stays hot frees no frame.
 *
 * It is done twice: for what the policy shares by what it knows, and for that together with what hot huge pages
 * promise. A promise is a content that was read when the huge page became hot, or that the last look saw: whether a
 * base page of it is cold, only a look can tell.
 */
#include "pipeline_internal.h"

#include <stdlib.h>

struct count {
	struct hs_pipeline *p;
	struct hs_bits512 **left; /* [nr_guests][nr_huge]: what counts, and was not counted yet */
	struct hs_saving *saving; /* [nr_guests] */
	uint32_t *copies;         /* [nr_guests], of the content at hand; all 0 between two */
	uint32_t *holders;        /* [nr_guests]: whose copies are not 0 */
	struct hs_page *same;     /* [room] */
	size_t room;
};

/* ---- what counts ---- */

/* What the policy shares by what it knows. */
static struct hs_bits512 sure_pages(struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
{
	const struct hs_policy_decision *d = &g->pages[h].decision;
	struct hs_shared_huge now;

	if (d->action == HS_ACT_SHARE)
		return d->pages;
	if (d->reason != HS_WHY_SHARED_ALREADY || !g->shareable)
		return hs_bits_empty();
	hs_merge_state(p, g, h, &now);
	return now.shared;
}

/* What a hot huge page promises beyond that. */
static struct hs_bits512 promised_pages(struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
{
	const struct page_record *pg = &g->pages[h];
	struct hs_policy_input in;
	struct hs_bits512 out;

	if (pg->decision.action == HS_ACT_SHARE || pg->ban_until > p->totals.cycles || !hs_view_can_split(g->view))
		return hs_bits_empty();
	if (hs_coarse_heat(g->coarse, h) != HS_HEAT_HOT || hs_coarse_get(g->coarse, h)->state != HS_MAP_HUGE)
		return hs_bits_empty();
	if (pg->fine && (pg->fine->gave_up || pg->fine->nr_hot > p->cfg.policy.max_hot))
		return hs_bits_empty();
	in = hs_pipeline_policy_input(p, g, h);
	hs_pipeline_policy_promise(p, g, h, &in);
	out = hs_bits_andnot(hs_bits_and(in.present, hs_bits_or(in.duplicate, in.zero)), in.refused);
	for (unsigned int i = 0; pg->fine && i < HS_BASE_PER_HUGE; i++)
		if (pg->fine->count[i] >= p->cfg.policy.hot_count)
			hs_bits_clear(&out, i);
	return hs_bits_count(&out) < p->cfg.policy.min_gain_hot ? hs_bits_empty() : out;
}

static void choose(struct count *c, bool promises)
{
	for (size_t i = 0; i < c->p->nr_guests; i++) {
		struct guest *g = c->p->guests[i];

		for (hs_huge_nr h = 0; hs_guest_active(g) && h < g->view->nr_huge; h++) {
			struct hs_bits512 more;

			c->left[i][h] = sure_pages(c->p, g, h);
			if (!promises)
				continue;
			more = promised_pages(c->p, g, h);
			g->nr_promising += hs_bits_any(&more);
			c->left[i][h] = hs_bits_or(c->left[i][h], more);
		}
	}
}

/* ---- counting ---- */

static bool find_same(struct count *c, struct hs_page page, size_t *nr)
{
	const uint32_t n = hs_index_count_same(c->p->index, page, UINT32_MAX);

	if (n > c->room) {
		struct hs_page *grown = reallocarray(c->same, n, sizeof(*grown));

		if (!grown)
			return false;
		c->same = grown;
		c->room = n;
	}
	*nr = n ? hs_index_same(c->p->index, page, c->same, c->room) : 0;
	return n != 0;
}

/* One content: all its pages that count, at once. */
static void count_content(struct count *c, uint32_t guest, hs_base_nr page)
{
	const struct hs_page mine = { c->p->guests[guest]->index_id, page };
	uint32_t nr_holders = 0, all = 1;
	size_t nr;

	if (!find_same(c, mine, &nr))
		return;
	c->copies[guest] = 1;
	c->holders[nr_holders++] = guest;
	for (size_t k = 0; k < nr; k++) {
		const uint32_t holder = c->p->guest_of_index[c->same[k].guest];
		const hs_huge_nr h = c->same[k].page / HS_BASE_PER_HUGE;
		const unsigned int i = c->same[k].page % HS_BASE_PER_HUGE;

		if (c->p->guests[holder]->gone || c->p->guests[holder]->group_nr != c->p->guests[guest]->group_nr ||
		    !hs_bits_test(&c->left[holder][h], i))
			continue;
		hs_bits_clear(&c->left[holder][h], i);
		if (!c->copies[holder]++)
			c->holders[nr_holders++] = holder;
		all++;
	}
	for (uint32_t k = 0; k < nr_holders; k++) {
		const uint32_t holder = c->holders[k], copies = c->copies[holder];

		c->saving[holder].within_bytes += (copies - 1) * (uint64_t)HS_BASE_SIZE;
		c->saving[holder].across_bytes += HS_BASE_SIZE - HS_BASE_SIZE * (uint64_t)copies / all;
		c->copies[holder] = 0;
	}
}

static void count(struct count *c)
{
	for (uint32_t i = 0; i < c->p->nr_guests; i++) {
		struct guest *g = c->p->guests[i];

		for (hs_huge_nr h = 0; hs_guest_active(g) && h < g->view->nr_huge; h++) {
			struct hs_bits512 *left = &c->left[i][h];
			const struct hs_bits512 zero = hs_bits_and(*left, g->pages[h].zero_hint);

			if (!(h & 63))
				hs_pipeline_note_progress(c->p, HS_STAGE_DECIDE, h, g->view->nr_huge);
			c->saving[i].zero_bytes += hs_bits_count(&zero) * HS_BASE_SIZE;
			*left = hs_bits_andnot(*left, zero);
			for (unsigned int b = 0; hs_bits_any(left) && b < HS_BASE_PER_HUGE; b++) {
				if (!hs_bits_test(left, b))
					continue;
				hs_bits_clear(left, b);
				count_content(c, i, h * HS_BASE_PER_HUGE + b);
			}
		}
	}
}

/* ---- all of it ---- */

static bool prepare(struct count *c)
{
	const size_t nr = c->p->nr_guests + 1;
	bool all;

	c->left = calloc(nr, sizeof(struct hs_bits512 *));
	c->saving = calloc(nr, sizeof(*c->saving));
	c->copies = calloc(nr, sizeof(*c->copies));
	c->holders = calloc(nr, sizeof(*c->holders));
	all = c->left && c->saving && c->copies && c->holders;
	for (size_t i = 0; i < c->p->nr_guests && all; i++) {
		const struct guest *g = c->p->guests[i];

		c->left[i] = calloc(g->gone ? 1 : (size_t)g->view->nr_huge + 1, sizeof(*c->left[i]));
		all = c->left[i];
	}
	return all;
}

static void finish(struct count *c)
{
	for (size_t i = 0; c->left && i < c->p->nr_guests; i++)
		free(c->left[i]);
	free(c->left);
	free(c->saving);
	free(c->copies);
	free(c->holders);
	free(c->same);
}

void hs_saving_count(struct hs_pipeline *p, bool looked)
{
	struct count c = { .p = p };

	if (prepare(&c)) {
		choose(&c, false);
		count(&c);
		for (size_t i = 0; i < p->nr_guests; i++) {
			struct guest *g = p->guests[i];

			g->sure = c.saving[i];
			c.saving[i] = (struct hs_saving){ 0 };
			g->nr_promising = 0;
			if (!looked || !hs_guest_active(g))
				continue;
			g->looked = g->sure;
			g->looked_cycle = p->totals.cycles;
		}
		choose(&c, true);
		count(&c);
		for (size_t i = 0; i < p->nr_guests; i++)
			p->guests[i]->at_most = c.saving[i];
	}
	finish(&c);
}
