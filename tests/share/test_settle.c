/* When a burst has merged what it was to merge. */
#include "hs_test.h"

#include "share/settle.h"

/* As soon as the count is there, whatever was merged before. */
START_TEST(test_share_settle_all)
{
	struct hs_settle t = { .open = 1000, .before = 500 };

	ck_assert(!hs_settle_reached(&t, 500));
	ck_assert(!hs_settle_reached(&t, 1499));
	ck_assert(hs_settle_reached(&t, 1500));
	ck_assert(hs_settle_reached(&(struct hs_settle){ .before = 7 }, 7));
}
END_TEST

/* A few that do not merge are not waited for once no more of them come; while they come they are. */
START_TEST(test_share_settle_all_but_little)
{
	struct hs_settle t = { .open = 1000 };

	ck_assert_uint_eq(hs_settle_little(1000), 5);
	for (uint64_t merged = 990; merged < 999; merged++)
		ck_assert(!hs_settle_reached(&t, merged));
	ck_assert(!hs_settle_reached(&t, 998));
	ck_assert(!hs_settle_reached(&t, 998));
	ck_assert(hs_settle_reached(&t, 998));
}
END_TEST

/* More than a few: the passes decide. So they do where pages that broke before are still in the count. */
START_TEST(test_share_settle_not_without_them)
{
	struct hs_settle t = { .open = 1000, .before = 100 };

	for (int i = 0; i < 100; i++)
		ck_assert(!hs_settle_reached(&t, 1094));
	for (int i = 0; i < 100; i++)
		ck_assert(!hs_settle_reached(&t, 50));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share/settle");
	TCase *c = tcase_create("settle");

	tcase_add_test(c, test_share_settle_all);
	tcase_add_test(c, test_share_settle_all_but_little);
	tcase_add_test(c, test_share_settle_not_without_them);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
