/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated guest from inside and behind the view's back: accesses, contents, merging, what goes wrong. */
#include "sim_view_internal.h"

#include <stdlib.h>
#include <string.h>

static struct sim_huge *huge_at(struct sim_view *s, hs_huge_nr huge)
{
	if (huge >= s->view.nr_huge)
		abort();
	return &s->huge[huge];
}

static struct sim_huge *huge_of_page(struct sim_view *s, hs_base_nr page)
{
	return huge_at(s, page / HS_BASE_PER_HUGE);
}

static bool is_present(const struct sim_huge *h, unsigned int i)
{
	return h->entry == SIM_HUGE || (h->entry == SIM_TABLE && hs_bits_test(&h->present, i));
}

static void huge_again(struct sim_view *s, struct sim_huge *h)
{
	if (h->ours) {
		h->ours = false;
		s->stats.split_now--;
	}
}

uint8_t hs_sim_do_state(const struct sim_huge *h)
{
	unsigned int nr = hs_bits_count(&h->present);

	if (h->entry == SIM_HUGE)
		return HS_MAP_HUGE;
	if (h->entry == SIM_NONE || !nr)
		return HS_MAP_ABSENT;
	return nr == HS_BASE_PER_HUGE ? HS_MAP_SPLIT : HS_MAP_PARTIAL;
}

void hs_sim_do_split(struct sim_huge *h)
{
	if (h->entry != SIM_HUGE)
		return;
	h->entry = SIM_TABLE;
	h->present = hs_bits_full();
	h->young = h->accessed ? hs_bits_full() : (struct hs_bits512){ { 0 } };
	h->merged = h->swapped = (struct hs_bits512){ { 0 } };
	h->accessed = false;
}

void hs_sim_do_collapse(struct sim_view *s, struct sim_huge *h)
{
	if (h->entry != SIM_TABLE || hs_bits_none(&h->present))
		return;
	h->entry = SIM_HUGE;
	h->folio = true;
	h->accessed = true;
	hs_bits_clear_all(&h->swapped);
	huge_again(s, h);
}

/* An access: true when the huge entry has taken it, an absent page as the fault makes it. */
static bool take_huge(struct sim_huge *h)
{
	if (h->entry == SIM_NONE) {
		h->entry = SIM_HUGE;
		h->folio = true;
	}
	if (h->entry == SIM_HUGE)
		h->accessed = true;
	return h->entry == SIM_HUGE;
}

void hs_sim_access(struct hs_view *v, hs_base_nr page, bool write)
{
	struct sim_view *s = sim_of(v);
	struct sim_huge *h = huge_of_page(s, page);
	unsigned int i = page % HS_BASE_PER_HUGE;

	if (take_huge(h))
		return;
	hs_bits_set(&h->present, i);
	hs_bits_set(&h->young, i);
	hs_bits_clear(&h->swapped, i);
	if (write && hs_bits_test(&h->merged, i)) {
		hs_bits_clear(&h->merged, i);
		s->stats.nr_breaks++;
	}
}

void hs_sim_access_huge(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *which)
{
	struct sim_huge *h = huge_at(sim_of(v), huge);

	if (hs_bits_none(which) || take_huge(h))
		return;
	h->present = hs_bits_or(h->present, *which);
	h->young = hs_bits_or(h->young, *which);
	h->swapped = hs_bits_andnot(h->swapped, *which);
}

void hs_sim_write(struct hs_view *v, hs_base_nr page, uint64_t id)
{
	hs_sim_access(v, page, true);
	sim_of(v)->content[page] = id;
}

void hs_sim_set(struct hs_view *v, hs_base_nr page, uint64_t id)
{
	struct sim_view *s = sim_of(v);
	struct sim_huge *h = huge_of_page(s, page);

	/* Content that changes under a merged page, without a write, cannot be. */
	if (!is_present(h, page % HS_BASE_PER_HUGE) ||
	    (h->entry == SIM_TABLE && hs_bits_test(&h->merged, page % HS_BASE_PER_HUGE)))
		abort();
	s->content[page] = id;
}

uint64_t hs_sim_content(const struct hs_view *v, hs_base_nr page)
{
	if (page / HS_BASE_PER_HUGE >= v->nr_huge)
		abort();
	return sim_of_const(v)->content[page];
}

uint8_t hs_sim_state(const struct hs_view *v, hs_huge_nr huge)
{
	if (huge >= v->nr_huge)
		abort();
	return hs_sim_do_state(&sim_of_const(v)->huge[huge]);
}

bool hs_sim_is_split_by_view(const struct hs_view *v, hs_huge_nr huge)
{
	return huge < v->nr_huge && sim_of_const(v)->huge[huge].ours;
}

bool hs_sim_is_accessed(const struct hs_view *v, hs_huge_nr huge)
{
	const struct sim_huge *h = &sim_of_const(v)->huge[huge];

	if (huge >= v->nr_huge)
		abort();
	return h->entry == SIM_HUGE && h->accessed;
}

struct hs_bits512 hs_sim_merged(const struct hs_view *v, hs_huge_nr huge)
{
	const struct sim_huge *h = &sim_of_const(v)->huge[huge];

	if (huge >= v->nr_huge)
		abort();
	return h->entry == SIM_TABLE ? h->merged : (struct hs_bits512){ { 0 } };
}

void hs_sim_drop(struct hs_view *v, hs_base_nr start, hs_base_nr end)
{
	struct sim_view *s = sim_of(v);

	for (hs_base_nr page = start; page < end; page++) {
		struct sim_huge *h = huge_of_page(s, page);
		unsigned int i = page % HS_BASE_PER_HUGE;

		/* A huge page that goes as a whole leaves no table behind. */
		if (h->entry == SIM_HUGE && i == 0 && end - page >= HS_BASE_PER_HUGE) {
			memset(&s->content[page], 0, HS_BASE_PER_HUGE * sizeof(s->content[0]));
			h->entry = SIM_NONE;
			h->accessed = h->folio = false;
			page += HS_BASE_PER_HUGE - 1;
			continue;
		}
		if (!is_present(h, i)) {
			hs_bits_clear(&h->swapped, i);
			s->content[page] = 0;
			continue;
		}
		hs_sim_do_split(h);
		hs_bits_clear(&h->present, i);
		hs_bits_clear(&h->young, i);
		hs_bits_clear(&h->merged, i);
		s->content[page] = 0;
	}
}

void hs_sim_swap_out(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *which)
{
	struct sim_huge *h = huge_at(sim_of(v), huge);
	struct hs_bits512 out;

	if (h->entry == SIM_NONE || hs_bits_none(which))
		return;
	hs_sim_break_huge(v, huge);
	out = hs_bits_andnot(hs_bits_and(*which, h->present), h->merged);
	h->present = hs_bits_andnot(h->present, out);
	h->young = hs_bits_andnot(h->young, out);
	h->swapped = hs_bits_or(h->swapped, out);
}

void hs_sim_break_huge(struct hs_view *v, hs_huge_nr huge)
{
	struct sim_huge *h = huge_at(sim_of(v), huge);

	hs_sim_do_split(h);
	h->folio = false;
}

void hs_sim_collapse(struct hs_view *v, hs_huge_nr huge)
{
	hs_sim_do_collapse(sim_of(v), huge_at(sim_of(v), huge));
}

void hs_sim_merge(struct hs_view *v, hs_base_nr page)
{
	struct sim_huge *h = huge_of_page(sim_of(v), page);

	if (!is_present(h, page % HS_BASE_PER_HUGE))
		abort();
	hs_sim_break_huge(v, page / HS_BASE_PER_HUGE);
	hs_bits_set(&h->merged, page % HS_BASE_PER_HUGE);
}

void hs_sim_unmerge(struct hs_view *v, hs_base_nr page)
{
	struct sim_huge *h = huge_of_page(sim_of(v), page);

	if (h->entry == SIM_TABLE)
		hs_bits_clear(&h->merged, page % HS_BASE_PER_HUGE);
}

void hs_sim_fail_split(struct hs_view *v, hs_huge_nr huge, int error)
{
	huge_at(sim_of(v), huge)->split_error = error;
}

void hs_sim_fail_restore(struct hs_view *v, hs_huge_nr huge, uint32_t times, int error)
{
	struct sim_huge *h = huge_at(sim_of(v), huge);

	h->restore_fails = times;
	h->restore_error = error;
}

void hs_sim_set_unknown(struct hs_view *v, hs_huge_nr huge, bool unknown)
{
	huge_at(sim_of(v), huge)->unknown = unknown;
}

void hs_sim_hide_accesses(struct hs_view *v, bool hide)
{
	sim_of(v)->hides = hide;
}

void hs_sim_fail_call(struct hs_view *v, uint64_t call, int error)
{
	sim_of(v)->fail_call = call;
	sim_of(v)->fail_error = error;
}

void hs_sim_set_cost(struct hs_view *v, struct hs_sim_clock *clock, uint64_t call_us, uint64_t page_us)
{
	struct sim_view *s = sim_of(v);

	s->clock = clock;
	s->call_us = call_us;
	s->page_us = page_us;
}

void hs_sim_set_read_cost(struct hs_view *v, uint64_t read_ns)
{
	sim_of(v)->read_ns = read_ns;
}

void hs_sim_set_age_cost(struct hs_view *v, uint64_t age_us)
{
	sim_of(v)->age_us = age_us;
}

void hs_sim_stats(const struct hs_view *v, struct hs_sim_stats *out)
{
	*out = sim_of_const(v)->stats;
}
