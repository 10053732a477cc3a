/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline with the merge engine on real guests: what is shared stays when the engine comes anew. */
#include <signal.h>
#include <sys/wait.h>

#include "hs_test.h"
#include "hs/pipeline.h"
#include "share/engine_scene.h"

#define MIN_BYTES (8U << 20)
#define ROUNDS    10

static struct hs_pipeline *pipeline;
static uint32_t nr_sleeps;
static uint32_t read_at; /* the sleep after which guest 0 reads some of its pages; 0: never */

/* Some that are shared of each huge page, fewer than would make it hot. */
static void read_some(void)
{
	for (uint32_t p = HOT_HUGE * HS_BASE_PER_HUGE; p < guests[0].nr_pages; p++)
		if (is_wanted(&guests[0], p) && p % HS_BASE_PER_HUGE < 80)
			test_guest_read(&guests[0], p);
}

static int sleep_and_read(void *ctx, uint64_t us)
{
	const int rc = wall.sleep_us(ctx, us);

	if (++nr_sleeps == read_at)
		read_some();
	return rc;
}

static struct hs_clock clock_ops;

static void create(bool observe)
{
	struct hs_pipeline_config c = hs_pipeline_config_default;

	clock_ops = wall;
	clock_ops.sleep_us = sleep_and_read;
	c.share = cfg;
	c.min_bytes = MIN_BYTES;
	c.coarse.interval_ms = 20;
	c.observe = observe;
	ck_assert_msg(hs_pipeline_create(&pipeline, &host, &c, &clock_ops, &err) == 0, "%s", err.text);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_msg(hs_pipeline_add_pid(pipeline, guests[i].pid, &err) == 0, "%s", err.text);
}

static struct hs_guest_report cycle(void)
{
	struct hs_guest_report r[NR_GUESTS];
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_pipeline_report(pipeline, r, NR_GUESTS), NR_GUESTS);
	return r[0];
}

/* Restart, or observe and save again. Guest 0 has read some of the shared pages in the last round of the first cycle.
 */
START_TEST(test_service_pipeline_share_stays)
{
	struct hs_guest_report before, now;
	uint64_t mergeable;

	start_guests();
	create(false);
	(void)cycle();
	before = cycle();
	ck_assert_uint_gt(before.ledger.shared, (NR_HUGE - HOT_HUGE) * 200);
	mergeable = test_guest_smaps(&guests[0]).mg_bytes;
	if (_i) {
		hs_pipeline_disengage(pipeline);
		ck_assert_msg(hs_pipeline_engage(pipeline, &err) == 0, "%s", err.text);
	} else {
		hs_pipeline_destroy(pipeline);
		create(false);
	}
	nr_sleeps = 0;
	read_at = ROUNDS;
	for (int i = 0; i < 3; i++) {
		now = cycle();
		ck_assert_uint_ge(now.ledger.shared, before.ledger.shared);
		ck_assert_uint_ge(test_guest_smaps(&guests[0]).mg_bytes, mergeable);
	}
	ck_assert_uint_gt(nr_sleeps, ROUNDS);
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/* Written between two cycles, it was compared before: that it is not shared shows it. */
START_TEST(test_service_pipeline_share_written_unseen)
{
	struct hs_guest_report before, now;
	uint32_t page = 3 * HS_BASE_PER_HUGE;

	start_guests();
	create(true);
	(void)cycle();
	before = cycle();
	while (!is_wanted(&guests[0], page))
		page++;
	test_guest_write(&guests[0], page, 7000000);
	ck_assert_msg(hs_pipeline_engage(pipeline, &err) == 0, "%s", err.text);
	for (int i = 0; i < 3; i++)
		now = cycle();
	ck_assert_uint_eq(now.cold_identical, before.cold_identical - 1);
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/* One that is held when the engine comes is taken later; what QEMU had marked in it is foreign until then. */
START_TEST(test_service_pipeline_share_held_guest)
{
	struct hs_guest_report r;
	int status;

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		guests[i].mergeable = i == 0;
		test_guest_start(&guests[i]);
	}
	create(true);
	ck_assert_int_eq(kill(guests[0].pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(guests[0].pid, &status, WUNTRACED), guests[0].pid);
	ck_assert_msg(hs_pipeline_engage(pipeline, &err) == 0, "%s", err.text);
	for (int i = 0; i < 2; i++) {
		r = cycle();
		ck_assert_str_ne(r.merge_obstacle.text, "");
		ck_assert_uint_eq(r.ledger.shared, 0);
	}
	ck_assert_int_eq(kill(guests[0].pid, SIGCONT), 0);
	(void)cycle();
	r = cycle();
	ck_assert_str_eq(r.merge_obstacle.text, "");
	ck_assert_uint_gt(r.ledger.shared, (NR_HUGE - HOT_HUGE) * 200);
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/*
 * A page of guest 0 is held before anything is shared: the kernel can split its huge page no more, so that nothing of
 * it merges. After three bursts its marks are gone, it is huge still, and everything else is shared as ever.
 */
START_TEST(test_service_pipeline_share_gives_back_what_is_held)
{
	const hs_huge_nr victim = HOT_HUGE + 3;
	const uint64_t rest = (NR_HUGE - HOT_HUGE - 1) * HS_HUGE_SIZE;
	struct hs_guest_report r;
	struct test_smaps m;
	uint32_t page = victim * HS_BASE_PER_HUGE;

	start_guests();
	while (!is_wanted(&guests[0], page))
		page++;
	test_guest_hold(&guests[0], page);
	create(false);
	for (int i = 0; i < 3; i++) {
		r = cycle();
		ck_assert_uint_eq(r.by_reason[HS_WHY_DOES_NOT_MERGE], 0);
	}
	ck_assert_uint_gt(test_guest_smaps(&guests[0]).mg_bytes, rest);
	for (int i = 0; i < 3; i++) {
		r = cycle();
		m = test_guest_smaps(&guests[0]);
		ck_assert_uint_eq(r.by_reason[HS_WHY_DOES_NOT_MERGE], 1);
		ck_assert_uint_gt(r.ledger.shared, (NR_HUGE - HOT_HUGE - 1) * 200);
		ck_assert_uint_le(m.mg_bytes, rest);
		ck_assert_uint_le(m.nh_bytes, rest);
		ck_assert_uint_eq(m.huge_bytes, (HOT_HUGE + 1) * HS_HUGE_SIZE);
	}
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_loop_test(t, test_service_pipeline_share_stays, 0, 2);
	tcase_add_test(t, test_service_pipeline_share_written_unseen);
	tcase_add_test(t, test_service_pipeline_share_held_guest);
	tcase_add_test(t, test_service_pipeline_share_gives_back_what_is_held);
}

int main(void)
{
	return engine_scene_main("service/pipeline_share", add);
}
