/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline on a real process that changes its memory map while it is looked at. Nothing is shared. */
#include <unistd.h>

#include "ept/view_guest.h"
#include "hs/sim_view.h"
#include "hs_test.h"
#include "hs/pipeline.h"

#define NR_HUGE 8

static struct view_guest guest;
static struct hs_pipeline *pipeline;
static struct hs_error err;
static struct hs_sim_clock sim; /* nothing of the guest moves by itself: time need not pass */
static struct hs_clock clock_ops;

static struct hs_guest_report cycle(void)
{
	struct hs_guest_report r;
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_pipeline_report(pipeline, &r, 1), 1);
	return r;
}

static void setup(void)
{
	static const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_pipeline_config cfg = hs_pipeline_config_default;

	(void)vg_start(&guest, VG_HUGE, NR_HUGE);
	clock_ops = hs_sim_clock_ops(&sim);
	cfg.share = hs_share_config_default;
	cfg.observe = cfg.no_fine = true;
	cfg.min_bytes = VG_MIN_BYTES;
	cfg.coarse.interval_ms = 5;
	ck_assert_msg(hs_pipeline_create(&pipeline, &host, &cfg, &clock_ops, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_pipeline_add_pid(pipeline, guest.pid, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	hs_pipeline_destroy(pipeline);
	vg_stop(&guest);
}

START_TEST(test_service_pipeline_new_memory)
{
	struct hs_guest_report r = cycle();

	ck_assert_uint_eq(r.nr_huge, NR_HUGE);
	ck_assert_uint_eq(r.cold, NR_HUGE);
	vg_map_more(&guest, 6);
	r = cycle();
	ck_assert_uint_eq(r.nr_huge, NR_HUGE + 6);
	ck_assert_uint_eq(r.cold, NR_HUGE);
	ck_assert_uint_eq(r.absent, 6);
	ck_assert_str_eq(r.look_obstacle.text, "");
	/* At once again: not before some cycles have passed. */
	vg_map_more(&guest, 7);
	ck_assert_uint_eq(cycle().nr_huge, NR_HUGE + 6);
	for (int i = 0; i < 10; i++)
		r = cycle();
	ck_assert_uint_eq(r.nr_huge, NR_HUGE + 6 + 7);
	ck_assert_uint_eq(r.cold, NR_HUGE);
}
END_TEST

START_TEST(test_service_pipeline_less_memory)
{
	struct hs_guest_report r;

	vg_unmap(&guest, 3 * HS_BASE_PER_HUGE, HS_BASE_PER_HUGE);
	r = cycle();
	/* The old view serves where a new one finds too little in each of the two pieces. */
	ck_assert_uint_eq(r.cold + r.unknown, r.nr_huge);
	ck_assert_uint_lt(r.cold, NR_HUGE);
	ck_assert_uint_gt(r.cold, 0);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;

	if (VG_SANITIZED)
		return hs_test_skip("service/pipeline_live", VG_SANITIZED_WHY);
	if (geteuid())
		return hs_test_skip("service/pipeline_live", "reading page tables needs root");
	s = suite_create("service/pipeline_live");
	t = tcase_create("live");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_service_pipeline_new_memory);
	tcase_add_test(t, test_service_pipeline_less_memory);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
