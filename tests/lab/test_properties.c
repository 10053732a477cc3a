/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds on any host and under any policy: counts agree with the pages (hs_lab_run refuses a run where they do
 * not), no more is saved than can be, and the same seed gives the same run.
 */
#include "lab_help.h"

#include <stdio.h>
#include <string.h>

#include "lab/random.h"

static double part(uint64_t *state, double of)
{
	return hs_lab_unit(hs_lab_next(state)) * of;
}

/* A host made up from the number. */
static void make_up(char *out, size_t size, uint64_t number)
{
	uint64_t r = number * 977;
	const double even = part(&r, 40), skewed = part(&r, 30), warm = part(&r, 10), stream = part(&r, 10);
	const double zero = part(&r, 30), group = part(&r, 40), host = part(&r, 20);

	(void)snprintf(
	    out, size,
	    "[host]\nseed = %llu\nseconds = %.1f\n"
	    "[guests a]\ncount = %u\nmemory = %uM\neven = %f\nskewed = %f\nwarm = %f\nstream = %f\n"
	    "stream_writes = %s\nzero = %f\nsame_group = %f\nsame_host = %f\naccesses = %f\nbimodal = %s\n"
	    "rewrite_same = %f\ncold_writes = %f\nphase_seconds = %f\nzipf = %f\npopularity = %f\nrun = %u\n"
	    "[guests b]\ncount = 2\nmemory = 24M\ngroup = other\nsame_group = %f\nsame_host = %f\nabsent = %f\n"
	    "copies = 3\neven = 20\naccesses = 20000\n",
	    (unsigned long long)number, 15 + part(&r, 30), 1 + hs_lab_below(hs_lab_next(&r), 3),
	    8 + 2 * hs_lab_below(hs_lab_next(&r), 20), even, skewed, warm, stream, hs_lab_next(&r) & 1 ? "yes" : "no",
	    zero, group, host, part(&r, 100000), hs_lab_next(&r) & 1 ? "yes" : "no", part(&r, 60), part(&r, 200),
	    part(&r, 20), part(&r, 1.5), hs_lab_next(&r) & 1 ? part(&r, 1.5) : 0, 1 + hs_lab_below(hs_lab_next(&r), 32),
	    part(&r, 60), part(&r, 40), part(&r, 50));
}

START_TEST(test_sim_properties_conservation)
{
	static struct hs_lab_costs costs;
	struct hs_lab_options o = hs_lab_options_default(&costs);
	char text[2048];

	hs_lab_costs_none(&costs);
	/* Work takes time in every other case. */
	for (int i = 0; _i & 1 && i < HS_LAB_NR_COSTS; i++)
		costs.ns[i] = 300;
	make_up(text, sizeof(text), (uint64_t)_i + 1);
	o.quirks = _i & 2;
	o.gain_all = _i & 4;
	for (size_t k = 0; hs_lab_policies[k]; k++) {
		const struct hs_lab_result r = lab_run(text, hs_lab_policies[k], &o);

		ck_assert_msg(r.saved_bytes <= r.possible_bytes, "%s", r.policy->name);
		ck_assert_uint_le(r.possible_bytes, r.memory_bytes);
		ck_assert_uint_gt(r.nr_points, 10);
		for (uint32_t i = 0; i < r.nr_points; i++) {
			ck_assert_uint_le(r.points[i].saved_bytes, r.points[i].possible_bytes);
			ck_assert_double_ge(r.points[i].huge, 0);
			ck_assert_double_le(r.points[i].huge, 1);
		}
		ck_assert_double_ge(r.hot_huge, 0);
		ck_assert_double_le(r.hot_huge, 1);
		if (hs_lab_policies[k] == &hs_lab_none) {
			ck_assert_uint_eq(r.saved_bytes, 0);
			ck_assert_uint_eq(r.counts.breaks, 0);
		}
	}
}
END_TEST

/* Where nothing changes, the oracle that takes everything saves everything, and the one with manners no less than us.
 */
START_TEST(test_sim_properties_the_oracle_is_the_bound)
{
	static const char text[] =
	    "[host]\nseconds = 20\n[guests a]\ncount = 3\nmemory = 64M\neven = 20\nskewed = 30\nzero = 10\n"
	    "same_group = 50\nwrite = 0\naccesses = 200000\nhot_max = 100\n";
	static struct hs_lab_costs none;
	struct hs_lab_options o = hs_lab_options_default(&none);
	struct hs_lab_result all, oracle, ours;

	hs_lab_costs_none(&none);
	o.gain_all = true;
	all = lab_run(text, &hs_lab_oracle, &o);
	oracle = lab_run(text, &hs_lab_oracle, NULL);
	ours = lab_run(text, &hs_lab_hs_share, NULL);
	ck_assert_uint_eq(all.saved_bytes, all.possible_bytes);
	ck_assert_uint_le(oracle.saved_bytes, all.saved_bytes);
	ck_assert_uint_le(ours.saved_bytes, oracle.saved_bytes);
	ck_assert_uint_gt(ours.saved_bytes, oracle.saved_bytes * 9 / 10);
}
END_TEST

START_TEST(test_sim_properties_the_same_seed_is_the_same_run)
{
	char text[2048];

	make_up(text, sizeof(text), 42);
	for (size_t k = 0; hs_lab_policies[k]; k++) {
		struct hs_lab_result a = lab_run(text, hs_lab_policies[k], NULL);
		struct hs_lab_result b = lab_run(text, hs_lab_policies[k], NULL);

		/* Of the lab's own process, not of the run. */
		a.wall_seconds = b.wall_seconds = 0;
		a.resident_bytes = b.resident_bytes = 0;
		ck_assert_msg(memcmp(&a.counts, &b.counts, sizeof(a.counts)) == 0, "%s", a.policy->name);
		ck_assert_msg(memcmp(&a.spent, &b.spent, sizeof(a.spent)) == 0, "%s", a.policy->name);
		ck_assert_msg(memcmp(a.points, b.points, sizeof(a.points)) == 0, "%s", a.policy->name);
		ck_assert_uint_eq(a.saved_bytes, b.saved_bytes);
		ck_assert_uint_eq(a.missed_bytes, b.missed_bytes);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab/properties");
	TCase *c = tcase_create("properties");

	tcase_add_loop_test(c, test_sim_properties_conservation, 0, 8);
	tcase_add_test(c, test_sim_properties_the_oracle_is_the_bound);
	tcase_add_test(c, test_sim_properties_the_same_seed_is_the_same_run);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
