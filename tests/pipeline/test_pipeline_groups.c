/* SPDX-License-Identifier: Apache-2.0 */
/* Trust groups on real guests, through whole cycles: who owns a content, and that nothing is merged across groups. */
#include <unistd.h>

#include "hs_test.h"
#include "hs/pipeline.h"
#include "share/engine_scene.h"

#define MIN_BYTES (8U << 20)
#define FIRST     (HOT_HUGE * HS_BASE_PER_HUGE) /* base pages before it are hot, as far as the scene goes */

static struct hs_pipeline *pipeline;
static bool reading; /* guests 0 and 1 read their shared pages in every round: their contents are never due */

static int sleep_and_read(void *ctx, uint64_t us)
{
	const int rc = wall.sleep_us(ctx, us);

	for (uint32_t i = 0; reading && i < 2; i++)
		for (uint32_t p = FIRST; p < guests[i].nr_pages; p++)
			if (is_wanted(&guests[i], p) && p % HS_BASE_PER_HUGE < 80)
				test_guest_read(&guests[i], p);
	return rc;
}

static struct hs_clock clock_ops;

static void create(void)
{
	struct hs_pipeline_config c = hs_pipeline_config_default;

	clock_ops = wall;
	clock_ops.sleep_us = sleep_and_read;
	c.share = cfg;
	c.min_bytes = MIN_BYTES;
	c.coarse.interval_ms = 20;
	ck_assert_msg(hs_pipeline_create(&pipeline, &host, &c, &clock_ops, &err) == 0, "%s", err.text);
}

static void add_guest(uint32_t i, const char *group)
{
	const struct hs_guest_options opt = { .name = "guest", .group = group };

	ck_assert_msg(hs_pipeline_add(pipeline, guests[i].pid, &opt, &err) == 0, "%s", err.text);
}

static uint64_t cycles(uint32_t nr)
{
	uint64_t news = 0;

	while (nr--)
		ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	return news;
}

static struct hs_ledger ledger_of(uint32_t i)
{
	struct hs_guest_report r[NR_GUESTS];
	const size_t nr = hs_pipeline_report(pipeline, r, NR_GUESTS);

	for (size_t k = 0; k < nr; k++)
		if (r[k].pid == guests[i].pid)
			return r[k].ledger;
	ck_abort_msg("guest %u is not there", i);
}

static uint64_t conflicts(void)
{
	struct hs_pipeline_totals t;

	hs_pipeline_totals(pipeline, &t);
	return t.ledger.group_conflicts;
}

/* Contents that are the same in every guest that has them: content(page), 0 is a page of zeros. The rest is unique. */
static void start_with(uint32_t i, uint32_t (*content)(uint32_t page))
{
	test_guest_init(&guests[i], NR_HUGE);
	for (uint32_t p = 0; p < guests[i].nr_pages; p++)
		guests[i].content[p] = p < FIRST || !content || p % 2 ? (i + 1) * 1000000 + p : content(p);
	test_guest_start(&guests[i]);
}

static uint32_t one_for_all(uint32_t page)
{
	(void)page;
	return 1;
}

static uint32_t zeros(uint32_t page)
{
	return page % 4 ? 0 : 1 + page % 256; /* and something that is no zeros, equal with others of its own guest */
}

static uint32_t in_fours(uint32_t page)
{
	return 1 + page / 8;
}

static uint32_t other_fours(uint32_t page)
{
	return 10000 + page / 8;
}

#define NR_COMMON ((NR_HUGE - HOT_HUGE) * HS_BASE_PER_HUGE / 2)

/* One content on 2560 pages, and another group on the host that has nothing of the kind. */
START_TEST(test_pipeline_groups_many_holders)
{
	start_with(0, one_for_all);
	start_with(1, NULL);
	create();
	add_guest(0, "one");
	add_guest(1, "two");
	(void)cycles(2);
	ck_assert_uint_ge(ledger_of(0).shared, NR_COMMON * 99 / 100);
	ck_assert_uint_eq(ledger_of(1).shared, 0);
	ck_assert_uint_eq(conflicts(), 0);
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/* After a restart, what group one shares is accessed all the time. Group two has the same contents, and comes now. */
START_TEST(test_pipeline_groups_restart)
{
	uint64_t shared;

	start_guests();
	create();
	add_guest(0, "one");
	add_guest(1, "one");
	(void)cycles(2);
	shared = ledger_of(0).shared;
	ck_assert_uint_gt(shared, NR_COMMON * 9 / 10);
	hs_pipeline_destroy(pipeline); /* as SIGKILL would: the marks stay, what was known of contents is lost */
	reading = true;
	create();
	add_guest(0, "one");
	add_guest(1, "one");
	add_guest(2, "two");
	for (int i = 0; i < 5; i++) {
		(void)cycles(1);
		ck_assert_uint_eq(conflicts(), 0);
		ck_assert_uint_eq(ledger_of(2).shared, 0);
		ck_assert_uint_ge(ledger_of(0).shared, shared);
	}
	reading = false;
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/* The same, of guests that have no huge page left: nothing can be flushed, so that what they access is not known. */
START_TEST(test_pipeline_groups_restart_unflushed)
{
	uint64_t shared;

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		for (uint32_t p = 0; p < guests[i].nr_pages; p++)
			guests[i].content[p] = in_fours(p);
		test_guest_start(&guests[i]);
	}
	create();
	add_guest(0, "one");
	add_guest(1, "one");
	(void)cycles(2);
	shared = ledger_of(0).shared;
	ck_assert_uint_eq(shared, guests[0].nr_pages);
	hs_pipeline_destroy(pipeline);
	reading = true;
	create();
	add_guest(0, "one");
	add_guest(1, "one");
	(void)cycles(1);
	add_guest(2, "two");
	for (int i = 0; i < 4; i++) {
		(void)cycles(1);
		ck_assert_uint_eq(conflicts(), 0);
		ck_assert_uint_eq(ledger_of(2).shared, 0);
		ck_assert_uint_eq(ledger_of(0).shared, shared);
	}
	reading = false;
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/* What nobody of its owner's group has mergeable any more, another group may have. */
START_TEST(test_pipeline_groups_released)
{
	struct hs_share_unshared un;

	start_with(0, in_fours);
	start_with(1, NULL);
	start_with(2, in_fours);
	create();
	add_guest(0, "one");
	add_guest(1, "one");
	add_guest(2, "two");
	(void)cycles(3);
	ck_assert_uint_ge(ledger_of(0).shared, NR_COMMON * 99 / 100);
	ck_assert_uint_eq(ledger_of(2).shared, 0);
	ck_assert_msg(hs_pipeline_remove(pipeline, guests[0].pid, true, &un, &err) == 0, "%s", err.text);
	(void)cycles(2);
	ck_assert_uint_ge(ledger_of(2).shared, NR_COMMON * 99 / 100);
	ck_assert_uint_eq(conflicts(), 0);
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/*
 * Pages of zeros in two groups: with use_zero_pages each has them on the kernel's zero page; without, one group shares
 * them. Those of a huge page may go to the zero page as it is split, in both; so some come later, into base pages.
 */
START_TEST(test_pipeline_groups_zeros)
{
	struct hs_ledger l[2];

	cfg.use_zero_pages = _i;
	start_with(0, zeros);
	start_with(1, zeros);
	create();
	add_guest(0, "one");
	add_guest(1, "two");
	(void)cycles(3);
	ck_assert_uint_ge(ledger_of(0).shared + ledger_of(0).zero, NR_COMMON * 99 / 100);
	for (uint32_t i = 0; i < 2; i++)
		for (uint32_t p = FIRST; p < guests[i].nr_pages; p += 4)
			if (p % 16 == 0)
				test_guest_write(&guests[i], p, 0);
	(void)cycles(3);
	for (int i = 0; i < 4; i++) {
		ck_assert_uint_eq(cycles(1), 0); /* at rest */
		ck_assert_uint_eq(conflicts(), 0);
	}
	l[0] = ledger_of(0);
	l[1] = ledger_of(1);
	ck_assert_uint_ge(l[0].shared + l[0].zero, NR_COMMON * 99 / 100);
	ck_assert_uint_eq(l[1].shared, 0);
	if (_i)
		ck_assert_uint_ge(l[1].zero, NR_COMMON / 2 * 99 / 100);
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

/* Pages of group two come to hold what group one shares, by chance or as a guess. They are mergeable; that is seen
 * before the next burst, and they give way. */
START_TEST(test_pipeline_groups_written)
{
	start_with(0, in_fours);
	start_with(1, other_fours);
	create();
	add_guest(0, "one");
	add_guest(1, "two");
	(void)cycles(3);
	ck_assert_uint_ge(ledger_of(0).shared, NR_COMMON * 99 / 100);
	ck_assert_uint_ge(ledger_of(1).shared, NR_COMMON * 99 / 100);
	for (uint32_t p = FIRST; p < guests[1].nr_pages; p += 16)
		test_guest_write(&guests[1], p, guests[0].content[p]);
	(void)cycles(4);
	ck_assert_uint_eq(conflicts(), 0);
	ck_assert_uint_ge(ledger_of(0).shared, NR_COMMON * 99 / 100);
	ck_assert_uint_ge(ledger_of(1).shared, NR_COMMON / 8 * 6);
	ck_assert_uint_le(ledger_of(1).shared, NR_COMMON / 8 * 7);
	hs_pipeline_destroy(pipeline);
	check_intact();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_pipeline_groups_many_holders);
	tcase_add_test(t, test_pipeline_groups_restart);
	tcase_add_test(t, test_pipeline_groups_restart_unflushed);
	tcase_add_test(t, test_pipeline_groups_released);
	tcase_add_loop_test(t, test_pipeline_groups_zeros, 0, 2);
	tcase_add_test(t, test_pipeline_groups_written);
}

int main(void)
{
	return engine_scene_main("pipeline/groups", add);
}
