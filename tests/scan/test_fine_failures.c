/* SPDX-License-Identifier: Apache-2.0 */
/* The fine phase when things go wrong: whatever happens, no mapping is left split that should not be. */
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

static size_t retry(struct scene *s, struct hs_fine *f, uint32_t guest)
{
	size_t left = 99;

	ck_assert_int_eq(hs_fine_retry(f, s->view[guest], &left, NULL), 0);
	return left;
}

static bool keep_all(void *ctx, const struct hs_fine_result *r)
{
	(void)r;
	++*(uint32_t *)ctx;
	return true;
}

START_TEST(test_scan_fine_failures_split)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 6);
	hs_sim_fail_split(s.view[0], 1, -EPERM);
	hs_sim_set_unknown(s.view[0], 2, true);
	hs_sim_break_huge(s.view[0], 3);
	hs_sim_drop(s.view[0], 4 * 512, 5 * 512);
	ck_assert_int_eq(scene_run(&s, f), 0);
	for (hs_huge_nr h = 0; h < 6; h++) {
		bool fine = h == 0 || h == 5;

		ck_assert_int_eq(s.results[0][h].known, fine ? HS_YES : HS_UNKNOWN);
		ck_assert_uint_eq(s.results[0][h].restored, fine);
		ck_assert_uint_eq(s.results[0][h].nr_hot, 0);
	}
	/* What was not huge before is not our business to make huge. */
	ck_assert_int_eq(scene_state(&s, 0, 3), HS_MAP_SPLIT);
	ck_assert_int_eq(scene_state(&s, 0, 4), HS_MAP_ABSENT);
	ck_assert_uint_eq(stats_of(f).nr_split, 2);
	ck_assert_uint_eq(stats_of(f).nr_split_failed, 4);
	ck_assert_uint_eq(stats_of(f).nr_restored, 2);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

/* What the guest has given back in part while it was split stays so, also where nothing is known of its accesses. */
START_TEST(test_scan_fine_failures_holes)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);
	const hs_huge_nr both[] = { 0, 1 };

	scene_open(&s, 1, 2);
	ck_assert_int_eq(hs_view_split(s.view[0], both, 2, NULL, NULL), 0);
	hs_sim_drop(s.view[0], 10, 20);
	hs_sim_hide_accesses(s.view[0], _i);
	ck_assert_int_eq(hs_fine_give_back(f, s.view[0], both, 2, NULL), 0);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_int_eq(scene_state(&s, 0, 0), HS_MAP_PARTIAL);
	ck_assert_int_eq(scene_state(&s, 0, 1), HS_MAP_HUGE);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_failures_restore)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 2, 8);
	for (hs_huge_nr h = 0; h < 8; h++)
		hs_sim_fail_restore(s.view[0], h, h, h % 2 ? -EAGAIN : -ENOMEM);
	s.pattern[0][7] = (struct pattern){ .nr_hot = 512, .per_ms = 50 };
	ck_assert_int_eq(scene_run(&s, f), 0);
	for (hs_huge_nr h = 0; h < 8; h++) {
		ck_assert_int_eq(s.results[0][h].known, HS_YES);
		ck_assert_uint_eq(s.results[0][h].restored, h == 0);
	}
	ck_assert_uint_eq(stats_of(f).nr_restore_failed, 7);
	ck_assert_uint_eq(scene_not_huge(&s, 1), 0);
	ck_assert_uint_eq(retry(&s, f, 1), 0);
	for (size_t left = 7; left;) {
		ck_assert_uint_eq(scene_not_huge(&s, 0), left);
		left--;
		ck_assert_uint_eq(retry(&s, f, 0), left);
	}
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	ck_assert_uint_eq(stats_of(f).nr_restored, 16);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_failures_pending_once)
{
	/* Pending from an earlier run, it is no huge page for the next one, and not pending twice. */
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 3);
	hs_sim_fail_restore(s.view[0], 1, 1, -EAGAIN);
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(s.results[0][1].known, HS_UNKNOWN);
	ck_assert_uint_eq(s.results[0][1].restored, 0);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	ck_assert_uint_eq(stats_of(f).nr_split, 5);
	ck_assert_uint_eq(stats_of(f).nr_restored, 5);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_failures_pending_twice)
{
	/* Pending, then huge again without us, then split and pending once more. */
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);
	uint32_t asked = 0;

	scene_open(&s, 1, 3);
	hs_sim_fail_restore(s.view[0], 1, 4, -EAGAIN);
	ck_assert_int_eq(scene_run(&s, f), 0);
	hs_sim_collapse(s.view[0], 1);
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_uint_eq(retry(&s, f, 0), 1);
	/* And huge again without us, then split and kept: what was pending is forgotten. */
	hs_sim_collapse(s.view[0], 1);
	s.targets[0].keep_split = keep_all;
	s.targets[0].ctx = &asked;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_uint_eq(asked, 3);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 3);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_failures_keep_and_forget)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 2, 3);
	for (uint32_t g = 0; g < 2; g++)
		for (hs_huge_nr h = 0; h < 3; h++)
			hs_sim_fail_restore(s.view[g], h, 1, -EAGAIN);
	ck_assert_int_eq(scene_run(&s, f), 0);
	hs_fine_keep(f, s.view[0], 1);
	hs_fine_keep(f, s.view[0], 1);
	hs_fine_forget(f, s.view[1]);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_uint_eq(retry(&s, f, 1), 0);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 1);
	ck_assert_int_eq(scene_state(&s, 0, 1), HS_MAP_SPLIT);
	ck_assert_uint_eq(scene_not_huge(&s, 1), 3);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

static void khugepaged_comes(struct scene *s)
{
	hs_sim_collapse(s->view[0], 1);
}

START_TEST(test_scan_fine_failures_collapsed_meanwhile)
{
	/* Before the first look, between looks, between samples, before the last sample. */
	static const uint64_t when_ms[] = { 5, 30, 100, 450, 999 };

	for (size_t i = 0; i < sizeof(when_ms) / sizeof(when_ms[0]); i++) {
		static struct scene s;
		struct hs_fine *f = scene_fine(&defaults);

		scene_open(&s, 1, 3);
		for (hs_huge_nr h = 0; h < 3; h++)
			s.pattern[0][h] = (struct pattern){ .nr_hot = 3, .per_ms = 1 };
		s.event_us = when_ms[i] * 1000;
		s.event = khugepaged_comes;
		ck_assert_int_eq(scene_run(&s, f), 0);
		ck_assert_int_eq(s.results[0][0].known, HS_YES);
		ck_assert_int_eq(s.results[0][1].known, HS_UNKNOWN);
		ck_assert_uint_eq(s.results[0][1].gave_up, 0);
		ck_assert_uint_eq(s.results[0][1].restored, 1);
		ck_assert_int_eq(s.results[0][2].known, HS_YES);
		ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
		ck_assert_uint_eq(retry(&s, f, 0), 0);
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

static void somebody_else_ages(struct scene *s)
{
	s->pattern[0][0].per_ms = 0;
	ck_assert_int_eq(hs_view_age(s->view[0], NULL), 0);
}

START_TEST(test_scan_fine_failures_aged_by_somebody_else)
{
	/* After an early look, which has seen the accesses: they are not lost. */
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 1);
	s.pattern[0][0] = (struct pattern){ .nr_hot = 3, .per_ms = 1 };
	s.event_us = 60000;
	s.event = somebody_else_ages;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_uint_eq(s.results[0][0].nr_hot, 3);
	ck_assert_uint_eq(s.results[0][0].count[scene_hot_page(2)], 1);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

static void balloon_takes(struct scene *s)
{
	hs_sim_drop(s->view[0], 512 + 100, 512 + 200);
	hs_sim_drop(s->view[0], 1024, 1536);
}

START_TEST(test_scan_fine_failures_given_back_meanwhile)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 4);
	s.event_us = 300000;
	s.event = balloon_takes;
	ck_assert_int_eq(scene_run(&s, f), 0);
	for (hs_huge_nr h = 0; h < 4; h++)
		ck_assert_int_eq(s.results[0][h].known, h == 0 || h == 3 ? HS_YES : HS_UNKNOWN);
	/* No memory is taken anew for what the guest gave back. */
	ck_assert_int_eq(scene_state(&s, 0, 1), HS_MAP_PARTIAL);
	ck_assert_int_eq(scene_state(&s, 0, 2), HS_MAP_ABSENT);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_int_eq(scene_state(&s, 0, 1), HS_MAP_PARTIAL);
	/* It is not pending any more, even when it is all there again. */
	for (hs_base_nr p = 512 + 100; p < 512 + 200; p++)
		hs_sim_access(s.view[0], p, true);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_int_eq(scene_state(&s, 0, 1), HS_MAP_SPLIT);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_failures_away_for_a_moment)
{
	/* Absent at the sample as when it is being migrated, and there again when it is retried. */
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 4);
	s.event_us = 300000;
	s.event = balloon_takes;
	ck_assert_int_eq(scene_run(&s, f), 0);
	for (hs_base_nr p = 512; p < 1536; p++)
		hs_sim_access(s.view[0], p, true);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

static void cannot_tell(struct scene *s)
{
	hs_sim_set_unknown(s->view[0], 1, true);
}

START_TEST(test_scan_fine_failures_unknown_meanwhile)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 3);
	s.event_us = 300000;
	s.event = cannot_tell;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(s.results[0][0].known, HS_YES);
	ck_assert_int_eq(s.results[0][1].known, HS_UNKNOWN);
	ck_assert_uint_eq(retry(&s, f, 0), 1);
	hs_sim_set_unknown(s.view[0], 1, false);
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

static void set_workload(struct scene *s)
{
	for (uint32_t g = 0; g < s->nr_guests; g++)
		for (hs_huge_nr h = 0; h < s->nr_huge; h++)
			s->pattern[g][h] = h % 2 ? (struct pattern){ .nr_hot = 512, .per_ms = 20 }
						 : (struct pattern){ .nr_hot = 5, .per_ms = 1 };
}

/* How many calls of guest 0's view a run without failures makes. */
static uint64_t calls_of_a_run(const struct hs_fine_config *cfg)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(cfg);
	struct hs_sim_stats sim;

	scene_open(&s, 2, 6);
	set_workload(&s);
	ck_assert_int_eq(scene_run(&s, f), 0);
	hs_sim_stats(s.view[0], &sim);
	hs_fine_destroy(f);
	scene_close(&s);
	return sim.nr_calls;
}

/* Guest 0's view fails with `error` at each call in turn, in one window and in several. */
static void fail_each_call(int error)
{
	static const uint32_t max_split[] = { 512, 4, 1 };

	for (size_t w = 0; w < sizeof(max_split) / sizeof(max_split[0]); w++) {
		struct hs_fine_config cfg = defaults;
		uint64_t calls;

		cfg.max_split = max_split[w];
		calls = calls_of_a_run(&cfg);
		ck_assert_uint_gt(calls, 10);
		for (uint64_t call = 1; call <= calls; call++) {
			static struct scene s;
			struct hs_fine *f = scene_fine(&cfg);
			size_t left;

			scene_open(&s, 2, 6);
			set_workload(&s);
			hs_sim_fail_call(s.view[0], call, error);
			ck_assert_int_eq(scene_run(&s, f), 0);
			/* The other guest does not notice. */
			ck_assert_int_eq(s.targets[1].error, 0);
			ck_assert_uint_eq(scene_not_huge(&s, 1), 0);
			for (hs_huge_nr h = 0; h < 6; h++) {
				ck_assert_int_eq(s.results[1][h].known, HS_YES);
				ck_assert_uint_eq(s.results[1][h].nr_hot > 100, h % 2);
				/* What is known is right, the rest is unknown. */
				if (s.results[0][h].known == HS_YES)
					ck_assert_uint_eq(s.results[0][h].nr_hot > 100, h % 2);
				else
					ck_assert_int_eq(s.results[0][h].known, HS_UNKNOWN);
			}
			if (error == -ESRCH) {
				ck_assert_int_eq(s.targets[0].error, -ESRCH);
				/* Nothing is pending for the dead: no call is made. */
				ck_assert_uint_eq(retry(&s, f, 0), 0);
			} else {
				/* Only what could not be brought back then is split, and one retry is enough. */
				ck_assert_uint_eq(scene_not_huge(&s, 0), stats_of(f).nr_restore_failed);
				ck_assert_int_eq(hs_fine_retry(f, s.view[0], &left, NULL), 0);
				ck_assert_uint_eq(left, 0);
				ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
				ck_assert_uint_eq(stats_of(f).nr_split, stats_of(f).nr_restored);
			}
			hs_fine_destroy(f);
			scene_close(&s);
		}
	}
}

START_TEST(test_scan_fine_failures_each_call)
{
	fail_each_call(-EIO);
}
END_TEST

START_TEST(test_scan_fine_failures_guest_gone_at_each_call)
{
	fail_each_call(-ESRCH);
}
END_TEST

static void first_guest_is_whole(struct scene *s)
{
	ck_assert_uint_eq(scene_not_huge(s, 0), 0);
	ck_assert_uint_eq(scene_not_huge(s, 1), 6);
}

START_TEST(test_scan_fine_failures_back_at_once)
{
	/* A guest that cannot be aged or sampled does not wait, split, for the others' samples. */
	for (uint64_t call = 2; call <= 3; call++) {
		static struct scene s;
		struct hs_fine *f = scene_fine(&defaults);

		scene_open(&s, 2, 6);
		hs_sim_fail_call(s.view[0], call, -EIO);
		s.event_us = call == 2 ? 5000 : 20000;
		s.event = first_guest_is_whole;
		ck_assert_int_eq(scene_run(&s, f), 0);
		ck_assert_int_eq(s.targets[0].error, -EIO);
		ck_assert_ptr_null(s.event);
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

START_TEST(test_scan_fine_failures_pending_never_done)
{
	/* No guest memory any more, or marked NOHUGEPAGE by the VMM: that stands in nobody's way for ever. */
	static const int never[] = { -ENOENT, -EINVAL };

	for (size_t i = 0; i < 2; i++) {
		static struct scene s;
		struct hs_fine *f = scene_fine(&defaults);

		scene_open(&s, 1, 3);
		hs_sim_fail_restore(s.view[0], 1, 1, -ENOMEM);
		hs_sim_fail_restore(s.view[0], 2, 2, -ENOMEM);
		ck_assert_int_eq(scene_run(&s, f), 0);
		hs_sim_fail_restore(s.view[0], 1, 99, never[i]);
		ck_assert_uint_eq(retry(&s, f, 0), 1); /* the other one is pending still */
		ck_assert_uint_eq(retry(&s, f, 0), 0);
		ck_assert_uint_eq(scene_not_huge(&s, 0), 1);
		ck_assert_uint_eq(stats_of(f).nr_restored, 2);
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

START_TEST(test_scan_fine_failures_gone_with_pending)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);
	struct hs_sim_stats sim;
	struct hs_error err;
	size_t left = 99;

	scene_open(&s, 1, 3);
	hs_sim_fail_restore(s.view[0], 2, 1, -EAGAIN);
	ck_assert_int_eq(scene_run(&s, f), 0);
	hs_sim_stats(s.view[0], &sim);
	hs_sim_fail_call(s.view[0], sim.nr_calls + 1, -ESRCH);
	ck_assert_int_eq(hs_fine_retry(f, s.view[0], &left, &err), -ESRCH);
	ck_assert_uint_eq(left, 0);
	ck_assert_str_ne(err.text, "");
	ck_assert_uint_eq(retry(&s, f, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

START_TEST(test_scan_fine_failures_cancelled)
{
	/* At any moment of the first and of the second window. */
	for (uint64_t at_us = 1; at_us < 2100000; at_us += 23456) {
		static struct scene s;
		struct hs_fine_config cfg = defaults;
		struct hs_error err = { "" };
		struct hs_fine *f;
		uint32_t asked = 0, known = 0;

		cfg.max_split = 6;
		f = scene_fine(&cfg);
		scene_open(&s, 2, 6);
		for (uint32_t g = 0; g < 2; g++)
			for (hs_huge_nr h = 0; h < 6; h++)
				s.pattern[g][h] = (struct pattern){ .nr_hot = 5, .per_ms = 1 };
		s.targets[0].keep_split = keep_all;
		s.targets[0].ctx = &asked;
		s.sim_clock.cancel_at_us = at_us;
		ck_assert_int_eq(hs_fine_run(f, s.targets, 2, &s.clock, &err), at_us <= 2000000 ? -ECANCELED : 0);
		ck_assert_int_eq(err.text[0] != 0, at_us <= 2000000);
		for (uint32_t g = 0; g < 2; g++)
			for (hs_huge_nr h = 0; h < 6; h++)
				known += s.results[g][h].known == HS_YES;
		/* What a window that was cut short would have learnt is unknown; the window before it counts. */
		ck_assert_uint_eq(known, at_us <= 1000000 ? 0 : at_us <= 2000000 ? 6 : 12);
		ck_assert_uint_eq(asked, at_us <= 1000000 ? 0 : 6);
		ck_assert_uint_eq(scene_not_huge(&s, 0), asked);
		ck_assert_uint_eq(scene_not_huge(&s, 1), 0);
		ck_assert_uint_eq(retry(&s, f, 0), 0);
		hs_fine_destroy(f);
		scene_close(&s);
	}
}
END_TEST

START_TEST(test_scan_fine_failures_same_page_twice)
{
	static struct scene s;
	struct hs_fine *f = scene_fine(&defaults);

	scene_open(&s, 1, 4);
	s.huge[3] = 1;
	ck_assert_int_eq(scene_run(&s, f), 0);
	ck_assert_int_eq(s.results[0][1].known, HS_YES);
	ck_assert_int_eq(s.results[0][3].known, HS_UNKNOWN);
	ck_assert_uint_eq(scene_not_huge(&s, 0), 0);
	hs_fine_destroy(f);
	scene_close(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scan/fine_failures");
	TCase *t = tcase_create("fine_failures");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_scan_fine_failures_split);
	tcase_add_test(t, test_scan_fine_failures_restore);
	tcase_add_loop_test(t, test_scan_fine_failures_holes, 0, 2);
	tcase_add_test(t, test_scan_fine_failures_pending_once);
	tcase_add_test(t, test_scan_fine_failures_pending_twice);
	tcase_add_test(t, test_scan_fine_failures_aged_by_somebody_else);
	tcase_add_test(t, test_scan_fine_failures_back_at_once);
	tcase_add_test(t, test_scan_fine_failures_keep_and_forget);
	tcase_add_test(t, test_scan_fine_failures_collapsed_meanwhile);
	tcase_add_test(t, test_scan_fine_failures_given_back_meanwhile);
	tcase_add_test(t, test_scan_fine_failures_away_for_a_moment);
	tcase_add_test(t, test_scan_fine_failures_unknown_meanwhile);
	tcase_add_test(t, test_scan_fine_failures_each_call);
	tcase_add_test(t, test_scan_fine_failures_guest_gone_at_each_call);
	tcase_add_test(t, test_scan_fine_failures_pending_never_done);
	tcase_add_test(t, test_scan_fine_failures_gone_with_pending);
	tcase_add_test(t, test_scan_fine_failures_cancelled);
	tcase_add_test(t, test_scan_fine_failures_same_page_twice);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
