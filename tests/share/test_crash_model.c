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

static const char *const kind_names[WORLD_NR_KINDS] = { "plain", "hugepage", "nohugepage", "mergeable", "alike" };
static const char *const event_names[WORLD_NR_EVENTS] = { "kill", "fail", "fail on", "exit", "reuse", "exec" };
static unsigned long nr_stories, nr_steps;

/* Base pages wanted of each huge page, as runs; twice, so that marks are made, moved and taken away. */
static const struct {
	unsigned int first, nr;
} wanted[2][WORLD_HUGE] = { { { 0, 512 }, { 0, 512 } }, { { 32, 8 }, { 0, 0 } } };

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
		for (unsigned int at = 0; at != UINT_MAX; at++) {
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
	static const enum world_event between[] = { WORLD_KILL /* a reboot */, WORLD_EXIT, WORLD_REUSE, WORLD_EXEC };
	const enum world_kind kind = (enum world_kind)_i;

	for (size_t b = 0; b < sizeof(between) / sizeof(between[0]); b++) {
		for (unsigned int at = 0; at != UINT_MAX; at++) {
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

/* Killed before any step, and the life after it before any of its own. */
START_TEST(test_share_crash_model_two)
{
	const enum world_kind kind = (enum world_kind)_i;

	for (unsigned int at = 0; at != UINT_MAX; at++) {
		for (unsigned int second = 0; second != UINT_MAX; second++) {
			tell(kind, WORLD_KILL, at, "killed again before", second);
			world_begin(kind);
			(void)live_with(true, WORLD_KILL, at);
			if (!world_came())
				goto out;
			(void)live_with(false, WORLD_KILL, second);
			if (!world_came())
				break;
			end_well();
		}
	}
out:
	(void)printf("%s: %lu stories, %lu steps\n", kind_names[kind], nr_stories, nr_steps);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share/crash_model");
	TCase *t = tcase_create("model");

	tcase_add_checked_fixture(t, world_make, world_remove);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_share_crash_model_one, 0, WORLD_NR_KINDS);
	tcase_add_loop_test(t, test_share_crash_model_between, 0, WORLD_NR_KINDS);
	tcase_add_loop_test(t, test_share_crash_model_two, 0, WORLD_ALIKE);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
