/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions on every huge page, and what they ask of the merge operations.
 *
 * The policy sees one huge page at a time; what concerns two is settled here first: a base page is a duplicate only of
 * a page that may itself be shared in this cycle, and only once their bytes were compared, or where ksmd does that.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>

/* A huge page that was not unshared for so many cycles has no record any more: twice the longest ban, and an hour at
 * rest. */
#define QUIET_CYCLES 64

/* Cold, and its content known since: it may share, if there is somebody to share with. */
static void mark_candidates(struct hs_pipeline *p, struct guest *g)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);
		struct page_record *pg = &g->pages[h];
		const enum hs_heat heat = hs_coarse_heat(g->coarse, h);

		hs_bits_clear_all(&pg->candidate);
		hs_refused_expire(pg, p->totals.cycles);
		if (pg->early) {
			pg->candidate = hs_bits_andnot(pg->hashed, hs_refused_pages(pg));
			continue;
		}
		if (heat == HS_HEAT_COLD && pg->fine) {
			/* What was hot inside it is so no more. */
			free(pg->fine);
			pg->fine = NULL;
		}
		if (hs_guest_page_waits(p, pg))
			continue;
		if (heat == HS_HEAT_COLD && r->cold_rounds >= p->cfg.policy.min_cold_rounds)
			pg->candidate = pg->hashed;
		else if (pg->fine && !pg->fine->gave_up && pg->fine->nr_hot <= p->cfg.policy.max_hot)
			pg->candidate = pg->hashed; /* rehash_cold left out what is hot */
		else if ((r->state == HS_MAP_SPLIT || r->state == HS_MAP_PARTIAL) && heat != HS_HEAT_UNKNOWN)
			pg->candidate = hs_bits_andnot(pg->hashed, pg->recent); /* as cold as a huge page has to be */
		/* Nobody is to wait for a partner that never merges. */
		pg->candidate = hs_bits_andnot(pg->candidate, hs_refused_pages(pg));
	}
}

static int decide_one(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_error *err)
{
	struct page_record *pg = &g->pages[h];
	struct hs_policy_input in = hs_pipeline_policy_input(p, g, h);
	struct hs_bits512 any, dup;
	int rc;

	if (pg->early)
		return 0;
	if (pg->nr_unshared && p->totals.cycles - pg->unshared_cycle > QUIET_CYCLES)
		in.nr_unshared = pg->nr_unshared = 0;
	hs_content_duplicates(p, g, h, &pg->candidate, &any, &dup);
	rc = hs_content_compare(p, g, h, &dup, err);
	if (rc)
		return rc;
	/* A stale digest may have been found out just now. */
	in.hashed = pg->hashed;
	in.duplicate = hs_bits_and(hs_bits_and(dup, pg->same), pg->hashed);
	if (in.heat == HS_HEAT_HOT && !pg->fine && in.state == HS_MAP_HUGE) {
		/* Only whether it were worth a look, for the report: it was not looked at in this cycle. */
		hs_pipeline_policy_promise(p, g, h, &in);
	}
	pg->decision = hs_policy_decide(hs_pipeline_policy(p, g), &in);
	if (pg->decision.ban)
		pg->ban_until = p->totals.cycles + pg->decision.ban;
	return 0;
}

static uint64_t count_wanted(struct hs_pipeline *p, struct guest *g)
{
	uint64_t n = 0;

	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct hs_shared_huge now;

		hs_merge_state(p, g, h, &now);
		n += hs_bits_count(&now.wanted);
	}
	return n;
}

/* Whether the guest's limit, or that of all, forbids to want these pages; *wanted: base pages wanted of it by now. */
static bool over_limit(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages,
		       uint64_t *wanted)
{
	struct hs_shared_huge now;
	struct hs_bits512 more;
	unsigned int n;

	hs_merge_state(p, g, h, &now);
	more = hs_bits_andnot(*pages, now.wanted);
	n = hs_bits_count(&more);
	if (n && g->max_shared_bytes && (*wanted + n) * HS_BASE_SIZE > g->max_shared_bytes)
		return true;
	if (!hs_overcommit_take(p, g, n))
		return true;
	*wanted += n;
	return false;
}

static void note_unshared(const struct hs_pipeline *p, struct page_record *pg)
{
	if (pg->nr_unshared < UINT8_MAX)
		pg->nr_unshared++;
	pg->unshared_cycle = p->totals.cycles;
}

/* It was left split for what was to be demoted, which came to nothing. */
static bool watched_for_nothing(const struct guest *g, hs_huge_nr h)
{
	return g->cold_age && g->cold_age[h].watched_us && hs_bits_none(&g->cold_age[h].swapped) && !g->pages[h].shares;
}

/* Carries the decisions on one guest out, as far as they concern the desired state and mappings. */
static int carry_out(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	hs_huge_nr *unshare = malloc(((size_t)g->view->nr_huge + 1) * sizeof(*unshare));
	hs_huge_nr *restore = malloc(((size_t)g->view->nr_huge + 1) * sizeof(*restore));
	size_t nr_unshare = 0, nr_restore = 0;
	uint64_t wanted = g->max_shared_bytes ? count_wanted(p, g) : 0;
	int rc = 0;

	if (!unshare || !restore) {
		rc = hs_error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	for (hs_huge_nr h = 0; h < g->view->nr_huge && !rc; h++) {
		struct page_record *pg = &g->pages[h];

		switch ((enum hs_policy_action)pg->decision.action) {
		case HS_ACT_SHARE: {
			hs_content_leave_to_others(p, g, h, &pg->decision.pages);
			if (hs_bits_none(&pg->decision.pages) || over_limit(p, g, h, &pg->decision.pages, &wanted)) {
				if (pg->kept_split)
					restore[nr_restore++] = h;
				break; /* what is wanted of it by now stays */
			}
			pg->shares = 1;
			hs_fine_keep(p->fine, g->view, h); /* split for good: no longer to be brought back */
			rc = hs_merge_want(p, g, h, &pg->decision.pages, &pg->decision.pages);
			break;
		}
		case HS_ACT_UNSHARE:
			rc = hs_demote_bring_back(g, h, err);
			if (rc == -ENOMEM) {
				rc = 0;
				break;
			}
			pg->shares = 0;
			/* Under a ban it is only the rest of the unsharing that was counted when the ban began; and
			 * what the kernel never merged is not the guest's doing. */
			if (pg->decision.reason != HS_WHY_BANNED && pg->decision.reason != HS_WHY_DOES_NOT_MERGE)
				note_unshared(p, pg);
			unshare[nr_unshare++] = h;
			break;
		case HS_ACT_WATCH:
		case HS_ACT_DEMOTE: /* by hs_demote_run, when what is to be shared has been */
			hs_demote_watch(p, g, h);
			hs_fine_keep(p->fine, g->view, h); /* split for good, as for sharing */
			break;
		case HS_ACT_PROMOTE:
			rc = hs_demote_bring_back(g, h, err);
			if (rc == -ENOMEM) {
				rc = 0; /* no room now: it stays where it is, and is decided again in the next cycle */
				break;
			}
			note_unshared(p, pg);
			restore[nr_restore++] = h;
			break;
		case HS_ACT_LEAVE:
		case HS_ACT_KEEP_HUGE:
		case HS_ACT_LOOK_FINE:
			if (pg->kept_split || watched_for_nothing(g, h))
				restore[nr_restore++] = h;
			hs_demote_unwatch(g, h);
			break;
		}
		pg->kept_split = 0;
	}
	if (nr_restore) {
		const int one = hs_fine_give_back(p->fine, g->view, restore, nr_restore, rc ? NULL : err);

		rc = rc ? rc : one;
	}
	if (!rc && nr_unshare) {
		struct hs_share_unshared un;

		rc = hs_merge_unshare(p, g, unshare, nr_unshare, &un, err);
		if (rc == -ENOMEM)
			rc = 0; /* no room now: it stays shared, and is decided again in the next cycle */
	}
out:
	free(unshare);
	free(restore);
	return rc;
}

/*
 * What may lie in a mergeable range without being wanted, to spare VMAs: cold, and content known. Only after what is
 * wanted of all guests is known, so that nobody's gap keeps a guest of another group from sharing.
 */
static int widen(struct hs_pipeline *p, struct guest *g)
{
	/* A gap could be merged too, beyond the limit; and of whom nothing is mergeable, it spares nothing. */
	if (g->max_shared_bytes || p->totals.overcommit_full || g->scope == HS_SCOPE_ZERO)
		return 0;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		const struct page_record *pg = &g->pages[h];
		struct hs_shared_huge now;
		struct hs_bits512 allowed;
		int rc;

		if (pg->decision.action != HS_ACT_SHARE)
			continue;
		hs_merge_state(p, g, h, &now);
		if (hs_bits_none(&now.wanted))
			continue;
		allowed = hs_bits_or(hs_bits_or(pg->candidate, hs_pipeline_cold_zero(g, h)), now.wanted);
		allowed = hs_bits_andnot(allowed, hs_refused_pages(pg));
		hs_content_leave_to_others(p, g, h, &allowed);
		rc = hs_merge_want(p, g, h, &now.wanted, &allowed);
		if (rc)
			return rc;
	}
	return 0;
}

static bool takes_part(const struct guest *g)
{
	return hs_guest_active(g) && g->shareable;
}

/* The decisions on those guests. */
static int carry_out_all(struct hs_pipeline *p, bool (*which)(const struct guest *g), struct hs_error *err)
{
	hs_overcommit_update(p);
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc = which(g) ? carry_out(p, g, err) : 0;

		if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
	}
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc = which(g) ? widen(p, g) : 0;

		if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
	}
	return 0;
}

static int decide_and_carry_out(struct hs_pipeline *p, struct hs_error *err)
{
	uint64_t done = 0;
	int reported;

	for (size_t i = 0; i < p->nr_guests; i++)
		if (hs_guest_active(p->guests[i]))
			mark_candidates(p, p->guests[i]);
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc = 0;

		if (hs_guest_active(g)) {
			rc = hs_cold_age_look(g, err);
			if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
				return rc;
		}
		for (hs_huge_nr h = 0; hs_guest_active(g) && h < g->view->nr_huge; h++) {
			rc = decide_one(p, g, h, err);
			if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
				return rc;
			if (!(++done & 15)) {
				hs_pipeline_note_progress(p, HS_STAGE_DECIDE, h, g->view->nr_huge);
				rc = hs_pipeline_pace(p);
				if (rc)
					return rc;
			}
		}
	}
	reported = hs_observer_decided(p, err);
	if (!reported)
		reported = hs_content_learn_owners(p, err);
	if (reported)
		return reported;
	return carry_out_all(p, takes_part, err);
}

/* ---- early, in the middle of a window ---- */

/* Cold in all rounds that are known, fewer than a window's. */
static bool is_early(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h)
{
	const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);

	return r->nr_known >= p->cfg.early_rounds && r->cold_rounds >= r->nr_known &&
	       !hs_guest_page_waits(p, &g->pages[h]);
}

static bool is_new(const struct guest *g)
{
	return takes_part(g) && !g->decided;
}

/* What others have decided on stands, as far as it was not accessed since. */
static void mark_early(struct hs_pipeline *p, struct guest *g)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct page_record *pg = &g->pages[h];

		if (!is_new(g))
			pg->candidate = hs_bits_and(pg->candidate, pg->hashed);
		else if (is_early(p, g, h))
			pg->candidate = hs_bits_andnot(pg->hashed, hs_refused_pages(pg));
		else
			hs_bits_clear_all(&pg->candidate);
	}
}

/* The policy's rule for what is cold, with as many rounds as there are. */
static int decide_one_early(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_error *err)
{
	struct hs_policy_config cfg = p->cfg.policy;
	struct page_record *pg = &g->pages[h];
	struct hs_policy_input in = hs_pipeline_policy_input(p, g, h);
	struct hs_policy_decision d;
	struct hs_bits512 any, dup;
	int rc;

	hs_content_duplicates(p, g, h, &pg->candidate, &any, &dup);
	rc = hs_content_compare(p, g, h, &dup, err);
	if (rc)
		return rc;
	in.heat = HS_HEAT_COLD;
	in.hashed = pg->hashed;
	in.duplicate = hs_bits_and(hs_bits_and(dup, pg->same), pg->hashed);
	cfg.min_cold_rounds = p->cfg.early_rounds;
	d = hs_policy_decide(&cfg, &in);
	if (d.action == HS_ACT_SHARE) {
		pg->decision = d;
		pg->early = 1;
	}
	return 0;
}

static int decide_guest_early(struct hs_pipeline *p, struct guest *g, uint64_t *nr, struct hs_error *err)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		int rc = is_early(p, g, h) ? decide_one_early(p, g, h, err) : 0;

		if (!rc && !(h & 15))
			rc = hs_pipeline_pace(p);
		if (rc)
			return rc;
		*nr += g->pages[h].early;
	}
	return 0;
}

int hs_decide_early(struct hs_pipeline *p, uint64_t *nr, struct hs_error *err)
{
	*nr = 0;
	for (size_t i = 0; i < p->nr_guests; i++)
		if (hs_guest_active(p->guests[i]))
			mark_early(p, p->guests[i]);
	for (size_t i = 0; i < p->nr_guests; i++) {
		int rc = is_new(p->guests[i]) ? decide_guest_early(p, p->guests[i], nr, err) : 0;

		if (rc && !hs_pipeline_guest_aside(p, p->guests[i], rc, err))
			return rc;
	}
	if (!*nr)
		return 0;
	return carry_out_all(p, is_new, err);
}

int hs_decide_all(struct hs_pipeline *p, struct hs_error *err)
{
	int rc = decide_and_carry_out(p, err);

	if (rc)
		hs_guest_give_back_kept(p);
	for (size_t i = 0; i < p->nr_guests && !rc; i++)
		p->guests[i]->decided |= hs_guest_active(p->guests[i]);
	return rc;
}
