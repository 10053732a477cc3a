/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fine look: which hot huge pages the fine phase looks into, and what becomes of its results.
 *
 * A mapping is noted on disk before it is split, so that it comes back after a crash as well. A mapping that the policy
 * would share stays split, since sharing splits it anyway; decisions follow in the same cycle, and bring back what they
 * do not share.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/room.h"

/* The same parts of the host's memory and of the limits above the guest stay free as when sharing ends. */
static bool has_room(void *ctx, const struct hs_view *v)
{
	const struct hs_pipeline *p = ctx;
	struct hs_room room;

	/* A simulated guest takes no memory of this host, and nested entries none to speak of. */
	if (!v->pid || hs_view_splits_nested(v))
		return true;
	return !hs_room_of(&p->host, v->pid, p->cfg.share.min_free_percent, &room, NULL) && room.bytes >= HS_HUGE_SIZE;
}

void hs_fine_look_ask_for_room(struct hs_pipeline *p, struct hs_view *v)
{
	hs_view_on_huge(v, has_room, p);
}

/*
 * Cycles until a huge page is split again for a look, after looks that could not tell: the next one, as a busy moment
 * passes; then 2, 4, ... and as for what never changes.
 */
static uint32_t rest_after_unclear(const struct hs_pipeline *p, const struct page_record *pg)
{
	const uint32_t rest = 1U << (pg->fine_unclear - 1);

	return rest < p->cfg.look_again ? rest : p->cfg.look_again;
}

static bool wants_fine(struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
{
	struct page_record *pg = &g->pages[h];
	struct hs_policy_input in;

	if (pg->fine) {
		/* Evenly hot pages seldom change: look again only after some cycles. */
		if (pg->decision.reason == HS_WHY_EVENLY_HOT && p->totals.cycles - pg->fine_cycle < p->cfg.look_again)
			return false;
		free(pg->fine);
		pg->fine = NULL;
	} else if (pg->fine_unclear && !p->look && p->totals.cycles - pg->fine_cycle < rest_after_unclear(p, pg)) {
		return false;
	}
	in = hs_pipeline_policy_input(p, g, h);
	if (in.state != HS_MAP_HUGE || in.heat != HS_HEAT_HOT)
		return false;
	if (p->cfg.fine_all)
		return true;
	hs_pipeline_policy_promise(p, g, h, &in);
	return hs_policy_decide(hs_pipeline_policy(p, g), &in).action == HS_ACT_LOOK_FINE;
}

/* The ctx of one guest's target. */
struct look {
	struct hs_pipeline *p;
	struct guest *g;
};

/* Asked while the mapping is split: does what was learnt let the policy share it? Then it need not come back. */
static bool keep_split(void *ctx, const struct hs_fine_result *r)
{
	struct look *k = ctx;
	struct hs_policy_input in;
	uint8_t action;

	if (!k->g->shareable || k->p->cfg.share.dry_run)
		return false;
	in = hs_pipeline_policy_input(k->p, k->g, r->huge);
	in.fine = r;
	hs_pipeline_policy_promise(k->p, k->g, r->huge, &in);
	action = hs_policy_decide(hs_pipeline_policy(k->p, k->g), &in).action;
	if (action != HS_ACT_SHARE && action != HS_ACT_WATCH && action != HS_ACT_DEMOTE)
		return false;
	k->g->pages[r->huge].kept_split = 1;
	return true;
}

/* What the fine phase found cold is read again before anything is made of it: the promise may be long out of date. */
static int rehash_cold(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_error *err)
{
	struct page_record *pg = &g->pages[h];
	struct hs_bits512 want = pg->present, fresh;
	int rc;

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (pg->fine->count[i] >= p->cfg.policy.hot_count)
			hs_bits_clear(&want, i);
	rc = hs_content_hash(p, g, h, &want, &fresh, err);
	if (rc)
		return rc;
	pg->hashed = hs_bits_andnot(fresh, pg->zero);
	hs_bits_clear_all(&pg->same);
	return 0;
}

static int take_results(struct hs_pipeline *p, struct guest *g, struct hs_fine_result *results, size_t nr,
			struct hs_error *err)
{
	for (size_t i = 0; i < nr; i++) {
		struct page_record *pg = &g->pages[results[i].huge];
		int rc;

		if (results[i].known != HS_YES) {
			pg->kept_split = 0;
			pg->fine_cycle = p->totals.cycles;
			if (pg->fine_unclear < 7)
				pg->fine_unclear++;
			continue;
		}
		pg->fine_unclear = 0;
		pg->fine = malloc(sizeof(*pg->fine));
		if (!pg->fine)
			return hs_error_set(err, -ENOMEM, "out of memory for the fine phase's results");
		*pg->fine = results[i];
		pg->fine_cycle = p->totals.cycles;
		if (results[i].nr_hot > p->cfg.policy.max_hot || results[i].gave_up)
			continue;
		rc = rehash_cold(p, g, results[i].huge, err);
		if (rc && hs_pipeline_guest_aside(p, g, rc, err))
			return 0;
		if (!(i & 15)) {
			rc = hs_pipeline_pace(p);
			if (rc)
				return rc;
		}
	}
	return 0;
}

static void free_target(struct hs_fine_target *t)
{
	free((void *)(uintptr_t)t->huge);
	free(t->results);
	*t = (struct hs_fine_target){ 0 };
}

/* Chooses what to look at in one guest, and notes it on disk; t->nr 0: nothing. *t is to be freed also after an error.
 */
static int choose(struct hs_pipeline *p, struct guest *g, struct hs_fine_target *t, struct hs_error *err)
{
	/* Twice: pending restores from before are noted with it. */
	hs_huge_nr *list = malloc(2 * (size_t)g->view->nr_huge * sizeof(*list));
	size_t pending;

	if (!list)
		return hs_error_set(err, -ENOMEM, "out of memory");
	t->view = g->view;
	t->huge = list;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
		if (wants_fine(p, g, h))
			list[t->nr++] = h;
	if (!t->nr)
		return 0;
	t->results = calloc(t->nr, sizeof(*t->results));
	if (!t->results)
		return hs_error_set(err, -ENOMEM, "out of memory");
	/* What is split in nested tables alone, the view itself can bring back after a crash; sharing has no use for
	 * it. */
	if (hs_view_splits_nested(g->view))
		return 0;
	t->keep_split = keep_split;
	pending = hs_fine_pending(p->fine, g->view, list + t->nr, g->view->nr_huge);
	g->noted = true;
	return hs_split_journal_write(&p->host, g->view, list, t->nr + pending, err);
}

/* What could not be brought back gets its second chance here, and otherwise one in each cycle. */
static void retry(struct hs_pipeline *p, struct guest *g)
{
	size_t left = 0;

	if (!g->gone)
		(void)hs_pipeline_guest_failed(p, g, hs_fine_retry(p->fine, g->view, &left, NULL));
	/* What is kept split is the engine's from the next apply on; a crash before it leaves a few mappings split. */
	if (!left && g->noted) {
		hs_split_journal_remove(&p->host, g->pid);
		g->noted = false;
	}
}

int hs_fine_look_run(struct hs_pipeline *p, struct hs_error *err)
{
	struct hs_fine_target *targets = calloc(p->nr_guests + 1, sizeof(*targets));
	struct look *looks = calloc(p->nr_guests + 1, sizeof(*looks));
	size_t nr = 0, pages = 0;
	int rc = 0;

	if (!targets || !looks) {
		rc = hs_error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		if (!hs_guest_active(g) || !hs_view_can_split(g->view))
			continue;
		looks[nr] = (struct look){ p, g };
		targets[nr].ctx = &looks[nr];
		rc = choose(p, g, &targets[nr], err);
		if (rc)
			goto out;
		pages += targets[nr].nr;
		if (targets[nr].nr)
			nr++;
		else
			free_target(&targets[nr]);
	}
	if (!nr)
		goto out;
	hs_pipeline_note_progress(p, HS_STAGE_FINE, 0, pages);
	rc = hs_fine_run(p->fine, targets, nr, p->clock, err);
	for (size_t i = 0; i < nr; i++) {
		struct guest *g = looks[i].g;
		int one;

		(void)hs_pipeline_guest_failed(p, g, targets[i].error);
		hs_observer_fine(p, g, &targets[i]);
		one = rc || g->gone ? 0 : take_results(p, g, targets[i].results, targets[i].nr, err);
		if (one)
			rc = one;
	}
	if (rc)
		hs_guest_give_back_kept(p);
	for (size_t i = 0; i < nr; i++)
		retry(p, looks[i].g);
out:
	for (size_t i = 0; targets && i <= p->nr_guests; i++)
		free_target(&targets[i]);
	free(targets);
	free(looks);
	return rc;
}
