/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the index. It grows in small even steps, never by doubling: the promise of 16 bytes a page holds right
 * after a step as well as before it. Slabs and segments are reserved whole but the kernel gives their pages one by one
 * as they are first touched, from the lowest on, so what is held is what was touched.
 *
 * A large index is read at random, and most of its time goes into address translation; so from some millions of pages
 * on it asks for huge pages, where the last, half-used one no longer counts.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "index_internal.h"

#define SLOT_BYTES    ((size_t)SLAB_BLOCKS * BLOCK_PAGES * sizeof(struct slot))
#define BLOCK_BYTES   ((size_t)SLAB_BLOCKS * sizeof(struct block))
#define SEGMENT_BYTES ((size_t)SEGMENT_HEADS * sizeof(uint32_t))
#define HUGE_FROM     8U /* slabs: 4 million pages, 64 MiB */

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

/* Zeroed memory that begins and ends on a huge page's border; its pages come at the first touch. */
static void *reserve(size_t bytes, bool huge)
{
	size_t whole = round_up(bytes, HS_HUGE_SIZE);
	uint8_t *p = mmap(NULL, whole + HS_HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before, after;

	if (p == MAP_FAILED)
		return NULL;
	before = (size_t)(round_up((uintptr_t)p, HS_HUGE_SIZE) - (uintptr_t)p);
	after = HS_HUGE_SIZE - before;
	if (before)
		munmap(p, before);
	if (after)
		munmap(p + before + whole, after);
	/* Advice only: without it the index is right, but larger or slower. */
	(void)madvise(p + before, whole, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p + before;
}

static void release(void *p, size_t bytes)
{
	if (p)
		munmap(p, round_up(bytes, HS_HUGE_SIZE));
}

static void room_add(struct hs_index *x, uint32_t nr)
{
	struct slab *s = &x->slabs[nr];

	s->prev = NO_BLOCK;
	s->next = x->with_room;
	if (s->next != NO_BLOCK)
		x->slabs[s->next].prev = nr;
	x->with_room = nr;
}

static void room_del(struct hs_index *x, uint32_t nr)
{
	struct slab *s = &x->slabs[nr];

	if (s->next != NO_BLOCK)
		x->slabs[s->next].prev = s->prev;
	if (s->prev != NO_BLOCK)
		x->slabs[s->prev].next = s->next;
	else
		x->with_room = s->next;
}

static bool slab_new(struct hs_index *x)
{
	bool huge = x->nr_slabs >= HUGE_FROM;
	uint32_t nr = 0;
	struct slab *s;

	/* A number that was given back, before a new one. */
	if (x->nr_slabs == x->top_slab)
		nr = x->top_slab;
	else
		while (x->slabs[nr].slots)
			nr++;
	if (nr == MAX_SLABS)
		return false;
	s = &x->slabs[nr];
	*s = (struct slab){ .free = NO_BLOCK, .huge = huge };
	s->slots = reserve(SLOT_BYTES, huge);
	s->blocks = reserve(BLOCK_BYTES, false);
	if (!s->slots || !s->blocks) {
		release(s->slots, SLOT_BYTES);
		release(s->blocks, BLOCK_BYTES);
		*s = (struct slab){ 0 };
		return false;
	}
	if (nr == x->top_slab)
		x->top_slab++;
	x->nr_slabs++;
	room_add(x, nr);
	return true;
}

static void slab_free(struct hs_index *x, uint32_t nr)
{
	room_del(x, nr);
	release(x->slabs[nr].slots, SLOT_BYTES);
	release(x->slabs[nr].blocks, BLOCK_BYTES);
	x->slabs[nr] = (struct slab){ 0 };
	x->nr_slabs--;
}

uint32_t hs_index_store_get(struct hs_index *x)
{
	struct slab *s;
	uint32_t nr;

	if (x->with_room == NO_BLOCK && !slab_new(x))
		return NO_BLOCK;
	s = &x->slabs[x->with_room];
	if (s->free != NO_BLOCK) {
		nr = s->free;
		s->free = s->blocks[nr & (SLAB_BLOCKS - 1)].place;
	} else {
		nr = (x->with_room << SLAB_SHIFT) + s->nr_touched;
		if (nr >= MAX_BLOCKS)
			return NO_BLOCK;
		s->nr_touched++;
	}
	s->blocks[nr & (SLAB_BLOCKS - 1)] = (struct block){ 0 };
	if (++s->nr_used == SLAB_BLOCKS)
		room_del(x, x->with_room);
	return nr;
}

void hs_index_store_put(struct hs_index *x, uint32_t block)
{
	uint32_t nr = block >> SLAB_SHIFT;
	struct slab *s = &x->slabs[nr];

	s->blocks[block & (SLAB_BLOCKS - 1)].place = s->free;
	s->free = block;
	if (s->nr_used-- == SLAB_BLOCKS)
		room_add(x, nr);
	/* The last slab with room stays, so that one page that comes and goes does not map and unmap it each time. */
	if (!s->nr_used && (s->prev != NO_BLOCK || s->next != NO_BLOCK))
		slab_free(x, nr);
}

bool hs_index_store_bucket_more(struct hs_index *x)
{
	uint32_t nr = x->nr_buckets, segment = nr >> SEGMENT_SHIFT, in = nr & (SEGMENT_HEADS - 1);

	if (segment == MAX_SEGMENTS)
		return false;
	if (segment == x->nr_segments) {
		x->heads_huge = x->nr_slabs >= HUGE_FROM;
		x->segments[segment] = reserve(SEGMENT_BYTES, x->heads_huge);
		if (!x->segments[segment])
			return false;
		x->nr_segments++;
		x->heads_touched = 0;
	}
	if (segment == x->nr_segments - 1 && in >= x->heads_touched)
		x->heads_touched = in + 1;
	*head_of(x, nr) = NO_PAGE;
	x->nr_buckets++;
	if (!x->base)
		x->base = 1;
	if (x->nr_buckets == 2 * x->base)
		x->base *= 2;
	return true;
}

void hs_index_store_bucket_less(struct hs_index *x)
{
	uint32_t last = x->nr_segments - 1;

	if (x->nr_buckets == x->base)
		x->base /= 2;
	x->nr_buckets--;
	/* Given back only when the segment before it is half empty too: no mapping and unmapping at the border. */
	if (last && x->nr_buckets + SEGMENT_HEADS / 2 <= last << SEGMENT_SHIFT) {
		release(x->segments[last], SEGMENT_BYTES);
		x->segments[last] = NULL;
		x->nr_segments--;
		x->heads_touched = SEGMENT_HEADS;
	}
}

uint64_t hs_index_store_bytes(const struct hs_index *x)
{
	uint64_t bytes = round_up(offsetof(struct hs_index, slabs) + x->top_slab * sizeof(struct slab), HS_BASE_SIZE) +
			 round_up(x->nr_segments * sizeof(x->segments[0]), HS_BASE_SIZE);

	for (uint32_t i = 0; i < x->top_slab; i++) {
		const struct slab *s = &x->slabs[i];
		uint64_t slots = s->nr_touched * (uint64_t)BLOCK_PAGES * sizeof(struct slot);

		bytes += round_up(slots, s->huge ? HS_HUGE_SIZE : HS_BASE_SIZE);
		bytes += round_up(s->nr_touched * sizeof(struct block), HS_BASE_SIZE);
	}
	if (x->nr_segments) {
		uint64_t heads = x->heads_touched * sizeof(uint32_t);

		bytes += (x->nr_segments - 1) * SEGMENT_BYTES;
		bytes += round_up(heads, x->heads_huge ? HS_HUGE_SIZE : HS_BASE_SIZE);
	}
	return bytes;
}

void hs_index_store_free(struct hs_index *x)
{
	for (uint32_t i = 0; i < x->top_slab; i++) {
		release(x->slabs[i].slots, SLOT_BYTES);
		release(x->slabs[i].blocks, BLOCK_BYTES);
	}
	for (uint32_t i = 0; i < x->nr_segments; i++)
		release(x->segments[i], SEGMENT_BYTES);
}
