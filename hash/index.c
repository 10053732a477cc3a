/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: guests and their pages.
 *
 * What it costs: 12 bytes a page for its slot, 0.4 for its share of the block, 2 for the table of buckets (less where
 * pages are equal) and half a byte for every 8 pages of a guest's address space, indexed or not: 14.5 bytes a page in
 * all. Slots come 64 at a time, so indexed pages that lie scattered pay for the holes between them: with 9 of 10
 * indexed it is 16 bytes a page, with every second one 27. Cold memory lies together, whole huge pages of it, and a
 * block goes when its last page goes.
 */
#include <errno.h>
#include <stdlib.h>

#include "index_internal.h"

int hs_index_create(struct hs_index **out)
{
	struct hs_index *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->with_room = NO_BLOCK;
	while (x->nr_buckets < MIN_BUCKETS) {
		if (!hs_index_store_bucket_more(x)) {
			hs_index_destroy(x);
			return -ENOMEM;
		}
	}
	*out = x;
	return 0;
}

void hs_index_destroy(struct hs_index *x)
{
	if (!x)
		return;
	for (uint32_t i = 0; i < x->nr_guests_held; i++)
		free(x->guests[i].block);
	free(x->guests);
	hs_index_store_free(x);
	free(x);
}

int hs_index_add_guest(struct hs_index *x, uint32_t nr_huge, uint32_t *guest)
{
	uint64_t places = (uint64_t)nr_huge * (HS_BASE_PER_HUGE / BLOCK_PAGES);
	struct guest *g;
	uint32_t i = 0;

	if (x->nr_places + places > MAX_BLOCKS)
		return -ENOSPC;
	while (i < x->nr_guests_held && x->guests[i].state != GUEST_NONE)
		i++;
	if (i == x->nr_guests_held) {
		uint32_t more = i + 8;

		g = realloc(x->guests, more * sizeof(*g));
		if (!g)
			return -ENOMEM;
		for (uint32_t j = i; j < more; j++)
			g[j] = (struct guest){ 0 };
		x->guests = g;
		x->nr_guests_held = more;
	}
	g = &x->guests[i];
	g->block = calloc(places ? places : 1, sizeof(g->block[0]));
	if (!g->block)
		return -ENOMEM;
	g->nr_places = (uint32_t)places;
	g->state = GUEST_LIVE;
	x->nr_places += places;
	x->nr_live++;
	*guest = i;
	return 0;
}

static struct guest *live(const struct hs_index *x, uint32_t guest)
{
	if (guest >= x->nr_guests_held || x->guests[guest].state != GUEST_LIVE)
		return NULL;
	return &x->guests[guest];
}

page_id hs_index_lookup(const struct hs_index *x, struct hs_page p)
{
	const struct guest *g = live(x, p.guest);
	uint32_t place = p.page >> BLOCK_SHIFT;
	page_id id;

	if (!g || place >= g->nr_places || !g->block[place])
		return NO_PAGE;
	id = (g->block[place] - 1) << BLOCK_SHIFT | (p.page & (BLOCK_PAGES - 1));
	return block_of(x, id)->indexed & bit_of(id) ? id : NO_PAGE;
}

static void block_drop(struct hs_index *x, struct guest *g, uint32_t place)
{
	hs_index_store_put(x, g->block[place] - 1);
	g->block[place] = 0;
	g->nr_blocks--;
}

void hs_index_drop(struct hs_index *x, page_id id)
{
	struct block *b = block_of(x, id);
	struct guest *g = &x->guests[b->guest];

	hs_index_chain_unlink(x, id);
	g->nr_pages--;
	if (g->state == GUEST_LIVE)
		x->nr_pages--;
	if (!b->indexed)
		block_drop(x, g, b->place);
}

int hs_index_remove_guest(struct hs_index *x, uint32_t guest, uint32_t max_pages)
{
	uint32_t asked = 0;
	struct guest *g;

	if (guest >= x->nr_guests_held || x->guests[guest].state == GUEST_NONE)
		return -EINVAL;
	g = &x->guests[guest];
	if (g->state == GUEST_LIVE) {
		g->state = GUEST_LEAVING;
		g->cursor = 0;
		x->nr_pages -= g->nr_pages;
		x->nr_live--;
		x->nr_leaving++;
	}
	while (g->nr_blocks && max_pages) {
		uint32_t nr = g->block[g->cursor];
		const struct block *b;

		if (!nr) {
			g->cursor++;
			continue;
		}
		b = block_of(x, (nr - 1) << BLOCK_SHIFT);
		if (nr != asked)
			hs_index_chain_prefetch_block(x, (nr - 1) << BLOCK_SHIFT);
		asked = nr;
		hs_index_drop(x, (nr - 1) << BLOCK_SHIFT | (uint32_t)__builtin_ctzll(b->indexed));
		max_pages--;
	}
	if (g->nr_blocks)
		return 1;
	free(g->block);
	x->nr_places -= g->nr_places;
	x->nr_leaving--;
	*g = (struct guest){ 0 };
	return 0;
}

/* The block for these 64 pages, made when there is none: its number, or NO_BLOCK. */
static uint32_t block_for(struct hs_index *x, uint32_t guest, uint32_t place)
{
	struct guest *g = &x->guests[guest];
	uint32_t nr;

	if (g->block[place])
		return g->block[place] - 1;
	nr = hs_index_store_get(x);
	if (nr != NO_BLOCK) {
		struct block *b = block_of(x, nr << BLOCK_SHIFT);

		b->guest = guest;
		b->place = place;
		g->block[place] = nr + 1;
		g->nr_blocks++;
	}
	return nr;
}

static void put(struct hs_index *x, struct guest *g, page_id id, uint64_t tag)
{
	if (block_of(x, id)->indexed & bit_of(id)) {
		hs_index_chain_unlink(x, id);
	} else {
		g->nr_pages++;
		x->nr_pages++;
	}
	hs_index_chain_link(x, id, tag);
}

int hs_index_insert(struct hs_index *x, struct hs_page p, struct hs_digest d)
{
	struct guest *g = live(x, p.guest);
	uint32_t nr;

	if (!g || p.page >> BLOCK_SHIFT >= g->nr_places)
		return -EINVAL;
	nr = block_for(x, p.guest, p.page >> BLOCK_SHIFT);
	if (nr == NO_BLOCK)
		return -ENOMEM;
	put(x, g, nr << BLOCK_SHIFT | (p.page & (BLOCK_PAGES - 1)), hs_index_chain_tag(d));
	return 0;
}

int hs_index_insert_huge(struct hs_index *x, uint32_t guest, hs_huge_nr huge, const struct hs_bits512 *which,
			 const struct hs_digest digests[HS_BASE_PER_HUGE])
{
	struct guest *g = live(x, guest);
	uint64_t tags[BLOCK_PAGES];

	if (!g || huge >= g->nr_places / 8)
		return -EINVAL;
	for (uint32_t w = 0; w < 8; w++) {
		uint32_t nr, n = 0;

		if (!which->w[w])
			continue;
		nr = block_for(x, guest, huge * 8 + w);
		if (nr == NO_BLOCK)
			return -ENOMEM;
		for (uint64_t left = which->w[w]; left; left &= left - 1)
			tags[n++] = hs_index_chain_tag(digests[w * BLOCK_PAGES + (uint32_t)__builtin_ctzll(left)]);
		hs_index_chain_prefetch(x, tags, n);
		n = 0;
		for (uint64_t left = which->w[w]; left; left &= left - 1) {
			uint32_t i = (uint32_t)__builtin_ctzll(left);

			put(x, g, nr << BLOCK_SHIFT | i, tags[n++]);
		}
	}
	return 0;
}

void hs_index_remove(struct hs_index *x, struct hs_page p)
{
	page_id id = hs_index_lookup(x, p);

	if (id != NO_PAGE)
		hs_index_drop(x, id);
}

void hs_index_remove_huge(struct hs_index *x, uint32_t guest, hs_huge_nr huge)
{
	const struct guest *g = live(x, guest);

	if (!g || huge >= g->nr_places / 8)
		return;
	for (uint32_t place = huge * 8; place < huge * 8 + 8; place++) {
		if (g->block[place])
			hs_index_chain_prefetch_block(x, (g->block[place] - 1) << BLOCK_SHIFT);
		while (g->block[place]) {
			page_id first = (g->block[place] - 1) << BLOCK_SHIFT;

			hs_index_drop(x, first | (uint32_t)__builtin_ctzll(block_of(x, first)->indexed));
		}
	}
}

void hs_index_indexed(const struct hs_index *x, uint32_t guest, hs_huge_nr huge, struct hs_bits512 *out)
{
	const struct guest *g = live(x, guest);

	*out = (struct hs_bits512){ 0 };
	if (!g || huge >= g->nr_places / 8)
		return;
	for (uint32_t w = 0; w < 8; w++) {
		uint32_t nr = g->block[huge * 8 + w];

		if (nr)
			out->w[w] = block_of(x, (nr - 1) << BLOCK_SHIFT)->indexed;
	}
}

void hs_index_stats(const struct hs_index *x, struct hs_index_stats *out)
{
	out->nr_pages = x->nr_pages;
	out->nr_guests = x->nr_live;
	out->bytes = hs_index_store_bytes(x) + x->nr_guests_held * sizeof(x->guests[0]) +
		     (x->nr_places * sizeof(x->guests[0].block[0]));
}
