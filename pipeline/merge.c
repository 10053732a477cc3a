/*
 * What is wanted is merged: one run of the merge operations over all guests, in the order that hs/merge_ops.h gives.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <string.h>

static int verify_all(struct hs_pipeline *p, struct hs_error *err)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc;

		if (g->gone || !g->shareable)
			continue;
		hs_pipeline_note_progress(p, HS_STAGE_VERIFY, i, p->nr_guests);
		rc = hs_merge_verify(p, g, err);
		if (rc && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
	}
	return 0;
}

/*
 * What ksmd left alone in a burst that settled is not what it was taken for, or cannot be merged.
 *
 * It is noted, so that what never merges is given up (refused.c). Where ksmd did not run (a dry run) or was stopped
 * before it had visited every page as often as a merge takes, or the page or
 * all of its partners may not have been marked, it was left for want of a partner: that proves nothing.
 *
 * And it is doubted. Between two cycles a page may be written unseen: the first ageing of the next one clears its bit,
 * and a look before that could not tell the guest's accesses from our own reads. A stale digest is found out by the
 * compare, a stale compare here; and where the compare is ksmd's, the digest as well, so it is taken anew. Not where
 * nothing is wanted: who only observes would read all that is identical again in each cycle, for figures that are
 * hardly better.
 */
static void note_unmerged(struct hs_pipeline *p, bool scanned)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		for (hs_huge_nr h = 0; hs_guest_active(g) && g->shareable && h < g->view->nr_huge; h++) {
			struct page_record *pg = &g->pages[h];
			struct hs_shared_huge now;
			struct hs_bits512 left, proven;

			hs_merge_state(p, g, h, &now);
			left = hs_bits_andnot(now.wanted, now.shared);
			proven = hs_bits_and(left, hs_bits_or(pg->same, pg->zero));
			if (scanned && g->all_marked) {
				hs_content_with_marked_partner(p, g, h, &proven);
				hs_refused_note_burst(pg, &proven, p->totals.cycles);
			}
			pg->same = hs_bits_andnot(pg->same, left);
			if (hs_content_left_to_ksmd(p))
				pg->hashed = hs_bits_andnot(pg->hashed, left);
			pg->zero = hs_bits_andnot(pg->zero, left);
		}
	}
}

int hs_merge_apply_all(struct hs_pipeline *p, uint64_t *marked, struct hs_error *err)
{
	*marked = 0;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		struct hs_share_applied applied;
		int rc;

		g->all_marked = false;
		if (!hs_guest_active(g) || !g->shareable)
			continue;
		rc = hs_merge_apply(p, g, &applied, err);
		/* A guest that cannot be stopped just now, or finds no memory, is taken up in the next cycle: the burst
		 * is for the others, and saves memory. */
		if (rc && rc != -EAGAIN && rc != -EBUSY && rc != -ENOMEM && !hs_pipeline_guest_aside(p, g, rc, err))
			return rc;
		g->all_marked = !rc && !applied.pages_dropped && applied.nr_applied == applied.nr_tried;
		*marked += applied.pages_marked;
		g->dropped = applied.pages_dropped;
		g->pending = applied.pages_pending;
		memcpy(g->pending_reason, applied.pending_reason, sizeof(g->pending_reason));
	}
	return 0;
}

/* Base pages that came to be shared since, or are no more. */
static uint64_t news_since(const struct hs_pipeline *p, const struct hs_ledger *before)
{
	const uint64_t then = before->shared + before->zero;
	struct hs_ledger after;
	uint64_t now;

	(void)hs_merge_ledger(p, NULL, &after);
	now = after.shared + after.zero;
	return now > then ? now - then : then - now;
}

int hs_merge_run(struct hs_pipeline *p, uint64_t *news, struct hs_error *err)
{
	struct hs_ledger before;
	struct hs_share_burst burst;
	uint64_t marked;
	int rc, parting;

	/* What broke since the last cycle is booked before anything new is marked. */
	rc = verify_all(p, err);
	if (rc)
		return rc;
	(void)hs_merge_ledger(p, NULL, &before);
	if (p->overlap.began)
		before = p->overlap.before;
	rc = hs_merge_apply_all(p, &marked, err);
	if (rc)
		return rc;
	if (!marked && !p->unsettled && !hs_guests_need_burst(p)) {
		*news = p->overlap.began ? news_since(p, &before) : 0;
		return 0;
	}
	hs_pipeline_note_progress(p, HS_STAGE_MERGE, 0, marked);
	rc = hs_merge_burst(p, &burst, err);
	p->totals.ksmd_cpu_us += burst.ksmd_cpu_us;
	p->totals.burst_ms += burst.elapsed_ms;
	p->unsettled = rc || !burst.settled;
	/* Whatever ended the burst: what ksmd merged across groups does not stay. A guest that could not be parted is
	 * tried again in the next cycle, which `unsettled` brings about. */
	parting = hs_merge_part_groups(p, rc ? NULL : err);
	p->unsettled |= parting != 0;
	if (rc)
		return rc;
	rc = parting == -EBUSY || parting == -EAGAIN ? 0 : parting;
	if (!rc)
		rc = verify_all(p, err);
	if (rc)
		return rc;
	if (burst.settled) {
		const bool tried = burst.whole && burst.pages_scanned;

		hs_observer_settled(p, tried);
		note_unmerged(p, tried);
	}
	*news = news_since(p, &before);
	return 0;
}
