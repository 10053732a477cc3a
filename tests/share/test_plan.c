/* SPDX-License-Identifier: Apache-2.0 */
/* The planner: tables of boundaries, and a property test against a model that recounts every page at every step. */
#include <errno.h>
#include <string.h>

#include "hs/share.h"
#include "hs_test.h"

static struct hs_bits512 range(unsigned int from, unsigned int to)
{
	struct hs_bits512 b = { 0 };

	for (unsigned int i = from; i < to; i++)
		hs_bits_set(&b, i);
	return b;
}

static struct hs_bits512 comb(unsigned int from, unsigned int to, unsigned int step)
{
	struct hs_bits512 b = { 0 };

	for (unsigned int i = from; i < to; i += step)
		hs_bits_set(&b, i);
	return b;
}

static const struct hs_region one_region[] = { { .hva = { 0x200000 }, .first_huge = 0, .nr_huge = 64 } };
static const struct hs_region two_regions[] = {
	{ .hva = { 0x200000 }, .first_huge = 0, .nr_huge = 4 },
	{ .hva = { 0x40000000 }, .gpa = { 0x800000 }, .first_huge = 4, .nr_huge = 60 },
};

/* ---- boundaries ---- */

struct plan_case {
	const char *what;
	struct {
		hs_huge_nr huge;
		unsigned int from, to, step; /* wanted: every step-th page */
		unsigned int allow_from, allow_to;
	} in[3];
	size_t nr;
	bool two;
	uint32_t budget, max_gap, few; /* few 0: as many as the budget */
	size_t nr_mergeable, nr_nohuge;
	uint64_t covered, extra, dropped, vmas;
};

static const struct plan_case cases[] = {
	{ "nothing", .nr = 0, .budget = 10 },
	{ "an empty huge page", .in = { { 3, 0, 0, 1, 0, 512 } }, .nr = 1, .budget = 10 },
	{ "a whole huge page", .in = { { 3, 0, 512, 1, 0, 0 } }, .nr = 1, .budget = 10, .nr_mergeable = 1,
	  .nr_nohuge = 1, .covered = 512, .vmas = 2 },
	{ "its first page", .in = { { 3, 0, 1, 1, 0, 0 } }, .nr = 1, .budget = 10, .nr_mergeable = 1, .nr_nohuge = 1,
	  .covered = 1, .vmas = 3 },
	{ "its last page", .in = { { 3, 511, 512, 1, 0, 0 } }, .nr = 1, .budget = 10, .nr_mergeable = 1, .nr_nohuge = 1,
	  .covered = 1, .vmas = 3 },
	{ "a page inside", .in = { { 3, 7, 8, 1, 0, 0 } }, .nr = 1, .budget = 10, .nr_mergeable = 1, .nr_nohuge = 1,
	  .covered = 1, .vmas = 4 },
	{ "the word border", .in = { { 3, 63, 65, 1, 0, 0 } }, .nr = 1, .budget = 10, .nr_mergeable = 1, .nr_nohuge = 1,
	  .covered = 2, .vmas = 4 },
	{ "across a huge-page border", .in = { { 3, 500, 512, 1, 0, 0 }, { 4, 0, 9, 1, 0, 0 } }, .nr = 2, .budget = 10,
	  .nr_mergeable = 1, .nr_nohuge = 1, .covered = 21, .vmas = 4 },
	{ "not across a region's border", .in = { { 3, 500, 512, 1, 0, 0 }, { 4, 0, 9, 1, 0, 0 } }, .nr = 2,
	  .two = true, .budget = 10, .nr_mergeable = 2, .nr_nohuge = 2, .covered = 21, .vmas = 6 },
	{ "not across a huge page that nobody named", .in = { { 3, 500, 512, 1, 0, 512 }, { 5, 0, 9, 1, 0, 512 } },
	  .nr = 2, .budget = 4, .max_gap = 4096, .nr_mergeable = 1, .nr_nohuge = 1, .covered = 12, .dropped = 9,
	  .vmas = 3 },
	{ "gap as long as the limit", .in = { { 3, 0, 8, 4, 0, 512 } }, .nr = 1, .budget = 10, .max_gap = 3,
	  .nr_mergeable = 1, .nr_nohuge = 1, .covered = 2, .extra = 3, .vmas = 3 },
	{ "gap longer than the limit", .in = { { 3, 0, 8, 4, 0, 512 } }, .nr = 1, .budget = 10, .max_gap = 2,
	  .nr_mergeable = 2, .nr_nohuge = 1, .covered = 2, .vmas = 5 },
	{ "gap of a page that is not allowed", .in = { { 3, 0, 8, 4, 0, 3 } }, .nr = 1, .budget = 10, .max_gap = 512,
	  .nr_mergeable = 2, .nr_nohuge = 1, .covered = 2, .vmas = 5 },
	{ "budget just enough", .in = { { 3, 1, 13, 4, 0, 512 } }, .nr = 1, .budget = 8, .nr_mergeable = 3,
	  .nr_nohuge = 1, .covered = 3, .vmas = 8 },
	{ "budget short by one closes one gap", .in = { { 3, 1, 13, 4, 0, 512 } }, .nr = 1, .budget = 7,
	  .nr_mergeable = 2, .nr_nohuge = 1, .covered = 3, .extra = 3, .vmas = 6 },
	{ "a whole allowed huge page between",
	  .in = { { 3, 510, 512, 1, 0, 512 }, { 4, 0, 0, 1, 0, 512 }, { 5, 0, 1, 1, 0, 512 } }, .nr = 3, .budget = 4,
	  .nr_mergeable = 1, .nr_nohuge = 1, .covered = 3, .extra = 512, .vmas = 4 },
	{ "more VMAs than gaps are worth closes the smallest", .in = { { 3, 1, 13, 4, 0, 512 } }, .nr = 1,
	  .budget = 100, .max_gap = 1, .few = 7, .nr_mergeable = 2, .nr_nohuge = 1, .covered = 3, .extra = 3,
	  .vmas = 6 },
	{ "but drops none", .in = { { 3, 1, 13, 4, 0, 0 } }, .nr = 1, .budget = 100, .few = 1, .nr_mergeable = 3,
	  .nr_nohuge = 1, .covered = 3, .vmas = 8 },
	{ "budget 0 drops all", .in = { { 3, 0, 512, 1, 0, 0 } }, .nr = 1, .budget = 0, .dropped = 512 },
	{ "the least gain goes first", .in = { { 3, 10, 12, 1, 0, 0 }, { 9, 0, 511, 1, 0, 0 } }, .nr = 2, .budget = 6,
	  .nr_mergeable = 1, .nr_nohuge = 1, .covered = 511, .dropped = 2, .vmas = 3 },
};

START_TEST(test_share_plan_table)
{
	const struct plan_case *c = &cases[_i];
	struct hs_plan_huge huge[3];
	struct hs_plan p;

	for (size_t i = 0; i < c->nr; i++) {
		huge[i].huge = c->in[i].huge;
		huge[i].pages = comb(c->in[i].from, c->in[i].to, c->in[i].step);
		huge[i].allowed = range(c->in[i].allow_from, c->in[i].allow_to);
	}
	ck_assert_int_eq(
	    hs_plan_make(&p, &(struct hs_plan_request){ huge, c->nr, c->two ? two_regions : one_region, c->two ? 2 : 1,
							c->budget, c->max_gap, c->few ? c->few : c->budget }),
	    0);
	ck_assert_msg(p.nr_mergeable == c->nr_mergeable && p.nr_nohuge == c->nr_nohuge && p.nr_covered == c->covered &&
			  p.nr_extra == c->extra && p.nr_dropped == c->dropped && p.nr_vmas == c->vmas,
		      "%s: %zu mergeable, %zu nohuge, %lu covered, %lu extra, %lu dropped, %lu VMAs", c->what,
		      p.nr_mergeable, p.nr_nohuge, p.nr_covered, p.nr_extra, p.nr_dropped, p.nr_vmas);
	hs_plan_finish(&p);
}
END_TEST

START_TEST(test_share_plan_refuses)
{
	struct hs_plan_huge twice[2] = { { .huge = 3 }, { .huge = 3 } };
	struct hs_plan_huge unsorted[2] = { { .huge = 4 }, { .huge = 3 } };
	struct hs_plan_huge outside[1] = { { .huge = 64 } };
	struct hs_plan p;

	ck_assert_int_eq(hs_plan_make(&p, &(struct hs_plan_request){ twice, 2, one_region, 1, 9, 0, 9 }), -EINVAL);
	ck_assert_int_eq(hs_plan_make(&p, &(struct hs_plan_request){ unsorted, 2, one_region, 1, 9, 0, 9 }), -EINVAL);
	ck_assert_int_eq(hs_plan_make(&p, &(struct hs_plan_request){ outside, 1, one_region, 1, 9, 0, 9 }), -EINVAL);
	ck_assert_int_eq(hs_plan_make(&p, &(struct hs_plan_request){ outside, 1, NULL, 0, 9, 0, 9 }), -EINVAL);
	ck_assert_ptr_null(p.mergeable);
	hs_plan_finish(NULL);
}
END_TEST

/* ---- the model ---- */

#define MODEL_HUGE  8
#define MODEL_PAGES (MODEL_HUGE * 512)

struct model {
	struct hs_region regions[2];
	bool listed[MODEL_HUGE], wanted[MODEL_PAGES], allowed[MODEL_PAGES], mg[MODEL_PAGES];
};

static unsigned int model_region(const struct model *m, unsigned int page)
{
	return page / 512 >= m->regions[1].first_huge;
}

static bool model_nohuge(const struct model *m, unsigned int page)
{
	for (unsigned int i = page / 512 * 512; i < page / 512 * 512 + 512; i++)
		if (m->mg[i])
			return true;
	return false;
}

static uint64_t model_edges(const struct model *m)
{
	uint64_t edges = 0;
	int last = 0;

	for (unsigned int i = 0; i <= MODEL_PAGES; i++) {
		int now = i == MODEL_PAGES ? 0 : m->mg[i] ? 2 : model_nohuge(m, i) ? 1 : 0;

		if (i && i < MODEL_PAGES && model_region(m, i) != model_region(m, i - 1)) {
			edges += last != 0;
			last = 0;
		}
		edges += now != last;
		last = now;
	}
	return edges;
}

struct model_run {
	unsigned int start, end, gain;
};

static size_t model_runs(const struct model *m, struct model_run *out)
{
	size_t nr = 0;

	for (unsigned int i = 0; i < MODEL_PAGES; i++) {
		if (!m->mg[i])
			continue;
		if (nr && out[nr - 1].end == i && model_region(m, i) == model_region(m, i - 1))
			out[nr - 1].end++;
		else
			out[nr++] = (struct model_run){ .start = i, .end = i + 1 };
		out[nr - 1].gain += m->wanted[i];
	}
	return nr;
}

static void model_set(struct model *m, const struct model_run *r, bool mg)
{
	for (unsigned int i = r->start; i < r->end; i++)
		m->mg[i] = mg;
}

static bool model_close_smallest(struct model *m, uint64_t few, uint32_t max_gap)
{
	static struct model_run runs[MODEL_PAGES];
	struct model_run best = { .start = 0, .end = UINT32_MAX };
	size_t nr = model_runs(m, runs);

	for (size_t i = 0; i + 1 < nr; i++) {
		bool ok = model_region(m, runs[i].start) == model_region(m, runs[i + 1].start);

		for (unsigned int p = runs[i].end; ok && p < runs[i + 1].start; p++)
			ok = m->allowed[p] || m->wanted[p];
		if (ok && runs[i + 1].start - runs[i].end < best.end - best.start)
			best = (struct model_run){ .start = runs[i].end, .end = runs[i + 1].start };
	}
	if (best.end == UINT32_MAX || (best.end - best.start > max_gap && model_edges(m) <= few))
		return false;
	model_set(m, &best, true);
	return true;
}

static int model_least_gain(const void *a, const void *b)
{
	const struct model_run *x = a, *y = b;

	if (x->gain != y->gain)
		return x->gain < y->gain ? -1 : 1;
	return x->start > y->start ? -1 : 1;
}

static void model_plan(struct model *m, uint64_t budget, uint64_t few, uint32_t max_gap)
{
	static struct model_run runs[MODEL_PAGES];
	size_t nr, dropped = 0;

	memcpy(m->mg, m->wanted, sizeof(m->mg));
	while (model_close_smallest(m, few < budget ? few : budget, max_gap))
		;
	nr = model_runs(m, runs);
	qsort(runs, nr, sizeof(runs[0]), model_least_gain);
	while (dropped < nr && model_edges(m) > budget)
		model_set(m, &runs[dropped++], false);
	while (dropped-- > 0) {
		model_set(m, &runs[dropped], true);
		if (model_edges(m) > budget)
			model_set(m, &runs[dropped], false);
	}
}

static uint32_t rnd_state;

static uint32_t rnd(uint32_t below)
{
	rnd_state = rnd_state * 1664525U + 1013904223U;
	return (rnd_state >> 8) % below;
}

static size_t model_random(struct model *m, struct hs_plan_huge *huge)
{
	size_t nr = 0;

	memset(m, 0, sizeof(*m));
	m->regions[0].nr_huge = 1 + rnd(MODEL_HUGE - 1);
	m->regions[1].first_huge = m->regions[0].nr_huge;
	m->regions[1].nr_huge = MODEL_HUGE - m->regions[0].nr_huge;
	for (hs_huge_nr h = 0; h < MODEL_HUGE; h++) {
		unsigned int shape = rnd(6);

		if (!shape)
			continue;
		m->listed[h] = true;
		huge[nr] = (struct hs_plan_huge){ .huge = h };
		for (unsigned int left = 512, run; left; left -= run) {
			unsigned int start = 512 - left;
			bool want = shape > 1 && rnd(3) == 0, allow = shape == 1 || rnd(8) != 0;

			run = 1 + rnd(shape * 8);
			run = shape == 5 && !rnd(3) ? left : run < left ? run : left;
			for (unsigned int i = start; i < start + run; i++) {
				m->wanted[h * 512 + i] = want;
				m->allowed[h * 512 + i] = allow;
				if (want)
					hs_bits_set(&huge[nr].pages, i);
				if (allow)
					hs_bits_set(&huge[nr].allowed, i);
			}
		}
		nr++;
	}
	return nr;
}

/* Random requests, each with the seed of its round. */
START_TEST(test_share_plan_as_the_model)
{
	static struct model m;
	static struct model_run runs[MODEL_PAGES];
	struct hs_plan_huge huge[MODEL_HUGE];

	for (uint32_t round = 0; round < 360; round += hs_test_each(5, 37)) {
		uint64_t edges, covered = 0, extra = 0, wanted = 0;
		uint32_t max_gap, budget, few;
		struct hs_plan p;
		size_t nr, nr_runs;

		rnd_state = round * 7919 + 1;
		nr = model_random(&m, huge);
		max_gap = rnd(3) ? rnd(20) : 0;
		memcpy(m.mg, m.wanted, sizeof(m.mg));
		edges = model_edges(&m);
		budget = rnd(4) ? rnd((uint32_t)edges + 2) : 65530;
		few = rnd(2) ? rnd((uint32_t)edges + 2) : 65530;
		model_plan(&m, budget, few, max_gap);
		ck_assert_int_eq(
		    hs_plan_make(&p, &(struct hs_plan_request){ huge, nr, m.regions, 2, budget, max_gap, few }), 0);

		nr_runs = model_runs(&m, runs);
		ck_assert_uint_eq(p.nr_mergeable, nr_runs);
		for (size_t i = 0; i < nr_runs; i++) {
			ck_assert_uint_eq(p.mergeable[i].start, runs[i].start);
			ck_assert_uint_eq(p.mergeable[i].end, runs[i].end);
			covered += runs[i].gain;
			extra += runs[i].end - runs[i].start - runs[i].gain;
		}
		for (unsigned int i = 0; i < MODEL_PAGES; i++)
			wanted += m.wanted[i];
		ck_assert_uint_eq(p.nr_vmas, model_edges(&m));
		ck_assert_uint_le(p.nr_vmas, budget);
		ck_assert_uint_eq(p.nr_wanted, wanted);
		ck_assert_uint_eq(p.nr_covered, covered);
		ck_assert_uint_eq(p.nr_extra, extra);
		ck_assert_uint_eq(p.nr_dropped, wanted - covered);

		/* NOHUGEPAGE: exactly the huge pages that hold a mergeable page, in as few stretches as there can be.
		 */
		for (size_t i = 0, h = 0; i < p.nr_nohuge; i++) {
			const struct hs_run *s = &p.nohuge[i];

			ck_assert(s->start % 512 == 0 && s->end % 512 == 0 && s->start < s->end);
			ck_assert(i == 0 || p.nohuge[i - 1].end < s->start ||
				  model_region(&m, s->start) != model_region(&m, s->start - 1));
			for (; h < s->start / 512; h++)
				ck_assert(!model_nohuge(&m, (unsigned int)h * 512));
			for (; h < s->end / 512; h++)
				ck_assert(model_nohuge(&m, (unsigned int)h * 512));
		}
		hs_plan_finish(&p);
	}
}
END_TEST

/* The worst that 8 GiB can ask for: every other page of every huge page, under the usual budget. */
START_TEST(test_share_plan_large)
{
	enum { NR = 4096 };
	struct hs_region region = { .hva = { 0x200000 }, .nr_huge = NR };
	struct hs_plan_huge *huge = calloc(NR, sizeof(*huge));
	struct hs_plan p;

	ck_assert_ptr_nonnull(huge);
	for (hs_huge_nr h = 0; h < NR; h++)
		huge[h] =
		    (struct hs_plan_huge){ .huge = h, .pages = comb(h % 2, 512, 2 + h % 5), .allowed = hs_bits_full() };
	ck_assert_int_eq(hs_plan_make(&p, &(struct hs_plan_request){ huge, NR, &region, 1, 32765, 0, 32765 }), 0);
	ck_assert_uint_le(p.nr_vmas, 32765);
	ck_assert_uint_eq(p.nr_dropped, 0); /* all may be closed, so nothing needs to be dropped */
	ck_assert_uint_eq(p.nr_covered, p.nr_wanted);
	hs_plan_finish(&p);
	for (hs_huge_nr h = 0; h < NR; h++)
		huge[h].allowed = huge[h].pages;
	ck_assert_int_eq(hs_plan_make(&p, &(struct hs_plan_request){ huge, NR, &region, 1, 32765, 0, 32765 }), 0);
	ck_assert_uint_le(p.nr_vmas, 32765);
	ck_assert_uint_gt(p.nr_vmas, 32765 - 4);
	ck_assert_uint_eq(p.nr_extra, 0);
	hs_plan_finish(&p);
	free(huge);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share/plan");
	TCase *t = tcase_create("plan");

	tcase_add_loop_test(t, test_share_plan_table, 0, (int)(sizeof(cases) / sizeof(cases[0])));
	tcase_add_test(t, test_share_plan_refuses);
	tcase_add_test(t, test_share_plan_as_the_model);
	tcase_add_test(t, test_share_plan_large);
	tcase_set_timeout(t, 120);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
