/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on record for after a crash, checked over every interleaving in a small scope: the engine's own code on a
 * simulated guest, and before each single step of it (on a file, in the guest, a look at it) the service is killed, the
 * step fails, or the guest ends, runs another program, or leaves its number to another process; then between two lives
 * the same, or a reboot; a second life may be killed as well, at each of its steps. Always: no mark of ours without a
 * record, nobody else's taken for ours, and after a life that is left alone all is as every program had it.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "crash_world.h"
#include "hs_test.h"
#include "share/engine_internal.h"

static const char *const kind_names[WORLD_NR_KINDS] = { "plain", "hugepage", "nohugepage", "mergeable", "alike" };
static const char *const event_names[WORLD_NR_EVENTS] = { "kill", "fail",  "fail on",
							  "exit", "reuse", "reuse by a plain one",
							  "exec" };
static unsigned long nr_stories, nr_steps;

/* Every step; under the sanitizers, which look for other things, each third. */
#define EACH hs_test_each(1, 3)

/* Base pages wanted of each huge page, as runs; twice, so that marks are made, moved and taken away. */
static const struct {
	unsigned int first, nr;
} wanted[2][WORLD_HUGE] = { { { 0, 512 }, { 0, 512 } }, { { 32, 8 }, { 0, 0 } } };

static uint64_t no_time(void *ctx)
{
	(void)ctx;
	return 0;
}

static int want_and_apply(struct hs_share *s, uint32_t id, unsigned int which)
{
	struct hs_share_applied a;
	int rc = 0;

	for (hs_huge_nr h = 0; h < WORLD_HUGE && !rc; h++) {
		struct hs_bits512 pages = { 0 };

		for (unsigned int i = 0; i < wanted[which][h].nr; i++)
			hs_bits_set(&pages, wanted[which][h].first + i);
		rc = hs_share_want(s, id, h, &pages, NULL);
	}
	return rc ? rc : hs_share_apply(s, id, &a, NULL);
}

/* One life of a service. Errors are what it has to live with. */
static void live(bool shares)
{
	const struct hs_share_guest g = { .name = "guest", .view = world_view(), .remote = world_remote() };
	struct hs_share_config cfg = hs_share_config_default;
	struct hs_share_unshared u;
	uint64_t ours = world_ours(), adopted = 0;
	struct hs_share *s;
	uint32_t id;
	int rc;

	cfg.min_free_percent = 0;
	if (hs_share_create(&s, &world_host, &cfg, NULL))
		return;
	rc = world_alive() ? hs_share_add_guest(s, &g, &id, &adopted, NULL) : -ESRCH;
	if (!rc && !world_came() && adopted != ours)
		world_fail(adopted < ours ? "a mark of ours is not adopted" : "a mark of others is taken for ours",
			   adopted);
	for (unsigned int i = 0; i < 2 && !rc && shares; i++)
		(void)!want_and_apply(s, id, i);
	if (!rc)
		(void)!hs_share_unshare(s, id, NULL, 0, &u, NULL);
	hs_share_destroy(s);
}

static unsigned int live_with(bool shares, enum world_event event, unsigned int at)
{
	world_life(event, at);
	live(shares);
	nr_steps += world_steps();
	world_over();
	world_check_record();
	return world_steps();
}

/* A life that is left alone, and what it leaves. */
static void end_well(void)
{
	(void)live_with(false, WORLD_KILL, UINT_MAX);
	world_check_undone();
	nr_stories++;
}

static void tell(enum world_kind kind, enum world_event event, unsigned int at, const char *then, unsigned int then_at)
{
	(void)snprintf(world_story, sizeof(world_story), "a guest \"%s\", \"%s\" before step %u, then %s %u",
		       kind_names[kind], event_names[event], at, then, then_at);
}

/* Whatever happens before whichever step, one life that is left alone mends it. _i: the kind of guest. */
START_TEST(test_share_crash_model_one)
{
	const enum world_kind kind = (enum world_kind)_i;

	for (enum world_event event = 0; event < WORLD_NR_EVENTS; event++) {
		for (unsigned int at = 0; at != UINT_MAX; at += EACH) {
			tell(kind, event, at, "the end", 0);
			world_begin(kind);
			(void)live_with(true, event, at);
			if (!world_came())
				break;
			end_well();
		}
	}
	(void)printf("%s: %lu stories, %lu steps\n", kind_names[kind], nr_stories, nr_steps);
}
END_TEST

/* Killed before any step; then something happens to the guest, or the host is started again. */
START_TEST(test_share_crash_model_between)
{
	static const enum world_event between[] = { WORLD_KILL /* a reboot */, WORLD_EXIT, WORLD_REUSE,
						    WORLD_REUSE_PLAIN, WORLD_EXEC };
	const enum world_kind kind = (enum world_kind)_i;

	for (size_t b = 0; b < sizeof(between) / sizeof(between[0]); b++) {
		for (unsigned int at = 0; at != UINT_MAX; at += EACH) {
			tell(kind, WORLD_KILL, at, "between lives event", (unsigned int)between[b]);
			world_begin(kind);
			(void)live_with(true, WORLD_KILL, at);
			if (!world_came())
				break;
			world_between(between[b]);
			end_well();
		}
	}
	(void)printf("%s: %lu stories, %lu steps\n", kind_names[kind], nr_stories, nr_steps);
}
END_TEST

/* What comes in a second life, and to which guests: the others add no other steps to it. */
static const struct {
	enum world_kind kind;
	enum world_event event;
} seconds[] = {
	{ WORLD_PLAIN, WORLD_KILL },     { WORLD_NOHUGEPAGE, WORLD_KILL },  { WORLD_MERGEABLE, WORLD_KILL },
	{ WORLD_HUGEPAGE, WORLD_FAIL },  { WORLD_HUGEPAGE, WORLD_FAIL_ON }, { WORLD_MERGEABLE, WORLD_FAIL },
	{ WORLD_HUGEPAGE, WORLD_REUSE },
};

/* Killed before any step; and before any step of the life after it the same, or something else. */
START_TEST(test_share_crash_model_two)
{
	const enum world_kind kind = seconds[_i].kind;

	for (unsigned int at = 0; at != UINT_MAX; at += EACH) {
		for (unsigned int second = 0; second != UINT_MAX; second += EACH) {
			tell(kind, WORLD_KILL, at, event_names[seconds[_i].event], second);
			world_begin(kind);
			(void)live_with(true, WORLD_KILL, at);
			if (!world_came())
				goto out;
			(void)live_with(false, seconds[_i].event, second);
			if (!world_came())
				break;
			end_well();
		}
	}
out:
	(void)printf("%s: %lu stories, %lu steps\n", kind_names[kind], nr_stories, nr_steps);
}
END_TEST

/*
 * Memory of which it is not known what frames it is on (it is mapped otherwise for a while, say) may be merged: its
 * marks go where there is room for it, and stay where there is none.
 */
START_TEST(test_share_crash_model_room_of_the_unknown)
{
	struct hs_share_config cfg = hs_share_config_default;
	const struct hs_bits512 none = { 0 };
	struct hs_share_guest g;
	struct hs_share_unshared u;
	struct hs_share_applied a;
	struct hs_share *s;
	uint32_t id;

	world_begin(WORLD_HUGEPAGE);
	cfg.min_free_percent = 0;
	ck_assert_int_eq(hs_share_create(&s, &world_host, &cfg, NULL), 0);
	g = (struct hs_share_guest){ .name = "guest", .view = world_view(), .remote = world_remote() };
	ck_assert_int_eq(hs_share_add_guest(s, &g, &id, NULL, NULL), 0);
	ck_assert_int_eq(want_and_apply(s, id, 0), 0);
	ck_assert_uint_eq(world_ours(), WORLD_HUGE * HS_BASE_PER_HUGE);
	world_hide_frames(true);
	world_set_room(HS_HUGE_SIZE + HS_BASE_SIZE);
	ck_assert_int_eq(hs_share_unshare(s, id, NULL, 0, &u, NULL), -ENOMEM);
	ck_assert_uint_eq(world_ours(), WORLD_HUGE * HS_BASE_PER_HUGE);
	for (hs_huge_nr h = 0; h < WORLD_HUGE; h++)
		ck_assert_int_eq(hs_share_want(s, id, h, &none, NULL), 0);
	ck_assert_int_eq(hs_share_apply(s, id, &a, NULL), 0);
	ck_assert_uint_eq(a.pages_pending, HS_BASE_PER_HUGE); /* there is room for one of the two */
	ck_assert_uint_eq(world_ours(), HS_BASE_PER_HUGE);
	world_set_room(UINT64_C(1) << 40);
	ck_assert_int_eq(hs_share_unshare(s, id, NULL, 0, &u, NULL), 0);
	ck_assert_uint_eq(world_ours(), 0);
	world_hide_frames(false);
	hs_share_destroy(s);
}
END_TEST

/*
 * Marks of an earlier life in a piece that is no guest memory to the view are read by nobody. Beside a guest of another
 * group they are gone before ksmd runs, and it does not run where they cannot be taken away.
 */
START_TEST(test_share_crash_model_stray_beside_another_group)
{
	struct hs_mark_record r = { .pid = WORLD_PID };
	const struct hs_clock clock = { .now_us = no_time };
	struct hs_share_config cfg = hs_share_config_default;
	struct hs_engine_guest *both;
	struct hs_share_burst burst;
	struct hs_share_guest g;
	struct hs_share *s;
	uint32_t id;

	world_begin(WORLD_ALIKE);
	cfg.min_free_percent = 0;
	ck_assert_int_eq(hs_share_create(&s, &world_host, &cfg, NULL), 0);
	ck_assert_int_eq(
	    hs_mark_record_add(&r, WORLD_SMALL_AT, WORLD_SMALL_AT + WORLD_SMALL * HS_BASE_SIZE, HS_MARK_MERGEABLE), 0);
	ck_assert_int_eq(hs_mark_record_write(&world_host, &r, NULL), 0);
	hs_mark_record_finish(&r);
	g = (struct hs_share_guest){ .name = "guest", .view = world_view(), .remote = world_remote() };
	ck_assert_int_eq(hs_share_add_guest(s, &g, &id, NULL, NULL), 0);
	ck_assert_uint_eq(s->guests[id].stray.nr, 1);
	ck_assert_int_eq(hs_share_set_group(s, id, 1), 0);
	/* Alone it may stay. */
	(void)!hs_share_burst(s, &clock, &burst, NULL);
	ck_assert_uint_eq(world_small_mergeable(), WORLD_SMALL);
	both = reallocarray(s->guests, 2, sizeof(*both));
	ck_assert_ptr_nonnull(both);
	s->guests = both;
	s->nr_guests = 2;
	both[1] = (struct hs_engine_guest){ .used = true, .name = strdup("other"), .view = world_view(), .group = 2 };
	world_set_room(0);
	ck_assert_int_eq(hs_share_burst(s, &clock, &burst, NULL), -EAGAIN);
	ck_assert_uint_eq(world_small_mergeable(), WORLD_SMALL);
	world_set_room(UINT64_C(1) << 40);
	(void)!hs_share_burst(s, &clock, &burst, NULL);
	ck_assert_uint_eq(world_small_mergeable(), 0);
	ck_assert_uint_eq(world_knob("run"), 0);
	hs_share_destroy(s);
}
END_TEST

/* ---- KSM's settings ---- */

/* Two bursts of other lengths, and the end. */
static void drive_ksm(void)
{
	const struct hs_ksm_setup first = {
		.pages_to_scan = 5000, .sleep_ms = 3, .least_pages = 1000, .most_pages = 9000
	};
	const struct hs_ksm_setup second = { .pages_to_scan = 20000, .sleep_ms = 10 };
	struct hs_ksm *k;

	if (hs_ksm_acquire(&k, &world_host, false, NULL))
		return;
	if (!hs_ksm_start(k, &first, NULL)) {
		(void)!hs_ksm_pace(k, 1000);
		(void)!hs_ksm_stop(k, NULL);
		(void)!hs_ksm_start(k, &second, NULL);
		(void)!hs_ksm_stop(k, NULL);
	}
	hs_ksm_release(k);
}

/* What somebody else does between two lives. */
enum { NOTHING, SETS_PACE, RUNS_KSMD, STARTS_HOST, NR_OTHERS };

static void check_knobs(bool in_burst, int other)
{
	/* Within a burst, as it is on record, ksmd runs for us, and so somebody else's 1 cannot be told from ours: it
	 * is stopped. */
	const uint64_t run = (other == RUNS_KSMD && !in_burst) || other == STARTS_HOST;
	const uint64_t pace = other == SETS_PACE || other == STARTS_HOST ? 777 : 100;

	if (world_knob("run") != run)
		world_fail("run is not as it was", world_knob("run"));
	if (world_knob("pages_to_scan") != pace)
		world_fail("pages_to_scan is not as it was", world_knob("pages_to_scan"));
	if (world_knob("sleep_millisecs") != 20)
		world_fail("sleep_millisecs is not as it was", world_knob("sleep_millisecs"));
	if (other != STARTS_HOST)
		world_check_undone();
}

/* Killed before any step, or a step fails; then somebody sets knobs, or starts the host again. _i: what somebody does.
 */
START_TEST(test_share_crash_model_knobs)
{
	static const enum world_event events[] = { WORLD_KILL, WORLD_FAIL, WORLD_FAIL_ON };

	for (size_t e = 0; e < sizeof(events) / sizeof(events[0]); e++) {
		for (unsigned int at = 0; at != UINT_MAX; at += EACH) {
			struct hs_ksm_knobs left;
			bool in_burst;
			int rc;

			tell(WORLD_PLAIN, events[e], at, "somebody's act", (unsigned int)_i);
			world_begin(WORLD_PLAIN);
			world_life(events[e], at);
			drive_ksm();
			world_over();
			if (!world_came())
				break;
			in_burst = !hs_ksm_state_read(&world_host, &left, NULL) && left.most[HS_KSM_RUN] == 1;
			if (_i == STARTS_HOST)
				world_between(WORLD_KILL);
			if (_i == SETS_PACE || _i == STARTS_HOST)
				world_set_knob("pages_to_scan", 777);
			if (_i == STARTS_HOST)
				world_set_knob("sleep_millisecs", 20);
			if (_i == RUNS_KSMD || _i == STARTS_HOST)
				world_set_knob("run", 1);
			rc = hs_ksm_recover(&world_host, NULL);
			if (rc < 0)
				world_fail("it cannot be given back", (uint64_t)-rc);
			check_knobs(in_burst, _i);
			nr_stories++;
		}
	}
	(void)printf("knobs: %lu stories\n", nr_stories);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share/crash_model");
	TCase *t = tcase_create("model");

	tcase_add_checked_fixture(t, world_make, world_remove);
	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, test_share_crash_model_one, 0, WORLD_NR_KINDS);
	tcase_add_loop_test(t, test_share_crash_model_between, 0, WORLD_NR_KINDS);
	tcase_add_loop_test(t, test_share_crash_model_two, 0, (int)(sizeof(seconds) / sizeof(seconds[0])));
	tcase_add_loop_test(t, test_share_crash_model_knobs, 0, NR_OTHERS);
	tcase_add_test(t, test_share_crash_model_room_of_the_unknown);
	tcase_add_test(t, test_share_crash_model_stray_beside_another_group);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
