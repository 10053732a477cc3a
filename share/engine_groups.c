/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust groups. KSM has one tree for the whole host, so that two groups are kept apart by never having one content
 * mergeable in both. Whose a content is, whoever plans has to know (hs/owners.h); here pages are barred that hold what
 * is another group's: their mark goes before all else, and ksmd does not run while one is left. One way remains: a
 * guest writes, into a page that is mergeable already, what a guest of another group has in a mergeable page, and ksmd
 * merges the two in its next burst. That is seen here, after the burst, by the frame they have in common, and ended,
 * within the budget of VMAs of the guest that has to part.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine_internal.h"

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

		if (hs_bits_none(marked))
			continue;
		rc = hs_view_frames(g->view, h, frames, err);
		hs_bits_for_each (i, marked)
			if (!rc && frames[i].pfn && (frames[i].flags & HS_FRAME_KSM))
				rc = note_holder(all, frames[i].pfn, id, h * HS_BASE_PER_HUGE + i);
	}
	return hs_engine_note(g, rc);
}

static int by_frame(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return x->pfn < y->pfn ? -1 : x->pfn > y->pfn;
}

/*
 * Whose the frame is: the group's that was on it before this burst, as far as the last verify knows; else that of the
 * guest that came first. So who writes a guess at another group's content loses by it, and not the other group.
 */
static uint32_t owner_of(const struct hs_share *s, const struct holder *list, size_t nr)
{
	const struct holder *first = NULL;
	bool first_shared = false;

	for (size_t i = 0; i < nr; i++) {
		const struct hs_engine_guest *g = &s->guests[list[i].guest];
		const bool shared =
		    hs_bits_test(&g->huge[list[i].page / HS_BASE_PER_HUGE].shared, list[i].page % HS_BASE_PER_HUGE);

		if (!first || shared > first_shared ||
		    (shared == first_shared && g->joined < s->guests[first->guest].joined)) {
			first = &list[i];
			first_shared = shared;
		}
	}
	return s->guests[first->guest].group;
}

void hs_engine_bar(struct hs_engine_huge *h, const struct hs_bits512 *pages)
{
	h->wanted = hs_bits_andnot(h->wanted, *pages);
	h->allowed = hs_bits_andnot(h->allowed, *pages);
	h->barred = hs_bits_or(hs_bits_and(h->barred, h->marked), hs_bits_and(*pages, h->marked));
}

int hs_share_forgo(struct hs_share *s, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages)
{
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, NULL);

	if (!g)
		return rc;
	if (huge >= g->nr_huge)
		return -EINVAL;
	hs_engine_bar(&g->huge[huge], pages);
	return 0;
}

struct hs_bits512 hs_engine_barred_pages(const struct hs_engine_huge *h)
{
	return hs_bits_and(hs_bits_andnot(h->barred, hs_bits_or(h->wanted, h->allowed)), h->marked);
}

static uint64_t nr_barred(const struct hs_engine_guest *g)
{
	uint64_t n = 0;

	for (hs_huge_nr h = 0; g->used && !g->gone && h < g->nr_huge; h++) {
		const struct hs_bits512 left = hs_engine_barred_pages(&g->huge[h]);

		n += hs_bits_count(&left);
	}
	return n;
}

bool hs_engine_barred_any(const struct hs_engine_guest *g)
{
	return nr_barred(g) != 0;
}

bool hs_engine_barred(const struct hs_share *s)
{
	for (uint32_t i = 0; i < s->nr_guests; i++)
		if (nr_barred(&s->guests[i]))
			return true;
	return false;
}

bool hs_engine_has_several_groups(const struct hs_share *s)
{
	const struct hs_engine_guest *first = NULL;

	for (uint32_t i = 0; i < s->nr_guests; i++) {
		const struct hs_engine_guest *g = &s->guests[i];

		if (!g->used || g->gone)
			continue;
		if (first && first->group != g->group)
			return true;
		first = first ? first : g;
	}
	return false;
}

/* Bars the pages that are on a frame of another group's. */
static void bar_common(struct hs_share *s, struct holders *all)
{
	if (all->nr)
		qsort(all->list, all->nr, sizeof(all->list[0]), by_frame);
	for (size_t i = 0, end; i < all->nr; i = end) {
		uint32_t owner;

		for (end = i; end < all->nr && all->list[end].pfn == all->list[i].pfn; end++)
			;
		owner = owner_of(s, &all->list[i], end - i);
		for (size_t k = i; k < end; k++) {
			struct hs_engine_guest *g = &s->guests[all->list[k].guest];
			struct hs_bits512 page = { 0 };

			if (g->gone || g->group == owner)
				continue;
			hs_bits_set(&page, all->list[k].page % HS_BASE_PER_HUGE);
			hs_engine_bar(&g->huge[all->list[k].page / HS_BASE_PER_HUGE], &page);
		}
	}
}

int hs_share_part_groups(struct hs_share *s, uint64_t *nr_broken, struct hs_error *err)
{
	struct holders all = { 0 };
	int rc = 0;

	*nr_broken = 0;
	s->unparted[0] = '\0';
	if (!hs_engine_has_several_groups(s))
		return 0;
	/* One guest that cannot be looked at, or be stopped, does not keep the others from being parted. */
	for (uint32_t i = 0; i < s->nr_guests && rc != -ENOMEM; i++) {
		int one = s->guests[i].used && !s->guests[i].gone ? gather(s, i, &all, err) : 0;

		if (!one || one == -ESRCH)
			continue;
		rc = one;
		(void)snprintf(s->unparted, sizeof(s->unparted), "%s", s->guests[i].name);
	}
	if (rc == -ENOMEM)
		(void)hs_error_set(err, rc, "out of memory");
	bar_common(s, &all);
	free(all.list);
	for (uint32_t i = 0; i < s->nr_guests; i++) {
		struct hs_engine_guest *g = &s->guests[i];
		const uint64_t before = nr_barred(g);
		struct hs_share_applied applied;
		uint64_t left;
		int one;

		if (!before)
			continue;
		one = hs_engine_apply(s, g, true, &applied, err);
		left = nr_barred(g);
		*nr_broken += before - left;
		if (!one && left)
			one = hs_error_set(err, -EAGAIN,
					   "%llu base pages of %s are shared across trust groups, and there is no room "
					   "now to part them",
					   (unsigned long long)left, g->name);
		if (one && one != -ESRCH)
			rc = one;
	}
	s->group_conflicts += *nr_broken;
	return rc;
}
