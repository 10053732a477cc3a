/*
 * What it would take to end all sharing at once is owed: each shared page would need a frame of its own, and guests
 * that all become busy ask for it without asking us. So it may be no more than what is available, by the operator's
 * measure, on the host, and below the tightest limit of each guest's memory cgroups. What is shared stays; what is
 * newly wanted is counted as if each page of it owed a whole frame, so that within a cycle the limit is kept, too.
 */
#include "pipeline_internal.h"

#include <string.h>

#include "base/room.h"

/* Of so much that may be owed, how much is not. */
static uint64_t left_of(uint64_t may, uint64_t owed)
{
	return may > owed ? may - owed : 0;
}

static uint64_t percent_of(uint64_t bytes, uint32_t percent)
{
	return bytes > UINT64_MAX / percent ? UINT64_MAX : bytes * percent / 100;
}

/* What may come to be shared without being asked about again counts as if it were. */
static uint64_t owed_by(const struct hs_ledger *l)
{
	const uint64_t done = l->shared + l->zero, pending = l->wanted > done ? l->wanted - done : 0;

	return l->saved_bytes + pending * HS_BASE_SIZE;
}

/* Guests below one limit have it in common: the first of them keeps the sum. Of whom nothing is known, nothing further
 * is wanted. */
static void update_guest(struct hs_pipeline *p, size_t at)
{
	struct guest *g = p->guests[at];
	struct hs_ledger l;
	struct hs_room room;

	g->owes_all = false;
	g->limit = NULL;
	if (g->gone || !g->shareable || !g->pid || !p->cfg.max_owed_percent)
		return;
	if (hs_room_of(&p->host, g->pid, 0, &room, NULL))
		memset(&room, 0, sizeof(room));
	g->limit = g;
	g->limit_owed = 0;
	g->limit_may = percent_of(room.bytes, p->cfg.max_owed_percent);
	memcpy(g->limit_where, room.where, sizeof(g->limit_where));
	for (size_t i = 0; i < at && room.where[0]; i++)
		if (p->guests[i]->limit == p->guests[i] && !strcmp(p->guests[i]->limit_where, room.where)) {
			g->limit = p->guests[i];
			break;
		}
	(void)hs_merge_ledger(p, g, &l);
	g->limit->limit_owed += owed_by(&l);
}

void hs_owed_update(struct hs_pipeline *p)
{
	struct hs_pipeline_totals *t = &p->totals;
	uint64_t may = p->cfg.max_owed_bytes ? p->cfg.max_owed_bytes : UINT64_MAX;
	struct hs_ledger all;

	(void)hs_merge_ledger(p, NULL, &all);
	if (p->cfg.max_owed_percent) {
		struct hs_room room;
		uint64_t of_host = 0;

		if (!hs_room_of(&p->host, 0, 0, &room, NULL))
			of_host = percent_of(room.bytes, p->cfg.max_owed_percent);
		may = of_host < may ? of_host : may;
	}
	t->owes_all = 0;
	t->owed_bytes = all.saved_bytes;
	t->may_owe_bytes = may == UINT64_MAX ? 0 : may;
	p->left_to_owe = may == UINT64_MAX ? UINT64_MAX : left_of(may, owed_by(&all));
	for (size_t i = 0; i < p->nr_guests; i++)
		update_guest(p, i);
}

bool hs_owed_take(struct hs_pipeline *p, struct guest *g, unsigned int pages)
{
	const uint64_t bytes = pages * (uint64_t)HS_BASE_SIZE;
	struct guest *limit = g->limit;

	if (!pages)
		return true;
	if (bytes > p->left_to_owe || (limit && bytes > left_of(limit->limit_may, limit->limit_owed))) {
		g->owes_all = true;
		p->totals.owes_all = 1;
		return false;
	}
	if (p->left_to_owe != UINT64_MAX)
		p->left_to_owe -= bytes;
	if (limit)
		limit->limit_owed += bytes;
	return true;
}
