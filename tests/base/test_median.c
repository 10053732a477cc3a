/* SPDX-License-Identifier: Apache-2.0 */
/* The middle of some measurements. */
#include <math.h>

#include "base/median.h"
#include "hs_test.h"

START_TEST(test_base_median_odd_even_none)
{
	double odd[] = { 9, -1, 4 }, even[] = { 10, 1, 2, 5 }, one[] = { 7 };

	ck_assert_double_eq(hs_median(odd, 3), 4);
	ck_assert_double_eq(odd[0], -1); /* sorted */
	ck_assert_double_eq(odd[2], 9);
	ck_assert_double_eq(hs_median(even, 4), 3.5);
	ck_assert_double_eq(hs_median(one, 1), 7);
	ck_assert(isnan(hs_median(one, 0)));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base_median");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_base_median_odd_even_none);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
