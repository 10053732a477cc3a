/* SPDX-License-Identifier: Apache-2.0 */
/* The coarse phase over a simulated guest. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "hs/scan.h"
#include "hs/sim_view.h"

static struct hs_view *open_guest(uint32_t nr_huge, uint8_t state)
{
	struct hs_sim_config cfg = { .nr_huge = nr_huge, .state = state };
	struct hs_view *v;

	ck_assert_int_eq(hs_view_open_sim(&v, &cfg), 0);
	return v;
}

static struct hs_coarse *create(uint32_t nr_huge, uint32_t rounds, uint32_t hot_rounds)
{
	struct hs_coarse_config cfg = { .rounds = rounds, .interval_ms = 600, .hot_rounds = hot_rounds };
	struct hs_coarse *c;

	ck_assert_int_eq(hs_coarse_create(&c, nr_huge, &cfg), 0);
	return c;
}

/* One round in which huge page h is accessed where `pattern[h]` is 'x'. */
static void round_of(struct hs_coarse *c, struct hs_view *v, const char *pattern)
{
	ck_assert_int_eq(hs_view_age(v, NULL), 0);
	for (hs_huge_nr h = 0; pattern[h]; h++)
		if (pattern[h] == 'x')
			hs_sim_access(v, h * HS_BASE_PER_HUGE + 17, false);
	ck_assert_int_eq(hs_coarse_round(c, v, NULL), 0);
}

START_TEST(test_scan_coarse_config)
{
	static const struct {
		uint32_t rounds, hot_rounds;
		int rc;
	} cases[] = { { 0, 0, -EINVAL }, { 1, 0, -EINVAL }, { 1, 1, 0 },       { 10, 11, -EINVAL },
		      { 10, 10, 0 },     { 64, 64, 0 },     { 65, 6, -EINVAL } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_coarse_config cfg = { cases[i].rounds, 600, cases[i].hot_rounds };
		struct hs_coarse *c;

		ck_assert_int_eq(hs_coarse_create(&c, 4, &cfg), cases[i].rc);
		ck_assert((c != NULL) == !cases[i].rc);
		hs_coarse_destroy(c);
	}
	hs_coarse_destroy(NULL);
	ck_assert_uint_eq(sizeof(struct hs_coarse_record), 16);
}
END_TEST

START_TEST(test_scan_coarse_heat)
{
	/* The rounds of one huge page, oldest first, and what is known after them; R = 10, hot from 6 on. */
	static const struct {
		const char *rounds;
		enum hs_heat heat;
		uint32_t count, cold_rounds;
	} cases[] = {
		{ "", HS_HEAT_UNKNOWN, 0, 0 },
		{ ".........", HS_HEAT_UNKNOWN, 0, 9 },
		{ "..........", HS_HEAT_COLD, 0, 10 },
		{ "..............", HS_HEAT_COLD, 0, 14 },
		{ "xxxxx", HS_HEAT_UNKNOWN, 5, 0 },
		{ "xxxxxx", HS_HEAT_HOT, 6, 0 },
		{ "xxxxx.....", HS_HEAT_WARM, 5, 5 },
		{ "xxxxxx....", HS_HEAT_HOT, 6, 4 },
		{ "xxxxxx.....", HS_HEAT_WARM, 5, 5 },
		{ "xxxxxxxxxx", HS_HEAT_HOT, 10, 0 },
		{ "xxxxxxxxxxxxxx", HS_HEAT_HOT, 10, 0 },
		{ "x..........", HS_HEAT_COLD, 0, 10 },
		{ "x.........", HS_HEAT_WARM, 1, 9 },
		{ ".........x", HS_HEAT_WARM, 1, 0 },
		{ "x.x.x.x.x.x", HS_HEAT_WARM, 5, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_view *v = open_guest(2, HS_MAP_HUGE);
		struct hs_coarse *c = create(2, 10, 6);

		for (const char *p = cases[i].rounds; *p; p++)
			round_of(c, v, (const char[]){ '.', *p, 0 });
		ck_assert_int_eq(hs_coarse_heat(c, 1), cases[i].heat);
		ck_assert_uint_eq(hs_coarse_count(hs_coarse_get(c, 1)), cases[i].count);
		ck_assert_uint_eq(hs_coarse_get(c, 1)->cold_rounds, cases[i].cold_rounds);
		hs_coarse_destroy(c);
		hs_view_close(v);
	}
}
END_TEST

START_TEST(test_scan_coarse_all_64_rounds)
{
	struct hs_view *v = open_guest(1, HS_MAP_HUGE);
	struct hs_coarse *c = create(1, 64, 64);

	for (int i = 0; i < 63; i++)
		round_of(c, v, "x");
	ck_assert_int_eq(hs_coarse_heat(c, 0), HS_HEAT_UNKNOWN);
	round_of(c, v, "x");
	ck_assert_int_eq(hs_coarse_heat(c, 0), HS_HEAT_HOT);
	ck_assert_uint_eq(hs_coarse_count(hs_coarse_get(c, 0)), 64);
	round_of(c, v, ".");
	ck_assert_int_eq(hs_coarse_heat(c, 0), HS_HEAT_WARM);
	hs_coarse_destroy(c);
	hs_view_close(v);
}
END_TEST

START_TEST(test_scan_coarse_recency_saturates)
{
	struct hs_view *v = open_guest(1, HS_MAP_HUGE);
	struct hs_coarse *c = create(1, 10, 6);

	for (int i = 0; i < UINT16_MAX + 2; i++)
		ck_assert_int_eq(hs_coarse_round(c, v, NULL), 0);
	ck_assert_uint_eq(hs_coarse_get(c, 0)->cold_rounds, UINT16_MAX);
	hs_coarse_destroy(c);
	hs_view_close(v);
}
END_TEST

START_TEST(test_scan_coarse_changed_mapping_keeps_history)
{
	struct hs_view *v = open_guest(1, HS_MAP_HUGE);
	struct hs_coarse *c = create(1, 10, 6);

	for (int i = 0; i < 4; i++)
		round_of(c, v, "x");
	ck_assert_uint_eq(hs_coarse_get(c, 0)->nr_accessed, 512);
	hs_sim_break_huge(v, 0);
	round_of(c, v, "x");
	ck_assert_int_eq(hs_coarse_get(c, 0)->state, HS_MAP_SPLIT);
	ck_assert_uint_eq(hs_coarse_get(c, 0)->nr_accessed, 1);
	hs_sim_drop(v, 0, 12);
	round_of(c, v, "x");
	ck_assert_int_eq(hs_coarse_get(c, 0)->state, HS_MAP_PARTIAL);
	ck_assert_uint_eq(hs_coarse_get(c, 0)->nr_present, 500);
	ck_assert_int_eq(hs_coarse_heat(c, 0), HS_HEAT_HOT);
	hs_coarse_destroy(c);
	hs_view_close(v);
}
END_TEST

START_TEST(test_scan_coarse_unknown_and_absent_reset)
{
	for (int absent = 0; absent < 2; absent++) {
		struct hs_view *v = open_guest(2, HS_MAP_HUGE);
		struct hs_coarse *c = create(2, 10, 6);

		for (int i = 0; i < 12; i++)
			round_of(c, v, "xx");
		if (absent)
			hs_sim_drop(v, 0, 512);
		else
			hs_sim_set_unknown(v, 0, true);
		round_of(c, v, ".x");
		ck_assert_int_eq(hs_coarse_heat(c, 0), HS_HEAT_UNKNOWN);
		ck_assert_uint_eq(hs_coarse_get(c, 0)->nr_known, 0);
		ck_assert_int_eq(hs_coarse_get(c, 0)->state, absent ? HS_MAP_ABSENT : HS_MAP_UNKNOWN);
		ck_assert_int_eq(hs_coarse_heat(c, 1), HS_HEAT_HOT);
		hs_sim_set_unknown(v, 0, false);
		/* It comes back, and has to show itself all over again. */
		for (int i = 0; i < 10; i++) {
			ck_assert_int_eq(hs_coarse_heat(c, 0), HS_HEAT_UNKNOWN);
			round_of(c, v, i == 0 && absent ? "xx" : ".x");
		}
		ck_assert_int_eq(hs_coarse_heat(c, 0), absent ? HS_HEAT_WARM : HS_HEAT_COLD);
		hs_coarse_destroy(c);
		hs_view_close(v);
	}
}
END_TEST

START_TEST(test_scan_coarse_skip)
{
	struct hs_view *v = open_guest(66, HS_MAP_HUGE);
	struct hs_coarse *c = create(66, 10, 6);
	static char everywhere[67];

	memset(everywhere, 'x', 66);
	hs_coarse_skip(c, 65);
	hs_coarse_skip(c, 66); /* out of range: nothing */
	round_of(c, v, everywhere);
	ck_assert_uint_eq(hs_coarse_get(c, 65)->nr_known, 0);
	ck_assert_int_eq(hs_coarse_get(c, 65)->state, HS_MAP_HUGE);
	ck_assert_uint_eq(hs_coarse_get(c, 64)->nr_known, 1);
	/* For one round only. */
	round_of(c, v, everywhere);
	ck_assert_uint_eq(hs_coarse_get(c, 65)->nr_known, 1);
	/* A round that fails does not use the mark up, and records nothing. */
	hs_coarse_skip(c, 65);
	{
		struct hs_sim_stats stats;

		hs_sim_stats(v, &stats);
		hs_sim_fail_call(v, stats.nr_calls + 1, -EIO);
		ck_assert_int_eq(hs_coarse_round(c, v, NULL), -EIO);
	}
	ck_assert_uint_eq(hs_coarse_get(c, 64)->nr_known, 2);
	round_of(c, v, everywhere);
	ck_assert_uint_eq(hs_coarse_get(c, 65)->nr_known, 1);
	ck_assert_uint_eq(hs_coarse_get(c, 64)->nr_known, 3);
	/* What was not counted does not make it colder either. */
	for (int i = 0; i < 20; i++) {
		hs_coarse_skip(c, 0);
		round_of(c, v, ".");
	}
	ck_assert_uint_eq(hs_coarse_get(c, 0)->cold_rounds, 0);
	ck_assert_uint_eq(hs_coarse_get(c, 1)->cold_rounds, 20);
	hs_coarse_destroy(c);
	hs_view_close(v);
}
END_TEST

START_TEST(test_scan_coarse_errors)
{
	struct hs_view *v = open_guest(3, HS_MAP_HUGE);
	struct hs_coarse *c = create(2, 10, 6);
	struct hs_error err;

	ck_assert_int_eq(hs_coarse_round(c, v, &err), -EINVAL);
	ck_assert_str_ne(err.text, "");
	ck_assert_ptr_null(hs_coarse_get(c, 2));
	ck_assert_int_eq(hs_coarse_heat(c, 2), HS_HEAT_UNKNOWN);
	hs_view_close(v);
	v = open_guest(2, HS_MAP_HUGE);
	hs_sim_fail_call(v, 1, -ESRCH);
	ck_assert_int_eq(hs_coarse_round(c, v, NULL), -ESRCH);
	ck_assert_uint_eq(hs_coarse_get(c, 0)->nr_known, 0);
	hs_coarse_destroy(c);
	hs_view_close(v);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scan/coarse");
	TCase *t = tcase_create("coarse");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_scan_coarse_config);
	tcase_add_test(t, test_scan_coarse_heat);
	tcase_add_test(t, test_scan_coarse_all_64_rounds);
	tcase_add_test(t, test_scan_coarse_recency_saturates);
	tcase_add_test(t, test_scan_coarse_changed_mapping_keeps_history);
	tcase_add_test(t, test_scan_coarse_unknown_and_absent_reset);
	tcase_add_test(t, test_scan_coarse_skip);
	tcase_add_test(t, test_scan_coarse_errors);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
