/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sketches of the guests' cold contents, made anew at the end of each cycle from what the index knows then; between two
 * cycles nothing is kept but the slots. Only of guests that may share with others: what is kept to itself is given to
 * nobody.
 *
 * The index gives a content once with all pages that hold it, so that the keyed hash of each is made once, however many
 * copies there are. All of these are of one group, since the digests of groups differ.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_EVERY 65536 /* pages: some milliseconds */

int hs_pipeline_set_fleet_key(struct hs_pipeline *p, const struct hs_fleet_key *key)
{
	if (p->nr_guests)
		return -EBUSY;
	p->fleet_key = *key;
	p->in_fleet = true;
	hs_sketch_digest_key(key, &p->key);
	return 0;
}

void hs_sketches_guest_keys(const struct hs_pipeline *p, struct guest *g)
{
	/* For who has a group of its own, no other host's is the same. */
	if (!p->in_fleet || g->scope != HS_SCOPE_GROUP) {
		g->part = g->group_nr * UINT64_C(0x9E3779B97F4A7C15);
		return;
	}
	g->part = hs_sketch_group_part(&p->fleet_key, g->group);
	hs_sketch_group_key(&p->fleet_key, g->group, &g->sketch_key);
}

struct making {
	struct hs_pipeline *p;
	struct hs_sketch_builder *of; /* [nr_guests] */
	uint64_t content, hash;       /* the last one */
	bool any;
	uint64_t nr;
};

static bool has_sketch(const struct guest *g)
{
	return hs_guest_active(g) && g->scope == HS_SCOPE_GROUP;
}

static void on_page(void *ctx, uint64_t content, struct hs_page page)
{
	struct making *m = ctx;
	const uint32_t nr = m->p->guest_of_index[page.guest];
	const struct guest *g = m->p->guests[nr];

	if (!(++m->nr % PROGRESS_EVERY))
		hs_pipeline_note_progress(m->p, HS_STAGE_DECIDE, m->nr, m->nr);
	if (!has_sketch(g) ||
	    !hs_bits_test(&g->pages[page.page / HS_BASE_PER_HUGE].hashed, page.page % HS_BASE_PER_HUGE))
		return;
	if (!m->any || content != m->content) {
		m->hash = hs_sketch_hash(&g->sketch_key, content);
		m->content = content;
		m->any = true;
	}
	hs_sketch_put(&m->of[nr], m->hash);
}

void hs_sketches_make(struct hs_pipeline *p)
{
	struct making m = { .p = p };

	if (!p->in_fleet || !p->nr_guests)
		return;
	m.of = calloc(p->nr_guests, sizeof(*m.of));
	if (!m.of)
		return;
	for (size_t i = 0; i < p->nr_guests; i++)
		hs_sketch_begin(&m.of[i]);
	hs_index_each(p->index, on_page, &m);
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];

		if (!has_sketch(g))
			continue; /* put aside: what was known of it before stays */
		if (!g->sketch)
			g->sketch = malloc(sizeof(*g->sketch));
		if (g->sketch)
			hs_sketch_end(&m.of[i], g->sketch);
	}
	free(m.of);
}
