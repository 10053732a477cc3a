/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "hs/host.h"
#include "base/procstat.h"
#include "base/times.h"

const char *const hs_lab_rate_names[HS_LAB_RATE_BINS] = { "none",    "below 1",  "1 to 10", "to 100",
							  "to 1000", "to 10000", "more" };
const char *const hs_lab_skew_names[HS_LAB_SKEW_BINS] = { "0",     "1",      "2-3",     "4-7",     "8-15", "16-31",
							  "32-63", "64-127", "128-255", "256-511", "512" };

struct run {
	struct hs_lab_host *h;
	struct hs_lab_result *r;
	hs_lab_progress *progress;
	void *progress_ctx;
};

static uint64_t possible(const struct hs_lab_host *h)
{
	return (h->blind ? h->possible_blind : h->possible) * HS_BASE_SIZE;
}

/* Calls fn for each huge page that has memory. */
static void for_huge(struct hs_lab_host *h, void (*fn)(void *ctx, struct hs_lab_guest *g, hs_huge_nr huge), void *ctx)
{
	for (uint32_t i = 0; i < h->nr_guests; i++)
		for (hs_huge_nr huge = 0; huge < h->guests[i].nr_huge; huge++)
			if (hs_sim_state(h->guests[i].view, huge) != HS_MAP_ABSENT)
				fn(ctx, &h->guests[i], huge);
}

struct hot_count {
	uint64_t hot, huge;
};

static void count_hot(void *ctx, struct hs_lab_guest *g, hs_huge_nr huge)
{
	struct hot_count *c = ctx;

	if (hs_lab_rate_of(g, huge) * HS_LAB_SPELL_S < 1)
		return;
	c->hot++;
	c->huge += hs_sim_state(g->view, huge) == HS_MAP_HUGE;
}

static void on_sample(void *ctx, uint64_t now_us)
{
	struct run *run = ctx;
	struct hs_lab_result *r = run->r;
	struct hot_count c = { 0 };

	if (run->progress)
		run->progress(run->progress_ctx, (double)now_us / 1e6);
	if (r->nr_points == HS_LAB_MAX_POINTS)
		return;
	for_huge(run->h, count_hot, &c);
	r->points[r->nr_points++] = (struct hs_lab_point){
		.seconds = (double)now_us / 1e6,
		.saved_bytes = run->h->saved * HS_BASE_SIZE,
		.possible_bytes = possible(run->h),
		.huge = c.hot ? (double)c.huge / (double)c.hot : 1,
	};
}

/* ---- against the truth, at the end ---- */

struct truth {
	struct hs_lab_host *h;
	struct hs_lab_result *r;
	uint32_t *could; /* [content * groups + group]: pages that may share without harm, or do */
	bool counting;
};

static struct hs_bits512 harmless(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_bits512 hot = hs_lab_hot_pages(g, huge);

	if (hs_bits_count(&hot) > HS_LAB_MAX_HOT)
		return hs_bits_empty();
	return hs_bits_andnot(hs_bits_full(), hot);
}

static void count_missed(void *ctx, struct hs_lab_guest *g, hs_huge_nr huge)
{
	struct truth *t = ctx;
	const struct hs_bits512 may = harmless(g, huge);

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		const hs_base_nr page = huge * HS_BASE_PER_HUGE + i;
		const bool merged = hs_lab_is_merged(t->h, g, page) || hs_lab_is_merged_huge(g, huge);
		uint32_t *could;
		uint64_t content;

		if ((!merged && !hs_bits_test(&may, i)) || !hs_lab_can_share(t->h, g, page))
			continue;
		content = hs_sim_content(g->view, page);
		could = &t->could[hs_lab_cell(t->h, g, content)];
		if (t->counting)
			(*could)++;
		else if (!merged && (content == 0 || *could > 1))
			t->r->missed_bytes += HS_BASE_SIZE;
	}
}

static unsigned int rate_bin(double rate)
{
	unsigned int bin = 1;

	if (rate <= 0)
		return 0;
	for (double border = 1; bin < HS_LAB_RATE_BINS - 1 && rate >= border; border *= 10)
		bin++;
	return bin;
}

static void count_cell(void *ctx, struct hs_lab_guest *g, hs_huge_nr huge)
{
	struct hs_lab_result *r = ctx;
	const struct hs_bits512 hot = hs_lab_hot_pages(g, huge);
	const unsigned int n = hs_bits_count(&hot), rate = rate_bin(hs_lab_rate_of(g, huge));
	const unsigned int skew = n ? 32U - (unsigned int)__builtin_clz(n) : 0;
	const bool is_huge = hs_sim_state(g->view, huge) == HS_MAP_HUGE;

	r->cells[rate][skew]++;
	r->cells_huge[rate][skew] += is_huge;
	r->wrong_splits += n > HS_LAB_MAX_HOT && !is_huge;
}

static int compare_to_truth(struct hs_lab_host *h, struct hs_lab_result *r, struct hs_error *err)
{
	struct truth t = { .h = h, .r = r, .counting = true };

	t.could = calloc(hs_lab_cells(h), sizeof(*t.could));
	if (!t.could)
		return hs_error_set(err, -ENOMEM, "out of memory to compare the run with the truth");
	for_huge(h, count_missed, &t);
	t.counting = false;
	for_huge(h, count_missed, &t);
	free(t.could);
	for_huge(h, count_cell, r);
	return 0;
}

/* ---- figures ---- */

static double converged(const struct hs_lab_result *r)
{
	double at = NAN;

	if (!r->saved_bytes)
		return at;
	for (uint32_t i = r->nr_points; i-- > 0;) {
		if ((double)r->points[i].saved_bytes < 0.95 * (double)r->saved_bytes)
			break;
		at = r->points[i].seconds;
	}
	return at;
}

/* Nothing costs nothing, also where the price is unknown. */
static double price(double n, double ns)
{
	return n == 0 ? 0 : n * ns / 1e9;
}

/* Accesses through base mappings, at the price that was measured with as many base pages in use. */
static double walks(const struct hs_lab_counts *n, const struct hs_lab_costs *c)
{
	double lost = 0;

	for (int bin = 0; bin < HS_LAB_PAGE_BINS; bin++) {
		int at = bin - (int)HS_LAB_WALK_FIRST;

		at = at < 0 ? 0 : at >= (int)HS_LAB_NR_WALKS ? (int)HS_LAB_NR_WALKS - 1 : at;
		lost += price(n->base_by_pages[bin], c->ns[HS_LAB_COST_WALK + at]);
	}
	return lost;
}

void hs_lab_apply_costs(struct hs_lab_result *r, const struct hs_lab_costs *c)
{
	const struct hs_lab_counts *n = &r->counts;
	const struct hs_lab_spent *s = &r->spent;
	const double *ns = c->ns;
	double lost;

	lost = walks(n, c) + price((double)n->breaks, ns[HS_LAB_COST_BREAK]) +
	       price((double)n->breaks_huge, ns[HS_LAB_COST_COPY_HUGE]);
	r->slowdown = r->guest_cpu_seconds > 0 ? lost / r->guest_cpu_seconds : NAN;
	r->cpu_seconds =
	    price((double)s->aged, ns[HS_LAB_COST_AGE]) + price((double)s->sampled, ns[HS_LAB_COST_SAMPLE]) +
	    price((double)s->split, ns[HS_LAB_COST_SPLIT]) +
	    price((double)(s->restored + n->collapsed), ns[HS_LAB_COST_RESTORE]) +
	    price((double)s->read, ns[HS_LAB_COST_READ]) + price((double)s->hashed, ns[HS_LAB_COST_HASH]) +
	    price((double)s->compared, ns[HS_LAB_COST_COMPARE]) + price((double)n->unmerged, ns[HS_LAB_COST_BREAK]) +
	    price((double)n->scanned, ns[HS_LAB_COST_KSM_SCAN]) + price((double)n->merged, ns[HS_LAB_COST_KSM_MERGE]);
}

static void take_figures(struct hs_lab_result *r, const struct hs_lab_host *h)
{
	const struct hs_host proc = HS_HOST_DEFAULT;
	const double all = h->counts.accesses_huge + h->counts.accesses_base;

	r->memory_bytes = h->present * HS_BASE_SIZE;
	r->saved_bytes = h->saved * HS_BASE_SIZE;
	r->possible_bytes = possible(h);
	r->hot_huge = all > 0 ? h->counts.accesses_huge / all : 1;
	r->counts = h->counts;
	for (uint32_t i = 0; i < h->nr_guests; i++)
		r->guest_cpu_seconds += h->guests[i].kind->cpus * r->seconds;
	for (uint32_t i = 0; i < r->nr_points; i++)
		r->saved_mean_bytes += (double)r->points[i].saved_bytes / r->nr_points;
	r->converged_s = converged(r);
	r->resident_bytes = hs_resident_bytes(&proc);
}

int hs_lab_run(struct hs_lab_result *out, const struct hs_lab_task *task, struct hs_error *err)
{
	const struct hs_lab_scenario *s = task->scenario;
	const struct hs_lab_policy *p = task->policy;
	const struct hs_lab_options *o = task->options;
	struct run run = { .r = out, .progress = task->progress, .progress_ctx = task->progress_ctx };
	const double start_s = (double)hs_monotonic_us() / 1e6;
	void *self = NULL;
	int rc;

	memset(out, 0, sizeof(*out));
	out->policy = p;
	out->seconds = s->seconds;
	rc = hs_lab_host_create(&run.h, s, err);
	if (rc)
		return rc;
	run.h->blind = p->blind;
	run.h->on_sample = on_sample;
	run.h->sample_ctx = &run;
	run.h->sample_us = (uint64_t)(s->seconds * 1e6 / (HS_LAB_MAX_POINTS / 2));
	if (run.h->sample_us < HS_LAB_TICK_US)
		run.h->sample_us = HS_LAB_TICK_US;
	hs_lab_host_end_after(run.h, s->seconds);
	rc = p->start(&self, run.h, o, err);
	while (!rc)
		rc = p->step(self, err);
	if (rc == -ECANCELED)
		rc = hs_lab_consistent(run.h, err) ? compare_to_truth(run.h, out, err) : -EBADMSG;
	if (!rc) {
		take_figures(out, run.h);
		p->spent(self, &out->spent);
		hs_lab_apply_costs(out, o->costs);
		out->wall_seconds = (double)hs_monotonic_us() / 1e6 - start_s;
	}
	p->end(self);
	hs_lab_host_destroy(run.h);
	return rc;
}
