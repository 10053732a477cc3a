/* SPDX-License-Identifier: Apache-2.0 */
/* The fine phase over simulated guests with skew: what it learns, within which budgets. */
#include "hs_test.h"

#include <errno.h>

#include "fine_scene.h"

static const struct hs_fine_config defaults = HS_FINE_CONFIG_DEFAULT;

static struct hs_fine_stats stats_of(const struct hs_fine *f)
{
	struct hs_fine_stats st;

	hs_fine_stats(f, &st);
	return st;
}

START_TEST(test_scan_fine_config)
{
	static const struct {
		struct hs_fine_config cfg;
		int rc;
	} cases[] = {
		{ HS_FINE_CONFIG_DEFAULT, 0 },
		{ { .samples = 1, .interval_ms = 1, .max_split = 1, .max_window_ms = 2 }, 0 },
		{ { .samples = 255, .interval_ms = 1, .max_split = 1, .max_window_ms = 256 }, 0 },
		{ { .samples = 256, .interval_ms = 1, .max_split = 1, .max_window_ms = 1000 }, -EINVAL },
		{ { .samples = 0, .interval_ms = 1, .max_split = 1, .max_window_ms = 2 }, -EINVAL },
		{ { .samples = 1, .interval_ms = 0, .max_split = 1, .max_window_ms = 2 }, -EINVAL },
		{ { .samples = 1, .interval_ms = 1, .max_split = 0, .max_window_ms = 2 }, -EINVAL },
		{ { .samples = 5, .interval_ms = 200, .max_split = 1, .max_window_ms = 1000 }, -EINVAL },
		{ { .samples = 255, .interval_ms = UINT32_MAX, .max_split = 1, .max_window_ms = 1000 }, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_fine *f;

		ck_assert_int_eq(hs_fine_create(&f, &cases[i].cfg), cases[i].rc);
		ck_assert((f != NULL) == !cases[i].rc);
		hs_fine_destroy(f);
	}
	hs_fine_destroy(NULL);
}
END_TEST

START_TEST(test_scan_fine_skew)
{
	/* Hot base pages and accesses a millisecond, and what is to be learnt of them. */
	static const struct {
		struct pattern p;
		bool gave_up;
		uint32_t nr_hot;
	} cases[] = {
		{ { 0, 0 }, false, 0 },     { { 1, 1 }, false, 1 },      { { 16, 50 }, false, 16 },
		{ { 99, 50 }, false, 99 },  { { 100, 50 }, false, 100 }, { { 101, 50 }, true, 101 },
		{ { 512, 50 }, true, 101 }, { { 512, 1 }, true, 101 },   { { 511, 5 }, true, 101 },
	};
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, sizeof(cases) / sizeof(cases[0]));
	for (hs_huge_nr h = 0; h < s.nr_huge; h++) {
		s.pattern[0][h] = cases[h].p;
		/* The bit that the split copies is not an access of the window. */
		hs_sim_access(s.view[0], h * HS_BASE_PER_HUGE, true);
	}
	ck_assert_int_eq(scene_run(&s, f), 0);
	for (hs_huge_nr h = 0; h < s.nr_huge; h++) {
		const struct hs_fine_result *r = &s.results[0][h];
		uint32_t sum = 0;

		ck_assert_uint_eq(r->huge, h);
		ck_assert_int_eq(r->known, HS_YES);
		ck_assert_uint_eq(r->restored, 1);
		ck_assert_int_eq(r->gave_up, cases[h].gave_up);
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
			ck_assert_uint_le(r->count[i], r->samples);
			sum += r->count[i] > 0;
		}
		ck_assert_uint_eq(sum, r->nr_hot);
		if (cases[h].gave_up) {
			ck_assert_uint_ge(r->nr_hot, cases[h].nr_hot);
			continue;
		}
		ck_assert_uint_eq(r->nr_hot, cases[h].nr_hot);
		ck_assert_uint_eq(r->samples, defaults.samples);
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
			ck_assert_uint_eq(r->count[scene_hot_page(i)], i < cases[h].nr_hot ? defaults.samples : 0);
	}
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	ck_assert_uint_eq(stats_of(f).nr_gave_up, 4);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_frequency)
{
	/* One access a millisecond to 400 base pages in turn: each is met in every second sample of 200 ms. */
	static struct scene s;
	struct hs_fine_config cfg = defaults;
	struct hs_fine_result *r = s.results[0];
	struct hs_fine *f;

	cfg.samples = 10;
	cfg.give_up_hot = 0;
	f = scene_fine(&cfg);
	scene_open(&s, 1, 1);
	s.pattern[0][0] = (struct pattern){ .nr_hot = 400, .per_ms = 1 };
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(r->known, HS_YES);
	ck_assert_uint_eq(r->nr_hot, 400);
	for (unsigned int i = 0; i < 400; i++)
		ck_assert_uint_eq(r->count[scene_hot_page(i)], 5);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_gives_up_early)
{
	/* Accesses a millisecond, and how long such a page may at most stay split: the looks are at 12.5 and 50 ms. */
	static const struct {
		uint32_t per_ms, ms;
	} cases[] = { { 50, 13 }, { 9, 13 }, { 4, 50 }, { 3, 50 }, { 1, 200 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static struct scene s;
		struct hs_fine *f = scene_fine(&defaults);
		struct hs_sim_stats sim;

		scene_open(&s, 1, 4);
		for (hs_huge_nr h = 0; h < s.nr_huge; h++)
			s.pattern[0][h] = (struct pattern){ .nr_hot = 512, .per_ms = cases[i].per_ms };
		ck_assert_int_eq(scene_run(&s, f), 0);
		for (hs_huge_nr h = 0; h < s.nr_huge; h++)
			ck_assert_uint_eq(s.results[0][h].gave_up, 1);
		ck_assert_uint_le(s.longest_split_us, cases[i].ms * 1000);
		ck_assert_uint_le(stats_of(f).split_ms, 4 * cases[i].ms);
		/* Nothing left to look at: the window is over, and the guest is not aged again. */
		ck_assert_uint_le(s.sim_clock.now_us, cases[i].ms * 1000);
		hs_sim_stats(s.view[0], &sim);
		ck_assert_uint_eq(sim.nr_ages, 1);
		ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

START_TEST(test_scan_fine_never_gives_up_with_0)
{
	static struct scene s;
	struct hs_fine_config cfg = defaults;
	struct hs_fine *f;

	cfg.give_up_hot = 0;
	f = scene_fine(&cfg);
	scene_open(&s, 1, 1);
	s.pattern[0][0] = (struct pattern){ .nr_hot = 512, .per_ms = 50 };
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(s.results[0][0].known, HS_YES);
	ck_assert_uint_eq(s.results[0][0].gave_up, 0);
	ck_assert_uint_eq(s.results[0][0].nr_hot, 512);
	ck_assert_uint_eq(s.results[0][0].samples, defaults.samples);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_budget_of_split_mappings)
{
	/* max_split, and the windows that 2 * 10 huge pages need. */
	static const struct {
		uint32_t max_split, windows;
	} cases[] = { { 1, 20 }, { 3, 7 }, { 10, 2 }, { 19, 2 }, { 20, 1 }, { 512, 1 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static struct scene s;
		struct hs_fine_config cfg = defaults;
		struct hs_fine *f;
		uint64_t ages = 0;

		cfg.max_split = cases[i].max_split;
		f = scene_fine(&cfg);
		scene_open(&s, 2, 10);
		for (uint32_t g = 0; g < 2; g++)
			for (hs_huge_nr h = 0; h < 10; h++)
				s.pattern[g][h] = (struct pattern){ .nr_hot = h, .per_ms = 10 };
		ck_assert_int_eq(scene_run(&s, f), 0);
		ck_assert_uint_eq(stats_of(f).nr_windows, cases[i].windows);
		ck_assert_uint_eq(s.split_most, cases[i].max_split < 20 ? cases[i].max_split : 20);
		for (uint32_t g = 0; g < 2; g++) {
			struct hs_sim_stats sim;

			for (hs_huge_nr h = 0; h < 10; h++) {
				ck_assert_int_eq(s.results[g][h].known, HS_YES);
				ck_assert_uint_eq(s.results[g][h].nr_hot, h);
			}
			ck_assert_uint_eq(scene_not_huge(&s, g), 0);
			hs_sim_stats(s.view[g], &sim);
			ages += sim.nr_ages;
		}
		/* Guest by guest: at most one window of them holds both guests. */
		ck_assert_uint_le(ages, (uint64_t)(cases[i].windows + 1) * cfg.samples);
		ck_assert_uint_eq(stats_of(f).nr_split, 20);
		ck_assert_uint_eq(stats_of(f).nr_restored, 20);
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

START_TEST(test_scan_fine_budget_of_time)
{
	/* What a call and a huge page's split or restore take, and whether the samples are to fit in the window. */
	static const struct {
		uint32_t max_window_ms;
		uint64_t call_us, page_us;
		bool known;
	} cases[] = {
		{ 1500, 0, 0, true },      { 1500, 1000, 300, true },  { 1500, 10000, 300, true },
		{ 1500, 400, 1700, true }, { 1500, 0, 2000, true },    { 1500, 50000, 300, false },
		{ 1100, 0, 2000, true },   { 1500, 300000, 0, false }, { 1300, 5000, 2000, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static struct scene s;
		struct hs_fine_config cfg = defaults;
		struct hs_fine *f;

		cfg.max_window_ms = cases[i].max_window_ms;
		f = scene_fine(&cfg);
		scene_open(&s, 2, 40);
		for (uint32_t g = 0; g < 2; g++) {
			hs_sim_set_cost(s.view[g], &s.sim_clock, cases[i].call_us, cases[i].page_us);
			for (hs_huge_nr h = 0; h < s.nr_huge; h++)
				s.pattern[g][h] = (struct pattern){ .nr_hot = 3, .per_ms = 1 };
		}
		ck_assert_int_eq(scene_run(&s, f), 0);
		/* Between a look at the clock and the last restore lie two samples and, for each guest, a look before
		 * it restores, and the restore: calls that take long cannot be cut short. */
		ck_assert_uint_le(s.longest_split_us, cfg.max_window_ms * 1000 + 6 * cases[i].call_us);
		for (uint32_t g = 0; g < 2; g++) {
			ck_assert_uint_eq(scene_not_huge(&s, g), 0);
			for (hs_huge_nr h = 0; h < s.nr_huge; h++) {
				/* A later window may have fewer in it, and so more time. */
				if (cases[i].known || (g == 0 && h == 0))
					ck_assert_int_eq(s.results[g][h].known, cases[i].known ? HS_YES : HS_UNKNOWN);
				ck_assert_uint_eq(s.results[g][h].restored, 1);
			}
		}
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

START_TEST(test_scan_fine_learns_what_restoring_takes)
{
	/* Each restore takes 20 ms, ten times what is thought at first: from then on windows are small enough. */
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, SCENE_HUGE);
	hs_sim_set_cost(s.view[0], &s.sim_clock, 0, 20000);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(scene_run(&s, f), 0);
	s.longest_split_us = 0;
	s.split_most = 0;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_uint_le(s.longest_split_us, defaults.max_window_ms * 1000);
	/* Half of the 2,000 ms that the samples leave is for restoring: 50, once it has been learnt well. */
	ck_assert_uint_ge(s.split_most, 50);
	ck_assert_uint_le(s.split_most, 55);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

static void slow_ageing(struct scene *s, uint32_t guest, uint64_t age_us)
{
	hs_sim_set_cost(s->view[guest], &s->sim_clock, 0, 0);
	hs_sim_set_age_cost(s->view[guest], age_us);
}

START_TEST(test_scan_fine_learns_what_ageing_takes)
{
	/* 5 * (200 + 700) ms do not fit in 3,000: that is found out once, and nothing is split for nothing after that.
	 */
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);
	uint64_t split;
	int runs = 0;

	scene_open(&s, 2, 12);
	for (hs_huge_nr h = 0; h < s.nr_huge; h++)
		s.pattern[0][h] = s.pattern[1][h] = (struct pattern){ .nr_hot = 3, .per_ms = 1 };
	s.targets[1].nr = 0;
	slow_ageing(&s, 0, 700000);
	ck_assert_int_eq(scene_run(&s, f), 0);
	split = stats_of(f).nr_split;
	ck_assert_uint_eq(split, 12);
	ck_assert_uint_eq(stats_of(f).nr_out_of_time, 12);
	ck_assert_uint_eq(stats_of(f).nr_no_time, 0);
	ck_assert_uint_le(s.longest_split_us, defaults.max_window_ms * 1000);

	/* Another guest is looked into as ever, before and after it. */
	s.targets[1].nr = 12;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_uint_eq(stats_of(f).nr_split, split + 12);
	ck_assert_uint_eq(stats_of(f).nr_no_time, 12);
	ck_assert_uint_eq(stats_of(f).nr_out_of_time, 12);
	for (hs_huge_nr h = 0; h < s.nr_huge; h++) {
		ck_assert_int_eq(s.results[0][h].known, HS_UNKNOWN);
		ck_assert_int_eq(s.results[1][h].known, HS_YES);
	}
	s.targets[1].nr = 0;

	/* What was learnt fades: the look is tried anew at last, and learns that it works now. */
	slow_ageing(&s, 0, 1000);
	while (s.results[0][0].known != HS_YES && ++runs < 100)
		ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_ge(runs, 2);
	ck_assert_int_lt(runs, 10);
	ck_assert_uint_eq(stats_of(f).nr_out_of_time, 12);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_knows_what_ageing_takes)
{
	/* From the coarse phase it is known beforehand: not one mapping is split for nothing. */
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 12);
	slow_ageing(&s, 0, 450000);
	for (int i = 0; i < 20; i++) {
		hs_fine_took_to_age(f, s.view[0], 450000);
		ck_assert_int_eq(scene_run(&s, f), 0);
	}
	ck_assert_uint_eq(stats_of(f).nr_split, 0);
	ck_assert_uint_eq(stats_of(f).nr_no_time, 20 * 12);
	ck_assert_uint_eq(s.sim_clock.now_us, 0);
	/* A new view of the guest is not held to it. */
	hs_fine_forget(f, s.view[0]);
	slow_ageing(&s, 0, 0);
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(s.results[0][0].known, HS_YES);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_slow_guests_apart)
{
	/* What one ageing takes, and in how many windows three guests are then looked into, everything learnt. */
	static const struct {
		uint64_t age_us;
		uint64_t windows;
	} cases[] = { { 1000, 1 }, { 100000, 1 }, { 180000, 2 }, { 300000, 3 }, { 350000, 3 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static struct scene s;
		struct hs_fine *f = scene_fine(&defaults);

		scene_open(&s, 3, 10);
		for (uint32_t g = 0; g < 3; g++) {
			slow_ageing(&s, g, cases[i].age_us);
			hs_fine_took_to_age(f, s.view[g], cases[i].age_us);
		}
		ck_assert_int_eq(scene_run(&s, f), 0);
		ck_assert_uint_eq(stats_of(f).nr_windows, cases[i].windows);
		ck_assert_uint_eq(stats_of(f).nr_out_of_time, 0);
		ck_assert_uint_eq(stats_of(f).nr_no_time, 0);
		for (uint32_t g = 0; g < 3; g++)
			for (hs_huge_nr h = 0; h < s.nr_huge; h++)
				ck_assert_int_eq(s.results[g][h].known, HS_YES);
		ck_assert_uint_le(s.longest_split_us, defaults.max_window_ms * 1000);
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

struct asked {
	uint32_t times[SCENE_HUGE];
	struct scene *s;
};

static bool keep_even_numbers(void *ctx, const struct hs_fine_result *r)
{
	struct asked *a = ctx;

	a->times[r->huge]++;
	ck_assert_int_eq(r->known, HS_YES);
	ck_assert_uint_eq(r->gave_up, 0);
	ck_assert_int_eq(hs_sim_state(a->s->view[0], r->huge), HS_MAP_SPLIT);
	return r->huge % 2 == 0;
}

START_TEST(test_scan_fine_keep_split)
{
	static struct scene s;
	static struct asked asked;
	struct hs_fine *f = scene_fine(&defaults);
	hs_huge_nr back[2] = { 0, 4 };
	size_t left = 1;

	scene_open(&s, 2, 6);
	asked.s = &s;
	s.targets[0].keep_split = keep_even_numbers;
	s.targets[0].ctx = &asked;
	s.pattern[0][2] = (struct pattern){ .nr_hot = 512, .per_ms = 50 };
	s.pattern[0][4] = (struct pattern){ .nr_hot = 10, .per_ms = 5 };
	ck_assert_int_eq(scene_run(&s, f), 0);
	for (hs_huge_nr h = 0; h < 6; h++) {
		bool kept = h == 0 || h == 4;

		/* The one that was given up came back at once, unasked. */
		ck_assert_uint_eq(asked.times[h], h != 2);
		ck_assert_int_eq(s.results[0][h].known, HS_YES);
		ck_assert_uint_eq(s.results[0][h].restored, !kept);
		ck_assert_int_eq(scene_state(&s, 0, h), kept ? HS_MAP_SPLIT : HS_MAP_HUGE);
	}
	ck_assert_uint_eq(scene_not_huge(&s, 1), 0);
	/* Kept is no pending restore. */
	ck_assert_int_eq(hs_fine_retry(f, s.view[0], &left, NULL), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 2);
	/* Nothing came of it: now it is, and one of them takes two attempts. */
	hs_sim_fail_restore(s.view[0], 4, 1, -EAGAIN);
	ck_assert_int_eq(hs_fine_give_back(f, s.view[0], back, 2, NULL), 0);
	ck_assert_int_eq(scene_state(&s, 0, 0), HS_MAP_HUGE);
	ck_assert_int_eq(scene_state(&s, 0, 4), HS_MAP_SPLIT);
	ck_assert_int_eq(hs_fine_retry(f, s.view[0], &left, NULL), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

static bool keep_slowly(void *ctx, const struct hs_fine_result *r)
{
	struct asked *a = ctx;
	struct hs_bits512 want = { { 1 } }, got;
	static char buf[HS_HUGE_SIZE];

	a->times[r->huge]++;
	hs_sim_set_cost(a->s->view[0], &a->s->sim_clock, 100000, 0);
	ck_assert_int_eq(hs_view_read(a->s->view[0], r->huge, &want, buf, &got, NULL), 0);
	hs_sim_set_cost(a->s->view[0], NULL, 0, 0);
	return true;
}

START_TEST(test_scan_fine_keep_split_takes_too_long)
{
	static struct scene s;
	static struct asked asked;
	struct hs_fine_config cfg = defaults;
	struct hs_fine *f;
	uint32_t times = 0;

	cfg.max_window_ms = 1500;
	f = scene_fine(&cfg);
	scene_open(&s, 1, 20);
	asked.s = &s;
	s.targets[0].keep_split = keep_slowly;
	s.targets[0].ctx = &asked;
	ck_assert_int_eq(scene_run(&s, f), 0);
	for (hs_huge_nr h = 0; h < 20; h++) {
		ck_assert_int_eq(s.results[0][h].known, HS_YES);
		ck_assert_int_eq(scene_state(&s, 0, h), asked.times[h] ? HS_MAP_SPLIT : HS_MAP_HUGE);
		times += asked.times[h];
	}
	ck_assert_uint_ge(times, 4);
	ck_assert_uint_le(times, 5);
	ck_assert_uint_le(s.longest_split_us, 1600000);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_nothing_to_do)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 2, 1);
	s.targets[0].nr = s.targets[1].nr = 0;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(hs_fine_run(f, NULL, 0, &s.clock, NULL), 0);
	ck_assert_uint_eq(s.sim_clock.now_us, 0);
	ck_assert_uint_eq(stats_of(f).nr_windows, 0);
	/* An empty guest before one that is not. */
	s.targets[1].nr = 1;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(s.results[1][0].known, HS_YES);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scan/fine");
	TCase *t = tcase_create("fine");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_scan_fine_config);
	tcase_add_test(t, test_scan_fine_skew);
	tcase_add_test(t, test_scan_fine_frequency);
	tcase_add_test(t, test_scan_fine_gives_up_early);
	tcase_add_test(t, test_scan_fine_never_gives_up_with_0);
	tcase_add_test(t, test_scan_fine_budget_of_split_mappings);
	tcase_add_test(t, test_scan_fine_budget_of_time);
	tcase_add_test(t, test_scan_fine_learns_what_restoring_takes);
	tcase_add_test(t, test_scan_fine_learns_what_ageing_takes);
	tcase_add_test(t, test_scan_fine_knows_what_ageing_takes);
	tcase_add_test(t, test_scan_fine_slow_guests_apart);
	tcase_add_test(t, test_scan_fine_keep_split);
	tcase_add_test(t, test_scan_fine_keep_split_takes_too_long);
	tcase_add_test(t, test_scan_fine_nothing_to_do);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
