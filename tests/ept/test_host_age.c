/* SPDX-License-Identifier: Apache-2.0 */
/* How long and how often ageing holds a guest's mmap lock. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/times.h"
#include "ept/host_internal.h"
#include "hs/scan.h"
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

/* Until the guest sleeps: it has answered before it does. */
static void await_sleep(void)
{
	const uint64_t until_us = hs_monotonic_us() + 30000000;
	char path[64], text[256] = "";

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)guest.pid);
	do {
		FILE *f = fopen(path, "re");

		ck_assert_ptr_nonnull(f);
		ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
		(void)fclose(f);
	} while (!strstr(text, ") S ") && hs_monotonic_us() < until_us && !usleep(1000));
	ck_assert_ptr_nonnull(strstr(text, ") S "));
}

/*
 * A guest with so many base pages that clearing their bits takes long: its lock is not held all the time, and what is
 * not cleared counts as accessed.
 */
START_TEST(test_ept_host_age_is_bounded)
{
	enum { NR = 1024, ROUNDS = 40 };
	static struct hs_huge_sample s[NR];
	static uint32_t pages[VG_MAX_PAGES];
	const uint32_t first = 0;
	uint64_t start_us, cpu_us, first_cpu_us;
	uint32_t cold = 0, accessed = 0;
	struct hs_coarse *coarse;

	open_view(VG_BASE, NR);
	for (uint32_t at = 0; at < NR * HS_BASE_PER_HUGE; at += VG_MAX_PAGES) {
		for (uint32_t i = 0; i < VG_MAX_PAGES; i++)
			pages[i] = at + i;
		vg_touch(&guest, pages, VG_MAX_PAGES, true);
	}
	await_sleep();
	cpu_us = hs_cpu_thread_us();
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	first_cpu_us = hs_cpu_thread_us() - cpu_us;
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, s, &err), 0);
	for (int h = 0; h < NR; h++) {
		ck_assert_int_eq(s[h].state, HS_MAP_SPLIT);
		cold += s[h].accessed == HS_NO;
	}
	ck_assert_uint_ge(cold, NR - 4); /* another's ageing is no harm here */
	if (!hs_host_view(view)->next_clear_us[HS_CLEAR_ANONYMOUS]) {
		printf("SKIPPED test_ept_host_age_is_bounded: %u base pages take %llu us here\n", NR * HS_BASE_PER_HUGE,
		       (unsigned long long)first_cpu_us);
		close_view();
		return;
	}
	/* Too early: it keeps its bit, and costs nothing. */
	vg_touch(&guest, &first, 1, true);
	ck_assert_int_eq(hs_coarse_create(&coarse, NR, &HS_COARSE_CONFIG_DEFAULT), 0);
	start_us = hs_monotonic_us();
	cpu_us = hs_cpu_thread_us();
	for (int round = 0; round < ROUNDS; round++) {
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, 1, s, &err), 0);
		accessed += s[0].accessed != HS_NO; /* unknown where there was nothing to flush by; never cold */
	}
	cpu_us = hs_cpu_thread_us() - cpu_us;
	start_us = hs_monotonic_us() - start_us;
	printf("ageing %u base pages holds the lock for %llu us; %u more ageings at once took %llu us of CPU\n",
	       NR * HS_BASE_PER_HUGE, (unsigned long long)first_cpu_us, ROUNDS, (unsigned long long)cpu_us);
	ck_assert_uint_le(cpu_us, 2 * first_cpu_us + start_us / 10);
	if (start_us < first_cpu_us * 15) /* else it has become time again */
		ck_assert_uint_eq(accessed, ROUNDS);
	/* One access is one, in however many rounds it is seen. */
	for (int round = 0; round < 8; round++) {
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		ck_assert_int_eq(hs_coarse_round(coarse, view, &err), 0);
	}
	ck_assert_uint_le(hs_coarse_count(hs_coarse_get(coarse, 0)), 1);
	hs_coarse_destroy(coarse);
	/* And later it is aged again. */
	(void)usleep((useconds_t)first_cpu_us * 30);
	await_sleep();
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, 1, s, &err), 0);
	ck_assert_int_eq(s[0].accessed, HS_NO);
	close_view();
}
END_TEST

/* All that the guest reads, over and over, is in base pages: none of it is ever said to be cold. */
static void check_base(uint32_t nr_huge, const uint32_t *pages, uint32_t nr, bool *any_known)
{
	enum { MAX = 32, ROUNDS = 10 };
	static struct hs_base_sample b[MAX];
	const uint64_t until_us = hs_monotonic_us() + 15000000;
	hs_huge_nr huge[MAX];
	int nr_missed = 0;

	*any_known = false;
	open_view(VG_BASE, nr_huge);
	vg_fill(&guest, 0, nr_huge * HS_BASE_PER_HUGE, 3);
	vg_spin(&guest, pages, nr);
	for (uint32_t h = 0; h < nr_huge; h++)
		huge[h] = h;
	for (int round = 0; round < ROUNDS && hs_monotonic_us() < until_us; round++) {
		uint64_t before;
		bool missed = false;

		ck_assert_int_eq(hs_view_age(view, &err), 0);
		before = guest.box->spins;
		while (guest.box->spins - before < 3 && hs_monotonic_us() < until_us)
			(void)usleep(20000);
		if (guest.box->spins - before < 3)
			break;
		ck_assert_int_eq(hs_view_sample_base(view, huge, nr_huge, b, &err), 0);
		for (uint32_t i = 0; i < nr; i++) {
			const struct hs_base_sample *s = &b[pages[i] / HS_BASE_PER_HUGE];

			*any_known |= s->state != HS_MAP_UNKNOWN;
			missed |=
			    s->state != HS_MAP_UNKNOWN && !hs_bits_test(&s->accessed, pages[i] % HS_BASE_PER_HUGE);
		}
		nr_missed += missed;
	}
	close_view();
	/* As of huge pages: where the host is a guest itself, a flush now and then leaves something cached. */
	ck_assert_msg(nr_missed <= ROUNDS / 5, "in %d rounds of %d what is read all the time is said not to be",
		      nr_missed, ROUNDS);
}

START_TEST(test_ept_host_age_base_sweep)
{
	enum { NR = 32 };
	static uint32_t pages[NR * HS_BASE_PER_HUGE];
	bool any_known;

	for (uint32_t i = 0; i < NR * HS_BASE_PER_HUGE; i++)
		pages[i] = i;
	check_base(NR, pages, NR * HS_BASE_PER_HUGE, &any_known);
	printf("a guest that reads all of its base pages: %s\n", any_known ? "seen" : "unknown");
}
END_TEST

/* So few that the processor has them all cached, all the time. */
START_TEST(test_ept_host_age_base_few)
{
	static const uint32_t near[] = { 7 }, apart[] = { 7, 300, 512 + 3 };
	bool any_known;

	check_base(8, near, 1, &any_known);
	ck_assert(!any_known);
	check_base(8, apart, 3, &any_known);
}
END_TEST

/* A guest that sleeps is known to be cold, and what woke it makes it unknown until the next ageing. */
START_TEST(test_ept_host_age_base_rest)
{
	enum { NR = 8 };
	static struct hs_huge_sample s[NR];
	const uint32_t first = 5;

	open_view(VG_BASE, NR);
	vg_fill(&guest, 0, NR * HS_BASE_PER_HUGE, 3);
	for (int round = 0; round < 5; round++) {
		await_sleep();
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, s, &err), 0);
		for (int h = 0; h < NR; h++)
			ck_assert_int_eq(s[h].accessed, HS_NO);
		vg_touch(&guest, &first, 1, true);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, s, &err), 0);
		ck_assert_int_ne(s[0].accessed, HS_NO);
		ck_assert_int_eq(s[1].accessed, HS_UNKNOWN);
	}
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
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_ept_host_age_is_bounded);
	tcase_add_test(t, test_ept_host_age_base_sweep);
	tcase_add_test(t, test_ept_host_age_base_few);
	tcase_add_test(t, test_ept_host_age_base_rest);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
