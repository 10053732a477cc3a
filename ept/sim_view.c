/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated guest through the view contract. Numbers out of range do not get here: the dispatchers see to it. */
#include "sim_view_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_HVA  UINT64_C(0x7f0000000000)
#define HOLE_BYTES (UINT64_C(1) << 30)
#define ZERO_PFN   UINT64_C(1)
#define KSM_PFNS   (UINT64_C(1) << 51) /* merged frames lie above every guest's own */

/* Every call begins here: it takes its time, and may be the one that fails. */
static int enter(struct sim_view *s, struct hs_error *err)
{
	s->stats.nr_calls++;
	if (s->clock)
		hs_sim_pass_time(s->clock, s->call_us);
	if (s->fail_error && s->stats.nr_calls == s->fail_call) {
		if (s->fail_error == -ESRCH)
			s->gone = true;
		return hs_error_set(err, s->fail_error, "simulated guest %u: call %llu was made to fail", s->guest,
				    (unsigned long long)s->fail_call);
	}
	if (s->gone)
		return hs_error_set(err, -ESRCH, "simulated guest %u is gone", s->guest);
	return 0;
}

static void take_page_time(struct sim_view *s)
{
	if (s->clock)
		hs_sim_pass_time(s->clock, s->page_us);
}

static uint8_t state_of(const struct sim_huge *h)
{
	return h->unknown ? HS_MAP_UNKNOWN : hs_sim_do_state(h);
}

static void sim_close(struct hs_view *v)
{
	struct sim_view *s = sim_of(v);

	free(s->huge);
	free(s->content);
	free(v->regions);
	free(s);
}

static int sim_refresh(struct hs_view *v, struct hs_error *err)
{
	return enter(sim_of(v), err);
}

static int sim_age(struct hs_view *v, struct hs_error *err)
{
	struct sim_view *s = sim_of(v);
	int rc = enter(s, err);

	if (rc)
		return rc;
	s->stats.nr_ages++;
	if (s->clock)
		hs_sim_pass_time(s->clock, s->age_us);
	for (uint32_t i = 0; i < v->nr_huge; i++) {
		s->huge[i].accessed = false;
		s->huge[i].young = (struct hs_bits512){ { 0 } };
	}
	return 0;
}

static int sim_sample_huge(struct hs_view *v, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			   struct hs_error *err)
{
	struct sim_view *s = sim_of(v);
	int rc = enter(s, err);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < nr; i++) {
		const struct sim_huge *h = &s->huge[first + i];

		out[i] = (struct hs_huge_sample){ .state = state_of(h) };
		if (out[i].state == HS_MAP_UNKNOWN)
			continue;
		if (h->entry == SIM_HUGE) {
			out[i].nr_present = HS_BASE_PER_HUGE;
			out[i].nr_accessed = h->accessed ? HS_BASE_PER_HUGE : 0;
		} else if (h->entry == SIM_TABLE) {
			out[i].nr_present = (uint16_t)hs_bits_count(&h->present);
			out[i].nr_accessed = (uint16_t)hs_bits_count(&h->young);
			out[i].nr_swapped = (uint16_t)hs_bits_count(&h->swapped);
		}
		out[i].accessed = out[i].nr_accessed ? HS_YES : s->hides && h->entry != SIM_NONE ? HS_UNKNOWN : HS_NO;
	}
	return 0;
}

static int sim_sample_base(struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			   struct hs_error *err)
{
	struct sim_view *s = sim_of(v);
	int rc = enter(s, err);

	if (rc)
		return rc;
	for (size_t i = 0; i < nr; i++) {
		const struct sim_huge *h = &s->huge[huge[i]];

		out[i] = (struct hs_base_sample){ .state = state_of(h) };
		if (out[i].state == HS_MAP_HUGE) {
			out[i].present = hs_bits_full();
			if (h->accessed)
				out[i].accessed = hs_bits_full();
		} else if (out[i].state == HS_MAP_SPLIT || out[i].state == HS_MAP_PARTIAL) {
			out[i].present = h->present;
			out[i].accessed = h->young;
		}
		if (out[i].state == HS_MAP_UNKNOWN || out[i].state == HS_MAP_HUGE)
			continue;
		if (h->entry == SIM_TABLE)
			out[i].swapped = h->swapped;
		out[i].empty = hs_bits_andnot(hs_bits_full(), hs_bits_or(out[i].present, out[i].swapped));
	}
	for (size_t i = 0; i < nr && s->hides; i++)
		if (!hs_bits_equal(&out[i].accessed, &out[i].present))
			out[i] = (struct hs_base_sample){ .swapped = out[i].swapped, .empty = out[i].empty };
	return 0;
}

static int sim_frames(struct hs_view *v, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	struct sim_view *s = sim_of(v);
	const struct sim_huge *h;
	int rc = enter(s, err);

	if (rc)
		return rc;
	h = &s->huge[huge];
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		uint64_t page = (uint64_t)huge * HS_BASE_PER_HUGE + i;

		out[i] = (struct hs_frame){ 0 };
		if (h->unknown || h->entry == SIM_NONE || (h->entry == SIM_TABLE && !hs_bits_test(&h->present, i)))
			continue;
		if (h->entry == SIM_TABLE && hs_bits_test(&h->merged, i)) {
			if (s->content[page])
				out[i] = (struct hs_frame){ .pfn = KSM_PFNS | (s->content[page] & (KSM_PFNS - 1)),
							    .flags = HS_FRAME_KSM };
			else
				out[i] = (struct hs_frame){ .pfn = ZERO_PFN, .flags = HS_FRAME_ZERO };
			continue;
		}
		out[i].pfn = ((uint64_t)s->guest + 1) << 32 | page;
		if (h->folio)
			out[i].flags = HS_FRAME_HUGE;
	}
	return 0;
}

static int split_one(struct sim_view *s, struct sim_huge *h)
{
	if (h->unknown)
		return -EAGAIN;
	if (h->entry != SIM_HUGE)
		return -ENOENT;
	if (h->split_error)
		return h->split_error;
	hs_sim_do_split(h);
	h->ours = true;
	s->stats.nr_split++;
	if (++s->stats.split_now > s->stats.split_most)
		s->stats.split_most = s->stats.split_now;
	return 0;
}

static int sim_split(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	struct sim_view *s = sim_of(v);
	int rc = enter(s, err);

	if (rc)
		return rc;
	for (size_t i = 0; i < nr; i++) {
		int one = split_one(s, &s->huge[huge[i]]);

		take_page_time(s);
		if (results)
			results[i] = one;
	}
	return 0;
}

static int restore_one(struct sim_view *s, struct sim_huge *h)
{
	if (h->entry == SIM_HUGE)
		return 0;
	if (h->unknown)
		return -EAGAIN;
	if (h->restore_fails) {
		h->restore_fails--;
		return h->restore_error;
	}
	if (h->entry == SIM_TABLE && hs_bits_count(&h->swapped) > HS_VIEW_MAX_SWAPPED)
		return -EXDEV;
	if (hs_sim_do_state(h) == HS_MAP_ABSENT)
		return -ENOENT;
	hs_sim_do_collapse(s, h);
	s->stats.nr_restored++;
	return 0;
}

static int sim_restore(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	struct sim_view *s = sim_of(v);
	int rc = enter(s, err);

	if (rc)
		return rc;
	for (size_t i = 0; i < nr; i++) {
		int one = restore_one(s, &s->huge[huge[i]]);

		take_page_time(s);
		if (results)
			results[i] = one;
	}
	return 0;
}

static void take_read_time(struct sim_view *s, uint64_t nr)
{
	s->stats.nr_read += nr;
	if (!s->clock)
		return;
	s->read_left_ns += nr * s->read_ns;
	hs_sim_pass_time(s->clock, s->read_left_ns / 1000);
	s->read_left_ns %= 1000;
}

static int sim_read(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		    struct hs_bits512 *got, struct hs_error *err)
{
	struct sim_view *s = sim_of(v);
	struct sim_huge *h;
	int rc = enter(s, err);

	if (rc)
		return rc;
	h = &s->huge[huge];
	hs_bits_clear_all(got);
	if (h->unknown || h->entry == SIM_NONE)
		return 0;
	*got = h->entry == SIM_HUGE ? *want : hs_bits_and(*want, h->present);
	hs_bits_for_each (i, got)
		hs_sim_page_bytes(s->content[(size_t)huge * HS_BASE_PER_HUGE + i],
				  (char *)buf + (size_t)i * HS_BASE_SIZE);
	if (h->entry == SIM_HUGE && hs_bits_any(got))
		h->accessed = true;
	take_read_time(s, hs_bits_count(got));
	return 0;
}

static const struct hs_view_ops sim_ops = {
	.name = "simulated",
	.close = sim_close,
	.refresh = sim_refresh,
	.age = sim_age,
	.sample_huge = sim_sample_huge,
	.sample_base = sim_sample_base,
	.frames = sim_frames,
	.split = sim_split,
	.restore = sim_restore,
	.read = sim_read,
};

static void fill_regions(struct sim_view *s, uint32_t nr_huge)
{
	uint64_t hva = FIRST_HVA;
	uint32_t first = 0;

	for (size_t i = 0; i < s->view.nr_regions; i++) {
		uint32_t end = (uint32_t)((uint64_t)nr_huge * (i + 1) / s->view.nr_regions);

		s->view.regions[i] = (struct hs_region){
			.hva = { hva },
			.gpa = { hva - FIRST_HVA },
			.first_huge = first,
			.nr_huge = end - first,
		};
		hva += (end - first) * HS_HUGE_SIZE + HOLE_BYTES;
		first = end;
	}
}

int hs_view_open_sim(struct hs_view **out, const struct hs_sim_config *cfg)
{
	uint32_t nr_regions = cfg->nr_regions ? cfg->nr_regions : 1;
	struct sim_view *s;

	*out = NULL;
	if (!cfg->nr_huge || cfg->nr_huge > UINT32_MAX / HS_BASE_PER_HUGE || nr_regions > cfg->nr_huge ||
	    (cfg->state != HS_MAP_HUGE && cfg->state != HS_MAP_ABSENT))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->view.ops = &sim_ops;
	s->view.nr_huge = cfg->nr_huge;
	s->view.nr_regions = nr_regions;
	s->guest = cfg->guest;
	s->view.regions = calloc(nr_regions, sizeof(*s->view.regions));
	s->huge = calloc(cfg->nr_huge, sizeof(*s->huge));
	/* Cleared memory costs nothing before it is written: content takes room only where a test puts some. */
	s->content = calloc((size_t)cfg->nr_huge * HS_BASE_PER_HUGE, sizeof(*s->content));
	if (!s->view.regions || !s->huge || !s->content) {
		sim_close(&s->view);
		return -ENOMEM;
	}
	fill_regions(s, cfg->nr_huge);
	for (uint32_t i = 0; cfg->state == HS_MAP_HUGE && i < cfg->nr_huge; i++) {
		s->huge[i].entry = SIM_HUGE;
		s->huge[i].folio = true;
	}
	*out = &s->view;
	return 0;
}

void hs_sim_page_bytes(uint64_t id, void *page)
{
	typedef uint64_t vec __attribute__((vector_size(16), may_alias, aligned(8)));
	const uint64_t step = UINT64_C(0x9e3779b97f4a7c15);
	const uint64_t seed = id * UINT64_C(0xbf58476d1ce4e5b9);
	const vec next = { 2 * step, 2 * step };
	vec z = { seed, seed + step };
	vec *out = page;

	if (!id) {
		memset(page, 0, HS_BASE_SIZE);
		return;
	}
	/*
	 * The id itself makes the page's own. The rest only has to look like content, and is made in few steps: a
	 * terabyte of guests is read through here.
	 */
	for (size_t i = 0; i < HS_BASE_SIZE / sizeof(*out); i++) {
		out[i] = z ^ (z >> 31);
		z += next;
	}
	memcpy(page, &id, sizeof(id));
}
