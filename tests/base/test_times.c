/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks, and the rest that doubles. */
#include <time.h>
#include <unistd.h>

#include "base/times.h"
#include "hs_test.h"

START_TEST(test_base_times_clocks)
{
	const uint64_t start = hs_monotonic_us(), boot = hs_boottime_us(), cpu = hs_cpu_thread_us(),
		       process = hs_process_cpu_us();
	volatile uint64_t spins = 0;
	uint64_t monotonic, used;

	while (hs_monotonic_us() - start < 20000)
		spins++;
	ck_assert_uint_ge(hs_monotonic_us(), start + 20000);
	ck_assert_uint_ge(hs_boottime_us(), boot + 20000);
	ck_assert_uint_gt(hs_cpu_thread_us(), cpu);
	ck_assert_uint_gt(hs_process_cpu_us(), process);
	monotonic = hs_monotonic_us();
	ck_assert_uint_ge(hs_boottime_us(), monotonic); /* suspends are counted */
	used = hs_cpu_thread_us();
	ck_assert_uint_le(used - cpu, hs_monotonic_us() - start + 1);
	ck_assert_uint_ge(hs_cpu_thread_ns() / 1000, used);
	ck_assert_uint_le(hs_cpu_thread_ns() / 1000, used + 10000000); /* the same clock: not ten seconds on */
}
END_TEST

START_TEST(test_base_times_rest)
{
	static const struct {
		uint64_t last, first, longest;
		bool busy;
		uint64_t next;
	} cases[] = {
		{ 0, 5, 60, false, 5 },
		{ 0, 5, 60, true, 5 },
		{ 5, 5, 60, false, 10 },
		{ 40, 5, 60, false, 60 },
		{ 60, 5, 60, false, 60 },
		{ 40, 5, 60, true, 5 },
		{ 0, 90, 60, true, 60 },
		{ 3, 5, 60, false, 5 },
		{ UINT64_MAX - 1, 5, UINT64_MAX, false, UINT64_MAX },
		{ 30, 5, 60, false, 60 },
		{ 7, 0, 0, false, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(hs_rest_next(cases[i].last, cases[i].busy, cases[i].first, cases[i].longest) ==
				  cases[i].next,
			      "case %zu", i);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base_times");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_base_times_clocks);
	tcase_add_test(t, test_base_times_rest);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
