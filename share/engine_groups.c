/*
 * Trust groups. KSM has one tree for the whole host, so that two groups are kept apart by never having one content
 * mergeable in both: whoever plans asks hs_share_claims before it wants a page. One way remains: a guest writes, into a
 * page that is mergeable already, what a guest of another group has in a mergeable page, and ksmd merges the two in its
 * next burst. That is seen here, after the burst, by the frame they have in common, and ended: the page of the guest
 * that came later is made unmergeable, which gives it a frame of its own again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine_internal.h"
#include "runs.h"

struct holder {
	uint64_t pfn;
	uint32_t guest; /* number in the engine */
	hs_base_nr page;
};

struct holders {
	struct holder *list;
	size_t nr, room;
};

int hs_share_set_group(struct hs_share *s, uint32_t id, uint32_t group)
{
	if (id >= s->nr_guests || !s->guests[id].used)
		return -EINVAL;
	s->guests[id].group = group;
	return 0;
}

void hs_share_claims(const struct hs_share *s, uint32_t id, hs_huge_nr huge, struct hs_bits512 *out)
{
	const struct hs_engine_huge *h;

	memset(out, 0, sizeof(*out));
	if (id >= s->nr_guests || huge >= s->guests[id].nr_huge)
		return;
	h = &s->guests[id].huge[huge];
	*out = hs_bits_or(hs_bits_or(h->wanted, h->allowed), h->marked);
}

static int note_holder(struct holders *all, uint64_t pfn, uint32_t guest, hs_base_nr page)
{
	if (all->nr == all->room) {
		size_t room = all->room ? all->room * 2 : 4096;
		struct holder *grown = reallocarray(all->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		all->list = grown;
		all->room = room;
	}
	all->list[all->nr++] = (struct holder){ .pfn = pfn, .guest = guest, .page = page };
	return 0;
}

/* KSM frames behind a guest's marked pages. */
static int gather(struct hs_share *s, uint32_t id, struct holders *all, struct hs_error *err)
{
	struct hs_engine_guest *g = &s->guests[id];
	struct hs_frame frames[HS_BASE_PER_HUGE];
	int rc = 0;

	for (hs_huge_nr h = 0; h < g->nr_huge && !rc; h++) {
		const struct hs_bits512 *marked = &g->huge[h].marked;

		if (!hs_bits_count(marked))
			continue;
		rc = hs_view_frames(g->view, h, frames, err);
		for (unsigned int i = hs_run_next(marked, 0); i < HS_BASE_PER_HUGE && !rc;
		     i = hs_run_next(marked, i + 1))
			if (frames[i].pfn && (frames[i].flags & HS_FRAME_KSM))
				rc = note_holder(all, frames[i].pfn, id, h * HS_BASE_PER_HUGE + i);
	}
	return hs_engine_note(g, rc);
}

static int by_frame(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return x->pfn < y->pfn ? -1 : x->pfn > y->pfn;
}

/* Takes the mark from one page, and the wish. */
static int break_page(struct hs_share *s, const struct holder *victim, struct hs_error *err)
{
	struct hs_engine_guest *g = &s->guests[victim->guest];
	struct hs_engine_huge *h = &g->huge[victim->page / HS_BASE_PER_HUGE];
	const unsigned int i = victim->page % HS_BASE_PER_HUGE;
	struct hs_engine_ops ops = { 0 };
	int rc = hs_engine_ops_add(&ops, g->view, victim->page, victim->page + 1, MADV_UNMERGEABLE);

	if (!rc)
		rc = hs_engine_run_ops(s, g, &ops, err);
	if (!rc)
		rc = ops.op[0].result;
	hs_engine_ops_finish(&ops);
	if (rc)
		return hs_engine_note(g, rc);
	hs_bits_clear(&h->marked, i);
	hs_bits_clear(&h->wanted, i);
	hs_bits_clear(&h->allowed, i);
	hs_bits_clear(&h->shared, i);
	return 0;
}

int hs_share_part_groups(struct hs_share *s, uint64_t *nr_broken, struct hs_error *err)
{
	struct holders all = { 0 };
	bool several = false;
	uint32_t first = UINT32_MAX;
	int rc = 0, first_rc;

	*nr_broken = 0;
	for (uint32_t i = 0; i < s->nr_guests; i++) {
		if (!s->guests[i].used || s->guests[i].gone)
			continue;
		several |= first != UINT32_MAX && s->guests[first].group != s->guests[i].group;
		first = first == UINT32_MAX ? i : first;
	}
	if (!several)
		return 0;
	/* One guest that cannot be looked at, or be stopped, does not keep the others from being parted. */
	for (uint32_t i = 0; i < s->nr_guests && rc != -ENOMEM; i++) {
		int one = s->guests[i].used && !s->guests[i].gone ? gather(s, i, &all, err) : 0;

		if (one && one != -ESRCH)
			rc = one;
	}
	first_rc = rc;
	if (all.nr)
		qsort(all.list, all.nr, sizeof(all.list[0]), by_frame);
	for (size_t i = 0, end; i < all.nr; i = end) {
		uint32_t oldest = all.list[i].guest;

		for (end = i; end < all.nr && all.list[end].pfn == all.list[i].pfn; end++)
			if (s->guests[all.list[end].guest].joined < s->guests[oldest].joined)
				oldest = all.list[end].guest;
		for (size_t k = i; k < end; k++) {
			int one;

			if (s->guests[all.list[k].guest].gone ||
			    s->guests[all.list[k].guest].group == s->guests[oldest].group)
				continue;
			one = break_page(s, &all.list[k], err);
			*nr_broken += !one;
			if (one && one != -ESRCH)
				first_rc = one;
		}
	}
	free(all.list);
	s->group_conflicts += *nr_broken;
	return first_rc == -ENOMEM ? hs_error_set(err, first_rc, "out of memory") : first_rc;
}
