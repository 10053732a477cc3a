/* SPDX-License-Identifier: Apache-2.0 */
/* What could be saved, as a range and by its kind, and the look that makes it exact, on simulated guests. */
#include "hs_test.h"

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

/* Huge pages of each guest: 0..3 evenly hot, 4..7 hot bloat (8 hot base pages), the rest cold. */
#define NR_HUGE  16
#define NR_EVEN  4
#define NR_BLOAT 8
#define BLOAT    8
#define NR_COLD  (NR_HUGE - NR_BLOAT)
#define GUESTS   3

static struct hs_sim_clock sim;
static struct hs_clock sim_clock;
static struct hs_view *views[GUESTS];
static struct hs_pipeline *pipeline;
static struct hs_guest_report r[GUESTS];

static void run_guests(void *ctx, uint64_t us)
{
	(void)ctx;
	(void)us;
	for (uint32_t g = 0; g < GUESTS; g++) {
		for (hs_base_nr p = 0; p < NR_EVEN * HS_BASE_PER_HUGE; p++)
			hs_sim_access(views[g], p, false);
		for (hs_huge_nr h = NR_EVEN; h < NR_BLOAT; h++)
			for (unsigned int i = 0; i < BLOAT; i++)
				hs_sim_access(views[g], h * HS_BASE_PER_HUGE + i * 64, true);
	}
}

/* Of eight pages four are the same in all guests, one is twice in its guest, two are its own, and one is zero. */
static uint64_t content(uint32_t g, hs_base_nr p)
{
	const unsigned int i = p % 8;

	if (i == 7)
		return 0;
	if (i < 4)
		return 1000000 + p;
	return (g + 2) * UINT64_C(100000000) + (i == 4 ? p / 16 : 10000000 + p);
}

static void setup(void)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };

	sim = (struct hs_sim_clock){ .run = run_guests };
	sim_clock = hs_sim_clock_ops(&sim);
	cfg.share = hs_share_config_default;
	cfg.observe = true;
	ck_assert_msg(hs_pipeline_create(&pipeline, &host, &cfg, &sim_clock, &err) == 0, "%s", err.text);
	for (uint32_t g = 0; g < GUESTS; g++) {
		const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = g };
		const struct hs_guest_options opt = { .name = "guest", .group = g < 2 ? "web" : "db" };

		ck_assert_int_eq(hs_view_open_sim(&views[g], &sc), 0);
		for (hs_base_nr p = 0; p < NR_HUGE * HS_BASE_PER_HUGE; p++)
			hs_sim_set(views[g], p, content(g, p));
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
	ck_assert_uint_eq(hs_pipeline_report(pipeline, r, GUESTS), GUESTS);
}

/* So many huge pages, of which `hot` base pages that all guests hold do not count. */
static struct hs_saving saving(uint32_t g, uint64_t nr_huge, uint64_t hot)
{
	const uint64_t pages = nr_huge * HS_BASE_PER_HUGE;

	return (struct hs_saving){ .zero_bytes = pages / 8 * HS_BASE_SIZE,
				   .within_bytes = pages / 16 * HS_BASE_SIZE,
				   /* Two guests share one frame, of which each bears a half; the third has nobody. */
				   .across_bytes = g < 2 ? (pages / 2 - hot) * HS_BASE_SIZE / 2 : 0 };
}

#define IS(what, g, ...)                                                                                               \
	do {                                                                                                           \
		const struct hs_saving want_ = saving(g, __VA_ARGS__);                                                 \
		ck_assert_uint_eq((what).zero_bytes, want_.zero_bytes);                                                \
		ck_assert_uint_eq((what).within_bytes, want_.within_bytes);                                            \
		ck_assert_uint_eq((what).across_bytes, want_.across_bytes);                                            \
	} while (0)

static uint64_t nr_split(void)
{
	struct hs_sim_stats st;
	uint64_t n = 0;

	for (int g = 0; g < GUESTS; g++) {
		hs_sim_stats(views[g], &st);
		n += st.nr_split;
	}
	return n;
}

START_TEST(test_service_saving_range)
{
	for (int i = 0; i < 3; i++) {
		cycle();
		for (uint32_t g = 0; g < GUESTS; g++) {
			IS(r[g].sure, g, NR_COLD, 0);
			IS(r[g].at_most, g, NR_HUGE, 0);
			ck_assert_uint_eq(r[g].could_save_bytes, hs_saving_bytes(&r[g].sure));
			ck_assert_uint_eq(r[g].could_save_at_most_bytes, hs_saving_bytes(&r[g].at_most));
			ck_assert_uint_eq(r[g].nr_promising, NR_BLOAT);
			ck_assert_uint_eq(r[g].looked_cycle, 0);
		}
	}
	ck_assert_uint_eq(nr_split(), 0);
}
END_TEST

START_TEST(test_service_saving_look_makes_it_exact)
{
	const uint64_t found = (NR_BLOAT - NR_EVEN) * BLOAT;
	uint64_t split;

	cycle();
	hs_pipeline_ask_look(pipeline, true);
	ck_assert(hs_pipeline_look_pending(pipeline));
	cycle();
	ck_assert(!hs_pipeline_look_pending(pipeline));
	for (uint32_t g = 0; g < GUESTS; g++) {
		IS(r[g].sure, g, NR_HUGE - NR_EVEN, found);
		IS(r[g].at_most, g, NR_HUGE - NR_EVEN, found);
		IS(r[g].looked, g, NR_HUGE - NR_EVEN, found);
		ck_assert_uint_eq(r[g].looked_cycle, 2);
		ck_assert_uint_eq(r[g].nr_promising, 0);
		ck_assert_uint_eq(r[g].hot_bloat, NR_BLOAT - NR_EVEN);
		ck_assert_uint_eq(r[g].evenly_hot, NR_EVEN);
		/* Everything is as it was. */
		for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
			const struct hs_bits512 merged = hs_sim_merged(views[g], h);

			ck_assert_uint_eq(hs_sim_state(views[g], h), HS_MAP_HUGE);
			ck_assert(hs_bits_none(&merged));
		}
	}
	split = nr_split();
	ck_assert_uint_ge(split, GUESTS * NR_BLOAT);

	/* One look, no more. What it saw stays the upper end; it is not sure any longer, since the memory is in use. */
	cycle();
	ck_assert_uint_eq(nr_split(), split);
	for (uint32_t g = 0; g < GUESTS; g++) {
		IS(r[g].sure, g, NR_COLD, 0);
		IS(r[g].at_most, g, NR_HUGE - NR_EVEN, found);
		IS(r[g].looked, g, NR_HUGE - NR_EVEN, found);
		ck_assert_uint_eq(r[g].looked_cycle, 2);
	}
}
END_TEST

/* A holder that is not shared frees no frame, and many holders bear one frame together. */
START_TEST(test_service_saving_counts_what_is_shared)
{
	const hs_base_nr first = NR_BLOAT * HS_BASE_PER_HUGE;
	const struct hs_saving before = saving(0, NR_COLD, 0);
	uint64_t across;

	/* A content that all of the first guest's own cold pages hold, the second guest's once, and hot memory. */
	for (hs_base_nr p = first; p < NR_HUGE * HS_BASE_PER_HUGE; p++)
		if (p % 8 == 5)
			hs_sim_set(views[0], p, 77);
	hs_sim_set(views[1], first + 5, 77);
	hs_sim_set(views[1], 5, 77);
	cycle();
	across = NR_COLD * HS_BASE_PER_HUGE / 8;
	ck_assert_uint_eq(r[0].sure.within_bytes, before.within_bytes + (across - 1) * HS_BASE_SIZE);
	ck_assert_uint_eq(r[0].sure.across_bytes,
			  before.across_bytes + HS_BASE_SIZE - HS_BASE_SIZE * across / (across + 1));
	ck_assert_uint_eq(r[1].sure.within_bytes, before.within_bytes);
	ck_assert_uint_eq(r[1].sure.across_bytes, before.across_bytes + HS_BASE_SIZE - HS_BASE_SIZE / (across + 1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/saving");
	TCase *c = tcase_create("saving");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_service_saving_range);
	tcase_add_test(c, test_service_saving_look_makes_it_exact);
	tcase_add_test(c, test_service_saving_counts_what_is_shared);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
