/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents: which base pages are read and digested when, and which of them are identical.
 *
 * A page that was not accessed since it was digested has not changed, so each page is read once while it stays cold. A
 * huge page that is hot is read once too, for its promise: the fine phase looks only where there is something to gain.
 * Those digests are in the index as hints to others but are not `hashed`: whatever is shared in the end was read again
 * while it was cold, and compared by its bytes: by who merges it, who does that in any case and while nobody can write
 * them; where nobody merges, by us, since what would be saved is reported. A digest that was out of date is found out
 * by either: what was not merged is read anew before it is wanted again.
 *
 * Two groups never find each other's pages: the index gets digests that differ by group. Which group may have a content
 * in mergeable memory is asked of a table of owners (hs/owners.h), which goes by the digests themselves. While there
 * are several groups, the key of what each page was last read to hold is kept, 8 bytes a page.
 */
#include "pipeline_internal.h"

#include "hs/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many holders of a content are looked at to find one that is a candidate. More would cost, and a content with so
 * many holders none of which is cold is nothing to wait for. */
#define MAX_HOLDERS 16

/* A round without an answer (nr_known is 0 then) is taken for one in which all was accessed. */
int hs_content_note_round(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);
		struct page_record *pg = &g->pages[h];
		struct hs_base_sample s;
		int rc;

		if (!p->round)
			hs_bits_clear_all(&pg->recent);
		if (pg->early && r->state != HS_MAP_UNKNOWN && r->state != HS_MAP_ABSENT)
			continue;
		switch ((enum hs_map_state)r->state) {
		case HS_MAP_HUGE:
			pg->present = hs_bits_full();
			hs_bits_clear_all(&pg->accessed);
			if (!r->nr_accessed && r->nr_known)
				continue;
			pg->recent = hs_bits_full();
			break;
		case HS_MAP_SPLIT:
		case HS_MAP_PARTIAL:
			if (r->nr_known && !r->nr_accessed && r->nr_present == hs_bits_count(&pg->present)) {
				hs_bits_clear_all(&pg->accessed);
				continue;
			}
			rc = hs_view_sample_base(g->view, &h, 1, &s, err);
			if (rc)
				return rc;
			if (!r->nr_known || (s.state != HS_MAP_SPLIT && s.state != HS_MAP_PARTIAL)) {
				/* Any of them may have been accessed. That makes none hot: the policy waits. */
				pg->accessed = pg->recent = hs_bits_full();
				if (s.state == HS_MAP_UNKNOWN)
					hs_coarse_forget(g->coarse, h);
				break;
			}
			pg->present = s.present;
			pg->accessed = s.accessed;
			pg->recent = hs_bits_or(pg->recent, s.accessed);
			/* What was accessed is stale; a zero page too: it may be zero no longer. */
			pg->hashed = hs_bits_andnot(hs_bits_and(pg->hashed, s.present), s.accessed);
			pg->zero = hs_bits_andnot(hs_bits_and(pg->zero, s.present), s.accessed);
			pg->same = hs_bits_and(pg->same, hs_bits_or(pg->hashed, pg->zero));
			continue;
		case HS_MAP_UNKNOWN:
		case HS_MAP_ABSENT:
			hs_bits_clear_all(&pg->present);
			break;
		}
		if (r->state == HS_MAP_ABSENT && pg->looked)
			hs_index_remove_huge(p->index, g->index_id, h);
		if (r->state != HS_MAP_HUGE)
			pg->looked = 0;
		hs_bits_clear_all(&pg->hashed);
		hs_bits_clear_all(&pg->zero);
		hs_bits_clear_all(&pg->same);
	}
	return 0;
}

/* Makes a guest's digests differ from other groups' for equal contents. */
static void part_digests(const struct guest *g, const struct hs_bits512 *of, struct hs_digest digests[HS_BASE_PER_HUGE])
{
	hs_bits_for_each (i, of)
		digests[i].hi ^= g->part;
}

/* Without memory for the keys none is known, which owners are asked to bear. */
static void keep_keys(struct page_record *pg, const struct hs_bits512 *content, const struct hs_bits512 *zero,
		      const struct hs_digest digests[HS_BASE_PER_HUGE])
{
	if (!pg->keys)
		pg->keys = calloc(HS_BASE_PER_HUGE, sizeof(*pg->keys));
	if (!pg->keys)
		return;
	hs_bits_for_each (i, content)
		pg->keys[i] = hs_owners_key_of(digests[i]);
	hs_bits_for_each (i, zero)
		pg->keys[i] = HS_OWNERS_ZERO_KEY;
}

int hs_content_read(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *want,
		    struct hs_contents *out, struct hs_error *err)
{
	static __thread struct hs_digest digests[HS_BASE_PER_HUGE];
	struct hs_bits512 indexed;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = hs_view_read(g->view, h, want, p->buf[0], &out->got, err);
	if (rc)
		return rc;
	hs_digest_huge(&p->key, p->buf[0], &out->got, digests, &out->zero);
	p->totals.pages_hashed += hs_bits_count(&out->got);
	hs_bits_for_each (i, &out->zero)
		hs_index_remove(p->index, (struct hs_page){ g->index_id, h * HS_BASE_PER_HUGE + i });
	out->content = hs_bits_andnot(out->got, out->zero);
	/* It is known to be no zeros, and that is all: nobody compares it with anything. */
	if (g->scope == HS_SCOPE_ZERO)
		return 0;
	if (p->several_groups)
		keep_keys(&g->pages[h], &out->content, &out->zero, digests);
	part_digests(g, &out->content, digests);
	rc = hs_index_insert_huge(p->index, g->index_id, h, &out->content, digests);
	if (rc == -ENOMEM) {
		/* What found no room is not known, so nothing is done with it. */
		hs_index_indexed(p->index, g->index_id, h, &indexed);
		out->content = hs_bits_and(out->content, indexed);
	} else if (rc) {
		return hs_error_set(err, rc, "the index refuses huge page %u of guest %s: %s", h, g->name,
				    strerror(-rc));
	}
	return 0;
}

int hs_content_hash(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *want,
		    struct hs_bits512 *fresh, struct hs_error *err)
{
	struct page_record *pg = &g->pages[h];
	struct hs_contents now;
	int rc = hs_content_read(p, g, h, want, &now, err);

	hs_bits_clear_all(fresh);
	if (rc)
		return rc;
	*fresh = hs_bits_or(now.content, now.zero);
	pg->zero = hs_bits_or(hs_bits_andnot(pg->zero, now.got), now.zero);
	pg->zero_hint = hs_bits_or(hs_bits_andnot(pg->zero_hint, now.got), now.zero);
	pg->looked = 1;
	if (g->cold_age && hs_bits_any(&now.content))
		g->cold_age[h].compressed_percent = (uint8_t)hs_compress_percent(p->buf[0], &now.content);
	return 0;
}

/* A huge page is due when it has been cold for long enough, or, once a spell, when it is hot: for its promise. */
static bool due(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h, struct hs_bits512 *want)
{
	const struct hs_coarse_record *r = hs_coarse_get(g->coarse, h);
	const struct page_record *pg = &g->pages[h];

	if (r->state == HS_MAP_UNKNOWN || r->state == HS_MAP_ABSENT || pg->ban_until > p->totals.cycles)
		return false;
	*want = hs_bits_andnot(pg->present, hs_bits_or(pg->hashed, pg->zero));
	if (r->state != HS_MAP_HUGE)
		*want = hs_bits_andnot(*want, pg->accessed);
	if (hs_bits_none(want))
		return false;
	if (r->nr_known >= p->cfg.hash_cold_rounds && r->cold_rounds >= p->cfg.hash_cold_rounds)
		return true;
	/* Split already, and part of it is cold: no huge mapping to lose, so its cold base pages count one by one. */
	if (r->state != HS_MAP_HUGE && r->nr_known >= p->cfg.coarse.hot_rounds)
		return pg->shares || pg->kept_split || !pg->looked || (g->cold_age && g->cold_age[h].watched_us);
	return !pg->looked && hs_coarse_heat(g->coarse, h) == HS_HEAT_HOT;
}

int hs_content_hash_due(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct page_record *pg = &g->pages[h];
		struct hs_bits512 want, fresh, before;
		int rc;

		if (!due(p, g, h, &want))
			continue;
		before = pg->hashed;
		rc = hs_content_hash(p, g, h, &want, &fresh, err);
		if (rc == -ESRCH)
			return rc;
		if (rc)
			continue; /* unreadable now: it stays unhashed, and nothing is done with it */
		if (hs_coarse_get(g->coarse, h)->cold_rounds || hs_coarse_get(g->coarse, h)->state != HS_MAP_HUGE)
			pg->hashed = hs_bits_or(before, hs_bits_andnot(fresh, pg->zero));
		if ((h & 15) == 0) {
			hs_pipeline_note_progress(p, HS_STAGE_CONTENT, h, g->view->nr_huge);
			rc = hs_pipeline_pace(p);
			if (rc)
				return rc;
		}
	}
	return 0;
}

static struct page_record *record_of(struct hs_pipeline *p, struct hs_page page, struct guest **owner)
{
	*owner = p->guests[p->guest_of_index[page.guest]];
	return &(*owner)->pages[page.page / HS_BASE_PER_HUGE];
}

void hs_content_duplicates(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *of,
			   struct hs_bits512 *any, struct hs_bits512 *cand)
{
	hs_bits_clear_all(any);
	hs_bits_clear_all(cand);
	hs_bits_for_each (i, of) {
		struct hs_page same[MAX_HOLDERS];
		size_t n;

		n = hs_index_same(p->index, (struct hs_page){ g->index_id, h * HS_BASE_PER_HUGE + i }, same,
				  MAX_HOLDERS);
		for (size_t k = 0; k < n; k++) {
			struct guest *og;
			const struct page_record *o = record_of(p, same[k], &og);

			if (og->gone || og->group_nr != g->group_nr || hs_guest_page_waits(p, o))
				continue;
			if (hs_bits_test(&o->candidate, same[k].page % HS_BASE_PER_HUGE)) {
				hs_bits_set(cand, i);
				hs_bits_set(any, i);
				break;
			}
			if (o->decision.reason != HS_WHY_EVENLY_HOT)
				hs_bits_set(any, i);
		}
	}
}

/* The candidate that holds what this page holds, to compare with; false when there is none (any more). */
static bool partner(struct hs_pipeline *p, const struct guest *g, struct hs_page page, struct hs_page *out)
{
	struct hs_page same[MAX_HOLDERS];
	size_t n = hs_index_same(p->index, page, same, MAX_HOLDERS);

	for (size_t k = 0; k < n; k++) {
		struct guest *og;
		const struct page_record *o = record_of(p, same[k], &og);

		if (!og->gone && og->group_nr == g->group_nr &&
		    hs_bits_test(&o->candidate, same[k].page % HS_BASE_PER_HUGE)) {
			*out = same[k];
			return true;
		}
	}
	return false;
}

struct pair {
	uint32_t guest; /* the index's numbers: the partner's side */
	hs_base_nr page;
	uint16_t mine;
};

static int by_partner(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	if (x->guest != y->guest)
		return x->guest < y->guest ? -1 : 1;
	return x->page < y->page ? -1 : x->page > y->page;
}

bool hs_content_left_to_ksmd(const struct hs_pipeline *p)
{
	/* A recorded run is repeated from its trace, which has the reads but nobody who merges. */
	return p->merge.ops->compares && !p->cfg.share.dry_run && !p->observer.cycle;
}

int hs_content_compare(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *dup,
		       struct hs_error *err)
{
	struct page_record *pg = &g->pages[h];
	struct hs_bits512 todo = hs_bits_andnot(*dup, pg->same), got;
	struct pair pairs[HS_BASE_PER_HUGE];
	size_t nr = 0;
	int rc;

	if (hs_content_left_to_ksmd(p)) {
		pg->same = hs_bits_or(pg->same, todo);
		return 0;
	}
	hs_bits_for_each (i, &todo) {
		const struct hs_page mine = { g->index_id, h * HS_BASE_PER_HUGE + i };
		struct hs_page other;

		if (partner(p, g, mine, &other))
			pairs[nr++] = (struct pair){ other.guest, other.page, (uint16_t)i };
	}
	if (!nr)
		return 0;
	rc = hs_view_read(g->view, h, &todo, p->buf[0], &got, err);
	if (rc)
		return rc;
	/* One read for each of the partners' huge pages. */
	qsort(pairs, nr, sizeof(pairs[0]), by_partner);
	for (size_t i = 0, end; i < nr; i = end) {
		const hs_huge_nr oh = pairs[i].page / HS_BASE_PER_HUGE;
		struct hs_bits512 want = { 0 }, have;
		struct guest *og;
		struct page_record *o = record_of(p, (struct hs_page){ pairs[i].guest, pairs[i].page }, &og);

		for (end = i;
		     end < nr && pairs[end].guest == pairs[i].guest && pairs[end].page / HS_BASE_PER_HUGE == oh; end++)
			hs_bits_set(&want, pairs[end].page % HS_BASE_PER_HUGE);
		rc = hs_view_read(og->view, oh, &want, p->buf[1], &have, err);
		if (rc) {
			if (!hs_pipeline_guest_failed(p, og, rc))
				return rc;
			if (og == g)
				return rc;
			continue;
		}
		for (size_t k = i; k < end; k++) {
			const unsigned int m = pairs[k].mine, t = pairs[k].page % HS_BASE_PER_HUGE;

			if (!hs_bits_test(&got, m) || !hs_bits_test(&have, t))
				continue;
			p->totals.pages_compared++;
			if (memcmp(p->buf[0] + m * HS_BASE_SIZE, p->buf[1] + t * HS_BASE_SIZE, HS_BASE_SIZE) == 0) {
				hs_bits_set(&pg->same, m);
				hs_bits_set(&o->same, t);
			} else {
				/* Written between our read and the ageing that followed it: one of the digests is
				 * stale. */
				p->totals.compare_failed++;
				hs_bits_clear(&pg->hashed, m);
				hs_bits_clear(&o->hashed, t);
			}
		}
	}
	return 0;
}

static bool was_marked(struct hs_pipeline *p, const struct guest *g, struct hs_page page)
{
	struct hs_shared_huge now;
	struct guest *og;

	(void)record_of(p, page, &og);
	if (og->gone || !og->shareable || !og->all_marked || og->group_nr != g->group_nr)
		return false;
	hs_merge_state(p, og, page.page / HS_BASE_PER_HUGE, &now);
	return hs_bits_test(&now.wanted, page.page % HS_BASE_PER_HUGE);
}

void hs_content_with_marked_partner(struct hs_pipeline *p, const struct guest *g, hs_huge_nr h,
				    struct hs_bits512 *pages)
{
	const struct hs_bits512 ask = hs_bits_andnot(*pages, g->pages[h].zero);

	hs_bits_for_each (i, &ask) {
		const struct hs_page mine = { g->index_id, h * HS_BASE_PER_HUGE + i };
		struct hs_page same[MAX_HOLDERS];
		const size_t n = hs_index_same(p->index, mine, same, MAX_HOLDERS);
		bool any = false;

		for (size_t k = 0; k < n && !any; k++)
			any = was_marked(p, g, same[k]);
		if (!any)
			hs_bits_clear(pages, i);
	}
}
