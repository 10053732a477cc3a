/*
 * What is merged while guests are still looked at, over simulated guests: what may be, when ksmd runs, and that it
 * stands still whenever something is marked or a cycle ends. The table merges a page each 50 us, as ksmd does.
 */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

#define NR_GUESTS 2
#define NR_HUGE   8
#define NR_PAGES  (NR_HUGE * HS_BASE_PER_HUGE)
#define HOT       2 /* huge pages from 0 on, in each round */
#define LATE      3 /* huge page that is accessed after two rounds */
#define PAGE_US   50
#define ROUND_US  600000

static struct hs_sim_clock sim;
static struct hs_clock sim_clock;
static struct hs_view *views[NR_GUESTS];
static struct hs_pipeline *pipeline;
static const char *group_of_b;

/* ---- the table ---- */

static struct hs_shared_huge state[NR_GUESTS][NR_HUGE];
static struct hs_bits512 marked[NR_GUESTS][NR_HUGE];
static bool running;
static uint64_t worked_us, first_apply_us, first_merged_us, started_us;
static uint32_t nr_applied, nr_starts, next_page;
static int burst_error;

static int enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*id = guest->number;
	return 0;
}

static int want(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
		const struct hs_bits512 *allowed)
{
	(void)ctx;
	ck_assert(hs_bits_subset(pages, allowed));
	state[id][huge].wanted = *pages;
	return 0;
}

static void get_state(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	(void)ctx;
	*out = state[id][huge];
}

static int verify(void *ctx, uint32_t id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		state[id][h].shared = hs_bits_and(state[id][h].wanted, hs_sim_merged(views[id], h));
	return 0;
}

static int apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	ck_assert_msg(!running, "marks are made while ksmd runs");
	first_apply_us = first_apply_us ? first_apply_us : sim.now_us;
	nr_applied++;
	*out = (struct hs_share_applied){ 0 };
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		const struct hs_bits512 new = hs_bits_andnot(state[id][h].wanted, marked[id][h]);

		out->pages_marked += hs_bits_count(&new);
		marked[id][h] = state[id][h].wanted;
	}
	return 0;
}

/* Each content stands at the same place in both guests. */
static void merge_next(void)
{
	const hs_huge_nr h = next_page / HS_BASE_PER_HUGE;
	const unsigned int i = next_page % HS_BASE_PER_HUGE;

	if (hs_bits_test(&marked[0][h], i) && hs_bits_test(&marked[1][h], i) &&
	    hs_sim_content(views[0], next_page) == hs_sim_content(views[1], next_page)) {
		first_merged_us = first_merged_us ? first_merged_us : sim.now_us;
		for (uint32_t g = 0; g < NR_GUESTS; g++) {
			hs_sim_break_huge(views[g], h);
			hs_sim_merge(views[g], next_page);
			hs_sim_access(views[g], next_page, false); /* the new entry is made accessed */
		}
	}
	next_page++;
}

static int burst_for(void *ctx, const struct hs_clock *clock, uint64_t us, struct hs_share_burst *out,
		     struct hs_error *err)
{
	(void)ctx;
	*out = (struct hs_share_burst){ 0 };
	if (burst_error)
		return hs_error_set(err, burst_error, "as the test asked");
	if (!running) {
		nr_starts++;
		started_us = sim.now_us;
		next_page = 0;
	}
	running = true;
	for (uint64_t gone_us = 0; next_page < NR_PAGES; gone_us += PAGE_US) {
		int rc;

		if (gone_us >= us) {
			out->running = true;
			return 0;
		}
		rc = clock->sleep_us(clock->ctx, PAGE_US);
		if (rc) {
			running = false;
			return rc;
		}
		merge_next();
	}
	running = false;
	*out = (struct hs_share_burst){ .settled = true, .whole = true, .pages_scanned = 1, .ksmd_cpu_us = 7 };
	return 0;
}

static int burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	ck_assert(!running);
	return burst_for(ctx, clock, UINT64_MAX, out, err);
}

static int burst_stop(void *ctx, struct hs_share_burst *out, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*out = (struct hs_share_burst){ .ksmd_cpu_us = 7 };
	running = false;
	return 0;
}

static void ledger(void *ctx, uint32_t id, struct hs_ledger *out)
{
	(void)ctx;
	*out = (struct hs_ledger){ 0 };
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE && (id == UINT32_MAX || id == g); h++)
			out->shared += hs_bits_count(&state[g][h].shared);
}

static const struct hs_merge_ops ops = {
	.name = "test",
	.merges = true,
	.enter = enter,
	.want = want,
	.state = get_state,
	.verify = verify,
	.apply = apply,
	.burst = burst,
	.burst_for = burst_for,
	.burst_stop = burst_stop,
	.ledger = ledger,
};

/* ---- the scene: two guests, alike in all of their pages ---- */

static void work(void *ctx, uint64_t us)
{
	(void)ctx;
	(void)us;
	if (sim.now_us < worked_us)
		return;
	worked_us = sim.now_us + 20000;
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		for (hs_base_nr p = 0; p < HOT * HS_BASE_PER_HUGE; p++)
			hs_sim_access(views[g], p, false);
		if (sim.now_us >= 2 * ROUND_US && sim.now_us <= 3 * ROUND_US)
			hs_sim_access(views[g], LATE * HS_BASE_PER_HUGE, false);
	}
}

static void open_scene(const struct hs_pipeline_config *cfg)
{
	const struct hs_host host = HS_HOST_DEFAULT;

	ck_assert_int_eq(hs_pipeline_create(&pipeline, &host, cfg, &sim_clock, NULL), 0);
	ck_assert_int_eq(hs_pipeline_set_merge(pipeline, &(struct hs_merge){ &ops, NULL }), 0);
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = g };
		const struct hs_guest_options opt = { .name = g ? "b" : "a", .group = g ? group_of_b : "default" };

		ck_assert_int_eq(hs_view_open_sim(&views[g], &sc), 0);
		for (hs_base_nr p = 0; p < NR_PAGES; p++)
			hs_sim_set(views[g], p, 1000 + p);
		ck_assert_int_eq(hs_pipeline_add_view_as(pipeline, &opt, views[g], NULL), 0);
	}
}

static struct hs_pipeline_config config(void)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;

	cfg.share = hs_share_config_default;
	cfg.observe = true;
	return cfg;
}

static void setup(void)
{
	memset(state, 0, sizeof(state));
	memset(marked, 0, sizeof(marked));
	running = false;
	worked_us = first_apply_us = first_merged_us = started_us = 0;
	nr_applied = nr_starts = next_page = 0;
	burst_error = 0;
	group_of_b = "default";
	pipeline = NULL;
	sim = (struct hs_sim_clock){ .run = work };
	sim_clock = hs_sim_clock_ops(&sim);
}

static void teardown(void)
{
	hs_pipeline_destroy(pipeline);
	pipeline = NULL;
}

static uint64_t cycle(void)
{
	struct hs_error err = { "" };
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert(!running);
	return news;
}

static bool is_whole(uint32_t g, hs_huge_nr h)
{
	return hs_bits_count(&state[g][h].shared) == HS_BASE_PER_HUGE;
}

static uint32_t nr_seen; /* times that ksmd was at work as far as the pipeline says, while it looked */

static void see_ksmd(void *ctx, enum hs_stage stage, uint64_t done, uint64_t total)
{
	(void)ctx;
	(void)done;
	(void)total;
	nr_seen += stage == HS_STAGE_COARSE && hs_pipeline_ksmd_runs(pipeline);
}

/* What is cold is merged from the third round on, in the order of time; what turned out warm is not, nor what is hot.
 */
START_TEST(test_pipeline_early_while_looked_at)
{
	const struct hs_pipeline_config cfg = config();
	uint64_t news;

	open_scene(&cfg);
	hs_pipeline_on_progress(pipeline, see_ksmd, NULL);
	news = cycle();
	ck_assert_uint_ge(nr_seen, 1);
	ck_assert(!hs_pipeline_ksmd_runs(pipeline));
	ck_assert_uint_ge(first_apply_us, 3 * ROUND_US);
	ck_assert_uint_lt(first_apply_us, 4 * ROUND_US);
	ck_assert_uint_ge(started_us, 3 * ROUND_US);
	ck_assert_uint_lt(first_merged_us, 4 * ROUND_US);
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
			/* By ten rounds the hot ones show themselves evenly hot, or hot in a page or two. */
			if (h < HOT || h == LATE)
				ck_assert_msg(hs_bits_none(&state[g][h].shared), "huge page %u of guest %u is shared",
					      h, g);
			else
				ck_assert(is_whole(g, h));
		}
	ck_assert_uint_eq(news, NR_GUESTS * (NR_HUGE - HOT - 1) * HS_BASE_PER_HUGE);
	/* All is known from then on: nothing is early any more. */
	nr_starts = 0;
	first_apply_us = 0;
	news = sim.now_us;
	(void)cycle();
	ck_assert_uint_ge(first_apply_us, news + 10 * ROUND_US);
}
END_TEST

/* What ksmd did not come to in the window is merged after it; decisions on it stand though ksmd's marks look like
 * accesses. */
START_TEST(test_pipeline_early_goes_on_after_the_window)
{
	struct hs_pipeline_config cfg = config();

	hs_pipeline_config_set_rounds(&cfg, 4);
	cfg.coarse.interval_ms = 50; /* the window ends while ksmd is at work */
	sim.run = NULL;
	open_scene(&cfg);
	(void)cycle();
	ck_assert_uint_eq(nr_starts, 2);
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++)
			ck_assert(is_whole(g, h));
}
END_TEST

static void note_cycle(void *ctx, uint32_t nr)
{
	(void)ctx;
	(void)nr;
}

/* Not before the window's end: where that is set, where others' memory could be merged, where somebody records. */
START_TEST(test_pipeline_early_never)
{
	const struct hs_pipeline_observer w = { .cycle = note_cycle };
	struct hs_pipeline_config cfg = config();

	cfg.early_rounds = _i == 0 ? 0 : _i == 1 ? 10 : 3;
	group_of_b = _i == 2 ? "other" : "default";
	open_scene(&cfg);
	if (_i == 3)
		hs_pipeline_set_observer(pipeline, &w);
	(void)cycle();
	ck_assert_uint_ge(first_apply_us, 10 * ROUND_US);
}
END_TEST

/* At whatever moment a cycle is cancelled, ksmd does not run on; the next call takes the window up again. */
START_TEST(test_pipeline_early_cancelled)
{
	const struct hs_pipeline_config cfg = config();

	for (uint64_t at_us = 3 * ROUND_US; at_us < 12 * ROUND_US; at_us += 431000) {
		uint64_t news;
		int rc;

		setup();
		open_scene(&cfg);
		sim.cancel_at_us = at_us;
		rc = hs_pipeline_cycle(pipeline, &news, NULL);
		ck_assert(rc == -ECANCELED || rc == 0);
		ck_assert_msg(!running, "ksmd runs on after %lu us", (unsigned long)at_us);
		sim.cancel_at_us = 0;
		(void)cycle();
		for (hs_huge_nr h = HOT; h < NR_HUGE; h++)
			ck_assert(h == LATE || is_whole(0, h));
		teardown();
	}
}
END_TEST

/* Somebody else's mergeable memory ends ksmd's work, not the look; the cycle then says so itself. */
START_TEST(test_pipeline_early_error)
{
	const struct hs_pipeline_config cfg = config();
	struct hs_error err = { "" };
	uint64_t news;

	open_scene(&cfg);
	burst_error = -EBUSY;
	ck_assert_int_eq(hs_pipeline_cycle(pipeline, &news, &err), -EBUSY);
	ck_assert_str_eq(err.text, "as the test asked");
	ck_assert_uint_ge(sim.now_us, 10 * ROUND_US);
	burst_error = 0;
	(void)cycle();
	ck_assert(is_whole(0, NR_HUGE - 1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pipeline/early");
	TCase *c = tcase_create("scene");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_pipeline_early_while_looked_at);
	tcase_add_test(c, test_pipeline_early_goes_on_after_the_window);
	tcase_add_loop_test(c, test_pipeline_early_never, 0, 4);
	tcase_add_test(c, test_pipeline_early_cancelled);
	tcase_add_test(c, test_pipeline_early_error);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
