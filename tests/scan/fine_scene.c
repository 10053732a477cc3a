/* SPDX-License-Identifier: Apache-2.0 */
#include "fine_scene.h"

#include <check.h>
#include <string.h>

unsigned int scene_hot_page(unsigned int i)
{
	return i * 37 % HS_BASE_PER_HUGE; /* 37 is odd: each page once */
}

static void access_huge(struct scene *s, uint32_t guest, hs_huge_nr huge, uint64_t us)
{
	const struct pattern *p = &s->pattern[guest][huge];
	uint64_t *due = &s->due_us[guest][huge];

	if (!p->nr_hot || !p->per_ms)
		return;
	for (*due += us * p->per_ms; *due >= 1000; *due -= 1000)
		hs_sim_access(s->view[guest],
			      huge * HS_BASE_PER_HUGE + scene_hot_page(s->next[guest][huge]++ % p->nr_hot), false);
}

static void watch(struct scene *s, uint64_t us)
{
	uint32_t now = 0;

	for (uint32_t g = 0; g < s->nr_guests; g++) {
		struct hs_sim_stats stats;

		hs_sim_stats(s->view[g], &stats);
		now += stats.split_now;
		for (hs_huge_nr h = 0; h < s->nr_huge; h++) {
			if (!hs_sim_is_split_by_view(s->view[g], h)) {
				s->split_us[g][h] = 0;
				continue;
			}
			s->split_us[g][h] += us;
			if (s->split_us[g][h] > s->longest_split_us)
				s->longest_split_us = s->split_us[g][h];
		}
	}
	if (now > s->split_most)
		s->split_most = now;
}

/* The guests run: in slices of a millisecond, so that events come when they are due. */
static void run(void *ctx, uint64_t us)
{
	struct scene *s = ctx;

	while (us) {
		uint64_t slice = us < 1000 ? us : 1000;

		us -= slice;
		watch(s, slice);
		for (uint32_t g = 0; g < s->nr_guests; g++)
			for (hs_huge_nr h = 0; h < s->nr_huge; h++)
				access_huge(s, g, h, slice);
		if (s->event && s->sim_clock.now_us - us >= s->event_us) {
			void (*event)(struct scene * s) = s->event;

			s->event = NULL;
			event(s);
		}
	}
}

void scene_open(struct scene *s, uint32_t nr_guests, uint32_t nr_huge)
{
	ck_assert_uint_le(nr_guests, SCENE_GUESTS);
	ck_assert_uint_le(nr_huge, SCENE_HUGE);
	memset(s, 0, sizeof(*s));
	s->nr_guests = nr_guests;
	s->nr_huge = nr_huge;
	s->sim_clock = (struct hs_sim_clock){ .run = run, .ctx = s };
	s->clock = hs_sim_clock_ops(&s->sim_clock);
	for (hs_huge_nr h = 0; h < nr_huge; h++)
		s->huge[h] = h;
	for (uint32_t g = 0; g < nr_guests; g++) {
		struct hs_sim_config cfg = { .nr_huge = nr_huge, .state = HS_MAP_HUGE, .guest = g };

		ck_assert_int_eq(hs_view_open_sim(&s->view[g], &cfg), 0);
		s->targets[g] = (struct hs_fine_target){
			.view = s->view[g], .huge = s->huge, .nr = nr_huge, .results = s->results[g]
		};
		/* What is left over from before must not shine through. */
		memset(s->results[g], 0xee, sizeof(s->results[g]));
	}
}

void scene_close(struct scene *s)
{
	for (uint32_t g = 0; g < s->nr_guests; g++)
		hs_view_close(s->view[g]);
}

int scene_run(struct scene *s, struct hs_fine *f)
{
	return hs_fine_run(f, s->targets, s->nr_guests, &s->clock, NULL);
}

uint8_t scene_state(struct scene *s, uint32_t guest, hs_huge_nr huge)
{
	return hs_sim_state(s->view[guest], huge);
}

uint32_t scene_not_huge(struct scene *s, uint32_t guest)
{
	uint32_t n = 0;

	for (hs_huge_nr h = 0; h < s->nr_huge; h++)
		n += scene_state(s, guest, h) != HS_MAP_HUGE;
	return n;
}

struct hs_fine *scene_fine(const struct hs_fine_config *cfg)
{
	struct hs_fine *f;

	ck_assert_int_eq(hs_fine_create(&f, cfg), 0);
	return f;
}
