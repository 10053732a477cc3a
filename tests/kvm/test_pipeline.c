/* SPDX-License-Identifier: Apache-2.0 */
/* HS-Share over guests under KVM: what is cold and identical is shared, what is evenly hot stays whole in the nested
 * tables.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hs_test.h"
#include "hs/pipeline.h"
#include "vmm.h"
#include "base/wallclock.h"

#define NR_HUGE  10
#define NR_EVEN  2 /* the first ones: all base pages hot */
#define NR_HOT   4 /* the next ones: hot, but only BLOAT base pages of each */
#define BLOAT    8
#define NR_PAGES (NR_HUGE * HS_BASE_PER_HUGE)

static const struct vmm_config config = {
	.nr_huge = NR_HUGE,
	.nr_slots = 2,
	.slots = { { 0x40000000, 0, 6 }, { 0x10000000, 6, 4 } },
	.two_spaces = true,
};
static struct vmm guests[2];
static uint32_t contents[2][NR_PAGES];

/* Half of every huge page, hot or cold, is the same in both guests, an eighth is zero, the rest is each guest's own. */
static uint32_t content(uint32_t g, uint32_t page)
{
	const uint32_t i = page % 8;

	if (i == 7)
		return 0;
	return i < 4 ? 1000000 + page : (g + 2) * 10000000 + page;
}

static void start(void)
{
	static uint32_t hot[NR_EVEN * HS_BASE_PER_HUGE + (NR_HOT - NR_EVEN) * BLOAT];
	uint32_t nr = 0;

	for (uint32_t i = 0; i < NR_HOT * HS_BASE_PER_HUGE; i++)
		if (i < NR_EVEN * HS_BASE_PER_HUGE || i % 64 == 0)
			hot[nr++] = i;
	for (uint32_t g = 0; g < 2; g++) {
		ck_assert(vmm_start(&guests[g], &config));
		for (uint32_t i = 0; i < NR_PAGES; i++)
			contents[g][i] = content(g, i);
		vmm_fill(&guests[g], contents[g]);
		vmm_spin(&guests[g], hot, nr, false);
	}
}

/* Time in which the guests have done their rounds, however slow the machine is today. */
static int sleep_with_guests(void *ctx, uint64_t us)
{
	int rc = hs_wallclock.sleep_us(hs_wallclock.ctx, us);

	(void)ctx;
	for (int g = 0; g < 2 && !rc && us >= 50000; g++)
		vmm_await_rounds(&guests[g], 1);
	return rc;
}

START_TEST(test_kvm_pipeline_shares)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;
	uint32_t whole, shared = (NR_HUGE - NR_HOT) * HS_BASE_PER_HUGE / 2;
	const struct hs_clock clock = { .now_us = hs_wallclock.now_us, .sleep_us = sleep_with_guests };
	struct hs_pipeline *p;
	struct hs_guest_report r[2];
	struct hs_pipeline_totals totals;
	struct hs_share_unshared undone;
	struct hs_error err = { "" };
	const time_t end = time(NULL) + 180;
	uint64_t news;

	start();
	cfg.share = hs_share_config_default;
	cfg.min_bytes = UINT64_C(10) << 20; /* more than a thread's stack */
	cfg.coarse.interval_ms = 100;
	cfg.fine.samples = 3;
	cfg.fine.interval_ms = 100;
	cfg.fine.max_window_ms = 100000; /* not that of a machine that has other things to do */
	ck_assert_msg(!hs_pipeline_create(&p, &host, &cfg, &clock, &err), "%s", err.text);
	for (int g = 0; g < 2; g++)
		ck_assert_msg(!hs_pipeline_add_pid(p, guests[g].pid, &err), "%s", err.text);
	ck_assert_msg(!hs_pipeline_cycle(p, &news, &err), "%s", err.text);
	hs_pipeline_totals(p, &totals);
	ck_assert_uint_eq(hs_pipeline_report(p, r, 2), 2);
	/* Where hot huge pages can be looked into, those that are bloated are shared, all but their hot base pages. */
	whole = totals.fine.nr_split ? NR_EVEN : NR_HOT;
	shared += (NR_HOT - whole) * (HS_BASE_PER_HUGE / 2 - BLOAT);
	ck_assert_uint_eq(totals.fine.nr_split, strstr(r[0].view_name, "soft dirty") ? 0 : 2 * NR_HOT);
	ck_assert_uint_eq(totals.fine.nr_restored, totals.fine.nr_split);
	/*
	 * A guest whose threads got no processor for two seconds, on this slow host, is taken up in a later cycle. And
	 * what was merged within the first window is known to be cold after a whole one.
	 */
	while ((r[0].ledger.shared < shared || r[1].ledger.shared < shared || r[0].cold < NR_HUGE - NR_HOT ||
		r[1].cold < NR_HUGE - NR_HOT) &&
	       time(NULL) < end) {
		ck_assert_msg(!hs_pipeline_cycle(p, &news, &err), "%s", err.text);
		ck_assert_uint_eq(hs_pipeline_report(p, r, 2), 2);
	}
	for (int g = 0; g < 2; g++) {
		printf("guest %d: %s; hot %llu, cold %llu, shared %llu, zero %llu, pages_2m %lld\n", g, r[g].view_name,
		       (unsigned long long)r[g].hot, (unsigned long long)r[g].cold,
		       (unsigned long long)r[g].ledger.shared, (unsigned long long)r[g].ledger.zero,
		       vmm_kvm_stat(&guests[g], "pages_2m"));
		ck_assert(strstr(r[g].view_name, "nested page tables") == r[g].view_name);
		ck_assert_uint_eq(r[g].hot, NR_HOT);
		ck_assert_uint_eq(r[g].cold, NR_HUGE - NR_HOT);
		/* Everything that is identical and cold, and nothing that is hot. */
		ck_assert_uint_eq(r[g].ledger.shared, shared);
		ck_assert_uint_eq(vmm_smaps_kb(&guests[g], "AnonHugePages"), whole * 2048);
		vmm_await_rounds(&guests[g], 2);
		ck_assert_int_eq(vmm_kvm_stat(&guests[g], "pages_2m"), whole);
		vmm_unspin(&guests[g]);
		ck_assert_uint_eq(vmm_bad_pages(&guests[g], contents[g]), 0);
	}
	/* And all back. */
	ck_assert_msg(!hs_pipeline_unshare_all(p, &undone, &err), "%s", err.text);
	for (int g = 0; g < 2; g++) {
		ck_assert_uint_eq(vmm_smaps_kb(&guests[g], "AnonHugePages"), NR_HUGE * 2048);
		ck_assert_uint_eq(vmm_bad_pages(&guests[g], contents[g]), 0);
	}
	hs_pipeline_destroy(p);
	for (int g = 0; g < 2; g++)
		vmm_stop(&guests[g]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/pipeline");
	TCase *t = tcase_create("pipeline");

	if (access("/dev/kvm", R_OK | W_OK))
		return hs_test_skip("kvm/pipeline", "there is no /dev/kvm");
	tcase_set_timeout(t, 350);
	tcase_add_test(t, test_kvm_pipeline_shares);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
