/*
 * What may be merged early: cold memory of guests that are new, while the rest of the first window is still looked at.
 *
 * A whole window is the longest wait of a first cycle, and ksmd's work comes after it. What was not accessed in any of
 * the first rounds is decided on then, and ksmd works on it while the window goes on (overlap.c). Once for each guest:
 * in later windows all is known already, and each burst has ksmd search again for all that is marked and has no copy.
 *
 * What ksmd merges looks accessed afterwards: it makes the new entry with its accessed bit set. So what was decided
 * early is out of the window's rounds, and keeps its decision until the next window.
 */
#include "pipeline_internal.h"

void hs_early_reset(struct hs_pipeline *p)
{
	p->overlap.began = false;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		for (hs_huge_nr h = 0; !g->gone && h < g->view->nr_huge; h++)
			g->pages[h].early = 0;
	}
}

static bool any_new_guest(const struct hs_pipeline *p)
{
	for (size_t i = 0; i < p->nr_guests; i++)
		if (hs_guest_active(p->guests[i]) && p->guests[i]->shareable && !p->guests[i]->decided)
			return true;
	return false;
}

int hs_early_round(struct hs_pipeline *p, struct hs_error *err)
{
	uint64_t nr, marked;
	int rc;

	if (p->round != p->cfg.early_rounds || !hs_overlap_possible(p) || !any_new_guest(p))
		return 0;
	rc = hs_decide_early(p, &nr, err);
	if (rc || !nr)
		return rc;
	(void)hs_merge_ledger(p, NULL, &p->overlap.before);
	p->overlap.began = true;
	rc = hs_merge_apply_all(p, &marked, err);
	if (!rc && marked)
		hs_overlap_begin(p);
	return rc;
}
