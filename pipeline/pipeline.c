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

#include "base/times.h"

#define LIMIT_SLACK_US 20000 /* pace in steps that a sleep can keep */

const struct hs_pipeline_config hs_pipeline_config_default = {
	.coarse = HS_COARSE_CONFIG_DEFAULT,
	.fine = HS_FINE_CONFIG_DEFAULT,
	.policy = HS_POLICY_CONFIG_DEFAULT,
	.min_bytes = 0,
	.cpu_percent = 0,
	.hash_cold_rounds = 2,
	.look_again = 8,
};

void hs_pipeline_config_set_rounds(struct hs_pipeline_config *cfg, uint32_t rounds)
{
	cfg->coarse.rounds = rounds;
	cfg->coarse.hot_rounds = (rounds * 6 + 9) / 10;
	cfg->policy.min_cold_rounds = rounds;
	cfg->policy.unshare_hot_rounds = cfg->coarse.hot_rounds;
	/* No more rounds than the window's are ever known: above that nothing cold would be read. */
	if (cfg->hash_cold_rounds > rounds)
		cfg->hash_cold_rounds = rounds;
}

void hs_pipeline_config_set_max_hot(struct hs_pipeline_config *cfg, uint32_t max_hot)
{
	cfg->policy.max_hot = max_hot;
	if (cfg->policy.unshare_hot_pages <= max_hot)
		cfg->policy.unshare_hot_pages = max_hot + 1;
	cfg->fine.give_up_hot = max_hot;
}

void hs_pipeline_tell(struct hs_pipeline *p, enum hs_stage stage, uint64_t done, uint64_t total)
{
	if (p->progress)
		p->progress(p->progress_ctx, stage, done, total);
}

int hs_pipeline_pace(struct hs_pipeline *p)
{
	uint64_t wall, cpu, allowed;

	if (!p->cfg.cpu_percent)
		return 0;
	if (!p->paced) {
		/* Not before: a pipeline may be made by one thread and used by another, whose CPU time is its own. */
		p->paced = true;
		p->paced_wall_us = p->clock->now_us(p->clock->ctx);
		p->paced_cpu_us = hs_thread_cpu_us();
		return 0;
	}
	wall = p->clock->now_us(p->clock->ctx) - p->paced_wall_us;
	cpu = hs_thread_cpu_us() - p->paced_cpu_us;
	allowed = wall * p->cfg.cpu_percent / 100;
	if (cpu <= allowed) {
		/* Idle time is not saved up for a burst of work later: forget all but a second. */
		if (wall > 1000000) {
			p->paced_wall_us += wall;
			p->paced_cpu_us += cpu;
		}
		return 0;
	}
	if (cpu - allowed < LIMIT_SLACK_US * p->cfg.cpu_percent / 100)
		return 0;
	return p->clock->sleep_us(p->clock->ctx, (cpu - allowed) * 100 / p->cfg.cpu_percent);
}

int hs_pipeline_create(struct hs_pipeline **out, const struct hs_host *host, const struct hs_pipeline_config *cfg,
		       const struct hs_clock *clock, struct hs_error *err)
{
	struct hs_pipeline *p = calloc(1, sizeof(*p));
	int rc = -ENOMEM;

	*out = NULL;
	if (!p)
		goto nomem;
	p->host = *host;
	p->cfg = *cfg;
	p->clock = clock;
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
				hs_journal_remove(&p->host, g->pid);
			hs_pipeline_share_leave(p, g);
		}
		hs_pipeline_guest_free(p, g);
	}
	p->nr_guests = 0;
	hs_pipeline_disengage(p);
	hs_fine_destroy(p->fine);
	hs_index_destroy(p->index);
	free(p->buf[0]);
	free(p->buf[1]);
	explicit_bzero(&p->key, sizeof(p->key));
	free(p);
}

uint32_t hs_pipeline_nr_guests(const struct hs_pipeline *p)
{
	uint32_t n = 0;

	for (size_t i = 0; i < p->nr_guests; i++)
		n += !p->guests[i]->gone;
	return n;
}

void hs_pipeline_on_progress(struct hs_pipeline *p, hs_pipeline_progress *fn, void *ctx)
{
	p->progress = fn;
	p->progress_ctx = ctx;
}

/*
 * Runs one step for each guest that is not gone or put aside; a guest that is gone is dropped, one with trouble of its
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
			(void)hs_error_set(err, rc, "%s", g->trouble);
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
	int rc = hs_coarse_round(g->coarse, g->view, err);

	return rc ? rc : hs_content_note_round(p, g, err);
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

	while (p->round < rounds) {
		hs_pipeline_tell(p, HS_STAGE_COARSE, p->round, rounds);
		rc = for_guests(p, step_age, err);
		if (!rc)
			rc = p->clock->sleep_us(p->clock->ctx, (uint64_t)p->cfg.coarse.interval_ms * 1000);
		if (!rc)
			rc = for_guests(p, step_sample, err);
		if (rc)
			return rc;
		p->round++;
		p->totals.rounds++;
		rc = for_guests(p, hs_content_hash_due, err);
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

	if (!rc && !left)
		hs_journal_remove(&p->host, g->pid);
	return rc == -ESRCH ? rc : 0;
}

int hs_pipeline_cycle(struct hs_pipeline *p, uint64_t *news, struct hs_error *err)
{
	int rc;

	*news = 0;
	if (p->cfg.allow_empty && !hs_pipeline_nr_guests(p))
		return 0;
	if (!p->round) {
		p->totals.cycles++;
		for (size_t i = 0; i < p->nr_guests; i++)
			p->guests[i]->aside = false;
	}
	hs_watch_cycle(p);
	rc = for_guests(p, step_refresh, err);
	if (!rc)
		rc = for_guests(p, step_retry, err);
	if (!rc && !p->round)
		rc = for_guests(p, hs_pipeline_share_again, err);
	if (!rc)
		rc = coarse_window(p, err);
	if (!rc && !p->cfg.no_fine && (p->share || p->has_effects || p->cfg.fine_all))
		rc = hs_decide_fine(p, err);
	if (!rc)
		rc = hs_decide_all(p, err);
	if (!rc && (p->share || p->has_effects)) {
		int told;

		rc = hs_decide_merge(p, news, err);
		/* However it ended: the next decisions stand on what is shared now. */
		told = hs_watch_merged(p, rc ? NULL : err);
		rc = rc ? rc : told;
	}
	if (rc != -ECANCELED)
		p->round = 0;
	for (size_t i = 0; i < p->nr_guests && !rc; i++)
		if (!p->guests[i]->aside)
			p->guests[i]->trouble[0] = '\0';
	return rc;
}
