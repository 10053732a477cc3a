/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline's second verb on a real process: cold memory that nobody has twice goes to swap, also from among hot
 * base pages, hot memory stays as it is, and all comes back. Nothing is merged: no ksmd is asked for.
 */
#include "tier_scene.h"

#include <errno.h>

#include "hs/pipeline.h"
#include "hs/sim_view.h"

#define NR_HUGE  6
#define SWAP_KIB (64 * 1024)

static struct hs_pipeline *pipeline;

/* Merge operations that take every guest, and merge nothing. */
static int enter(void *ctx, const struct hs_merge_guest *g, uint32_t *id, struct hs_error *e)
{
	(void)ctx;
	(void)e;
	*id = g->number;
	return 0;
}

static const struct hs_merge_ops nothing = {
	.name = "nothing is merged", .merges = true, .compares = true, .enter = enter
};

static struct hs_pipeline_config config(void)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;

	cfg.share = hs_share_config_default;
	cfg.observe = true; /* until it is given its merge operations */
	cfg.coarse.interval_ms = 50;
	cfg.fine.interval_ms = 50;
	cfg.policy.demote = 1;
	cfg.policy.demote_after_s = 1;
	cfg.policy.max_compressed_percent = 0;
	cfg.tier.pages_per_s = 4000;
	return cfg;
}

static void open_pipeline(const struct hs_pipeline_config *cfg)
{
	const struct hs_merge merge = { .ops = &nothing };

	ck_assert_msg(hs_pipeline_create(&pipeline, &host, cfg, &real_time, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_pipeline_set_merge(pipeline, &merge), 0);
}

static void start(const struct hs_pipeline_config *cfg)
{
	struct hs_guest_params p = hs_guest_params_default;

	p.nr_huge = NR_HUGE;
	p.hot_percent = 33;
	p.bloat_percent = 33;
	p.bloat_hot = 16;
	p.threads = 1;
	p.rate = 1000000;
	p.cold_identical_percent = p.cold_zero_percent = p.cold_dup_percent = 0;
	start_guest(&p);
	swap_on(SWAP_KIB);
	open_pipeline(cfg);
	ck_assert_msg(hs_pipeline_add_pid(pipeline, hs_guest_pid(guest), &err) == 0, "%s", err.text);
}

static void finish(void)
{
	hs_pipeline_destroy(pipeline);
	stop_guest();
	swap_off();
}

static struct hs_guest_report cycle(void)
{
	struct hs_guest_report r;
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_pipeline_report(pipeline, &r, 1), 1);
	return r;
}

/* By the truth about each page: cold ones in swap, and hot ones that are. Evenly hot huge pages that are not huge. */
struct found {
	uint32_t cold, cold_out, hot_out, hot_split;
};

static struct found look(void)
{
	const struct hs_guest_layout *l = hs_guest_layout(guest);
	struct found f = { 0 };

	for (uint32_t h = 0; h < NR_HUGE; h++) {
		const hs_huge_nr v = view_huge(h);
		struct hs_base_sample s;

		ck_assert_int_eq(hs_view_sample_base(view, &v, 1, &s, &err), 0);
		f.hot_split += l->classes[h] == HS_GUEST_HOT && s.state != HS_MAP_HUGE;
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
			const bool out = hs_bits_test(&s.swapped, i), hot = l->pages[h * HS_BASE_PER_HUGE + i].hot;

			f.cold += !hot;
			f.cold_out += !hot && out;
			f.hot_out += hot && out;
		}
	}
	return f;
}

START_TEST(test_pipeline_demote_skewed)
{
	const struct hs_pipeline_config cfg = config();
	struct hs_share_unshared u;
	struct hs_guest_report r = { 0 };
	struct hs_guest_stats stats;
	uint64_t deadline = 0;
	struct found f = { 0 };

	start(&cfg);
	while (f.cold_out * 100 < f.cold * 99 || !f.cold || f.hot_out || f.hot_split) {
		ck_assert_msg(before(&deadline, 90),
			      "of %u cold base pages %u are out, and %u hot ones; %u huge pages "
			      "are split that are evenly hot; %s",
			      f.cold, f.cold_out, f.hot_out, f.hot_split, r.tier_obstacle.text);
		r = cycle();
		f = look();
	}
	ck_assert_uint_ge(r.nr_demoted, f.cold_out);
	ck_assert_str_eq(r.tier_obstacle.text, "");
	ck_assert_int_eq(hs_guest_stats(guest, &stats, &err), 0);
	ck_assert_uint_gt(stats.accesses, 0);
	/* All of it comes back when it is asked for. */
	ck_assert_msg(hs_pipeline_unshare_pid(pipeline, hs_guest_pid(guest), &u, &err) == 0, "%s", err.text);
	f = look();
	ck_assert_uint_eq(f.cold_out, 0);
	check_bytes();
	finish();
}
END_TEST

/* What does not compress stays, and hot huge pages that promise nothing else are not split for a look. */
START_TEST(test_pipeline_demote_incompressible)
{
	struct hs_pipeline_config cfg = config();
	struct hs_guest_report r;
	struct found f;

	cfg.policy.max_compressed_percent = 75;
	cfg.policy.demote_after_s = 0;
	start(&cfg);
	for (int i = 0; i < 4; i++)
		r = cycle();
	f = look();
	ck_assert_uint_eq(f.cold_out + f.hot_out, 0);
	ck_assert_uint_eq(r.nr_demoted, 0);
	ck_assert_uint_eq(r.mapped_huge, r.nr_huge - r.mapped_split - r.absent - r.unknown);
	ck_assert_uint_eq(f.hot_split, 0);
	finish();
}
END_TEST

/* Off, or without a tier, or of a guest that is none: nothing goes, and the reason is known. */
START_TEST(test_pipeline_demote_not)
{
	struct hs_pipeline_config cfg = config();
	struct hs_view *sim;
	struct hs_guest_report r[2];
	struct found f;
	uint64_t news;

	cfg.policy.demote_after_s = 0;
	cfg.policy.demote = 0;
	start(&cfg);
	for (int i = 0; i < 3; i++)
		r[0] = cycle();
	f = look();
	ck_assert_uint_eq(f.cold_out + f.hot_out, 0);
	ck_assert_int_eq(r[0].tier_obstacle.error, 0);
	hs_pipeline_destroy(pipeline);
	swap_off();
	cfg.policy.demote = 1;
	open_pipeline(&cfg);
	ck_assert_msg(hs_pipeline_add_pid(pipeline, hs_guest_pid(guest), &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_view_open_sim(&sim, &(struct hs_sim_config){ .nr_huge = 2, .state = HS_MAP_HUGE }), 0);
	ck_assert_int_eq(hs_pipeline_add_view(pipeline, "sim", sim, &err), 0);
	ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_pipeline_report(pipeline, r, 2), 2);
	ck_assert_int_eq(r[0].tier_obstacle.error, -ENODATA);
	/* There is one by now. */
	swap_on(SWAP_KIB);
	for (int i = 0; i < 3; i++)
		ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_pipeline_report(pipeline, r, 2), 2);
	ck_assert_int_eq(r[0].tier_obstacle.error, 0);
	ck_assert_int_eq(r[1].tier_obstacle.error, -ENOTSUP);
	ck_assert_uint_eq(r[1].nr_demoted, 0);
	check_bytes();
	finish();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_pipeline_demote_skewed);
	tcase_add_test(t, test_pipeline_demote_incompressible);
	tcase_add_test(t, test_pipeline_demote_not);
}

int main(void)
{
	return tier_scene_main("pipeline/demote", add);
}
