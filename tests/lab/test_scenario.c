/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios: what is read, what is refused, and with which words. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "lab/scenario.h"

START_TEST(test_sim_scenario_reads_all)
{
	static const char text[] =
	    "[host]\nseed = 010\nseconds = 12.5\n"
	    "[guests web]\ncount = 3\nmemory = 1G\ngroup = blue\neven = 12.5\nbimodal = yes\nrun = 4\n"
	    "[guests db]\nmemory = 2M\n";
	struct hs_error err = { "" };
	struct hs_lab_scenario s;

	ck_assert_msg(hs_lab_scenario_parse(&s, "some/where/mine.ini", text, &err) == 0, "%s", err.text);
	ck_assert_str_eq(s.name, "mine");
	ck_assert_uint_eq(s.seed, 10);
	ck_assert_double_eq(s.seconds, 12.5);
	ck_assert_uint_eq(s.nr_kinds, 2);
	ck_assert_uint_eq(s.kinds[0].count, 3);
	ck_assert_uint_eq(s.kinds[0].memory, UINT64_C(1) << 30);
	ck_assert_str_eq(s.kinds[0].group, "blue");
	ck_assert_double_eq(s.kinds[0].even, 12.5);
	ck_assert(s.kinds[0].bimodal);
	ck_assert_uint_eq(s.kinds[0].run, 4);
	/* What is not said is as by default. */
	ck_assert_str_eq(s.kinds[1].group, "default");
	ck_assert_uint_eq(s.kinds[1].count, 1);
}
END_TEST

static const struct {
	const char *text, *message;
} refused[] = {
	{ "", "there are no guests" },
	{ "[guests a]\nmemory = 1\n", "line 2: memory = 1: give a multiple of 2M" },
	{ "[guests a]\nmemory = 1073741824M\n", "at most 8T" },
	{ "[guests a]\nmemory = 99999999999999T\n", "give a multiple of 2M" },
	{ "[guests a]\nmemory = 3K\n", "give a multiple of 2M" },
	{ "[guests a]\nmemory = -2M\n", "give a multiple of 2M" },
	{ "[guests a]\neven = 101\n", "even = 101: give a number from 0 to 100" },
	{ "[guests a]\neven = nan\n", "even = nan: give a number" },
	{ "[guests a]\neven = 10%\n", "even = 10%: give a number" },
	{ "[guests a]\ncount = 1.5\n", "count = 1.5: give a whole number from 1 to 1024" },
	{ "[guests a]\ncount = 0\n", "count = 0: give a whole number" },
	{ "[guests a]\nbimodal = 1\n", "bimodal = 1: give yes or no" },
	{ "[guests a]\nfrob = 1\n", "line 2: there is no key \"frob\"" },
	{ "[host]\nmemory = 1G\n", "there is no key \"memory\" in [host]" },
	{ "[host]\nseed = x\n", "seed = x: give a whole number" },
	{ "[host]\nseed = 0x10\n", "seed = 0x10: give a whole number" },
	{ "[host]\nseed = +1\n", "seed = +1: give a whole number" },
	{ "[host]\nseed = 9223372036854775808\n", "give a whole number below 2^63" },
	{ "[machine]\nseed = 1\n", "there is no section [machine]" },
	{ "seed = 1\n", "there is no section []" },
	{ "[guests a]\nwhat\n", "line 2: this is no \"key = value\"" },
	{ "[guests a]\neven = 60\nskewed = 50\n", "come to 110 percent" },
	{ "[guests a]\nzero = 60\nsame_group = 50\n", "come to 110 percent" },
	{ "[guests a]\nhot_min = 20\nhot_max = 10\n", "hot_min 20 is above hot_max 10" },
	{ "[guests a]\ncount = 1000\n[guests b]\ncount = 1000\n", "2000 guests; at most 1024" },
};

START_TEST(test_sim_scenario_refuses)
{
	struct hs_error err = { "" };
	struct hs_lab_scenario s;

	ck_assert_int_eq(hs_lab_scenario_parse(&s, "t", refused[_i].text, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, refused[_i].message) != NULL, "\"%s\" does not say \"%s\"", err.text,
		      refused[_i].message);
}
END_TEST

START_TEST(test_sim_scenario_built_in)
{
	struct hs_error err = { "" };
	struct hs_lab_scenario s;
	size_t n = 0;

	for (; hs_lab_scenario_name(n); n++)
		ck_assert_msg(hs_lab_scenario_built_in(&s, hs_lab_scenario_name(n), &err) == 0, "%s", err.text);
	ck_assert_uint_ge(n, 4);
	ck_assert_int_eq(hs_lab_scenario_built_in(&s, "nothing", &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "the built-in ones are demo, "));
	ck_assert_int_eq(hs_lab_scenario_read(&s, "/nonexistent/x.ini", &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/x.ini"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab/scenario");
	TCase *c = tcase_create("scenario");

	tcase_add_test(c, test_sim_scenario_reads_all);
	tcase_add_loop_test(c, test_sim_scenario_refuses, 0, sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(c, test_sim_scenario_built_in);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
