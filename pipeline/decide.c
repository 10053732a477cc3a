/*
 * Decisions: what the fine phase looks at, what is shared, and the burst that makes it so.
 *
 * The policy sees one huge page at a time; what concerns two is settled here first: a base page is a duplicate only of
 * a page that may itself be shared in this cycle, and only once their bytes were compared.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A huge page that was not unshared for so many cycles has no record any more: twice the longest ban, and an hour at
 * rest. */
#define QUIET_CYCLES 64

static struct hs_policy_input input_of(struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
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
		.zero = pg->zero,
		.accessed = pg->accessed,
		.nr_unshared = pg->nr_unshared,
		.ban_left = pg->ban_until > p->totals.cycles ? pg->ban_until - p->totals.cycles : 0,
	};

	if (g->shareable) {
		struct hs_bits512 wanted;

		hs_effects_state(p, g, h, &wanted, &in.shared, &in.breaks);
	}
	return in;
}

/* ---- which hot huge pages the fine phase looks at ---- */

/*
 * Cycles until a huge page is split again for a look, after looks in vain: the next one, as a busy moment passes; then
 * 2, 4, ... and as for what never changes.
 */
static uint32_t vain_rest(const struct hs_pipeline *p, const struct page_record *pg)
{
	const uint32_t rest = 1U << (pg->fine_vain - 1);

	return rest < p->cfg.look_again ? rest : p->cfg.look_again;
}

static bool wants_fine(struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
{
	struct page_record *pg = &g->pages[h];
	struct hs_policy_input in;
	struct hs_bits512 cand;

	if (pg->fine) {
		/* Evenly hot pages seldom change: look again only after some cycles. */
		if (pg->decision.reason == HS_WHY_EVENLY_HOT && p->totals.cycles - pg->fine_cycle < p->cfg.look_again)
			return false;
		free(pg->fine);
		pg->fine = NULL;
	} else if (pg->fine_vain && p->totals.cycles - pg->fine_cycle < vain_rest(p, pg)) {
		return false;
	}
	in = input_of(p, g, h);
	if (in.state != HS_MAP_HUGE || in.heat != HS_HEAT_HOT)
		return false;
	if (p->cfg.fine_all)
		return true;
	/* A promise, not a proof: digests of when it was last read, partners that may turn out hot. */
	hs_index_indexed(p->index, g->index_id, h, &in.hashed);
	in.zero = pg->zero_hint;
	hs_content_duplicates(p, g, h, &in.hashed, &in.duplicate, &cand);
	return hs_policy_decide(&p->cfg.policy, &in).action == HS_ACT_LOOK_FINE;
}

struct keep_ctx {
	struct hs_pipeline *p;
	struct guest *g;
};

/* Asked while the mapping is split: does what was learnt let the policy share it? Then bringing it back were in vain.
 */
static bool keep_split(void *ctx, const struct hs_fine_result *r)
{
	struct keep_ctx *k = ctx;
	struct page_record *pg = &k->g->pages[r->huge];
	struct hs_policy_input in;
	struct hs_bits512 cand;

	if (!k->g->shareable || k->p->cfg.share.dry_run)
		return false;
	in = input_of(k->p, k->g, r->huge);
	in.fine = r;
	hs_index_indexed(k->p->index, k->g->index_id, r->huge, &in.hashed);
	in.zero = pg->zero_hint;
	hs_content_duplicates(k->p, k->g, r->huge, &in.hashed, &in.duplicate, &cand);
	if (hs_policy_decide(&k->p->cfg.policy, &in).action != HS_ACT_SHARE)
		return false;
	pg->kept_split = 1;
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
	memset(&pg->same, 0, sizeof(pg->same));
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
			if (pg->fine_vain < 7)
				pg->fine_vain++;
			continue;
		}
		pg->fine_vain = 0;
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

/*
 * The stage ended early: what was kept split for sharing comes back now. The next cycle would be too late where there
 * is none, or none with the engine.
 */
static void give_back_kept(struct hs_pipeline *p)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		hs_huge_nr *kept = g->gone ? NULL : malloc(((size_t)g->view->nr_huge + 1) * sizeof(*kept));
		size_t nr = 0;

		for (hs_huge_nr h = 0; kept && h < g->view->nr_huge; h++)
			if (g->pages[h].kept_split)
				kept[nr++] = h;
		/* Without memory for it they stay noted, and the next decisions bring them back. */
		if (nr && hs_fine_give_back(p->fine, g->view, kept, nr, NULL) != -ENOMEM)
			for (size_t k = 0; k < nr; k++)
				g->pages[kept[k]].kept_split = 0;
		free(kept);
	}
}

int hs_decide_fine(struct hs_pipeline *p, struct hs_error *err)
{
	struct hs_fine_target *targets = calloc(p->nr_guests + 1, sizeof(*targets));
	struct keep_ctx *ctx = calloc(p->nr_guests + 1, sizeof(*ctx));
	struct guest **of = calloc(p->nr_guests + 1, sizeof(*of));
	size_t nr = 0, pages = 0;
	int rc = 0;

	if (!targets || !ctx || !of) {
		rc = hs_error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		hs_huge_nr *list;
		size_t n = 0, owed;

		if (!hs_guest_active(g) || !hs_view_can_split(g->view))
			continue;
		/* Twice: what is owed from before is noted with it. */
		list = malloc(2 * (size_t)g->view->nr_huge * sizeof(*list));
		if (!list) {
			rc = hs_error_set(err, -ENOMEM, "out of memory");
			goto out;
		}
		for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
			if (wants_fine(p, g, h))
				list[n++] = h;
		targets[nr] = (struct hs_fine_target){ .view = g->view, .huge = list, .nr = n };
		if (!hs_view_splits_nested(g->view))
			targets[nr].keep_split = keep_split;
		if (!n) {
			free(list);
			continue;
		}
		targets[nr].results = calloc(n, sizeof(*targets[nr].results));
		ctx[nr] = (struct keep_ctx){ p, g };
		targets[nr].ctx = &ctx[nr];
		of[nr] = g;
		nr++;
		if (!targets[nr - 1].results) {
			rc = hs_error_set(err, -ENOMEM, "out of memory");
			goto out;
		}
		/* What is split in nested tables alone, the view itself can bring back after a crash. */
		owed = hs_fine_owed(p->fine, g->view, list + n, g->view->nr_huge);
		rc = hs_view_splits_nested(g->view) ? 0 : hs_journal_write(&p->host, g->view, list, n + owed, err);
		if (rc)
			goto out;
		pages += n;
	}
	if (!nr)
		goto out;
	hs_pipeline_tell(p, HS_STAGE_FINE, 0, pages);
	rc = hs_fine_run(p->fine, targets, nr, p->clock, err);
	for (size_t i = 0; i < nr; i++) {
		int one;

		(void)hs_pipeline_guest_failed(p, of[i], targets[i].error);
		hs_watch_fine(p, of[i], &targets[i]);
		one = rc || of[i]->gone ? 0 : take_results(p, of[i], targets[i].results, targets[i].nr, err);
		if (one)
			rc = one;
	}
	if (rc)
		give_back_kept(p);
	for (size_t i = 0; i < nr; i++) {
		size_t left = 0;
		int one;

		if (!of[i]->gone) {
			one = hs_fine_retry(p->fine, of[i]->view, &left, NULL);
			(void)hs_pipeline_guest_failed(p, of[i], one);
		}
		/* What is kept split is the engine's from the next apply on; a crash before it leaves a few mappings
		 * split. */
		if (!left)
			hs_journal_remove(&p->host, of[i]->pid);
	}
out:
	for (size_t i = 0; targets && i < nr; i++) {
		free((void *)(uintptr_t)targets[i].huge);
		free(targets[i].results);
	}
	free(targets);
	free(ctx);
	free(of);
	return rc;
}

/* ---- what is shared ---- */

/* Cold, and its content known since: it may share, if there is somebody to share with. */
static void mark_candidates(struct hs_pipeline *p, struct guest *g)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);
		struct page_record *pg = &g->pages[h];
		const enum hs_heat heat = hs_coarse_heat(g->coarse, h);

		memset(&pg->candidate, 0, sizeof(pg->candidate));
		if (heat == HS_HEAT_COLD && pg->fine) {
			/* What was hot inside it is so no more. */
			free(pg->fine);
			pg->fine = NULL;
		}
		if (pg->ban_until > p->totals.cycles)
			continue;
		if (heat == HS_HEAT_COLD && r->cold_rounds >= p->cfg.policy.min_cold_rounds)
			pg->candidate = pg->hashed;
		else if (pg->fine && !pg->fine->gave_up && pg->fine->nr_hot <= p->cfg.policy.max_hot)
			pg->candidate = pg->hashed; /* rehash_cold left out what is hot */
		else if ((r->state == HS_MAP_SPLIT || r->state == HS_MAP_PARTIAL) && heat != HS_HEAT_UNKNOWN)
			pg->candidate = hs_bits_andnot(pg->hashed, pg->accessed);
	}
}

static int decide_one(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_error *err)
{
	struct page_record *pg = &g->pages[h];
	struct hs_policy_input in = input_of(p, g, h);
	struct hs_bits512 any, dup, cand;
	int rc;

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
		hs_index_indexed(p->index, g->index_id, h, &in.hashed);
		in.zero = pg->zero_hint;
		hs_content_duplicates(p, g, h, &in.hashed, &in.duplicate, &cand);
	}
	pg->decision = hs_policy_decide(&p->cfg.policy, &in);
	if (pg->decision.ban)
		pg->ban_until = p->totals.cycles + pg->decision.ban;
	return 0;
}

static uint64_t count_wanted(struct hs_pipeline *p, struct guest *g)
{
	uint64_t n = 0;

	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct hs_bits512 wanted;

		hs_effects_state(p, g, h, &wanted, NULL, NULL);
		n += hs_bits_count(&wanted);
	}
	return n;
}

/* Whether the guest's limit forbids to want these pages; *wanted: base pages wanted of it by now. */
static bool over_limit(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages,
		       uint64_t *wanted)
{
	struct hs_bits512 now, more;
	unsigned int n;

	if (!g->max_shared_bytes)
		return false;
	hs_effects_state(p, g, h, &now, NULL, NULL);
	more = hs_bits_andnot(*pages, now);
	n = hs_bits_count(&more);
	if (n && (*wanted + n) * HS_BASE_SIZE > g->max_shared_bytes)
		return true;
	*wanted += n;
	return false;
}

/* Carries the decisions on one guest out, as far as they concern the engine's wishes and mappings. */
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
			if (!hs_bits_count(&pg->decision.pages) || over_limit(p, g, h, &pg->decision.pages, &wanted)) {
				if (pg->kept_split)
					restore[nr_restore++] = h;
				break; /* what is wanted of it by now stays */
			}
			pg->shares = 1;
			hs_fine_keep(p->fine, g->view, h); /* split for good: no longer to be brought back */
			rc = hs_effects_want(p, g, h, &pg->decision.pages);
			break;
		}
		case HS_ACT_UNSHARE:
			pg->shares = 0;
			/* Under a ban it is only the rest of the unsharing that was counted when the ban began. */
			if (pg->nr_unshared < UINT8_MAX && pg->decision.reason != HS_WHY_BANNED)
				pg->nr_unshared++;
			pg->unshared_cycle = p->totals.cycles;
			unshare[nr_unshare++] = h;
			break;
		case HS_ACT_LEAVE:
		case HS_ACT_KEEP_HUGE:
		case HS_ACT_LOOK_FINE:
			if (pg->kept_split)
				restore[nr_restore++] = h;
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

		rc = hs_effects_unshare(p, g, unshare, nr_unshare, &un, err);
		if (rc == -ENOMEM)
			rc = 0; /* no room now: it stays shared, and is decided again in the next cycle */
	}
out:
	free(unshare);
	free(restore);
	return rc;
}

/*
 * What may lie in a mergeable range without being wanted, to spare VMAs: cold, and content known. Only after the wishes
 * of all guests are known, so that nobody's gap keeps a guest of another group from sharing.
 */
static int widen(struct hs_pipeline *p, struct guest *g)
{
	/* VMAs are the engine's concern alone; and a gap could be merged too, beyond the guest's limit. */
	if (p->has_effects || g->max_shared_bytes)
		return 0;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		const struct page_record *pg = &g->pages[h];
		struct hs_bits512 wanted, allowed;
		int rc;

		if (pg->decision.action != HS_ACT_SHARE)
			continue;
		hs_share_state(p->share, g->share_id, h, &wanted, NULL, NULL);
		if (!hs_bits_count(&wanted))
			continue;
		allowed = hs_bits_or(hs_bits_or(pg->candidate, pg->zero), wanted);
		hs_content_leave_to_others(p, g, h, &allowed);
		rc = hs_share_want(p->share, g->share_id, h, &wanted, &allowed);
		if (rc)
			return rc;
	}
	return 0;
}

static int decide_and_carry_out(struct hs_pipeline *p, struct hs_error *err)
{
	uint64_t done = 0;
	int told;

	for (size_t i = 0; i < p->nr_guests; i++)
		if (hs_guest_active(p->guests[i]))
			mark_candidates(p, p->guests[i]);
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc = 0;

		for (hs_huge_nr h = 0; hs_guest_active(g) && h < g->view->nr_huge; h++) {
			rc = decide_one(p, g, h, err);
			if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
				return rc;
			if (!(++done & 15)) {
				hs_pipeline_tell(p, HS_STAGE_DECIDE, h, g->view->nr_huge);
				rc = hs_pipeline_pace(p);
				if (rc)
					return rc;
			}
		}
	}
	told = hs_watch_decided(p, err);
	if (told)
		return told;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc;

		if (!hs_guest_active(g) || !g->shareable)
			continue;
		rc = carry_out(p, g, err);
		if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
	}
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc = hs_guest_active(g) && g->shareable ? widen(p, g) : 0;

		if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
	}
	return 0;
}

int hs_decide_all(struct hs_pipeline *p, struct hs_error *err)
{
	int rc = decide_and_carry_out(p, err);

	if (rc)
		give_back_kept(p);
	return rc;
}

static int verify_all(struct hs_pipeline *p, struct hs_error *err)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc;

		if (g->gone || !g->shareable)
			continue;
		hs_pipeline_tell(p, HS_STAGE_VERIFY, i, p->nr_guests);
		rc = hs_share_verify(p->share, g->share_id, err);
		if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
	}
	return 0;
}

/*
 * What ksmd left alone in a burst that came to its end is not what it was taken for. Between two cycles a page may be
 * written unseen: the first ageing of the next one clears its bit, and a look before that could not tell the guest's
 * accesses from our own reads. A stale digest is found out by the compare, a stale compare here. Not where nothing is
 * wanted: who only observes would read all that is identical again in each cycle, for figures that are hardly better.
 */
static void doubt_unmerged(struct hs_pipeline *p)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		for (hs_huge_nr h = 0; hs_guest_active(g) && g->shareable && h < g->view->nr_huge; h++) {
			struct page_record *pg = &g->pages[h];
			struct hs_bits512 wanted, shared, left;

			hs_share_state(p->share, g->share_id, h, &wanted, &shared, NULL);
			left = hs_bits_andnot(wanted, shared);
			pg->same = hs_bits_andnot(pg->same, left);
			pg->zero = hs_bits_andnot(pg->zero, left);
		}
	}
}

int hs_decide_merge(struct hs_pipeline *p, uint64_t *news, struct hs_error *err)
{
	struct hs_ledger before, after;
	struct hs_share_burst burst = { 0 };
	uint64_t marked = 0, parted;
	int rc, parting;

	if (p->has_effects)
		return p->effects.merge(p->effects.ctx, news, err);
	/* What broke since the last cycle is booked before anything new is marked. */
	rc = verify_all(p, err);
	if (rc)
		return rc;
	hs_share_ledger(p->share, UINT32_MAX, &before);
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		struct hs_share_applied applied = { 0 };

		if (!hs_guest_active(g) || !g->shareable)
			continue;
		rc = hs_share_apply(p->share, g->share_id, &applied, err);
		/* A guest that cannot be stopped just now, or finds no memory, is taken up in the next cycle: the burst
		 * is for the others, and saves memory. */
		if (rc && rc != -EAGAIN && rc != -EBUSY && rc != -ENOMEM && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
		marked += applied.pages_marked;
		g->dropped = applied.pages_dropped;
	}
	if (!marked && !p->unsettled) {
		*news = 0;
		return 0;
	}
	hs_pipeline_tell(p, HS_STAGE_MERGE, 0, marked);
	rc = hs_share_burst(p->share, p->clock, &burst, err);
	p->totals.ksmd_cpu_us += burst.ksmd_cpu_us;
	p->totals.burst_ms += burst.elapsed_ms;
	p->unsettled = rc || !burst.settled;
	/* Whatever ended the burst: what ksmd merged across groups does not stay. A guest that could not be parted is
	 * tried again in the next cycle, which `unsettled` brings about. */
	parting = hs_share_part_groups(p->share, &parted, rc ? NULL : err);
	p->unsettled |= parting != 0;
	if (rc)
		return rc;
	rc = parting == -EBUSY || parting == -EAGAIN ? 0 : parting;
	if (!rc)
		rc = verify_all(p, err);
	if (rc)
		return rc;
	if (burst.settled)
		doubt_unmerged(p);
	hs_share_ledger(p->share, UINT32_MAX, &after);
	*news = after.shared + after.zero > before.shared + before.zero
		    ? after.shared + after.zero - before.shared - before.zero
		    : before.shared + before.zero - after.shared - after.zero;
	return 0;
}
