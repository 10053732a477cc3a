/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The questions that the index answers.
 *
 * A guest that is removed disappears at once, but its pages are taken out step by step. Until that is done, questions
 * that meet one of them take it out on the way: so an answer never holds such a page, and since each is taken out only
 * once, all questions together lose no more time than the removal would have taken.
 */
#include "index_internal.h"

static struct hs_page page_of(const struct hs_index *x, page_id id)
{
	const struct block *b = block_of(x, id);

	return (struct hs_page){ .guest = b->guest, .page = b->place << BLOCK_SHIFT | (id & (BLOCK_PAGES - 1)) };
}

/* Whether the page belongs to a guest that is being removed; if so it is out of the index now. */
static bool gone(struct hs_index *x, page_id id)
{
	if (!x->nr_leaving || x->guests[block_of(x, id)->guest].state != GUEST_LEAVING)
		return false;
	hs_index_drop(x, id);
	return true;
}

/* What is asked for: pages, or (out NULL) only how many there are. */
struct answer {
	struct hs_page *out;
	size_t max, n;
};

static void take(struct hs_index *x, page_id id, struct answer *a)
{
	x->steps++;
	if (gone(x, id))
		return;
	if (a->out)
		a->out[a->n] = page_of(x, id);
	a->n++;
}

/* The members from `id` on. */
static void take_forward(struct hs_index *x, page_id id, struct answer *a)
{
	while (id != NO_PAGE && a->n < a->max) {
		page_id next = slot_of(x, id)->w[1];

		take(x, id, a);
		id = next;
	}
}

/* All that are equal to `id` but not itself. Dropping one on the way may make another one leader, `id` included. */
static void take_same(struct hs_index *x, page_id id, struct answer *a)
{
	struct slot *s = slot_of(x, id);
	page_id at;
	bool first;

	if (!(block_of(x, id)->member & bit_of(id))) {
		if (s->w[1] & GROUPED)
			take_forward(x, s->w[2], a);
		return;
	}
	take_forward(x, s->w[1], a);
	/* Backward to the first member and from it to the leader, where the list ends. */
	at = s->w[0];
	first = s->w[2] != NOT_FIRST;
	while (!first && a->n < a->max) {
		/* Read first: it may be out of the index after it was taken. */
		page_id before = slot_of(x, at)->w[0];

		first = slot_of(x, at)->w[2] != NOT_FIRST;
		take(x, at, a);
		at = before;
	}
	if (a->n < a->max)
		take(x, at, a);
}

size_t hs_index_same(const struct hs_index *x, struct hs_page p, struct hs_page *out, size_t max)
{
	page_id id = hs_index_lookup(x, p);
	struct answer a = { .out = out, .max = max };

	/* Not const at heart: see the top for what a question may do to a guest that is being removed. */
	if (id != NO_PAGE)
		take_same((struct hs_index *)(uintptr_t)x, id, &a);
	return a.n;
}

uint32_t hs_index_count_same(const struct hs_index *x, struct hs_page p, uint32_t limit)
{
	page_id id = hs_index_lookup(x, p);
	struct answer a = { .max = limit, .n = 1 };

	if (id == NO_PAGE || !limit)
		return 0;
	take_same((struct hs_index *)(uintptr_t)x, id, &a);
	return (uint32_t)a.n;
}

size_t hs_index_find(const struct hs_index *cx, struct hs_digest d, struct hs_page *out, size_t max)
{
	struct hs_index *x = (struct hs_index *)(uintptr_t)cx;
	uint64_t tag = hs_index_chain_tag(d);
	struct answer a = { .out = out, .max = max };
	page_id l;

	if (!max)
		return 0;
	/* A leader that is gone leaves its place to the next one. */
	do
		l = hs_index_chain_find(x, tag);
	while (l != NO_PAGE && gone(x, l));
	if (l == NO_PAGE)
		return 0;
	take(x, l, &a);
	if (slot_of(x, l)->w[1] & GROUPED)
		take_forward(x, slot_of(x, l)->w[2], &a);
	return a.n;
}

void hs_index_duplicates(const struct hs_index *cx, uint32_t guest, hs_huge_nr huge, struct hs_bits512 *out)
{
	struct hs_index *x = (struct hs_index *)(uintptr_t)cx;
	struct hs_bits512 indexed;

	hs_index_indexed(x, guest, huge, &indexed);
	*out = (struct hs_bits512){ 0 };
	for (uint32_t w = 0; w < 8; w++) {
		for (uint64_t left = indexed.w[w]; left; left &= left - 1) {
			uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(left);
			page_id id = hs_index_lookup(x, (struct hs_page){ guest, huge * HS_BASE_PER_HUGE + i });
			struct answer a = { .max = 1 };

			if (!x->nr_leaving)
				a.n = block_of(x, id)->member & bit_of(id) || slot_of(x, id)->w[1] & GROUPED;
			else
				take_same(x, id, &a);
			if (a.n)
				hs_bits_set(out, i);
		}
	}
}

/* All pages that have the leader's digest, itself first. Pages of a guest that is being removed are passed over. */
static void visit_all(const struct hs_index *x, page_id leader, hs_index_visit *fn, void *ctx)
{
	const struct slot *s = slot_of(x, leader);
	const uint64_t content = hs_index_chain_tag_of(s);
	page_id id = leader, next = s->w[1] & GROUPED ? s->w[2] : NO_PAGE;

	for (;;) {
		if (x->guests[block_of(x, id)->guest].state == GUEST_LIVE)
			fn(ctx, content, page_of(x, id));
		if (next == NO_PAGE)
			break;
		id = next;
		next = slot_of(x, id)->w[1];
	}
}

void hs_index_each(const struct hs_index *x, hs_index_visit *fn, void *ctx)
{
	for (uint32_t nr = 0; nr < x->top_slab; nr++) {
		const struct slab *s = &x->slabs[nr];

		for (uint32_t i = 0; s->slots && i < s->nr_touched; i++) {
			const page_id first = (nr << SLAB_SHIFT | i) << BLOCK_SHIFT;

			for (uint64_t left = s->blocks[i].indexed & ~s->blocks[i].member; left; left &= left - 1)
				visit_all(x, first | (uint32_t)__builtin_ctzll(left), fn, ctx);
		}
	}
}
