/* SPDX-License-Identifier: Apache-2.0 */
#include "contents_internal.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 4096

/* The slot that holds the digest, or the empty one where it belongs. A digest's bits are as good as any hash of it. */
static uint64_t slot_of(const struct hs_contents *c, struct hs_digest d)
{
	uint64_t i = d.lo & (c->nr_slots - 1);

	while (c->slots[i]) {
		const struct hs_digest *have = &c->digests[c->slots[i] - 1];

		if (have->lo == d.lo && have->hi == d.hi)
			break;
		i = (i + 1) & (c->nr_slots - 1);
	}
	return i;
}

static bool grow_slots(struct hs_contents *c)
{
	const uint64_t nr = c->nr_slots ? c->nr_slots * 2 : FIRST_SLOTS;
	uint32_t *slots = calloc(nr, sizeof(*slots));

	if (!slots)
		return false;
	free(c->slots);
	c->slots = slots;
	c->nr_slots = nr;
	for (uint32_t n = 1; n <= c->nr; n++)
		c->slots[slot_of(c, c->digests[n - 1])] = n;
	return true;
}

static bool grow_digests(struct hs_contents *c)
{
	const uint64_t room = c->room ? c->room + c->room / UINT64_C(2) : FIRST_SLOTS;
	struct hs_digest *more;

	if (room > UINT32_MAX)
		return false;
	more = reallocarray(c->digests, room, sizeof(*more));
	if (!more)
		return false;
	c->digests = more;
	c->room = (uint32_t)room;
	return true;
}

uint32_t hs_contents_number(struct hs_contents *c, struct hs_digest d)
{
	uint64_t i;

	if (c->nr >= c->nr_slots / 4 * 3 && !grow_slots(c))
		return 0;
	i = slot_of(c, d);
	if (c->slots[i])
		return c->slots[i];
	if (c->nr == c->room && !grow_digests(c))
		return 0;
	c->digests[c->nr++] = d;
	c->slots[i] = c->nr;
	return c->nr;
}

void hs_contents_finish(struct hs_contents *c)
{
	free(c->digests);
	free(c->slots);
	memset(c, 0, sizeof(*c));
}
