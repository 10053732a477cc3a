/*
 * The merge operations over simulated guests: in which order they are called, and what becomes of pages that never
 * merge. The table here merges what is wanted and has a partner, as ksmd does, but for pages that somebody holds.
 */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

#define NR_GUESTS 2
#define NR_HUGE   8
#define NR_PAGES  (NR_HUGE * HS_BASE_PER_HUGE)
#define SOME      1 /* huge page of guest 0 of which some base pages are held */
#define NR_HELD   5
#define WHOLE     3 /* and the one that is held as a whole */

static struct hs_sim_clock sim;
static struct hs_clock sim_clock;
static struct hs_view *views[NR_GUESTS + 1];
static struct hs_pipeline *pipeline;

/* ---- the table ---- */

static struct hs_shared_huge state[NR_GUESTS + 1][NR_HUGE];
static struct hs_bits512 marked[NR_GUESTS + 1][NR_HUGE];
static struct hs_bits512 held[NR_GUESTS + 1][NR_HUGE];
static uint32_t nr_unshared[NR_GUESTS + 1][NR_HUGE];
static uint32_t nr_bursts, nr_applied, nr_verified;
static bool settles, runs;
static int apply_error;

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

static void unmerge(uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages)
{
	hs_bits_for_each (i, pages)
		hs_sim_unmerge(views[id], huge * HS_BASE_PER_HUGE + i);
}

static int unshare(void *ctx, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
		   struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*out = (struct hs_share_unshared){ .nr_huge = nr, .nr_collapsed = nr };
	for (size_t i = 0; i < nr; i++) {
		const struct hs_bits512 merged = hs_sim_merged(views[id], huge[i]);

		unmerge(id, huge[i], &merged);
		hs_sim_collapse(views[id], huge[i]);
		state[id][huge[i]] = (struct hs_shared_huge){ 0 };
		hs_bits_clear_all(&marked[id][huge[i]]);
		nr_unshared[id][huge[i]]++;
	}
	return 0;
}

static int verify(void *ctx, uint32_t id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		state[id][h].shared = hs_bits_and(state[id][h].wanted, hs_sim_merged(views[id], h));
	nr_verified++;
	return 0;
}

static int apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	(void)ctx;
	nr_applied++;
	*out = (struct hs_share_applied){ 0 };
	if (id == NR_GUESTS) {
		out->pages_dropped = 1;
		out->pages_pending = 7;
		(void)snprintf(out->pending_reason, sizeof(out->pending_reason), "no room in the test");
		return 0;
	}
	if (apply_error)
		return hs_error_set(err, apply_error, "as the test asked");
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		const struct hs_bits512 new = hs_bits_andnot(state[id][h].wanted, marked[id][h]);
		const struct hs_bits512 gone = hs_bits_andnot(marked[id][h], state[id][h].wanted);

		unmerge(id, h, &gone);
		out->pages_marked += hs_bits_count(&new);
		marked[id][h] = state[id][h].wanted;
	}
	return 0;
}

/* Each content stands at the same place in both guests. */
static bool mergeable(uint32_t id, hs_huge_nr h, unsigned int i)
{
	return hs_bits_test(&marked[id][h], i) && !hs_bits_test(&held[id][h], i);
}

static int burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	(void)ctx;
	(void)clock;
	(void)err;
	/* Nothing is counted as new that broke before. */
	ck_assert_uint_ge(nr_verified, NR_GUESTS * (nr_bursts + 1));
	nr_bursts++;
	*out = (struct hs_share_burst){ .settled = settles,
					.whole = settles,
					.pages_scanned = runs ? 2 * NR_GUESTS * NR_PAGES : 0 };
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
			for (uint32_t g = 0; g < NR_GUESTS; g++) {
				const hs_base_nr page = h * HS_BASE_PER_HUGE + i;

				if (!mergeable(0, h, i) || !mergeable(1, h, i) ||
				    hs_sim_content(views[0], page) != hs_sim_content(views[1], page))
					continue;
				hs_sim_break_huge(views[g], h);
				hs_sim_merge(views[g], page);
			}
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

static struct hs_merge_ops ops = {
	.name = "test",
	.merges = true,
	.enter = enter,
	.want = want,
	.state = get_state,
	.unshare = unshare,
	.verify = verify,
	.apply = apply,
	.burst = burst,
	.ledger = ledger,
};

/* ---- the scene: two guests that sleep, alike in all of their pages ---- */

static void setup(void)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;

	memset(state, 0, sizeof(state));
	memset(marked, 0, sizeof(marked));
	memset(held, 0, sizeof(held));
	memset(nr_unshared, 0, sizeof(nr_unshared));
	nr_bursts = nr_applied = nr_verified = 0;
	settles = runs = true;
	apply_error = 0;
	ops.compares = false;
	sim = (struct hs_sim_clock){ 0 };
	sim_clock = hs_sim_clock_ops(&sim);
	cfg.share = hs_share_config_default;
	cfg.observe = true;
	ck_assert_int_eq(hs_pipeline_create(&pipeline, &host, &cfg, &sim_clock, NULL), 0);
	ck_assert_int_eq(hs_pipeline_set_merge(pipeline, &(struct hs_merge){ &ops, NULL }), 0);
	ck_assert_int_eq(hs_pipeline_set_merge(pipeline, &(struct hs_merge){ &ops, NULL }), -EBUSY);
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = g };

		ck_assert_int_eq(hs_view_open_sim(&views[g], &sc), 0);
		for (hs_base_nr p = 0; p < NR_PAGES; p++)
			hs_sim_set(views[g], p, 1000 + p);
		ck_assert_int_eq(hs_pipeline_add_view(pipeline, g ? "b" : "a", views[g], NULL), 0);
	}
}

static void teardown(void)
{
	hs_pipeline_destroy(pipeline);
}

static uint64_t cycle(void)
{
	struct hs_error err = { "" };
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	return news;
}

static uint64_t nr_wanted(uint32_t g, hs_huge_nr h)
{
	return hs_bits_count(&state[g][h].wanted);
}

static uint64_t nr_shared(uint32_t g, hs_huge_nr h)
{
	return hs_bits_count(&state[g][h].shared);
}

/* All is merged by the first burst, and no other one is run for it. */
START_TEST(test_pipeline_merge_once)
{
	struct hs_pipeline_totals t;

	ck_assert_uint_eq(cycle(), NR_GUESTS * NR_PAGES);
	hs_pipeline_totals(pipeline, &t);
	ck_assert_uint_eq(t.ledger.shared, NR_GUESTS * NR_PAGES);
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(cycle(), 0);
	ck_assert_uint_eq(nr_bursts, 1);
	ck_assert_uint_eq(nr_applied, 5 * NR_GUESTS);
}
END_TEST

#define SWEPT 4 /* huge pages from 0 on */

/* A guest whose turn round its memory takes eight rounds of the coarse phase. */
static void sweep(void *ctx, uint64_t us)
{
	static hs_base_nr round;

	(void)ctx;
	(void)us;
	for (hs_base_nr p = round++ % 8; p < SWEPT * HS_BASE_PER_HUGE; p += 8)
		for (uint32_t g = 0; g < NR_GUESTS; g++)
			hs_sim_access(views[g], p, p % 2);
}

/* Memory that is split is as hot as the same memory in huge pages: what is used in each window, though not in its last
 * round, is not cold. */
START_TEST(test_pipeline_merge_split_and_used)
{
	sim.run = sweep;
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++)
			hs_sim_break_huge(views[g], h);
	for (hs_base_nr p = 0; p < SWEPT * HS_BASE_PER_HUGE; p += 3)
		for (uint32_t g = 0; g < NR_GUESTS; g++)
			hs_sim_set(views[g], p, 0);
	for (int i = 0; i < 4; i++)
		(void)cycle();
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++)
			ck_assert_uint_eq(nr_wanted(g, h), h < SWEPT ? 0 : HS_BASE_PER_HUGE);
	/* When it rests, it is shared as well. */
	sim.run = NULL;
	for (int i = 0; i < 2; i++)
		(void)cycle();
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++)
			ck_assert_uint_eq(nr_shared(g, h), HS_BASE_PER_HUGE);
}
END_TEST

static void hold(void)
{
	for (unsigned int i = 0; i < NR_HELD; i++)
		hs_bits_set(&held[0][SOME], 100 * i);
	held[0][WHOLE] = hs_bits_full();
}

/* What never merges is unmarked after three settled bursts, in both guests; the rest of its huge page stays shared, and
 * a huge page of which nothing merges is given back. No burst is run for it any more. */
START_TEST(test_pipeline_merge_gives_back_what_never_merges)
{
	ops.compares = _i;
	hold();
	for (uint32_t n = 1; n <= 3; n++) {
		(void)cycle();
		ck_assert_uint_eq(nr_bursts, n);
		for (uint32_t g = 0; g < NR_GUESTS; g++) {
			ck_assert_uint_eq(nr_wanted(g, SOME), HS_BASE_PER_HUGE);
			ck_assert_uint_eq(nr_shared(g, SOME), HS_BASE_PER_HUGE - NR_HELD);
			ck_assert_uint_eq(nr_wanted(g, WHOLE), HS_BASE_PER_HUGE);
			ck_assert_uint_eq(nr_shared(g, WHOLE), 0);
		}
	}
	for (int i = 0; i < 10; i++) {
		ck_assert_uint_eq(cycle(), 0);
		for (uint32_t g = 0; g < NR_GUESTS; g++) {
			struct hs_bits512 beyond = hs_bits_and(held[0][SOME], state[g][SOME].wanted);

			ck_assert_uint_eq(nr_wanted(g, SOME), HS_BASE_PER_HUGE - NR_HELD);
			ck_assert(hs_bits_none(&beyond));
			ck_assert_uint_eq(nr_shared(g, SOME), HS_BASE_PER_HUGE - NR_HELD);
			ck_assert_uint_eq(nr_wanted(g, WHOLE), 0);
			ck_assert(hs_bits_none(&marked[g][WHOLE]));
			ck_assert_uint_eq(nr_unshared[g][WHOLE], 1);
			ck_assert_uint_eq(nr_unshared[g][SOME], 0);
			ck_assert_int_eq(hs_sim_state(views[g], WHOLE), HS_MAP_HUGE);
			ck_assert_uint_eq(pipeline->guests[g]->pages[WHOLE].nr_unshared, 0); /* no fault of its own */
			ck_assert_uint_eq(pipeline->guests[g]->pages[WHOLE].decision.reason, HS_WHY_DOES_NOT_MERGE);
		}
	}
	ck_assert_uint_eq(nr_bursts, 3);
}
END_TEST

#define STALE (2 * HS_BASE_PER_HUGE + 7)

/* Written behind our back, after it was read. */
static void write_stale(void *ctx, uint64_t us)
{
	(void)ctx;
	(void)us;
	if (sim.now_us > 4000000)
		hs_sim_set(views[0], STALE, 7777777);
}

/* A digest that is out of date is found out: by our compare before it is marked, or, where ksmd compares and we do not,
 * by what it left. Only that page is read again. */
START_TEST(test_pipeline_merge_stale)
{
	struct hs_pipeline_totals t;

	ops.compares = _i;
	sim.run = write_stale;
	(void)cycle();
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		ck_assert_uint_eq(nr_wanted(g, 2), HS_BASE_PER_HUGE - !_i);
		ck_assert_uint_eq(nr_shared(g, 2), HS_BASE_PER_HUGE - 1);
	}
	for (int i = 0; i < 3; i++)
		(void)cycle();
	hs_pipeline_totals(pipeline, &t);
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		ck_assert(hs_bits_none(&pipeline->guests[g]->pages[2].candidate) ||
			  !hs_bits_test(&pipeline->guests[g]->pages[2].same, STALE % HS_BASE_PER_HUGE));
	ck_assert_uint_eq(t.pages_compared != 0, !_i);
	ck_assert_uint_eq(t.compare_failed != 0, !_i);
	ck_assert_uint_le(t.pages_hashed, NR_GUESTS * NR_PAGES + 4 * NR_GUESTS);
}
END_TEST

/* Later it is tried again; who held it then holds it no longer. */
START_TEST(test_pipeline_merge_tries_again_later)
{
	uint32_t cycles = 3;

	hold();
	for (uint32_t i = 0; i < cycles; i++)
		(void)cycle();
	memset(held, 0, sizeof(held));
	while (nr_bursts == 3 && cycles < 200) {
		(void)cycle();
		cycles++;
	}
	ck_assert_uint_ge(cycles, 60);
	ck_assert_uint_lt(cycles, 200);
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++)
			ck_assert_uint_eq(nr_shared(g, h), HS_BASE_PER_HUGE);
}
END_TEST

/* Held for a moment only, or unmerged for another reason: nothing is given up. */
START_TEST(test_pipeline_merge_needs_three_bursts)
{
	ops.compares = _i;
	hold();
	(void)cycle();
	(void)cycle();
	memset(held, 0, sizeof(held));
	(void)cycle();
	ck_assert_uint_eq(nr_bursts, 3);
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++)
			ck_assert_uint_eq(nr_shared(g, h), HS_BASE_PER_HUGE);
}
END_TEST

/* A burst that did not settle, one for which ksmd did not run, and a guest whose pages could not all be marked, say
 * nothing about a page. */
START_TEST(test_pipeline_merge_unsettled_proves_nothing)
{
	hold();
	settles = _i != 0;
	runs = _i != 1;
	apply_error = _i == 2 ? -EAGAIN : 0;
	for (int i = 0; i < 8; i++)
		(void)cycle();
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE; h++)
			ck_assert_uint_eq(nr_wanted(g, h), HS_BASE_PER_HUGE);
	settles = runs = true;
	apply_error = 0;
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		hs_bits_clear_all(&marked[0][h]); /* so that there is a burst */
	for (int i = 0; i < 4; i++)
		(void)cycle();
	ck_assert_uint_eq(nr_wanted(0, WHOLE), 0);
	ck_assert_uint_eq(nr_wanted(0, SOME), HS_BASE_PER_HUGE - NR_HELD);
}
END_TEST

/* A guest without VMAs for all of its marks keeps nobody else's pages from being given up. */
START_TEST(test_pipeline_merge_refused_guest_by_guest)
{
	struct hs_guest_report reports[NR_GUESTS + 1];
	const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = NR_GUESTS };

	ck_assert_int_eq(hs_view_open_sim(&views[NR_GUESTS], &sc), 0);
	for (hs_base_nr p = 0; p < NR_PAGES; p++)
		hs_sim_set(views[NR_GUESTS], p, 9000000 + p);
	ck_assert_int_eq(hs_pipeline_add_view(pipeline, "c", views[NR_GUESTS], NULL), 0);
	hold();
	for (int i = 0; i < 5; i++)
		(void)cycle();
	ck_assert_uint_eq(hs_pipeline_report(pipeline, reports, NR_GUESTS + 1), NR_GUESTS + 1);
	ck_assert_uint_eq(reports[NR_GUESTS].nr_vmas_dropped, 1);
	ck_assert_uint_eq(reports[NR_GUESTS].nr_pending, 7);
	ck_assert_str_eq(reports[NR_GUESTS].pending_reason, "no room in the test");
	ck_assert_uint_eq(reports[0].nr_pending, 0);
	ck_assert_str_eq(reports[0].pending_reason, "");
	ck_assert_uint_eq(nr_wanted(0, WHOLE), 0);
	ck_assert_uint_eq(nr_wanted(1, WHOLE), 0);
	ck_assert_uint_eq(nr_wanted(0, SOME), HS_BASE_PER_HUGE - NR_HELD);
	ck_assert_uint_eq(nr_shared(0, SOME), HS_BASE_PER_HUGE - NR_HELD);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pipeline/merge");
	TCase *c = tcase_create("scene");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_pipeline_merge_once);
	tcase_add_test(c, test_pipeline_merge_split_and_used);
	tcase_add_loop_test(c, test_pipeline_merge_gives_back_what_never_merges, 0, 2);
	tcase_add_loop_test(c, test_pipeline_merge_stale, 0, 2);
	tcase_add_test(c, test_pipeline_merge_tries_again_later);
	tcase_add_loop_test(c, test_pipeline_merge_needs_three_bursts, 0, 2);
	tcase_add_test(c, test_pipeline_merge_refused_guest_by_guest);
	tcase_add_loop_test(c, test_pipeline_merge_unsettled_proves_nothing, 0, 3);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
