/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that may not stay mergeable, and that cannot be unmerged now: their content is another group's, they are on a
 * frame of KSM's, and there is no room to give them one of their own. Nobody else is to wait for that. What is on such
 * a frame never changes, so ksmd merges with it just what has the same content: before a burst each page that could be
 * merged is read, and what is alike, in any guest, loses its mark first. That one is on no frame of KSM's, so it takes
 * no memory. (What a guest writes between this and the burst is found by the frames after it, as ever.)
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine_internal.h"

struct sums {
	uint64_t *list;
	size_t nr, room;
};

struct stuck {
	struct hs_share *s;
	struct sums sums; /* of the contents */
	unsigned char *buf;
};

/* Two contents with one sum are taken for one: then a page more loses its mark. */
static uint64_t sum_of(const unsigned char *page)
{
	uint64_t sum = 0, word;

	for (size_t i = 0; i < HS_BASE_SIZE; i += sizeof(word)) {
		memcpy(&word, page + i, sizeof(word));
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 29;
	}
	return sum;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int note(struct sums *sums, uint64_t sum)
{
	if (sums->nr == sums->room) {
		size_t room = sums->room ? sums->room * 2 : 256;
		uint64_t *grown = reallocarray(sums->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		sums->list = grown;
		sums->room = room;
	}
	sums->list[sums->nr++] = sum;
	return 0;
}

/* Those of `pages` that are on a frame of KSM's, into *on; *off: on another one, or not known. */
static int part_by_frame(struct hs_engine_guest *g, hs_huge_nr nr, const struct hs_bits512 *pages,
			 struct hs_bits512 *on, struct hs_bits512 *off)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	int rc = hs_view_frames(g->view, nr, frames, NULL);

	hs_bits_clear_all(on);
	hs_bits_clear_all(off);
	if (rc)
		return rc;
	hs_bits_for_each (i, pages)
		if (frames[i].pfn && (frames[i].flags & HS_FRAME_KSM))
			hs_bits_set(on, i);
		else
			hs_bits_set(off, i);
	return 0;
}

/* All of the guest that is barred has to be on frames of KSM's, and its content known. */
static int note_barred(struct stuck *k, struct hs_engine_guest *g)
{
	for (hs_huge_nr nr = 0; nr < g->nr_huge; nr++) {
		const struct hs_bits512 left = hs_engine_barred_pages(&g->huge[nr]);
		struct hs_bits512 got, on, off;
		int rc;

		if (hs_bits_none(&left))
			continue;
		rc = hs_view_read(g->view, nr, &left, k->buf, &got, NULL);
		if (!rc)
			rc = part_by_frame(g, nr, &left, &on, &off);
		if (rc)
			return rc;
		if (!hs_bits_equal(&got, &left) || hs_bits_any(&off))
			return -EAGAIN;
		hs_bits_for_each (i, &left) {
			rc = note(&k->sums, sum_of(k->buf + (size_t)i * HS_BASE_SIZE));
			if (rc)
				return rc;
		}
	}
	return 0;
}

/* Bars what is mergeable, not merged, and alike. */
static int bar_alike(struct stuck *k, struct hs_engine_guest *g)
{
	for (hs_huge_nr nr = 0; nr < g->nr_huge; nr++) {
		struct hs_bits512 on, off, got, alike = { 0 };
		int rc;

		if (hs_bits_none(&g->huge[nr].marked))
			continue;
		rc = part_by_frame(g, nr, &g->huge[nr].marked, &on, &off);
		if (!rc && hs_bits_any(&off))
			rc = hs_view_read(g->view, nr, &off, k->buf, &got, NULL);
		if (rc)
			return rc;
		if (hs_bits_none(&off))
			continue;
		hs_bits_for_each (i, &got) {
			const uint64_t sum = sum_of(k->buf + (size_t)i * HS_BASE_SIZE);

			if (bsearch(&sum, k->sums.list, k->sums.nr, sizeof(sum), by_value))
				hs_bits_set(&alike, i);
		}
		if (hs_bits_any(&alike))
			hs_engine_bar(&g->huge[nr], &alike);
	}
	return 0;
}

static bool is_there(const struct hs_engine_guest *g)
{
	return g->used && !g->gone;
}

static int each(struct stuck *k, int (*step)(struct stuck *, struct hs_engine_guest *), struct hs_engine_guest **at)
{
	for (uint32_t i = 0; i < k->s->nr_guests; i++) {
		int rc;

		*at = &k->s->guests[i];
		rc = is_there(*at) ? hs_engine_note(*at, step(k, *at)) : 0;
		if (rc && rc != -ESRCH)
			return rc;
	}
	return 0;
}

/* A guest that cannot be stopped now, or has no room, keeps some: that is looked at afterwards. */
static void unmark_barred(struct hs_share *s)
{
	struct hs_share_applied applied;

	for (uint32_t i = 0; i < s->nr_guests; i++)
		if (is_there(&s->guests[i]) && hs_engine_barred_any(&s->guests[i]))
			(void)!hs_engine_apply(s, &s->guests[i], true, &applied, NULL);
}

int hs_engine_go_round_stuck(struct hs_share *s, struct hs_error *err)
{
	struct stuck k = { .s = s };
	struct hs_engine_guest *g = NULL;
	int rc;

	unmark_barred(s);
	if (!hs_engine_barred(s))
		return 0;
	k.buf = aligned_alloc(HS_BASE_SIZE, HS_HUGE_SIZE);
	rc = k.buf ? each(&k, note_barred, &g) : -ENOMEM;
	if (!rc && k.sums.nr) {
		qsort(k.sums.list, k.sums.nr, sizeof(k.sums.list[0]), by_value);
		rc = each(&k, bar_alike, &g);
		unmark_barred(s);
		/* Of what was barred just now, nothing may be left. */
		if (!rc)
			rc = each(&k, note_barred, &g);
	}
	free(k.buf);
	free(k.sums.list);
	if (rc == -ENOMEM)
		return hs_error_set(err, rc, "out of memory");
	return rc ? hs_error_set(err, -EAGAIN,
				 "ksmd would merge memory of %s across trust groups: it could not be made unmergeable "
				 "yet",
				 g->name)
		  : 0;
}
