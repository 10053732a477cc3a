/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ksmd refuses: base pages that are wanted, proven identical, and not merged by bursts that settled. Somebody
 * holds their frames (a device, io_uring, a pipe), or they are on another node than their copies while
 * merge_across_nodes is off, or something else that cannot be seen from here. One burst proves nothing, since a page
 * may be in use for a moment when its turn comes; after three in a row it is refused. The policy then has the mark
 * taken away and the huge page given back, and the page is left alone for a while.
 */
#include "pipeline_internal.h"

#include <stdlib.h>

/* Cycles until a refused page is tried again: 12 minutes or more of a busy host, an hour at rest. A try costs three
 * bursts. */
#define REFUSED_CYCLES 64

struct refused {
	struct hs_bits512 once, twice; /* left unmerged by the last settled burst, by the last two */
	struct hs_bits512 pages;       /* by three, and left alone since */
	uint32_t until;                /* cycle in which they are tried again */
};

static void free_if_empty(struct page_record *pg)
{
	const struct refused *r = pg->refused;

	if (hs_bits_any(&r->once) || hs_bits_any(&r->pages))
		return;
	free(pg->refused);
	pg->refused = NULL;
}

void hs_refused_note_burst(struct page_record *pg, const struct hs_bits512 *left, uint32_t cycle)
{
	struct refused *r = pg->refused;
	struct hs_bits512 thrice;

	if (!r) {
		if (hs_bits_none(left))
			return;
		r = pg->refused = calloc(1, sizeof(*r));
		if (!r)
			return; /* counted from a later burst on */
	}
	thrice = hs_bits_and(*left, r->twice);
	r->twice = hs_bits_and(*left, r->once);
	r->once = *left;
	if (hs_bits_any(&thrice)) {
		r->pages = hs_bits_or(r->pages, thrice);
		r->until = cycle + REFUSED_CYCLES;
	}
	free_if_empty(pg);
}

void hs_refused_expire(struct page_record *pg, uint32_t cycle)
{
	if (!pg->refused || pg->refused->until > cycle)
		return;
	hs_bits_clear_all(&pg->refused->pages);
	free_if_empty(pg);
}

struct hs_bits512 hs_refused_pages(const struct page_record *pg)
{
	return pg->refused ? pg->refused->pages : hs_bits_empty();
}

bool hs_refused_needs_burst(const struct page_record *pg, const struct hs_shared_huge *now)
{
	struct hs_bits512 open;

	if (!pg->refused)
		return false;
	open = hs_bits_and(hs_bits_andnot(now->wanted, now->shared), hs_bits_or(pg->same, pg->zero));
	open = hs_bits_andnot(hs_bits_and(open, pg->refused->once), pg->refused->pages);
	return hs_bits_any(&open);
}

size_t hs_refused_bytes(const struct page_record *pg)
{
	return pg->refused ? sizeof(*pg->refused) : 0;
}
