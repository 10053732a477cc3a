/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sketches of simulated guests on two hosts, each a pipeline of its own that knows nothing of the other, against what
 * the guests are known to hold: cold contents alone, by group, only of who may share, only under one key.
 */
#include "hs_test.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

#define NR_HUGE 8
#define NR_HOT  2 /* the first ones: what they hold is not cold, and tells nothing */
#define GUESTS  4
#define NR_COLD ((NR_HUGE - NR_HOT) * HS_BASE_PER_HUGE)

struct host {
	struct hs_sim_clock sim;
	struct hs_clock clock;
	struct hs_view *views[GUESTS];
	struct hs_pipeline *pipeline;
	struct hs_guest_report reports[GUESTS];
	bool becomes_first; /* web-2 writes what web-1 of host 0 holds */
};

static const struct hs_guest_options options[GUESTS] = {
	{ .name = "web-1", .group = "web" },
	{ .name = "web-2", .group = "web" },
	{ .name = "db-1", .group = "db" },
	{ .name = "alone", .group = "web", .scope = HS_SCOPE_GUEST },
};

/*
 * Of eight pages one is zero and one is the page before it once more; of the six contents that are left, web-1 of one
 * host and of the other have three in common; web-1 and web-2 of one host two. `db` holds what web-1 does.
 */
static uint64_t content(unsigned int host, size_t g, hs_base_nr p)
{
	const unsigned int i = p % 8 == 6 ? 5 : p % 8;
	const uint64_t nr = p / 8 * 8 + i + 1;

	if (p % 8 == 7)
		return 0;
	if (g == 2 || g == 3)
		g = 0;
	if (g == 1)
		return i < 2 ? 1000000 + nr : 3000000 + nr + host * UINT64_C(500000);
	return i < 3 ? 1000000 + nr : 2000000 + nr + host * UINT64_C(500000);
}

static void keep_hot(void *ctx, uint64_t us)
{
	struct host *h = ctx;

	(void)us;
	for (size_t g = 0; g < GUESTS; g++)
		for (hs_base_nr p = 0; p < NR_HOT * HS_BASE_PER_HUGE; p++)
			hs_sim_access(h->views[g], p, false);
	if (!h->becomes_first)
		return;
	for (hs_base_nr p = 0; p < NR_HUGE * HS_BASE_PER_HUGE; p++) {
		hs_sim_set(h->views[1], p, content(0, 0, p));
		hs_sim_access(h->views[1], p, true);
	}
	h->becomes_first = false;
}

static void host_init(struct host *h, unsigned int nr, const struct hs_fleet_key *key)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };

	*h = (struct host){ .sim = { .run = keep_hot, .ctx = h } };
	h->clock = hs_sim_clock_ops(&h->sim);
	cfg.share = hs_share_config_default;
	cfg.observe = true;
	ck_assert_msg(hs_pipeline_create(&h->pipeline, &host, &cfg, &h->clock, &err) == 0, "%s", err.text);
	if (key)
		ck_assert_int_eq(hs_pipeline_set_fleet_key(h->pipeline, key), 0);
	for (size_t g = 0; g < GUESTS; g++) {
		const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = (uint32_t)g };

		ck_assert_int_eq(hs_view_open_sim(&h->views[g], &sc), 0);
		for (hs_base_nr p = 0; p < NR_HUGE * HS_BASE_PER_HUGE; p++)
			hs_sim_set(h->views[g], p, content(nr, g, p));
		ck_assert_msg(hs_pipeline_add_view_as(h->pipeline, &options[g], h->views[g], &err) == 0, "%s",
			      err.text);
	}
	if (key)
		ck_assert_int_eq(hs_pipeline_set_fleet_key(h->pipeline, key), -EBUSY);
}

static void host_cycle(struct host *h)
{
	struct hs_error err = { "" };
	uint64_t news;

	ck_assert_msg(hs_pipeline_cycle(h->pipeline, &news, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_pipeline_report(h->pipeline, h->reports, GUESTS), GUESTS);
}

static struct hs_fleet_key fleet(uint8_t first)
{
	struct hs_fleet_key key;

	memset(&key, 3, sizeof(key));
	key.bytes[0] = first;
	return key;
}

static struct hs_sketch_overlap common(const struct host *a, size_t ga, const struct host *b, size_t gb)
{
	struct hs_sketch_overlap o;

	ck_assert(a->reports[ga].sketch && b->reports[gb].sketch);
	hs_sketch_compare(a->reports[ga].sketch, b->reports[gb].sketch, &o);
	return o;
}

static void check_near(const struct hs_sketch_overlap *o, double truth)
{
	/* Three of its standard errors, and three of what it takes the sizes to be. */
	ck_assert_msg(fabs(o->contents - truth) <= 3 * o->error + 0.1 * truth, "%g, error %g, truth %g", o->contents,
		      o->error, truth);
}

START_TEST(test_pipeline_sketches_hosts)
{
	const struct hs_fleet_key key = fleet(1);
	const double each = NR_COLD / 8 * 6;
	struct hs_sketch_overlap o;
	static struct host a, b;

	host_init(&a, 0, &key);
	host_init(&b, 1, &key);
	ck_assert_ptr_null(a.pipeline->guests[0]->sketch);
	host_cycle(&a);
	host_cycle(&b);
	for (size_t g = 0; g < 3; g++)
		ck_assert_msg(fabs(a.reports[g].sketch->contents - each) < 0.1 * each, "%g",
			      a.reports[g].sketch->contents);
	o = common(&a, 0, &b, 0);
	check_near(&o, each / 6 * 3);
	o = common(&a, 0, &a, 1);
	check_near(&o, each / 6 * 2);
	o = common(&a, 1, &b, 0);
	check_near(&o, each / 6 * 2);
	/* Another group has the same contents, and nobody can tell; nor is one told who keeps to itself. */
	o = common(&a, 0, &a, 2);
	ck_assert_uint_eq(o.equal, 0);
	ck_assert_ptr_null(a.reports[3].sketch);
	/* The second one is the first one's, slot by slot, once it holds the same. */
	b.becomes_first = true;
	for (int i = 0; i < 3; i++)
		host_cycle(&b);
	ck_assert_mem_eq(a.reports[0].sketch->slot, b.reports[1].sketch->slot, sizeof(b.reports[1].sketch->slot));
	hs_pipeline_destroy(a.pipeline);
	hs_pipeline_destroy(b.pipeline);
}
END_TEST

START_TEST(test_pipeline_sketches_keys)
{
	const struct hs_fleet_key one = fleet(1), two = fleet(2);
	struct hs_sketch_overlap o;
	static struct host a, b, c;

	host_init(&a, 0, &one);
	host_init(&b, 0, &two);
	host_init(&c, 0, NULL);
	host_cycle(&a);
	host_cycle(&b);
	host_cycle(&c);
	o = common(&a, 0, &b, 0);
	ck_assert(o.equal == 0 && o.known == HS_SKETCH_SLOTS);
	for (size_t g = 0; g < GUESTS; g++) {
		ck_assert_ptr_null(c.reports[g].sketch);
		/* All else is as it is without. */
		ck_assert_uint_eq(a.reports[g].could_save_bytes, c.reports[g].could_save_bytes);
		ck_assert_uint_eq(a.reports[g].duplicate_pages, c.reports[g].duplicate_pages);
	}
	hs_pipeline_destroy(a.pipeline);
	hs_pipeline_destroy(b.pipeline);
	hs_pipeline_destroy(c.pipeline);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pipeline/sketches");
	TCase *t = tcase_create("sketches");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_pipeline_sketches_hosts);
	tcase_add_test(t, test_pipeline_sketches_keys);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
