/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which trust group owns which content: the table of hs/owners.h, filled from what pages really hold.
 *
 * It is complete before anything is marked: in a cycle that may mark or merge anything, all that is mergeable in any
 * guest is counted first. What another group owns is given up, what cannot be read counts as unknown, and then nobody
 * else is granted what he has not got. While there are several groups, the key of what each page was last read to hold
 * is kept, 8 bytes a page.
 *
 * A run that is recorded has to be repeated from its trace, which knows neither frames nor which gaps were marked. So
 * while somebody observes, all of a huge page is read of which anything is wanted, in each cycle.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void forget_owners(struct hs_pipeline *p)
{
	if (!p->owners)
		return;
	hs_owners_destroy(p->owners);
	p->owners = NULL;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		for (hs_huge_nr h = 0; g->pages && h < g->view->nr_huge; h++) {
			free(g->pages[h].keys);
			g->pages[h].keys = NULL;
			memset(&g->pages[h].taken, 0, sizeof(g->pages[h].taken));
			memset(&g->pages[h].unread, 0, sizeof(g->pages[h].unread));
		}
	}
}

/* Those of `pages` that have a key. */
static struct hs_bits512 keyed(const struct page_record *pg, const struct hs_bits512 *pages)
{
	struct hs_bits512 known = *pages;

	if (!pg->keys)
		return hs_bits_empty();
	hs_bits_for_each (i, pages)
		if (pg->keys[i] == HS_OWNERS_UNKNOWN_KEY)
			hs_bits_clear(&known, i);
	return known;
}

/* With use_zero_pages, pages of zeros go to the kernel's one zero page, whatever the group: they are nobody's. */
static bool is_nobodys(const struct hs_pipeline *p, hs_owners_key key)
{
	return key == HS_OWNERS_ZERO_KEY && p->cfg.share.use_zero_pages;
}

/*
 * What is to be read of one huge page. That a page was not accessed in the window's rounds says nothing of the time
 * between two windows, and what is mergeable may be merged in the next burst, written or not. So of what is mergeable,
 * only a page on a KSM frame is not read again, when it was read on a KSM frame and no burst has run since: so it is
 * the frame of then, and a frame's content never changes. (A burst may merge what was written in it, and give it a
 * frame again, the one of before even.) Of what is only to become mergeable, the digest counts, as it does for sharing.
 */
static struct hs_bits512 to_read(struct guest *g, hs_huge_nr h, const struct hs_bits512 *held)
{
	struct page_record *pg = &g->pages[h];
	struct hs_bits512 want = { 0 }, fresh;

	pg->on_frame = hs_bits_and(pg->on_frame, keyed(pg, &pg->on_frame));
	if (hs_guest_active(g) && pg->decision.action == HS_ACT_SHARE)
		want = hs_bits_or(pg->decision.pages, hs_bits_or(pg->candidate, pg->zero));
	fresh = hs_bits_or(pg->hashed, pg->zero);
	want = hs_bits_andnot(want, keyed(pg, &fresh));
	return hs_bits_or(hs_bits_andnot(want, *held), hs_bits_andnot(*held, pg->on_frame));
}

static bool is_observed(const struct hs_pipeline *p)
{
	return p->observer.decided;
}

static struct hs_bits512 to_read_observed(const struct hs_pipeline *p, struct guest *g, hs_huge_nr h)
{
	const struct page_record *pg = &g->pages[h];
	struct hs_shared_huge now;

	hs_merge_state(p, g, h, &now);
	if (hs_bits_any(&now.wanted) || hs_bits_any(&now.shared) ||
	    (hs_guest_active(g) && pg->decision.action == HS_ACT_SHARE))
		return pg->present;
	return hs_bits_empty();
}

/* Those of `pages` that are on a KSM frame now. Asked after the read: no burst runs meanwhile, so they were so then. */
static struct hs_bits512 still_on_frame(struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	struct hs_bits512 out = *pages;

	if (hs_bits_none(pages) || hs_view_frames(g->view, h, frames, NULL))
		return hs_bits_empty();
	hs_bits_for_each (i, pages)
		if (!(frames[i].flags & HS_FRAME_KSM))
			hs_bits_clear(&out, i);
	return out;
}

/*
 * What is mergeable holds something that was not read, as far as is known: all but what holds nothing at all, which the
 * kernel is asked now. What is in swap holds something too, and may be back before the burst is over. A trace does not
 * say what is empty.
 */
static struct hs_bits512 not_known(const struct hs_pipeline *p, struct guest *g, hs_huge_nr h,
				   const struct hs_bits512 *unread)
{
	struct hs_base_sample now;

	if (hs_bits_none(unread) || is_observed(p) || hs_view_sample_base(g->view, &h, 1, &now, NULL))
		return *unread;
	return hs_bits_andnot(*unread, now.empty);
}

/* One huge page of which something is mergeable or wanted, after a verify. */
static int learn_huge(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_error *err)
{
	struct page_record *pg = &g->pages[h];
	struct hs_bits512 held, left, framed;
	struct hs_contents now = { 0 };
	struct hs_shared_huge merged;
	int rc = 0;

	hs_bits_clear_all(&pg->taken);
	hs_bits_clear_all(&pg->unread);
	hs_merge_claims(p, g, h, &held);
	hs_merge_state(p, g, h, &merged);
	pg->on_frame = hs_bits_and(pg->on_frame, merged.shared);
	left = is_observed(p) ? to_read_observed(p, g, h) : to_read(g, h, &held);
	if (hs_bits_any(&left)) {
		rc = hs_content_read(p, g, h, &left, &now, err);
		if (rc == -ESRCH)
			return rc;
		if (rc || !pg->keys)
			hs_bits_clear_all(&now.got);
		framed = is_observed(p) ? hs_bits_empty() : hs_bits_and(now.got, merged.shared);
		pg->on_frame = hs_bits_or(pg->on_frame, still_on_frame(g, h, &framed));
	}
	left = hs_bits_andnot(held, hs_bits_or(now.got, pg->on_frame));
	left = not_known(p, g, h, &left);
	if (hs_bits_any(&left))
		hs_owners_unknown(p->owners, g->group_nr);
	/* It must not become mergeable later, unread. A trace knows what is asked for, not what is merged. */
	pg->unread = is_observed(p) ? hs_bits_and(left, merged.wanted) : hs_bits_andnot(left, merged.shared);
	held = keyed(pg, &held);
	hs_bits_for_each (i, &held)
		if (!is_nobodys(p, pg->keys[i]) && !hs_owners_hold(p->owners, pg->keys[i], g->group_nr))
			hs_bits_set(&pg->taken, i);
	return 0;
}

/* What another group was found to own, and owns still now that all is counted; and what could not be read. */
static int give_up_taken(struct hs_pipeline *p, struct guest *g)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct page_record *pg = &g->pages[h];
		int rc;

		if (hs_bits_none(&pg->taken) && hs_bits_none(&pg->unread))
			continue;
		hs_bits_for_each (i, &pg->taken)
			if (hs_owners_claim(p->owners, pg->keys[i], g->group_nr))
				hs_bits_clear(&pg->taken, i);
		pg->taken = hs_bits_or(pg->taken, pg->unread);
		rc = hs_bits_any(&pg->taken) ? hs_merge_forgo(p, g, h, &pg->taken) : 0;
		if (rc && rc != -ESRCH)
			return rc;
	}
	return 0;
}

/* Whether anything may become mergeable, or merged, in this cycle that is not merged already: also what was asked for
 * in an earlier one. */
static bool anything_new(struct hs_pipeline *p)
{
	if (p->unsettled || is_observed(p) || hs_guests_need_burst(p))
		return true;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		if (!g->gone && g->shareable && (g->dropped || !g->all_marked))
			return true;
		for (hs_huge_nr h = 0; hs_guest_active(g) && g->shareable && h < g->view->nr_huge; h++) {
			const struct page_record *pg = &g->pages[h];
			struct hs_bits512 held, fresh;

			if (pg->decision.action != HS_ACT_SHARE)
				continue;
			hs_merge_claims(p, g, h, &held);
			fresh = hs_bits_or(pg->decision.pages, hs_bits_or(pg->candidate, pg->zero));
			fresh = hs_bits_andnot(fresh, held);
			if (hs_bits_any(&fresh))
				return true;
		}
	}
	return false;
}

static int learn_guest(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = is_observed(p) ? 0 : hs_merge_verify(p, g, err);

	/* Which frames it is on is not known, or not whether they are those of then: all of it is read. */
	for (hs_huge_nr h = 0; (rc || g->read_at_burst != p->nr_bursts) && rc != -ESRCH && h < g->view->nr_huge; h++)
		memset(&g->pages[h].on_frame, 0, sizeof(g->pages[h].on_frame));
	g->read_at_burst = p->nr_bursts;
	if (rc == -ENOMEM || rc == -ESRCH)
		return rc;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		rc = learn_huge(p, g, h, err);
		if (!rc && (h & 15) == 0) {
			hs_pipeline_note_progress(p, HS_STAGE_DECIDE, h, g->view->nr_huge);
			rc = hs_pipeline_pace(p);
		}
		if (rc)
			return rc;
	}
	return 0;
}

static bool may_have_marks(const struct guest *g)
{
	return !g->gone && g->shareable && g->scope != HS_SCOPE_ZERO;
}

int hs_content_learn_owners(struct hs_pipeline *p, struct hs_error *err)
{
	int rc;

	if (!p->several_groups || !p->merge.ops->merges) {
		forget_owners(p);
		return 0;
	}
	rc = p->owners ? 0 : hs_owners_create(&p->owners);
	if (rc)
		return hs_error_set(err, rc, "out of memory for the owners of contents");
	hs_owners_begin(p->owners);
	/* A count that is not complete grants nothing: that is all that is needed where nothing is asked for. */
	if (!anything_new(p))
		return 0;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		rc = may_have_marks(g) ? learn_guest(p, g, err) : 0;
		if (rc && !hs_pipeline_guest_failed(p, g, rc))
			return rc;
	}
	hs_owners_settle(p->owners);
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		rc = may_have_marks(g) ? give_up_taken(p, g) : 0;
		if (rc)
			return hs_error_set(err, rc, "guest %s cannot give up what another group owns: %s", g->name,
					    strerror(-rc));
	}
	return 0;
}

void hs_content_leave_to_others(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_bits512 *pages)
{
	const struct page_record *pg = &g->pages[h];
	struct hs_bits512 mine, known, ask;

	/* Of whom nothing becomes mergeable, all is its own. */
	if (!p->several_groups || g->scope == HS_SCOPE_ZERO)
		return;
	hs_merge_claims(p, g, h, &mine);
	mine = hs_bits_andnot(mine, pg->taken);
	known = hs_bits_and(*pages, hs_bits_or(pg->hashed, pg->zero));
	known = keyed(pg, &known);
	/* What is mergeable already is this group's, or was given up. */
	ask = hs_bits_andnot(*pages, mine);
	hs_bits_for_each (i, &ask) {
		if (!hs_bits_test(&known, i) || hs_bits_test(&pg->taken, i) ||
		    (!is_nobodys(p, pg->keys[i]) &&
		     !(p->owners && hs_owners_claim(p->owners, pg->keys[i], g->group_nr))))
			hs_bits_clear(pages, i);
	}
}
