/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline's life: guests come and go, a cycle runs through the stages.
 *
 * The order inside one coarse round matters. Reading contents sets the accessed bit of a huge entry, so contents are
 * read after the sample of a round and before the ageing of the next: our own reads are never counted as the guest's.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int hs_pipeline_create(struct hs_pipeline **out, const struct hs_host *host, const struct hs_pipeline_config *cfg,
		       const struct hs_clock *clock, struct hs_error *err)
{
	struct hs_pipeline *p = calloc(1, sizeof(*p));
	int rc = -ENOMEM;

	*out = NULL;
	if (!p)
		goto nomem;
	p->merge.ops = &hs_merge_nothing;
	p->host = *host;
	p->cfg = *cfg;
	p->clock = clock;
	p->demoting = cfg->policy;
	p->demote_asked = cfg->policy.demote;
	p->cfg.policy.demote = 0;
	hs_overlap_init(p);
	for (int i = 0; i < 2; i++) {
		p->buf[i] = aligned_alloc(HS_BASE_SIZE, HS_HUGE_SIZE);
		if (!p->buf[i])
			goto nomem;
	}
	rc = hs_digest_key_random(&p->key);
	if (rc) {
		hs_error_set(err, rc, "cannot get random bytes for the digest key: %s", strerror(-rc));
		goto out;
	}
	rc = hs_index_create(&p->index);
	if (rc)
		goto nomem;
	rc = hs_fine_create(&p->fine, &p->cfg.fine);
	if (rc) {
		hs_error_set(err, rc, "the fine phase refuses its settings: %s", strerror(-rc));
		goto out;
	}
	if (!p->cfg.observe) {
		rc = hs_pipeline_engage(p, err);
		if (rc)
			goto out;
	}
	*out = p;
	return 0;
nomem:
	rc = hs_error_set(err, -ENOMEM, "out of memory");
out:
	hs_pipeline_destroy(p);
	return rc;
}

void hs_pipeline_destroy(struct hs_pipeline *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		size_t left;

		if (!g->gone) {
			if (hs_fine_retry(p->fine, g->view, &left, NULL) == 0 && !left)
				hs_split_journal_remove(&p->host, g->pid);
			hs_pipeline_share_leave(p, g);
		}
		hs_pipeline_guest_free(p, g);
	}
	p->nr_guests = 0;
	hs_tier_destroy(p->tier);
	hs_pipeline_disengage(p);
	hs_fine_destroy(p->fine);
	hs_index_destroy(p->index);
	hs_owners_destroy(p->owners);
	free(p->buf[0]);
	free(p->buf[1]);
	explicit_bzero(&p->key, sizeof(p->key));
	explicit_bzero(&p->fleet_key, sizeof(p->fleet_key));
	free(p);
}

/*
 * Runs one step for each guest that is not gone or put aside; a guest that is gone is dropped, one with an error of its
 * own is put aside, an error that concerns all ends the loop.
 */
static int for_guests(struct hs_pipeline *p, int (*step)(struct hs_pipeline *, struct guest *, struct hs_error *),
		      struct hs_error *err)
{
	bool any = false;
	int first = 0;

	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		struct hs_error own = { "" };
		int rc;

		if (!hs_guest_active(g))
			continue;
		rc = step(p, g, &own);
		if (rc && !hs_pipeline_guest_aside(p, g, rc, &own)) {
			(void)hs_error_set(err, rc, "%s", own.text);
			return rc;
		}
		any |= hs_guest_active(g);
		if (g->aside && !first) {
			first = rc;
			(void)hs_error_set(err, rc, "%s", g->look_obstacle.text);
		}
	}
	if (any || p->cfg.allow_empty)
		return 0;
	return hs_pipeline_nr_guests(p) && first
		   ? first
		   : hs_error_set(err, -ESRCH, "no guest is left: the last one has ended");
}

static int step_age(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	const uint64_t start_us = p->clock->now_us(p->clock->ctx);
	const int rc = hs_view_age(g->view, err);

	if (!rc)
		hs_fine_took_to_age(p->fine, g->view, p->clock->now_us(p->clock->ctx) - start_us);
	return rc;
}

static int step_sample(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc;

	/* ksmd itself leaves marks of accesses where it merges: these rounds say nothing of what is decided already. */
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
		if (g->pages[h].early)
			hs_coarse_skip(g->coarse, h);
	rc = hs_coarse_round(g->coarse, g->view, err);
	if (!rc)
		rc = hs_content_note_round(p, g, err);
	if (!rc)
		hs_cold_age_round(p, g);
	return rc;
}

static int step_refresh(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = hs_view_refresh(g->view, err);

	if (rc != -ESTALE)
		return rc;
	/* Of memory that is gone the view says so from now on; memory that is new it does not know. A window that is
	 * under way is finished first. */
	return p->round ? 0 : hs_pipeline_reopen(p, g, err);
}

static int coarse_window(struct hs_pipeline *p, struct hs_error *err)
{
	const uint32_t rounds = p->cfg.coarse.rounds;
	int rc = 0;

	if (!p->round)
		hs_early_reset(p);
	while (p->round < rounds) {
		hs_pipeline_note_progress(p, HS_STAGE_COARSE, p->round, rounds);
		rc = for_guests(p, step_age, err);
		if (!rc)
			rc =
			    p->overlap.clock.sleep_us(p->overlap.clock.ctx, (uint64_t)p->cfg.coarse.interval_ms * 1000);
		if (!rc)
			rc = for_guests(p, step_sample, err);
		if (rc)
			return rc;
		p->round++;
		p->totals.rounds++;
		rc = for_guests(p, hs_content_hash_due, err);
		if (!rc && p->round < rounds)
			rc = hs_early_round(p, err);
		if (rc)
			return rc;
	}
	p->round = 0;
	return 0;
}

/* Mappings that could not be brought back earlier get another chance in each cycle. */
static int step_retry(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	size_t left;
	int rc = hs_fine_retry(p->fine, g->view, &left, err);

	if (!rc && !left && g->noted) {
		hs_split_journal_remove(&p->host, g->pid);
		g->noted = false;
	}
	return rc == -ESRCH ? rc : 0;
}

void hs_pipeline_ask_look(struct hs_pipeline *p, bool on)
{
	p->look = on;
}

bool hs_pipeline_look_pending(const struct hs_pipeline *p)
{
	return p->look;
}

int hs_pipeline_cycle(struct hs_pipeline *p, uint64_t *news, struct hs_error *err)
{
	const bool looks = p->look || (!p->cfg.no_fine && (p->merge.ops->merges || p->cfg.fine_all));
	int rc;

	*news = 0;
	if (p->cfg.allow_empty && !hs_pipeline_nr_guests(p))
		return 0;
	if (!p->round) {
		p->totals.cycles++;
		for (size_t i = 0; i < p->nr_guests; i++)
			p->guests[i]->aside = false;
	}
	hs_observer_cycle(p);
	hs_demote_begin(p);
	rc = for_guests(p, step_refresh, err);
	if (!rc)
		rc = for_guests(p, step_retry, err);
	if (!rc && !p->round)
		rc = for_guests(p, hs_pipeline_share_again, err);
	if (!rc)
		rc = coarse_window(p, err);
	/* Not while base pages are looked into: what ksmd takes of the processors would make hot ones look cold. */
	hs_overlap_end(p);
	if (!rc && looks)
		rc = hs_fine_look_run(p, err);
	if (!rc)
		rc = hs_decide_all(p, err);
	if (!rc) {
		int reported;

		hs_saving_count(p, looks);
		hs_sketches_make(p);
		p->look = false;
		rc = hs_merge_run(p, news, err);
		if (!rc)
			rc = hs_demote_run(p);
		/* However it ended: the next decisions stand on what is shared now. */
		reported = hs_observer_merged(p, rc ? NULL : err);
		rc = rc ? rc : reported;
	}
	if (rc != -ECANCELED)
		p->round = 0;
	for (size_t i = 0; i < p->nr_guests && !rc; i++)
		if (!p->guests[i]->aside)
			hs_obstacle_clear(&p->guests[i]->look_obstacle);
	return rc;
}
