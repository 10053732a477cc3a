/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it would take to end all sharing at once is overcommitted: each shared page would need a frame of its own, and
 * guests that all become busy ask for it without asking us. So it may be no more than a share of what is available, by
 * the operator's measure, on the host, and below the tightest limit of each guest's memory cgroups. What is shared
 * stays. What is newly wanted is counted as if each page of it took a whole frame, and gave one back: with 100 percent
 * sharing alone never passes the limit, but what others take of the memory that it has freed may.
 */
#include "pipeline_internal.h"

#include <string.h>

#include "base/room.h"

/* How much of a limit is not used. */
static uint64_t left_of(uint64_t max, uint64_t used)
{
	return max > used ? max - used : 0;
}

static uint64_t percent_of(uint64_t bytes, uint32_t percent)
{
	return bytes > UINT64_MAX / percent ? UINT64_MAX : bytes * percent / 100;
}

/* The most that may be shared further, x, with saved + x at most `percent` of available + x. */
static uint64_t further(uint64_t available, uint64_t saved, uint32_t percent)
{
	const uint64_t left = left_of(percent_of(available, percent), saved);

	if (percent < 100)
		return left > UINT64_MAX / 100 ? UINT64_MAX : left * 100 / (100 - percent);
	return available && saved <= percent_of(available, percent) ? UINT64_MAX : 0;
}

/* Wanted, and not shared yet: it may come to be so without being asked about again. */
static uint64_t pending_of(const struct hs_ledger *l)
{
	const uint64_t done = l->shared + l->zero;

	return l->wanted > done ? (l->wanted - done) * HS_BASE_SIZE : 0;
}

/* Guests below one limit have it in common: the first of them keeps the sum. Of whom nothing is known, nothing further
 * is wanted. */
static void update_guest(struct hs_pipeline *p, size_t at)
{
	struct guest *g = p->guests[at];
	struct hs_ledger l;
	struct hs_room room;

	g->overcommit_full = false;
	g->limit = NULL;
	if (g->gone || !g->shareable || !g->pid || !p->cfg.max_overcommit_percent)
		return;
	if (hs_room_of(&p->host, g->pid, 0, &room, NULL))
		memset(&room, 0, sizeof(room));
	g->limit = g;
	g->limit_saved = g->limit_pending = 0;
	g->limit_available = room.bytes;
	memcpy(g->limit_where, room.where, sizeof(g->limit_where));
	for (size_t i = 0; i < at && room.where[0]; i++)
		if (p->guests[i]->limit == p->guests[i] && !strcmp(p->guests[i]->limit_where, room.where)) {
			g->limit = p->guests[i];
			break;
		}
	(void)hs_merge_ledger(p, g, &l);
	g->limit->limit_saved += l.saved_bytes;
	g->limit->limit_pending += pending_of(&l);
}

void hs_overcommit_update(struct hs_pipeline *p)
{
	struct hs_pipeline_totals *t = &p->totals;
	uint64_t max = p->cfg.max_overcommit_bytes ? p->cfg.max_overcommit_bytes : UINT64_MAX, left;
	struct hs_ledger all;

	(void)hs_merge_ledger(p, NULL, &all);
	left = max == UINT64_MAX ? max : left_of(max, all.saved_bytes);
	if (p->cfg.max_overcommit_percent) {
		const uint32_t percent = p->cfg.max_overcommit_percent;
		struct hs_room room;
		uint64_t more;

		if (hs_room_of(&p->host, 0, 0, &room, NULL))
			memset(&room, 0, sizeof(room));
		more = further(room.bytes, all.saved_bytes, percent);
		left = more < left ? more : left;
		max = percent_of(room.bytes, percent) < max ? percent_of(room.bytes, percent) : max;
	}
	t->overcommit_full = 0;
	t->overcommit_bytes = all.saved_bytes;
	t->max_overcommit_bytes = max == UINT64_MAX ? 0 : max;
	p->overcommit_left = left == UINT64_MAX ? UINT64_MAX : left_of(left, pending_of(&all));
	for (size_t i = 0; i < p->nr_guests; i++)
		update_guest(p, i);
}

bool hs_overcommit_take(struct hs_pipeline *p, struct guest *g, unsigned int pages)
{
	const uint64_t bytes = pages * (uint64_t)HS_BASE_SIZE;
	struct guest *limit = g->limit;
	uint64_t left = p->overcommit_left;

	if (!pages)
		return true;
	if (limit) {
		const uint64_t more =
		    further(limit->limit_available, limit->limit_saved, p->cfg.max_overcommit_percent);

		if (more != UINT64_MAX && left_of(more, limit->limit_pending) < left)
			left = left_of(more, limit->limit_pending);
	}
	if (bytes > left) {
		g->overcommit_full = true;
		p->totals.overcommit_full = 1;
		return false;
	}
	if (p->overcommit_left != UINT64_MAX)
		p->overcommit_left -= bytes;
	if (limit)
		limit->limit_pending += bytes;
	return true;
}
