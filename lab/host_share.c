/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is shared, and what that saves. One rule: n merged pages of one content in one trust group need one frame (none
 * when the content is zero), so the first one merged saves nothing and each further one a frame. Counts follow each
 * change; hs_lab_consistent makes them anew from the pages and compares.
 */
#include "lab_host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint32_t *cell_of(const struct hs_lab_host *h, const struct hs_lab_guest *g, uint64_t content)
{
	return &h->merged[hs_lab_cell(h, g, content)];
}

static void count_merged(struct hs_lab_host *h, const struct hs_lab_guest *g, uint64_t content, bool more)
{
	uint32_t *n = cell_of(h, g, content);

	if (more) {
		h->saved += content == 0 || *n > 0;
		(*n)++;
		h->counts.merged++;
	} else {
		(*n)--;
		h->saved -= content == 0 || *n > 0;
	}
}

bool hs_lab_can_share(const struct hs_lab_host *h, const struct hs_lab_guest *g, hs_base_nr page)
{
	return hs_sim_content(g->view, page) <= h->nr_pooled &&
	       hs_sim_state(g->view, hs_lab_huge(page)) != HS_MAP_ABSENT;
}

uint32_t hs_lab_merged_alike(const struct hs_lab_host *h, const struct hs_lab_guest *g, uint64_t content)
{
	return content <= h->nr_pooled ? *cell_of(h, g, content) : 0;
}

static bool is_held(const struct hs_lab_guest *g, hs_base_nr page)
{
	return g->held && hs_bits_test(&g->held[hs_lab_huge(page)], page % HS_BASE_PER_HUGE);
}

static bool is_merged_base(const struct hs_lab_guest *g, hs_base_nr page)
{
	const struct hs_bits512 merged = hs_sim_merged(g->view, hs_lab_huge(page));

	return hs_bits_test(&merged, page % HS_BASE_PER_HUGE);
}

bool hs_lab_is_merged(const struct hs_lab_host *h, const struct hs_lab_guest *g, hs_base_nr page)
{
	(void)h;
	return is_merged_base(g, page) || is_held(g, page);
}

void hs_lab_merge(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page)
{
	struct hs_bits512 merged;

	if (!hs_lab_can_share(h, g, page) || is_merged_base(g, page))
		return;
	if (is_held(g, page))
		hs_bits_clear(&g->held[hs_lab_huge(page)], page % HS_BASE_PER_HUGE);
	else
		count_merged(h, g, hs_sim_content(g->view, page), true);
	if (hs_lab_is_merged_huge(g, hs_lab_huge(page)))
		hs_lab_break(h, g, page);
	merged = hs_sim_merged(g->view, hs_lab_huge(page));
	/* The first merged page of a huge page breaks it, whether or not its mapping is split by now for a look. */
	h->counts.broken_huge += hs_bits_none(&merged);
	hs_sim_merge(g->view, page);
}

int hs_lab_hold(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page)
{
	if (!hs_lab_can_share(h, g, page) || hs_lab_is_merged(h, g, page))
		return 0;
	if (!g->held)
		g->held = calloc(g->nr_huge, sizeof(*g->held));
	if (!g->held)
		return -ENOMEM;
	count_merged(h, g, hs_sim_content(g->view, page), true);
	hs_bits_set(&g->held[hs_lab_huge(page)], page % HS_BASE_PER_HUGE);
	return 0;
}

/* ---- huge pages as they are ---- */

int hs_lab_new_set(struct hs_lab_host *h, uint32_t *set)
{
	if (h->nr_huge_sets == h->room_huge_sets) {
		const uint32_t room = h->room_huge_sets ? 2 * h->room_huge_sets : 1024;
		uint32_t *more = reallocarray(h->huge_set_size, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		h->huge_set_size = more;
		h->room_huge_sets = room;
	}
	h->huge_set_size[h->nr_huge_sets] = 0;
	*set = h->nr_huge_sets++;
	return 0;
}

bool hs_lab_is_merged_huge(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	return g->huge_set && g->huge_set[huge];
}

int hs_lab_merge_huge(struct hs_lab_host *h, struct hs_lab_guest *g, hs_huge_nr huge, uint32_t set)
{
	if (!g->huge_set)
		g->huge_set = calloc(g->nr_huge, sizeof(*g->huge_set));
	if (!g->huge_set)
		return -ENOMEM;
	if (g->huge_set[huge])
		return 0;
	g->huge_set[huge] = set + 1;
	if (h->huge_set_size[set]++)
		h->saved += HS_BASE_PER_HUGE;
	h->counts.merged += HS_BASE_PER_HUGE;
	return 0;
}

static void leave_set(struct hs_lab_host *h, struct hs_lab_guest *g, hs_huge_nr huge)
{
	if (--h->huge_set_size[g->huge_set[huge] - 1])
		h->saved -= HS_BASE_PER_HUGE;
	g->huge_set[huge] = 0;
}

/* ---- the end of sharing ---- */

void hs_lab_break(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page)
{
	const hs_huge_nr huge = hs_lab_huge(page);
	const uint64_t content = hs_sim_content(g->view, page);

	if (hs_lab_is_merged_huge(g, huge)) {
		leave_set(h, g, huge);
		h->counts.breaks_huge++;
	}
	if (is_held(g, page)) {
		hs_bits_clear(&g->held[huge], page % HS_BASE_PER_HUGE);
		count_merged(h, g, content, false);
		h->counts.breaks++;
	}
	if (is_merged_base(g, page)) {
		hs_sim_unmerge(g->view, page);
		count_merged(h, g, content, false);
		h->counts.breaks++;
	}
}

void hs_lab_unmerge(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page)
{
	if (!is_merged_base(g, page))
		return;
	hs_sim_unmerge(g->view, page);
	count_merged(h, g, hs_sim_content(g->view, page), false);
	h->counts.unmerged++;
}

void hs_lab_unshare(struct hs_lab_host *h, struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_bits512 merged = hs_sim_merged(g->view, huge);

	hs_bits_for_each (i, &merged)
		hs_lab_unmerge(h, g, huge * HS_BASE_PER_HUGE + i);
	if (hs_sim_state(g->view, huge) == HS_MAP_HUGE)
		return;
	hs_sim_collapse(g->view, huge);
	h->counts.collapsed++;
}

/* ---- conservation ---- */

struct recount {
	uint32_t *live, *merged;
	uint64_t present, saved, possible, possible_blind;
};

static int recount_guest(const struct hs_lab_host *h, const struct hs_lab_guest *g, struct recount *r,
			 struct hs_error *err)
{
	for (hs_huge_nr huge = 0; huge < g->nr_huge; huge++) {
		const struct hs_bits512 merged = hs_sim_merged(g->view, huge);

		if (hs_sim_state(g->view, huge) == HS_MAP_ABSENT)
			continue;
		r->present += HS_BASE_PER_HUGE;
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
			const hs_base_nr page = huge * HS_BASE_PER_HUGE + i;
			const uint64_t content = hs_sim_content(g->view, page);
			const bool is = hs_bits_test(&merged, i) || is_held(g, page);

			if (content <= h->nr_pooled) {
				r->live[content * h->nr_groups + g->group]++;
				r->merged[hs_lab_cell(h, g, content)] += is;
			} else if (is) {
				return hs_error_set(err, -EINVAL, "guest %s, page %u is merged with nobody's content",
						    g->name, page);
			}
		}
		if (hs_lab_is_merged_huge(g, huge) && hs_bits_any(&merged))
			return hs_error_set(err, -EINVAL, "guest %s, huge page %u is merged both whole and in part",
					    g->name, huge);
	}
	return 0;
}

static int compare(const struct hs_lab_host *h, struct recount *r, struct hs_error *err)
{
	for (uint64_t content = 0; content <= h->nr_pooled; content++) {
		uint64_t all = 0;

		for (uint32_t i = 0; i < h->nr_groups; i++) {
			const uint64_t at = content * h->nr_groups + i;

			if (r->live[at] != h->live[at] || r->merged[at] != h->merged[at])
				return hs_error_set(err, -EINVAL,
						    "content %" PRIu64 " in group %u: %u pages of which %u merged, "
						    "counted as %u and %u",
						    content, i, r->live[at], r->merged[at], h->live[at], h->merged[at]);
			r->saved += r->merged[at] ? r->merged[at] - (content != 0) : 0;
			r->possible += r->live[at] ? r->live[at] - (content != 0) : 0;
			all += r->live[at];
		}
		r->possible_blind += all ? all - (content != 0) : 0;
	}
	for (uint32_t i = 0; i < h->nr_huge_sets; i++)
		r->saved += h->huge_set_size[i] ? (h->huge_set_size[i] - 1) * HS_BASE_PER_HUGE : 0;
	if (r->saved != h->saved || r->possible != h->possible || r->possible_blind != h->possible_blind ||
	    r->present != h->present)
		return hs_error_set(err, -EINVAL,
				    "saved %" PRIu64 ", possible %" PRIu64 " and %" PRIu64 " of %" PRIu64
				    " pages; counted as %" PRIu64 ", %" PRIu64 ", %" PRIu64 " and %" PRIu64,
				    r->saved, r->possible, r->possible_blind, r->present, h->saved, h->possible,
				    h->possible_blind, h->present);
	if (h->saved > (h->blind ? h->possible_blind : h->possible))
		return hs_error_set(err, -EINVAL, "saved %" PRIu64 " frames, more than can be", h->saved);
	return 0;
}

bool hs_lab_consistent(const struct hs_lab_host *h, struct hs_error *err)
{
	const size_t cells = hs_lab_cells(h);
	struct recount r = { .live = calloc(cells, sizeof(*r.live)), .merged = calloc(cells, sizeof(*r.merged)) };
	int rc = 0;

	if (!r.live || !r.merged)
		rc = hs_error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; !rc && i < h->nr_guests; i++)
		rc = recount_guest(h, &h->guests[i], &r, err);
	if (!rc)
		rc = compare(h, &r, err);
	free(r.live);
	free(r.merged);
	return rc == 0;
}
