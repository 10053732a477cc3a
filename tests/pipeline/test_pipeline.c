/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline over simulated guests: what it counts, when it reads, and that it leaves everything as it was. */
#include "hs_test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

#define NR_HUGE 16
/* huge pages of each guest: 0..3 evenly hot, 4..7 hot bloat (8 hot base pages), the rest cold */
#define NR_EVEN  4
#define NR_BLOAT 8
#define BLOAT    8

static struct hs_sim_clock sim;
static struct hs_clock sim_clock;
static struct hs_view *views[2];
static struct hs_pipeline *pipeline;
static uint32_t dead; /* guests that run no more */

static void run_guests(void *ctx, uint64_t us)
{
	(void)ctx;
	(void)us;
	for (uint32_t g = 0; g < 2; g++) {
		if (dead & (1U << g))
			continue;
		for (hs_base_nr p = 0; p < NR_EVEN * HS_BASE_PER_HUGE; p++)
			hs_sim_access(views[g], p, false);
		for (hs_huge_nr h = NR_EVEN; h < NR_BLOAT; h++)
			for (unsigned int i = 0; i < BLOAT; i++)
				hs_sim_access(views[g], h * HS_BASE_PER_HUGE + i * 64, true);
	}
}

/* Half of every huge page is the same in both guests, an eighth is zero, the rest is each guest's own. */
static uint64_t content(uint32_t g, hs_base_nr p)
{
	const unsigned int i = p % 8;

	if (i == 7)
		return 0;
	return i < 4 ? 1000000 + p : (g + 2) * UINT64_C(100000000) + p;
}

static void add_guests(void)
{
	for (uint32_t g = 0; g < 2; g++) {
		const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = g };

		ck_assert_int_eq(hs_view_open_sim(&views[g], &sc), 0);
		for (hs_base_nr p = 0; p < NR_HUGE * HS_BASE_PER_HUGE; p++)
			hs_sim_set(views[g], p, content(g, p));
		ck_assert_int_eq(hs_pipeline_add_view(pipeline, g ? "b" : "a", views[g], NULL), 0);
	}
}

static void setup(void)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };

	dead = 0;
	sim = (struct hs_sim_clock){ .run = run_guests };
	sim_clock = hs_sim_clock_ops(&sim);
	cfg.share = hs_share_config_default;
	cfg.observe = true;
	cfg.fine_all = true;
	ck_assert_msg(hs_pipeline_create(&pipeline, &host, &cfg, &sim_clock, &err) == 0, "%s", err.text);
	add_guests();
}

static void teardown(void)
{
	hs_pipeline_destroy(pipeline);
	pipeline = NULL;
}

/* What hangs on a setting goes with it: nothing becomes impossible, and the default is the default. */
START_TEST(test_service_pipeline_config_rounds)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;

	hs_pipeline_config_set_rounds(&cfg, hs_pipeline_config_default.coarse.rounds);
	ck_assert_mem_eq(&cfg.coarse, &hs_pipeline_config_default.coarse, sizeof(cfg.coarse));
	ck_assert_mem_eq(&cfg.policy, &hs_pipeline_config_default.policy, sizeof(cfg.policy));
	ck_assert_uint_eq(cfg.hash_cold_rounds, hs_pipeline_config_default.hash_cold_rounds);
	for (uint32_t n = 64; n; n--) {
		hs_pipeline_config_set_rounds(&cfg, n);
		ck_assert_uint_ge(cfg.hash_cold_rounds, 1);
		ck_assert_uint_le(cfg.hash_cold_rounds, n);
		ck_assert_uint_eq(cfg.coarse.rounds, n);
		ck_assert_uint_ge(cfg.coarse.hot_rounds, 1);
		ck_assert_uint_le(cfg.coarse.hot_rounds, n);
		ck_assert_uint_eq(cfg.policy.min_cold_rounds, n);
		ck_assert_uint_ge(cfg.policy.unshare_hot_rounds, cfg.coarse.hot_rounds);
		ck_assert_uint_le(cfg.policy.unshare_hot_rounds, n);
	}
}
END_TEST

START_TEST(test_service_pipeline_config_max_hot)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;

	hs_pipeline_config_set_max_hot(&cfg, hs_pipeline_config_default.policy.max_hot);
	ck_assert_mem_eq(&cfg.fine, &hs_pipeline_config_default.fine, sizeof(cfg.fine));
	ck_assert_mem_eq(&cfg.policy, &hs_pipeline_config_default.policy, sizeof(cfg.policy));
	for (uint32_t n = 0; n <= 511; n++) {
		cfg = hs_pipeline_config_default;
		hs_pipeline_config_set_max_hot(&cfg, n);
		ck_assert_uint_eq(cfg.policy.max_hot, n);
		ck_assert_uint_eq(cfg.fine.give_up_hot, n);
		ck_assert_uint_gt(cfg.policy.unshare_hot_pages, n);
	}
}
END_TEST

static struct hs_fine_stats fine_after_a_cycle(void)
{
	struct hs_pipeline_totals t;
	struct hs_error err = { "" };
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	hs_pipeline_totals(pipeline, &t);
	return t.fine;
}

START_TEST(test_service_pipeline_no_look_without_time)
{
	struct hs_fine_stats st;

	for (int g = 0; g < 2; g++) {
		hs_sim_set_cost(views[g], &sim, 0, 0);
		hs_sim_set_age_cost(views[g], 450000);
	}
	for (int i = 0; i < 4; i++)
		st = fine_after_a_cycle();
	ck_assert_uint_eq(st.nr_split, 0);
	ck_assert_uint_ge(st.nr_no_time, (uint64_t)2 * NR_BLOAT);
	for (int g = 0; g < 2; g++)
		hs_sim_set_age_cost(views[g], 1000);
	for (int i = 0; i < 8; i++)
		st = fine_after_a_cycle();
	ck_assert_uint_gt(st.nr_split, 0);
	ck_assert_uint_eq(st.nr_out_of_time, 0);
}
END_TEST

/* A look that learnt nothing is not taken again in each cycle. */
START_TEST(test_service_pipeline_rests_after_a_look_for_nothing)
{
	/* Cycles in which one is tried: 1, 2, 4, and then look_again cycles after the last. */
	static const uint32_t tried[] = { 1, 2, 4, 8, 16, 24 };
	const hs_huge_nr victim = NR_EVEN;
	uint64_t expect = 0;

	hs_sim_fail_split(views[0], victim, -EPERM);
	for (uint32_t cycle = 1; cycle <= 24; cycle++) {
		for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++)
			expect += cycle == tried[i];
		ck_assert_uint_eq(fine_after_a_cycle().nr_split_failed, expect);
	}
	hs_sim_fail_split(views[0], victim, 0);
	for (int i = 0; i < 8; i++)
		ck_assert_uint_eq(fine_after_a_cycle().nr_split_failed, expect);
	ck_assert_ptr_nonnull(pipeline->guests[0]->pages[victim].fine);
	ck_assert_uint_eq(pipeline->guests[0]->pages[victim].fine_unclear, 0);
}
END_TEST

static int room_for; /* huge pages that may be split, and brought back, before there is no room */

static bool room_runs_out(void *ctx, const struct hs_view *v)
{
	(void)ctx;
	(void)v;
	return room_for-- > 0;
}

/* Guests of a host that has no memory to spare: nothing is split that could not be made huge again, and what is split
 * when the room runs out comes back when there is some. */
START_TEST(test_service_pipeline_no_look_without_room)
{
	char dir[] = "/tmp/hs-test-pipeline-XXXXXX";
	struct hs_fine_stats st;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	pipeline->host.state_dir = dir;
	for (int g = 0; g < 2; g++)
		pipeline->guests[g]->pid = views[g]->pid = getpid();
	pipeline->cfg.share.min_free_percent = 100;
	st = fine_after_a_cycle();
	ck_assert_uint_eq(st.nr_split, 0);
	ck_assert_uint_ge(st.nr_split_failed, 2 * NR_BLOAT);
	/* Room for the split, none for the way back. */
	pipeline->cfg.share.min_free_percent = 0;
	hs_view_on_huge(views[0], room_runs_out, NULL);
	room_for = 1;
	st = fine_after_a_cycle();
	ck_assert_uint_gt(st.nr_split, 0);
	ck_assert_uint_eq(hs_fine_pending(pipeline->fine, views[0], NULL, 0), NR_BLOAT);
	ck_assert_uint_eq(hs_fine_pending(pipeline->fine, views[1], NULL, 0), 0);
	for (hs_huge_nr h = 0; h < NR_BLOAT; h++)
		ck_assert_int_eq(hs_sim_state(views[0], h), HS_MAP_SPLIT);
	room_for = 1000;
	(void)fine_after_a_cycle();
	ck_assert_uint_eq(hs_fine_pending(pipeline->fine, views[0], NULL, 0), 0);
	for (hs_huge_nr h = 0; h < NR_BLOAT; h++)
		ck_assert_int_eq(hs_sim_state(views[0], h), HS_MAP_HUGE);
	for (int g = 0; g < 2; g++)
		pipeline->guests[g]->pid = views[g]->pid = 0;
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(test_service_pipeline_counts)
{
	struct hs_guest_report r[2];
	struct hs_error err = { "" };
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_pipeline_report(pipeline, r, 2), 2);
	for (int g = 0; g < 2; g++) {
		const uint32_t cold = NR_HUGE - NR_BLOAT;

		ck_assert_uint_eq(r[g].nr_huge, NR_HUGE);
		ck_assert_uint_eq(r[g].hot, NR_BLOAT);
		ck_assert_uint_eq(r[g].cold, cold);
		ck_assert_uint_eq(r[g].evenly_hot, NR_EVEN);
		ck_assert_uint_eq(r[g].hot_bloat, NR_BLOAT - NR_EVEN);
		ck_assert_uint_eq(r[g].skew[4], NR_BLOAT - NR_EVEN);           /* 8-15 hot base pages */
		ck_assert_mem_eq(r[g].skew_hot, r[g].skew, sizeof(r[g].skew)); /* none has cooled down */
		for (size_t i = 0; i < sizeof(r[g].skew) / sizeof(r[g].skew[0]); i++)
			ck_assert_uint_eq(r[g].skew_warm[i] + r[g].skew_cold[i] + r[g].skew_undecided[i], 0);
		/* nothing stays split */
		ck_assert_uint_eq(r[g].mapped_huge, NR_HUGE);
		/* All content is known by now: 4 of 8 pages the same in both, 1 of 8 zero. */
		ck_assert_uint_eq(r[g].hashed_pages, NR_HUGE * HS_BASE_PER_HUGE);
		ck_assert_uint_eq(r[g].zero_pages, NR_HUGE * HS_BASE_PER_HUGE / 8);
		/* Proven: in the cold huge pages, and in the bloat ones but for their hot base pages (all at i % 8 ==
		 * 0). */
		ck_assert_uint_eq(r[g].cold_identical,
				  cold * 512 * 5 / 8 + (NR_BLOAT - NR_EVEN) * (512 * 5 / 8 - BLOAT));
	}
}
END_TEST

START_TEST(test_service_pipeline_digests_once_a_cold_spell)
{
	struct hs_pipeline_totals t1, t2;
	uint64_t news;

	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, NULL), 0);
	hs_pipeline_totals(pipeline, &t1);
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, NULL), 0);
	hs_pipeline_totals(pipeline, &t2);
	/* The second cycle reads what the fine phase found cold in hot huge pages again, and nothing of the cold ones.
	 */
	ck_assert_uint_le(t2.pages_hashed - t1.pages_hashed, 2 * (NR_BLOAT - NR_EVEN) * (512 - BLOAT));
}
END_TEST

START_TEST(test_service_pipeline_guest_goes)
{
	struct hs_guest_report r[2];
	struct hs_error err = { "" };
	uint64_t news, call;
	bool died = true;

	/* It goes at each of the calls that a cycle makes, until one is past the last. */
	for (call = 1; died; call++) {
		setup();
		hs_sim_fail_call(views[0], call, -ESRCH);
		ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "call %d: %s", (int)call, err.text);
		died = hs_pipeline_nr_guests(pipeline) == 1;
		ck_assert_uint_eq(hs_pipeline_report(pipeline, r, 2), 2);
		ck_assert(r[0].gone == died);
		ck_assert(!r[1].gone);
		ck_assert_uint_eq(r[1].mapped_huge, NR_HUGE);
		teardown();
	}
	ck_assert_uint_gt(call, 40); /* 10 rounds of ageing and sampling, 16 huge pages read, a fine phase */
}
END_TEST

START_TEST(test_service_pipeline_all_guests_go)
{
	struct hs_error err = { "" };
	uint64_t news;

	dead = 3;
	hs_sim_fail_call(views[0], 3, -ESRCH);
	hs_sim_fail_call(views[1], 4, -ESRCH);
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, &err), -ESRCH);
	ck_assert_ptr_nonnull(strstr(err.text, "no guest is left"));
}
END_TEST

START_TEST(test_service_pipeline_cancelled)
{
	uint64_t news;

	/* At each moment of the cycle: nothing may stay split. */
	for (uint64_t at_us = 100000; at_us < 9000000; at_us += 370000) {
		struct hs_sim_stats st;
		int rc;

		setup();
		sim.cancel_at_us = at_us;
		rc = hs_pipeline_cycle(pipeline, &news, NULL);
		ck_assert(rc == 0 || rc == -ECANCELED);
		for (int g = 0; g < 2; g++) {
			hs_sim_stats(views[g], &st);
			ck_assert_uint_eq(st.split_now, 0);
		}
		teardown();
	}
}
END_TEST

static int enter_by_number(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*id = guest->number;
	return 0;
}

/* Where the policy would share: what earlier windows left split for that comes back as well. */
START_TEST(test_service_pipeline_cancelled_when_sharing)
{
	/* What is wanted goes nowhere, but the pipeline does not know. */
	static const struct hs_merge_ops ops = { .name = "test", .merges = true, .enter = enter_by_number };
	uint32_t cancelled = 0, done = 0;
	uint64_t news;

	/* The fine phase alone: eight windows after ten rounds. */
	for (uint64_t at_us = 6100000; at_us < 15000000; at_us += 370000) {
		struct hs_pipeline_config cfg = hs_pipeline_config_default;
		const struct hs_host host = HS_HOST_DEFAULT;
		uint32_t split = 0;
		int rc;

		hs_pipeline_destroy(pipeline);
		sim = (struct hs_sim_clock){ .run = run_guests, .cancel_at_us = at_us };
		cfg.share = hs_share_config_default;
		cfg.observe = cfg.fine_all = true;
		cfg.fine.max_split = 2;
		ck_assert_int_eq(hs_pipeline_create(&pipeline, &host, &cfg, &sim_clock, NULL), 0);
		ck_assert_int_eq(hs_pipeline_set_merge(pipeline, &(struct hs_merge){ &ops, NULL }), 0);
		add_guests();
		rc = hs_pipeline_cycle(pipeline, &news, NULL);
		ck_assert(rc == 0 || rc == -ECANCELED);
		for (int g = 0; g < 2; g++) {
			struct hs_sim_stats st;

			hs_sim_stats(views[g], &st);
			split += st.split_now;
		}
		if (rc)
			ck_assert_msg(!split, "%u mappings are split after %lu us", split, at_us);
		else
			ck_assert_uint_eq(split, 2 * (NR_BLOAT - NR_EVEN));
		cancelled += rc != 0;
		done += rc == 0;
	}
	ck_assert_uint_gt(cancelled, 5);
	ck_assert_uint_gt(done, 0);
}
END_TEST

START_TEST(test_service_pipeline_unknown_is_left_alone)
{
	struct hs_guest_report r[2];
	uint64_t news;

	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		hs_sim_set_unknown(views[0], h, true);
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, NULL), 0);
	(void)hs_pipeline_report(pipeline, r, 2);
	ck_assert_uint_eq(r[0].unknown, NR_HUGE);
	ck_assert_uint_eq(r[0].hashed_pages, 0);
	/* the other one has nobody to share with but itself and the zero page */
	ck_assert_uint_eq(r[1].duplicate_pages, 0);
}
END_TEST

static struct hs_view_ops blind_ops;
static int (*seeing)(struct hs_view *v, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
		     struct hs_error *err);
static uint64_t sees_again_at; /* sleeps */

static int blind_sample(struct hs_view *v, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			struct hs_error *err)
{
	int rc = seeing(v, first, nr, out, err);

	for (uint32_t i = 0; !rc && sim.nr_sleeps < sees_again_at && i < nr; i++)
		if (first + i == NR_HUGE - 1) {
			out[i].accessed = HS_UNKNOWN;
			out[i].nr_accessed = 0;
		}
	return rc;
}

/* Written in a round of which nothing is known: what was known of its content is not any more. */
START_TEST(test_service_pipeline_unknown_round)
{
	const hs_base_nr first = (NR_HUGE - 1) * HS_BASE_PER_HUGE;
	struct hs_guest_report before[2], r[2];
	uint64_t news;

	if (_i)
		hs_sim_break_huge(views[0], NR_HUGE - 1);
	blind_ops = *views[0]->ops;
	seeing = blind_ops.sample_huge;
	blind_ops.sample_huge = blind_sample;
	views[0]->ops = &blind_ops;
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, NULL), 0);
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, NULL), 0);
	(void)hs_pipeline_report(pipeline, before, 2);
	sees_again_at = sim.nr_sleeps + 2;
	hs_sim_set(views[0], first, 42);     /* was the same in both */
	hs_sim_set(views[0], first + 7, 43); /* was zero */
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, NULL), 0);
	(void)hs_pipeline_report(pipeline, r, 2);
	ck_assert_uint_eq(r[0].cold, before[0].cold);
	ck_assert_uint_eq(r[0].zero_pages, before[0].zero_pages - 1);
	ck_assert_uint_eq(r[0].cold_identical, before[0].cold_identical - 2);
}
END_TEST

/* A view whose calls fail concerns its own guest alone, for one cycle; the guest is not gone. */
START_TEST(test_service_pipeline_errors_are_the_guests_own)
{
	struct hs_guest_report r[2];
	struct hs_error err = { "" };
	uint64_t news, call;
	bool failed = true;

	for (call = 1; failed; call++) {
		setup();
		hs_sim_fail_call(views[0], call, -EIO);
		ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "call %d: %s", (int)call, err.text);
		ck_assert_uint_eq(hs_pipeline_nr_guests(pipeline), 2);
		(void)hs_pipeline_report(pipeline, r, 2);
		failed = r[0].look_obstacle.error != 0;
		ck_assert_str_eq(r[1].look_obstacle.text, "");
		ck_assert_uint_eq(r[1].cold, NR_HUGE - NR_BLOAT);
		if (failed) {
			/* Its accesses were not seen for a while: nothing of it is taken for cold. */
			ck_assert_uint_eq(r[0].cold, 0);
			ck_assert_uint_eq(r[0].cold_identical, 0);
			ck_assert_uint_eq(hs_sim_is_split_by_view(views[0], NR_EVEN), 0);
		}
		ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, &err), 0);
		(void)hs_pipeline_report(pipeline, r, 2);
		ck_assert_str_eq(r[0].look_obstacle.text, "");
		ck_assert_uint_eq(r[0].cold, NR_HUGE - NR_BLOAT);
		teardown();
		/* Reading contents and the fine phase bear failures by themselves. */
		if (!failed && call < 15)
			failed = true;
	}
	ck_assert_uint_gt(call, 15);
}
END_TEST

/* A cycle that is interrupted again and again gets through its window all the same. */
START_TEST(test_service_pipeline_goes_on_after_an_interrupt)
{
	struct hs_pipeline_totals t;
	struct hs_guest_report r[2];
	uint64_t news;
	int rc = -ECANCELED, cycles = 0;

	/* An interrupt each 1.3 s: two rounds of 600 ms each time, and the third begins anew. */
	for (; rc == -ECANCELED && cycles < 20; cycles++) {
		sim.cancel_at_us = sim.now_us + (cycles < 4 ? 1300000 : 20000000);
		rc = hs_pipeline_cycle(pipeline, &news, NULL);
	}
	ck_assert_int_eq(rc, 0);
	hs_pipeline_totals(pipeline, &t);
	ck_assert_uint_eq(t.rounds, 10);
	ck_assert_uint_eq(t.cycles, 1);
	(void)hs_pipeline_report(pipeline, r, 2);
	ck_assert_uint_eq(r[0].cold, NR_HUGE - NR_BLOAT);
	ck_assert_uint_eq(r[0].hot, NR_BLOAT);
}
END_TEST

/* Guests come and go for ever: nothing grows, numbers stay right. */
START_TEST(test_service_pipeline_guests_come_and_go)
{
	struct hs_pipeline_totals before, after;
	struct hs_share_unshared un;
	struct hs_guest_report r[2];
	struct hs_error err = { "" };
	uint64_t news;

	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, &err), 0);
	hs_pipeline_totals(pipeline, &before);
	for (uint32_t i = 0; i < 20; i++) {
		const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = i % 2 };

		/* The first of the list goes, the other one moves to its place. */
		ck_assert_int_eq(hs_pipeline_remove(pipeline, 0, false, &un, &err), 0);
		ck_assert_uint_eq(hs_pipeline_nr_guests(pipeline), 1);
		ck_assert_int_eq(hs_view_open_sim(&views[i % 2], &sc), 0);
		for (hs_base_nr p = 0; p < NR_HUGE * HS_BASE_PER_HUGE; p++)
			hs_sim_set(views[i % 2], p, content(i % 2, p));
		ck_assert_int_eq(hs_pipeline_add_view(pipeline, "new", views[i % 2], &err), 0);
	}
	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	(void)hs_pipeline_report(pipeline, r, 2);
	for (int g = 0; g < 2; g++)
		ck_assert_uint_eq(r[g].cold_identical,
				  (NR_HUGE - NR_BLOAT) * 512 * 5 / 8 + (NR_BLOAT - NR_EVEN) * (512 * 5 / 8 - BLOAT));
	hs_pipeline_totals(pipeline, &after);
	ck_assert_uint_le(after.own_bytes, before.own_bytes * 3 / 2);
	ck_assert_int_eq(hs_pipeline_remove(pipeline, 4711, false, &un, &err), -ENOENT);
	ck_assert_int_eq(hs_pipeline_remove(pipeline, 0, true, &un, &err), -ENOTCONN);
}
END_TEST

START_TEST(test_service_pipeline_could_save)
{
	struct hs_guest_report r[2];
	struct hs_error err = { "" };
	uint64_t news;
	const uint64_t pages = (NR_HUGE - NR_BLOAT) * 512 + (NR_BLOAT - NR_EVEN) * 512;

	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, &err), 0);
	(void)hs_pipeline_report(pipeline, r, 2);
	/* An eighth is zero and goes whole; half has one copy in the other guest and goes by half, but for hot pages.
	 */
	ck_assert_uint_eq(r[0].could_save_bytes,
			  pages / 8 * HS_BASE_SIZE + (pages / 2 - (NR_BLOAT - NR_EVEN) * BLOAT) * HS_BASE_SIZE / 2);
	ck_assert_uint_eq(r[0].could_save_bytes, r[1].could_save_bytes);
}
END_TEST

/* Without an engine nothing is split that could not be shared anyway, unless a look is all that is wanted. */
START_TEST(test_service_pipeline_observes_without_splitting)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE };
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };
	struct hs_sim_stats st;
	uint64_t news;

	teardown();
	cfg.share = hs_share_config_default;
	cfg.observe = true;
	cfg.allow_empty = true;
	ck_assert_int_eq(hs_pipeline_create(&pipeline, &host, &cfg, &sim_clock, &err), 0);
	ck_assert(!hs_pipeline_engaged(pipeline));
	sim.run = NULL;
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, &err), 0);
	ck_assert_uint_eq(sim.nr_sleeps, 0);
	ck_assert_int_eq(hs_view_open_sim(&views[0], &sc), 0);
	ck_assert_int_eq(hs_pipeline_add_view(pipeline, "a", views[0], &err), 0);
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, &err), 0);
	ck_assert_uint_gt(sim.nr_sleeps, 0);
	hs_sim_stats(views[0], &st);
	ck_assert_uint_eq(st.nr_split, 0);
}
END_TEST

static uint64_t cpu_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void work(uint64_t us)
{
	const uint64_t end = cpu_us() + us;

	while (cpu_us() < end)
		;
}

struct paced {
	struct hs_pipeline *pipeline;
	uint64_t first_us, slept_us, worked_us, slept_after_pause_us;
};

static uint64_t paced_us(struct hs_pipeline *p)
{
	const uint64_t from = sim.now_us;

	ck_assert_int_eq(hs_pipeline_pace(p), 0);
	return sim.now_us - from;
}

static void *use_paced(void *arg)
{
	struct paced *x = arg;
	const uint64_t from = cpu_us();

	x->first_us = paced_us(x->pipeline);
	work(50000);
	x->slept_us = paced_us(x->pipeline);
	x->worked_us = cpu_us() - from;

	ck_assert_int_eq(sim_clock.sleep_us(sim_clock.ctx, UINT64_C(3600000000)), 0);
	(void)paced_us(x->pipeline);
	work(50000);
	x->slept_after_pause_us = paced_us(x->pipeline);
	return NULL;
}

/*
 * The cap counts the CPU time of the thread that works, whoever made the pipeline, and idle time is not saved up: an
 * hour's pause allows no six minutes of work. On this clock only sleeps take time.
 */
START_TEST(test_service_pipeline_cap)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };
	struct paced x = { 0 };
	pthread_t thread;

	sim = (struct hs_sim_clock){ .now_us = 0 };
	sim_clock = hs_sim_clock_ops(&sim);
	cfg.share = hs_share_config_default;
	cfg.observe = true;
	cfg.cpu_percent = 10;
	work(100000); /* more than the other thread will have when it begins */
	ck_assert_msg(hs_pipeline_create(&x.pipeline, &host, &cfg, &sim_clock, &err) == 0, "%s", err.text);
	ck_assert_int_eq(pthread_create(&thread, NULL, use_paced, &x), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	hs_pipeline_destroy(x.pipeline);
	ck_assert_uint_eq(x.first_us, 0);
	ck_assert_msg(x.slept_us >= 450000 && x.slept_us <= x.worked_us * 10, "slept %lu us after %lu us of work",
		      x.slept_us, x.worked_us);
	ck_assert_msg(x.slept_after_pause_us >= 450000, "slept %lu us", x.slept_after_pause_us);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/pipeline");
	TCase *c = tcase_create("scene");
	TCase *own = tcase_create("scenes of their own");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_service_pipeline_counts);
	tcase_add_test(c, test_service_pipeline_no_look_without_time);
	tcase_add_test(c, test_service_pipeline_no_look_without_room);
	tcase_add_test(c, test_service_pipeline_rests_after_a_look_for_nothing);
	tcase_add_test(c, test_service_pipeline_digests_once_a_cold_spell);
	tcase_add_test(c, test_service_pipeline_all_guests_go);
	tcase_add_test(c, test_service_pipeline_unknown_is_left_alone);
	tcase_add_loop_test(c, test_service_pipeline_unknown_round, 0, 2);
	tcase_add_test(c, test_service_pipeline_cancelled_when_sharing);
	tcase_add_test(c, test_service_pipeline_goes_on_after_an_interrupt);
	tcase_add_test(c, test_service_pipeline_guests_come_and_go);
	tcase_add_test(c, test_service_pipeline_could_save);
	tcase_add_test(c, test_service_pipeline_observes_without_splitting);
	tcase_add_test(own, test_service_pipeline_config_rounds);
	tcase_add_test(own, test_service_pipeline_config_max_hot);
	tcase_add_test(own, test_service_pipeline_errors_are_the_guests_own);
	tcase_add_test(own, test_service_pipeline_guest_goes);
	tcase_add_test(own, test_service_pipeline_cap);
	tcase_add_test(own, test_service_pipeline_cancelled);
	tcase_set_timeout(c, 120);
	tcase_set_timeout(own, 120);
	suite_add_tcase(s, c);
	suite_add_tcase(s, own);
	return hs_test_run(s);
}
