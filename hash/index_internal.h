/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the index: what a slot holds, and what the files of the index share.
 *
 *     index.c        guests and their pages
 *     index_find.c   questions
 *     index_chain.c  chains of digests, groups of equal pages, the table of buckets and its growth
 *     index_store.c  memory: blocks of slots, segments of the bucket table
 */
#ifndef HS_HASH_INDEX_INTERNAL_H
#define HS_HASH_INDEX_INTERNAL_H

#include "hs/index.h"

/* A page's place in the index: block << 6 | page in the block. Blocks are few enough that the two marks are free. */
typedef uint32_t page_id;
#define NO_PAGE   UINT32_MAX
#define NOT_FIRST (UINT32_MAX - 1)

/*
 * What is kept of one page: 12 bytes, in one of two shapes.
 *
 * Leader: the page that stands for its digest in a bucket's chain. Every digest has one leader, so the length of a
 * chain does not depend on how many pages are equal.
 *     w[0], w[1]  the digest's tag (63 bits), and in the top bit GROUPED: other pages have this digest too
 *     w[2]        the next leader in the chain; when grouped, the first member
 *
 * Member: any other page with the leader's digest, in a list without a digest of its own (its leader's is the same).
 *     w[0]        the one before it; the leader, for the first member
 *     w[1]        the next member, or NO_PAGE
 *     w[2]        first member: the next leader in the chain, which had to leave the leader's slot; others: NOT_FIRST
 *
 * So a member is taken out without looking at the others, and a leader at the cost of its short chain.
 */
struct slot {
	uint32_t w[3];
};
#define GROUPED (UINT32_C(1) << 31) /* in w[1] of a leader */

/* 64 neighbouring pages of a guest: their slots are together, and are given up together when the last page leaves. */
#define BLOCK_SHIFT 6
#define BLOCK_PAGES (1U << BLOCK_SHIFT)
struct block {
	uint64_t indexed; /* one bit a page */
	uint64_t member;  /* subset of indexed: the slot is a member's; the other slots are leaders' */
	uint32_t guest;
	uint32_t
	    place; /* pages place * 64 .. place * 64 + 63 of the guest; while free: the next free block or NO_BLOCK */
};
#define NO_BLOCK UINT32_MAX

/* Blocks come from slabs of memory: 8192 blocks, whose slots are three huge pages. */
#define SLAB_SHIFT  13
#define SLAB_BLOCKS (1U << SLAB_SHIFT)
#define MAX_BLOCKS  ((UINT32_C(1) << (32 - BLOCK_SHIFT)) - 1) /* the last one's ids are NO_PAGE and NOT_FIRST */
#define MAX_SLABS   (UINT32_C(1) << (32 - BLOCK_SHIFT - SLAB_SHIFT))
struct slab {
	struct slot *slots; /* NULL: no such slab now */
	struct block *blocks;
	uint32_t nr_used;
	uint32_t nr_touched; /* blocks ever used: only their memory is held, the kernel gives it at the first touch */
	uint32_t free;       /* list through block.place */
	uint32_t prev, next; /* slabs with room; NO_BLOCK ends the list */
	bool huge;           /* its memory comes in huge pages */
};

/* The bucket table: heads of the chains, in segments so that growing moves nothing. */
#define SEGMENT_SHIFT 19
#define SEGMENT_HEADS (1U << SEGMENT_SHIFT) /* 2 MiB of heads */
#define MAX_SEGMENTS  (UINT32_C(1) << (31 - SEGMENT_SHIFT))
#define MIN_BUCKETS   1024U

struct guest {
	uint32_t *block; /* of every 64 pages: block number + 1, or 0 */
	uint32_t nr_places;
	uint32_t nr_blocks; /* used */
	uint32_t cursor;    /* removal: places before it have no block any more */
	uint64_t nr_pages;
	uint8_t state; /* enum guest_state */
};
enum guest_state { GUEST_NONE = 0, GUEST_LIVE, GUEST_LEAVING };

struct hs_index {
	struct guest *guests;
	uint32_t nr_guests_held; /* length of guests */
	uint32_t nr_live, nr_leaving;
	uint64_t nr_places; /* of all guests */
	uint64_t nr_pages;  /* of live guests */

	uint32_t nr_slabs;  /* slabs that exist */
	uint32_t top_slab;  /* slabs from here on never existed */
	uint32_t with_room; /* first slab with room */

	uint64_t nr_leaders;
	uint32_t nr_buckets;
	uint32_t base; /* largest power of two that is not above nr_buckets */
	uint32_t nr_segments;
	uint32_t heads_touched; /* in the last segment */
	bool heads_huge;        /* the last segment's memory comes in huge pages */

	uint64_t steps; /* slots visited so far: tests count these instead of time */

	struct slab slabs[MAX_SLABS];
	uint32_t *segments[MAX_SEGMENTS];
};

static inline struct slot *slot_of(const struct hs_index *x, page_id id)
{
	return x->slabs[id >> (BLOCK_SHIFT + SLAB_SHIFT)].slots + (id & ((SLAB_BLOCKS << BLOCK_SHIFT) - 1));
}

static inline struct block *block_of(const struct hs_index *x, page_id id)
{
	uint32_t nr = id >> BLOCK_SHIFT;

	return x->slabs[nr >> SLAB_SHIFT].blocks + (nr & (SLAB_BLOCKS - 1));
}

static inline uint32_t *head_of(const struct hs_index *x, uint32_t bucket)
{
	return x->segments[bucket >> SEGMENT_SHIFT] + (bucket & (SEGMENT_HEADS - 1));
}

static inline uint64_t bit_of(page_id id)
{
	return UINT64_C(1) << (id & (BLOCK_PAGES - 1));
}

/* ---- index.c ---- */

/* The page's id, or NO_PAGE when it is not indexed or its guest is being removed. */
page_id hs_index_lookup(const struct hs_index *x, struct hs_page p);
/* Takes an indexed page out, and its block when it was the last one in it. */
void hs_index_drop(struct hs_index *x, page_id id);

/* ---- index_store.c ---- */

/* A cleared block; NO_BLOCK: no memory. */
uint32_t hs_index_store_get(struct hs_index *x);
void hs_index_store_put(struct hs_index *x, uint32_t block);
/* Makes room for one bucket more or gives the last one's back; nr_buckets and base follow. False: no memory. */
bool hs_index_store_bucket_more(struct hs_index *x);
void hs_index_store_bucket_less(struct hs_index *x);
uint64_t hs_index_store_bytes(const struct hs_index *x);
void hs_index_store_free(struct hs_index *x);

/* ---- index_chain.c ---- */

/* What is kept of a digest: see index_chain.c for why 63 bits are enough. */
uint64_t hs_index_chain_tag(struct hs_digest d);
/* The tag of a leader. */
uint64_t hs_index_chain_tag_of(const struct slot *leader);
/* The leader of a tag, or NO_PAGE. */
page_id hs_index_chain_find(struct hs_index *x, uint64_t tag);
/* Puts a page, whose bits in its block are clear, under its tag; sets them. */
void hs_index_chain_link(struct hs_index *x, page_id id, uint64_t tag);
/* The opposite. */
void hs_index_chain_unlink(struct hs_index *x, page_id id);
/*
 * Asks the processor for what linking pages with these tags, at most 64, will read. Each would wait several times, one
 * read of a far place after the other; asked for together, the waits of all of them overlap.
 */
void hs_index_chain_prefetch(const struct hs_index *x, const uint64_t *tags, uint32_t nr);
/* The same for unlinking all pages of a block. */
void hs_index_chain_prefetch_block(const struct hs_index *x, page_id first);

#endif
