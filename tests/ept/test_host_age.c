/* SPDX-License-Identifier: Apache-2.0 */
/* How long and how often ageing holds a guest's mmap lock. */
#include <unistd.h>

#include "base/times.h"
#include "hs/view.h"
#include "hs_test.h"
#include "view_guest.h"

static const struct hs_host host = HS_HOST_DEFAULT;
static struct view_guest guest;
static struct hs_view *view;
static struct hs_error err;

static void open_view(enum vg_kind kind, uint32_t nr_huge)
{
	int rc;

	(void)vg_start(&guest, kind, nr_huge);
	rc = hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err);
	ck_assert_msg(!rc, "%s", err.text);
}

static void close_view(void)
{
	hs_view_close(view);
	vg_stop(&guest);
}

/*
 * A guest with so many base pages that clearing their bits takes long: its lock is not held all the time, and what is
 * not cleared counts as accessed.
 */
START_TEST(test_ept_host_age_is_bounded)
{
	enum { NR = 1024, ROUNDS = 40 };
	static struct hs_huge_sample s[NR];
	const uint32_t first = 0;
	uint64_t start_us, cpu_us, first_cpu_us;
	uint32_t cold = 0, accessed = 0;

	open_view(VG_BASE, NR);
	vg_fill(&guest, 0, NR * HS_BASE_PER_HUGE, 3);
	cpu_us = hs_cpu_thread_us();
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	first_cpu_us = hs_cpu_thread_us() - cpu_us;
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, s, &err), 0);
	for (int h = 0; h < NR; h++) {
		ck_assert_int_eq(s[h].state, HS_MAP_SPLIT);
		cold += s[h].accessed == HS_NO;
	}
	ck_assert_uint_ge(cold, NR - 4); /* another's ageing is no harm here */
	if (first_cpu_us < 21000) {
		printf("SKIPPED test_ept_host_age_is_bounded: %u base pages take %llu us here\n", NR * HS_BASE_PER_HUGE,
		       (unsigned long long)first_cpu_us);
		close_view();
		return;
	}
	/* Too early: it keeps its bit, and costs nothing. */
	vg_touch(&guest, &first, 1, true);
	start_us = hs_monotonic_us();
	cpu_us = hs_cpu_thread_us();
	for (int round = 0; round < ROUNDS; round++) {
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, 1, s, &err), 0);
		accessed += s[0].accessed == HS_YES;
	}
	cpu_us = hs_cpu_thread_us() - cpu_us;
	start_us = hs_monotonic_us() - start_us;
	printf("ageing %u base pages holds the lock for %llu us; %u more ageings at once took %llu us of CPU\n",
	       NR * HS_BASE_PER_HUGE, (unsigned long long)first_cpu_us, ROUNDS, (unsigned long long)cpu_us);
	ck_assert_uint_le(cpu_us, 2 * first_cpu_us + start_us / 10);
	if (start_us < first_cpu_us * 15) /* else it has become time again */
		ck_assert_uint_eq(accessed, ROUNDS);
	/* And later it is aged again. */
	(void)usleep((useconds_t)first_cpu_us * 30);
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, 1, s, &err), 0);
	ck_assert_int_eq(s[0].accessed, HS_NO);
	close_view();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept_host_age");
	TCase *t = tcase_create("live");

	if (geteuid())
		return hs_test_skip("ept/host_age", "it takes root to look into a process");
	if (VG_SANITIZED)
		return hs_test_skip("ept/host_age", VG_SANITIZED_WHY);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_ept_host_age_is_bounded);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
