/* How often a guest's accessed bits may be cleared, by what that costs it. */
#include "hs_test.h"

#include "ept/host_bit_cost.h"

START_TEST(test_ept_host_bit_debt)
{
	struct hs_host_bit_debt d = { 0 };
	const uint64_t s = 1000000, start = 1000 * s;
	uint64_t now = start, nr = 0;

	/* What costs nothing is always allowed. */
	for (int i = 0; i < 1000; i++) {
		ck_assert(hs_host_bit_debt_allows(&d, now));
		hs_host_bit_debt_add(&d, 1000000, 0);
	}
	/* 16,384 entries of 20 us: 328 ms. Two in advance, then one in 16.4 s. */
	for (now = start; now < start + 600 * s; now += s / 10)
		if (hs_host_bit_debt_allows(&d, now)) {
			hs_host_bit_debt_add(&d, 16384, 20000);
			nr++;
		}
	ck_assert_uint_ge(nr, 36);
	ck_assert_uint_le(nr, 39);
	/* Few entries: at each round. */
	for (now += 60 * s, nr = 0; nr < 600; nr++, now += 600000) {
		ck_assert(hs_host_bit_debt_allows(&d, now));
		hs_host_bit_debt_add(&d, 500, 20000);
	}
	/* Small steps of time are not lost. */
	d = (struct hs_host_bit_debt){ .owed_us = s, .as_of_us = now };
	for (uint64_t us = 0; us < 26 * s; us += 7)
		(void)hs_host_bit_debt_allows(&d, now + us);
	ck_assert(hs_host_bit_debt_allows(&d, now + 26 * s));
}
END_TEST

START_TEST(test_ept_host_bit_cost)
{
	const uint32_t ns = hs_host_bit_cost_ns();

	printf("an entry that is used again after its accessed bit was cleared costs %u ns here\n", ns);
	ck_assert_uint_le(ns, 10000000);
	ck_assert_uint_eq(hs_host_bit_cost_ns(), ns);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/host_bit_cost");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_ept_host_bit_debt);
	tcase_add_test(c, test_ept_host_bit_cost);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
