/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains and groups: from a digest to the pages that have it.
 *
 * Why chains of slots and not an open table: a page's slot stands at a place that follows from its number, so the way
 * from page to digest costs no memory at all, and only the way from digest to page needs a table, of 4-byte heads.
 *
 * Why linear hashing: the table grows by one bucket with every second new digest, when that bucket's chain is parted in
 * two. No insert pays for moving the whole table, and the table is never half empty.
 *
 * Why groups: contents are not spread like digests. A million pages of one guest may be equal; in a plain chain each of
 * them would make every other one slow. Here only a group's leader is in the chain, so chains hold different digests
 * alone, and those are spread by a secret that no guest knows.
 *
 * Why 63 of 128 bits are enough: the digest is a hint, bytes are compared before anything is shared. Among 50 million
 * pages the chance that any two different ones meet in 63 bits is 1 in 7000, and what follows is one comparison that
 * fails.
 */
#include "index_internal.h"

/* Mean length of a chain: 2 bytes a page for heads, and a slot or two to look at. */
#define LEADERS_PER_BUCKET     2U
#define MIN_LEADERS_PER_BUCKET 1U /* below it the table shrinks; far from 2, so that it does not swing */

uint64_t hs_index_chain_tag(struct hs_digest d)
{
	/* Both halves count, and near digests end far apart: bad digests (a simulation's) are spread like good ones. */
	uint64_t t = d.lo ^ (d.hi * UINT64_C(0x9E3779B97F4A7C15));

	t ^= t >> 32;
	t *= UINT64_C(0xD6E8FEB86659FD93);
	t ^= t >> 32;
	return t & ~(UINT64_C(1) << 63);
}

static inline bool grouped(const struct slot *s)
{
	return s->w[1] & GROUPED;
}

static inline uint64_t tag_of(const struct slot *leader)
{
	return (uint64_t)(leader->w[1] & ~GROUPED) << 32 | leader->w[0];
}

uint64_t hs_index_chain_tag_of(const struct slot *leader)
{
	return tag_of(leader);
}

static inline void tag_set(struct slot *leader, uint64_t tag)
{
	leader->w[0] = (uint32_t)tag;
	leader->w[1] = (uint32_t)(tag >> 32);
}

/* Where the leader after this one is written. */
static inline uint32_t *after(const struct hs_index *x, struct slot *leader)
{
	return grouped(leader) ? &slot_of(x, leader->w[2])->w[2] : &leader->w[2];
}

static inline uint32_t bucket_of(const struct hs_index *x, uint64_t tag)
{
	uint32_t b = (uint32_t)tag & (2 * x->base - 1);

	return b < x->nr_buckets ? b : b - x->base;
}

#define PREFETCH_DEPTH 3 /* slots of each chain: few chains are longer */

void hs_index_chain_prefetch(const struct hs_index *x, const uint64_t *tags, uint32_t nr)
{
	page_id at[BLOCK_PAGES];

	for (uint32_t i = 0; i < nr; i++)
		__builtin_prefetch(head_of(x, bucket_of(x, tags[i])));
	for (uint32_t i = 0; i < nr; i++)
		at[i] = *head_of(x, bucket_of(x, tags[i]));
	for (uint32_t depth = 0; depth < PREFETCH_DEPTH; depth++) {
		for (uint32_t i = 0; i < nr; i++)
			if (at[i] != NO_PAGE)
				__builtin_prefetch(slot_of(x, at[i]));
		/* The next leader, or the first member of a group, which is on the way to the next leader too. */
		for (uint32_t i = 0; i < nr && depth + 1 < PREFETCH_DEPTH; i++)
			if (at[i] != NO_PAGE)
				at[i] = slot_of(x, at[i])->w[2];
	}
	/* To a compiler a function that only prefetches does nothing, and it leaves out the call. */
	__asm__ volatile("");
}

void hs_index_chain_prefetch_block(const struct hs_index *x, page_id first)
{
	const struct block *b = block_of(x, first);
	uint64_t tags[BLOCK_PAGES];
	uint32_t nr = 0;

	for (uint64_t left = b->indexed; left; left &= left - 1) {
		page_id id = first | (uint32_t)__builtin_ctzll(left);
		const struct slot *s = slot_of(x, id);

		if (b->member & bit_of(id)) {
			__builtin_prefetch(slot_of(x, s->w[0]));
			if (s->w[1] != NO_PAGE)
				__builtin_prefetch(slot_of(x, s->w[1]));
		} else {
			tags[nr++] = tag_of(s);
		}
	}
	hs_index_chain_prefetch(x, tags, nr);
}

page_id hs_index_chain_find(struct hs_index *x, uint64_t tag)
{
	page_id id = *head_of(x, bucket_of(x, tag));

	while (id != NO_PAGE) {
		struct slot *s = slot_of(x, id);

		x->steps++;
		if (tag_of(s) == tag)
			break;
		id = *after(x, s);
	}
	return id;
}

/* Parts the chain of one bucket between it and a new last bucket. */
static void split(struct hs_index *x)
{
	uint32_t from = x->nr_buckets - x->base, *low, *high;
	page_id id;

	if (!hs_index_store_bucket_more(x))
		return; /* chains get longer, nothing else */
	low = head_of(x, from);
	high = head_of(x, x->nr_buckets - 1);
	/* The next one to be parted is known: its first slot may come meanwhile. */
	if (from + 1 < x->nr_buckets && *head_of(x, from + 1) != NO_PAGE)
		__builtin_prefetch(slot_of(x, *head_of(x, from + 1)));
	id = *low;
	while (id != NO_PAGE) {
		struct slot *s = slot_of(x, id);
		uint32_t *next = after(x, s);

		x->steps++;
		if (bucket_of(x, tag_of(s)) == from) {
			*low = id;
			low = next;
		} else {
			*high = id;
			high = next;
		}
		id = *next;
	}
	*low = NO_PAGE;
	*high = NO_PAGE;
}

/* The opposite: the last bucket's chain goes to the bucket that it came from. */
static void unite(struct hs_index *x)
{
	page_id chain = *head_of(x, x->nr_buckets - 1);
	uint32_t *at;

	hs_index_store_bucket_less(x);
	at = head_of(x, x->nr_buckets - x->base);
	while (*at != NO_PAGE) {
		x->steps++;
		at = after(x, slot_of(x, *at));
	}
	*at = chain;
}

void hs_index_chain_link(struct hs_index *x, page_id id, uint64_t tag)
{
	struct slot *s = slot_of(x, id), *leader, *first;
	struct block *b = block_of(x, id);
	page_id l = hs_index_chain_find(x, tag);
	uint32_t *head;

	b->indexed |= bit_of(id);
	if (l == NO_PAGE) {
		head = head_of(x, bucket_of(x, tag));
		tag_set(s, tag);
		s->w[2] = *head;
		*head = id;
		x->nr_leaders++;
		if (x->nr_leaders > (uint64_t)x->nr_buckets * LEADERS_PER_BUCKET)
			split(x);
		return;
	}
	b->member |= bit_of(id);
	leader = slot_of(x, l);
	if (!grouped(leader)) {
		*s = (struct slot){ { l, NO_PAGE, leader->w[2] } };
		leader->w[1] |= GROUPED;
		leader->w[2] = id;
		return;
	}
	/* Second: the first member has what stood in the leader's slot. */
	first = slot_of(x, leader->w[2]);
	*s = (struct slot){ { leader->w[2], first->w[1], NOT_FIRST } };
	if (first->w[1] != NO_PAGE)
		slot_of(x, first->w[1])->w[0] = id;
	first->w[1] = id;
}

/* Makes the member after the first the first; `chain` is what stood in the first one's slot. */
static void next_is_first(struct hs_index *x, page_id l, page_id next, uint32_t chain)
{
	struct slot *leader = slot_of(x, l);

	x->steps++;
	if (next == NO_PAGE) {
		leader->w[1] &= ~GROUPED;
		leader->w[2] = chain;
		return;
	}
	leader->w[1] |= GROUPED;
	leader->w[2] = next;
	slot_of(x, next)->w[0] = l;
	slot_of(x, next)->w[2] = chain;
}

static void member_unlink(struct hs_index *x, struct slot *s)
{
	if (s->w[2] != NOT_FIRST) {
		next_is_first(x, s->w[0], s->w[1], s->w[2]);
		return;
	}
	x->steps++;
	slot_of(x, s->w[0])->w[1] = s->w[1];
	if (s->w[1] != NO_PAGE)
		slot_of(x, s->w[1])->w[0] = s->w[0];
}

static void leader_unlink(struct hs_index *x, page_id id, struct slot *s)
{
	uint32_t *at = head_of(x, bucket_of(x, tag_of(s)));
	struct slot *first;
	page_id f, next;
	uint32_t chain;

	while (*at != id) {
		x->steps++;
		at = after(x, slot_of(x, *at));
	}
	if (!grouped(s)) {
		*at = s->w[2];
		x->nr_leaders--;
		if (x->nr_buckets > MIN_BUCKETS && x->nr_leaders < (uint64_t)x->nr_buckets * MIN_LEADERS_PER_BUCKET)
			unite(x);
		return;
	}
	/* The first member takes the leader's place. */
	f = s->w[2];
	first = slot_of(x, f);
	*at = f;
	block_of(x, f)->member &= ~bit_of(f);
	next = first->w[1];
	chain = first->w[2];
	tag_set(first, tag_of(s));
	next_is_first(x, f, next, chain);
}

void hs_index_chain_unlink(struct hs_index *x, page_id id)
{
	struct block *b = block_of(x, id);
	struct slot *s = slot_of(x, id);

	if (b->member & bit_of(id))
		member_unlink(x, s);
	else
		leader_unlink(x, id, s);
	b->indexed &= ~bit_of(id);
	b->member &= ~bit_of(id);
}
