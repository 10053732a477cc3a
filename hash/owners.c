/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owners of contents: an open table with linear probing.
 *
 * Nothing is ever taken out. An entry says in which count its content was last held; one that missed the last complete
 * count is nobody's, and is left out when the table is laid out anew, which it is when it is full. So a count costs
 * what is held and no walk of the table, and a content that comes and goes finds its entry again.
 */
#include "hs/owners.h"

#include <errno.h>
#include <stdlib.h>

#define MIN_ROOM 64U /* entries, a power of two */

struct owner {
	hs_owners_key key; /* HS_OWNERS_UNKNOWN_KEY: free */
	uint32_t group;
	uint32_t count; /* the last one in which it was held */
};

struct hs_owners {
	struct owner *entries;
	uint64_t room, used; /* used: entries with a key, nobody's included */
	uint32_t count;      /* that is under way, or was settled last; from 1 on */
	bool settled;
	bool unknown, unknown_to_all;
	uint32_t unknown_group; /* with unknown: the others may not claim. unknown_to_all: nobody may */
};

hs_owners_key hs_owners_key_of(struct hs_digest d)
{
	/* Both halves count, for digests of a simulation too; 0 and 1 are taken. */
	const uint64_t key = d.lo ^ (d.hi * UINT64_C(0x9E3779B97F4A7C15));

	return key > HS_OWNERS_ZERO_KEY ? key : ~key;
}

int hs_owners_create(struct hs_owners **out)
{
	struct hs_owners *o = calloc(1, sizeof(*o));

	*out = NULL;
	if (!o)
		return -ENOMEM;
	o->entries = calloc(MIN_ROOM, sizeof(*o->entries));
	if (!o->entries) {
		free(o);
		return -ENOMEM;
	}
	o->room = MIN_ROOM;
	*out = o;
	return 0;
}

void hs_owners_destroy(struct hs_owners *o)
{
	if (!o)
		return;
	free(o->entries);
	free(o);
}

void hs_owners_begin(struct hs_owners *o)
{
	/* Going on with a count that was broken off, owners that it had not come to keep what they own. */
	if (o->settled || !o->count)
		o->count++;
	o->settled = false;
	o->unknown = o->unknown_to_all = false;
}

void hs_owners_settle(struct hs_owners *o)
{
	o->settled = true;
}

void hs_owners_unknown(struct hs_owners *o, uint32_t group)
{
	o->unknown_to_all |= o->unknown && o->unknown_group != group;
	o->unknown = true;
	o->unknown_group = group;
}

/* While a count is under way, what was held in the last one is owned still. */
static bool is_owned(const struct hs_owners *o, const struct owner *e)
{
	return e->key != HS_OWNERS_UNKNOWN_KEY && (e->count == o->count || (!o->settled && e->count + 1 == o->count));
}

/* The content's entry, or the free one where it would be: there is always one. */
static struct owner *entry_of(struct owner *entries, uint64_t room, hs_owners_key key)
{
	/* The low bits alone would do for digests; a simulation's keys need not be spread. */
	uint64_t at = (key * UINT64_C(0xD6E8FEB86659FD93)) >> 32;

	for (at &= room - 1; entries[at].key != key && entries[at].key != HS_OWNERS_UNKNOWN_KEY;)
		at = (at + 1) & (room - 1);
	return &entries[at];
}

/* Room for one entry more: where there is none, a new table for what is owned, which is full to between 9/32 and 9/16
 * then. False: no memory. */
static bool make_room(struct hs_owners *o)
{
	struct owner *entries;
	uint64_t owned = 0, room = MIN_ROOM;

	if ((o->used + 1) * 4 <= o->room * 3)
		return true;
	for (uint64_t i = 0; i < o->room; i++)
		owned += is_owned(o, &o->entries[i]);
	while (owned * 16 > room * 9)
		room *= 2;
	entries = calloc(room, sizeof(*entries));
	if (!entries)
		return false;
	for (uint64_t i = 0; i < o->room; i++)
		if (is_owned(o, &o->entries[i]))
			*entry_of(entries, room, o->entries[i].key) = o->entries[i];
	free(o->entries);
	o->entries = entries;
	o->room = room;
	o->used = owned;
	return true;
}

/* Makes the group the owner of what is nobody's. 1, 0: it is another group's, -ENOMEM. */
static int take(struct hs_owners *o, hs_owners_key key, uint32_t group)
{
	struct owner *e = entry_of(o->entries, o->room, key);

	if (is_owned(o, e) && e->group != group)
		return 0;
	if (e->key == HS_OWNERS_UNKNOWN_KEY) {
		if (!make_room(o))
			return -ENOMEM;
		e = entry_of(o->entries, o->room, key);
		o->used++;
	}
	*e = (struct owner){ .key = key, .group = group, .count = o->count };
	return 1;
}

int hs_owners_hold(struct hs_owners *o, hs_owners_key key, uint32_t group)
{
	int rc = key == HS_OWNERS_UNKNOWN_KEY ? -EINVAL : take(o, key, group);

	if (rc < 0)
		hs_owners_unknown(o, group);
	return rc;
}

bool hs_owners_claim(struct hs_owners *o, hs_owners_key key, uint32_t group)
{
	uint32_t owner;

	if (!o->settled || key == HS_OWNERS_UNKNOWN_KEY)
		return false;
	if (hs_owners_find(o, key, &owner))
		return owner == group;
	if (o->unknown && (o->unknown_to_all || o->unknown_group != group))
		return false;
	return take(o, key, group) == 1;
}

bool hs_owners_find(const struct hs_owners *o, hs_owners_key key, uint32_t *group)
{
	const struct owner *e;

	if (key == HS_OWNERS_UNKNOWN_KEY)
		return false;
	e = entry_of(o->entries, o->room, key);
	if (!is_owned(o, e))
		return false;
	*group = e->group;
	return true;
}

uint64_t hs_owners_bytes(const struct hs_owners *o)
{
	return sizeof(*o) + o->room * sizeof(o->entries[0]);
}
