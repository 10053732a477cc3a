/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second verb: what the policy wants demoted goes to the tier, and comes back from it (hs/tier.h). Only where
 * decisions are carried out, and where policy.demote asks for it; of a recorded run nothing, since a replay could not
 * know how its contents compress. Guests under KVM are left out: what is cold in a hot huge page of theirs shows in
 * nested page tables alone, which cannot stay split.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <string.h>

#include "base/meminfo.h"

/* Memory counts as short below a quarter available, and as short as can be below a twentieth. */
#define CALM_PERCENT    25U
#define PRESSED_PERCENT 5U

#define BUDGET_WAIT_US 50000U /* until the budget has room again for some pages */

static uint8_t pressure_now(const struct hs_pipeline *p)
{
	struct hs_meminfo m;
	uint64_t percent;

	if (hs_meminfo_read(&p->host, &m) || !m.total_bytes)
		return 0;
	percent = m.available_bytes * 100 / m.total_bytes;
	if (percent >= CALM_PERCENT)
		return 0;
	if (percent <= PRESSED_PERCENT)
		return 100;
	return (uint8_t)((CALM_PERCENT - percent) * 100 / (CALM_PERCENT - PRESSED_PERCENT));
}

static bool is_asked(const struct hs_pipeline *p)
{
	return p->demote_asked && p->merge.ops->merges && !p->cfg.share.dry_run && !p->observer.cycle;
}

static int enter(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	if (hs_view_splits_nested(g->view))
		return hs_error_set(err, -ENOTSUP, "guests under KVM are not demoted yet");
	/* What is there is present still, and would be decided on again. */
	if (p->cfg.tier.kind == HS_TIER_NODE)
		return hs_error_set(err, -ENOTSUP, "decisions do not go to a node yet");
	if (!g->view->pid)
		return hs_error_set(err, -ENOTSUP, "it is no process of this host");
	if (!p->tier) {
		int rc = hs_tier_create(&p->tier, &p->host, &p->cfg.tier, p->clock, err);

		if (rc)
			return rc;
	}
	return hs_tier_open_guest(&g->tier, p->tier, g->view, err);
}

void hs_demote_begin(struct hs_pipeline *p)
{
	p->pressure = 0;
	if (!is_asked(p))
		return;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		struct hs_error why = { "" };
		int one;

		if (g->gone || g->tier)
			continue;
		one = enter(p, g, &why);
		/* One that has ended is found out by the next call of its view. */
		if (one)
			hs_obstacle_set(&g->tier_obstacle, one, &why);
		else
			hs_obstacle_clear(&g->tier_obstacle);
		if (g->tier)
			hs_cold_age_begin(p, g);
	}
	p->pressure = pressure_now(p);
}

/* ---- going ---- */

/* What is to go, less what has been accessed since the decision: the burst in between may have taken a while. */
static int still_cold(struct guest *g, hs_huge_nr h, struct hs_bits512 *out, struct hs_error *err)
{
	struct hs_base_sample now;
	int rc = hs_view_sample_base(g->view, &h, 1, &now, err);

	*out =
	    rc ? hs_bits_empty() : hs_bits_andnot(hs_bits_and(g->pages[h].decision.demote, now.present), now.accessed);
	return rc;
}

/* *stop: no more of this guest in this cycle; what it answers ends the run. */
static int demote_one(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, uint64_t until_us, bool *stop)
{
	struct hs_bits512 left, moved = hs_bits_empty(), kept = hs_bits_empty();
	struct hs_tier_moved m = { 0 };
	struct hs_error why = { "" };
	int rc = still_cold(g, h, &left, &why);

	if (!rc && hs_bits_none(&left))
		return 0;
	while (!rc) {
		rc = hs_tier_demote(g->tier, h, &left, &m, &why);
		if (rc == -EAGAIN && p->clock->now_us(p->clock->ctx) < until_us) {
			rc = p->overlap.clock.sleep_us(p->overlap.clock.ctx, BUDGET_WAIT_US);
			continue;
		}
		if (rc)
			break;
		moved = hs_bits_or(moved, m.moved);
		left = hs_bits_andnot(left, m.moved);
		if (!m.not_moved[HS_TIER_LATER])
			break;
	}
	if (!rc && !m.not_moved[HS_TIER_NO_ROOM])
		kept = left;
	g->nr_demoted += hs_bits_count(&moved);
	hs_cold_age_note_moved(p, g, h, &moved, &kept);
	*stop = rc != 0;
	if (!rc)
		hs_obstacle_clear(&g->tier_obstacle);
	else if (rc != -ECANCELED && rc != -EAGAIN && !hs_pipeline_guest_failed(p, g, rc))
		hs_obstacle_set(&g->tier_obstacle, rc, &why);
	return rc == -ECANCELED ? rc : 0;
}

int hs_demote_run(struct hs_pipeline *p)
{
	/* As long as a window at most: looking goes on. */
	const uint64_t until =
	    p->clock->now_us(p->clock->ctx) + (uint64_t)p->cfg.coarse.rounds * p->cfg.coarse.interval_ms * 1000;
	int rc = 0;

	for (size_t i = 0; i < p->nr_guests && !rc; i++) {
		struct guest *g = p->guests[i];
		bool stop = false;

		if (!is_asked(p) || !hs_guest_active(g) || !g->tier || !g->cold_age)
			continue;
		for (hs_huge_nr h = 0; h < g->view->nr_huge && !stop && !rc; h++) {
			struct page_record *pg = &g->pages[h];

			if (hs_bits_none(&pg->decision.demote))
				continue;
			rc = demote_one(p, g, h, until, &stop);
			if (!rc && !(h & 15))
				rc = hs_pipeline_pace(p);
		}
	}
	return rc;
}

void hs_demote_watch(struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
{
	if (g->cold_age && !g->cold_age[h].watched_us)
		g->cold_age[h].watched_us = p->clock->now_us(p->clock->ctx);
}

void hs_demote_unwatch(struct guest *g, hs_huge_nr h)
{
	if (g->cold_age)
		g->cold_age[h].watched_us = 0;
}

/* ---- coming back ---- */

int hs_demote_bring_back(struct guest *g, hs_huge_nr h, struct hs_error *err)
{
	const struct hs_bits512 all = hs_bits_full();
	struct hs_tier_moved m;
	int rc;

	if (!g->tier)
		return 0;
	rc = hs_tier_promote(g->tier, h, &all, &m, err);
	if (rc)
		return rc;
	if (g->cold_age)
		g->cold_age[h].swapped = hs_bits_andnot(g->cold_age[h].swapped, m.moved);
	return m.not_moved[HS_TIER_NO_ROOM] ? hs_error_set(err, -ENOMEM, "there is no room to bring all of it back")
					    : 0;
}

int hs_demote_bring_back_all(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = 0;

	for (hs_huge_nr h = 0; g->tier && h < g->view->nr_huge && !rc; h++) {
		struct hs_bits512 away;

		rc = hs_tier_where(g->tier, h, &away, err);
		if (rc || hs_bits_none(&away))
			continue;
		hs_pipeline_note_progress(p, HS_STAGE_UNSHARE, h, g->view->nr_huge);
		rc = hs_demote_bring_back(g, h, err);
		if (!rc)
			rc = hs_fine_give_back(p->fine, g->view, &h, 1, err);
	}
	return rc;
}
