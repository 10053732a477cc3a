/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns a content, over simulated guests of two groups: guests 0 and 1 of the one, guest 2 of the other. The table
 * of merge operations here merges all that is marked and alike, in whatever guest, as ksmd does.
 */
#include "hs_test.h"

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

#define NR_GUESTS 3
#define NR_HUGE   2
#define NR_PAGES  (NR_HUGE * HS_BASE_PER_HUGE)
#define WRITTEN   7     /* page of guests 0 and 1 */
#define OTHER     88888 /* what they write there */

static struct hs_sim_clock sim;
static struct hs_clock sim_clock;
static struct hs_view *views[NR_GUESTS];
static struct hs_pipeline *pipeline;
static struct hs_shared_huge state[NR_GUESTS][NR_HUGE];
static struct hs_bits512 allowed[NR_GUESTS][NR_HUGE], marked[NR_GUESTS][NR_HUGE];
static uint32_t nr_bursts, nr_crossed; /* pages merged with one of another group's */
static bool holds_back;                /* nothing is marked or unmarked now */
static void (*in_burst)(void);         /* what the guests do before ksmd comes by */

static int enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*id = guest->number;
	return 0;
}

static int want(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages, const struct hs_bits512 *may)
{
	(void)ctx;
	state[id][huge].wanted = *pages;
	allowed[id][huge] = *may;
	return 0;
}

static int forgo(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages)
{
	(void)ctx;
	state[id][huge].wanted = hs_bits_andnot(state[id][huge].wanted, *pages);
	allowed[id][huge] = hs_bits_andnot(allowed[id][huge], *pages);
	return 0;
}

static void get_state(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	(void)ctx;
	*out = state[id][huge];
}

static void claims(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_bits512 *out)
{
	(void)ctx;
	*out = hs_bits_or(hs_bits_or(state[id][huge].wanted, allowed[id][huge]), marked[id][huge]);
}

static int verify(void *ctx, uint32_t id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		state[id][h].shared = hs_bits_and(marked[id][h], hs_sim_merged(views[id], h));
	return 0;
}

static int apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*out = (struct hs_share_applied){ 0 };
	if (holds_back)
		return 0;
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		const struct hs_bits512 target = hs_bits_or(state[id][h].wanted, allowed[id][h]);
		const struct hs_bits512 new = hs_bits_andnot(target, marked[id][h]);
		const struct hs_bits512 gone = hs_bits_andnot(marked[id][h], target);

		hs_bits_for_each (i, &gone)
			hs_sim_unmerge(views[id], h * HS_BASE_PER_HUGE + i);
		out->pages_marked += hs_bits_count(&new);
		marked[id][h] = target;
	}
	return 0;
}

struct holder {
	uint64_t content;
	uint32_t guest;
	hs_base_nr page;
};

static int by_content(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return (x->content > y->content) - (x->content < y->content);
}

/* Never settled: the next cycle has a burst as well. */
static int burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	static struct holder all[NR_GUESTS * NR_PAGES];
	size_t nr = 0;

	(void)ctx;
	(void)clock;
	(void)err;
	*out = (struct hs_share_burst){ 0 };
	nr_bursts++;
	if (in_burst)
		in_burst();
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_base_nr p = 0; p < NR_PAGES; p++)
			if (hs_bits_test(&marked[g][p / HS_BASE_PER_HUGE], p % HS_BASE_PER_HUGE))
				all[nr++] = (struct holder){ hs_sim_content(views[g], p), g, p };
	qsort(all, nr, sizeof(all[0]), by_content);
	for (size_t i = 0, end; i < nr; i = end) {
		bool crossed = false;

		for (end = i; end < nr && all[end].content == all[i].content; end++)
			crossed |= (all[end].guest == 2) != (all[i].guest == 2);
		for (size_t k = i; k < end && end - i > 1; k++)
			hs_sim_merge(views[all[k].guest], all[k].page);
		nr_crossed += crossed;
	}
	return 0;
}

static struct hs_merge_ops ops = {
	.name = "test",
	.merges = true,
	.compares = true,
	.enter = enter,
	.want = want,
	.forgo = forgo,
	.state = get_state,
	.claims = claims,
	.verify = verify,
	.apply = apply,
	.burst = burst,
};

static void setup(void)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;

	memset(state, 0, sizeof(state));
	memset(allowed, 0, sizeof(allowed));
	memset(marked, 0, sizeof(marked));
	nr_bursts = nr_crossed = 0;
	in_burst = NULL;
	holds_back = false;
	sim = (struct hs_sim_clock){ 0 };
	sim_clock = hs_sim_clock_ops(&sim);
	cfg.share = hs_share_config_default;
	cfg.observe = true;
	ck_assert_int_eq(hs_pipeline_create(&pipeline, &host, &cfg, &sim_clock, NULL), 0);
	ck_assert_int_eq(hs_pipeline_set_merge(pipeline, &(struct hs_merge){ &ops, NULL }), 0);
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = g };
		const struct hs_guest_options opt = { .name = "guest", .group = g == 2 ? "two" : "one" };

		ck_assert_int_eq(hs_view_open_sim(&views[g], &sc), 0);
		for (hs_base_nr p = 0; p < NR_PAGES; p++)
			hs_sim_set(views[g], p, g == 2 ? 500000 + p : 1000 + p);
		ck_assert_int_eq(hs_pipeline_add_view_as(pipeline, &opt, views[g], NULL), 0);
	}
}

static void teardown(void)
{
	hs_pipeline_destroy(pipeline);
}

static void cycle(void)
{
	struct hs_error err = { "" };
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
}

static void write_other(void)
{
	for (uint32_t g = 0; g < 2; g++)
		hs_sim_write(views[g], WRITTEN, OTHER);
}

/* Guest 2 comes to hold twice what the other group has, once, and never touches it again. */
static void come_to_hold(void *ctx, uint64_t us)
{
	(void)ctx;
	(void)us;
	hs_sim_write(views[2], 0, OTHER);
	hs_sim_write(views[2], 1, OTHER);
	sim.run = NULL;
}

/*
 * A merged page of group one that is written during a burst, and merged again by the same one, holds something else on
 * its frame than when it was read: that is the group's as well, and not nobody's.
 */
START_TEST(test_pipeline_content_owners_merged_anew)
{
	for (int i = 0; i < 3; i++)
		cycle();
	for (uint32_t g = 0; g < 2; g++)
		ck_assert(hs_bits_test(&state[g][0].shared, WRITTEN));
	in_burst = write_other;
	cycle();
	in_burst = NULL;
	for (uint32_t g = 0; g < 2; g++)
		ck_assert(hs_bits_test(&state[g][0].shared, WRITTEN));
	sim.run = come_to_hold;
	for (int i = 0; i < 4; i++)
		cycle();
	ck_assert_uint_eq(nr_bursts, 8);
	ck_assert_uint_eq(nr_crossed, 0);
	ck_assert(hs_bits_none(&state[2][0].wanted));
	for (uint32_t g = 0; g < 2; g++)
		ck_assert(hs_bits_test(&state[g][0].shared, WRITTEN));
}
END_TEST

/* What was asked for, could not be marked yet, and then cannot be read, is not asked for any more. */
START_TEST(test_pipeline_content_owners_unread)
{
	const struct hs_bits512 all = hs_bits_full();

	holds_back = true;
	for (int i = 0; i < 3; i++)
		cycle();
	ck_assert(hs_bits_test(&state[0][0].wanted, WRITTEN) && hs_bits_none(&marked[0][0]));
	hs_sim_swap_out(views[0], 0, &all);
	cycle();
	ck_assert(hs_bits_none(&state[0][0].wanted) && hs_bits_none(&allowed[0][0]));
	ck_assert(hs_bits_test(&state[1][0].wanted, WRITTEN));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pipeline/content_owners");
	TCase *c = tcase_create("scene");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_pipeline_content_owners_merged_anew);
	tcase_add_test(c, test_pipeline_content_owners_unread);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
