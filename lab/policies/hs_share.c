/*
 * hs-share: the service's own pipeline over the simulated views, unchanged: coarse phase, contents, fine phase, policy,
 * index. The merge operations are those of a simulated host: a burst merges what is wanted and has a partner, and takes
 * the time that ksmd was measured to take.
 */
#include "base/times.h"
#include "lab/policy.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REST_FIRST_US UINT64_C(5000000)  /* as the service: 5 s, doubling while nothing changes, */
#define REST_LAST_US  UINT64_C(60000000) /* up to a minute */

/* ksmd goes over a page twice before it merges it. */
#define PASSES 2

#define MAX_MAP_COUNT 65530 /* vm.max_map_count as the kernel sets it */

struct hs_share_policy {
	struct hs_lab_host *h;
	const struct hs_lab_costs *costs;
	struct hs_pipeline *pipeline;
	struct hs_shared_huge **huge; /* [guest][huge]; shared as of the last look */
	struct hs_bits512 **allowed;  /* [guest][huge]: what may be marked to close gaps */
	uint64_t *gaps;               /* [guest]: base pages that are marked to close gaps, as of the last apply */
	struct hs_share_config share;
	uint32_t *pending; /* [hs_lab_cell]: wanted pages that are not merged; zero between bursts */
	uint64_t rest_us, nr_huge;
	uint64_t open; /* base pages that are wanted and not merged, as of the last apply */
	struct {
		bool runs;
		uint32_t guest;
		hs_huge_nr huge; /* where ksmd is */
		double debt_us;  /* of its work that was done, and takes time still */
	} burst;
};

static int enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*id = guest->number; /* the host's guests are added in the host's order */
	return 0;
}

static int want(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
		const struct hs_bits512 *allowed)
{
	struct hs_share_policy *s = ctx;
	struct hs_shared_huge *now = &s->huge[id][huge];

	if (allowed)
		s->allowed[id][huge] = *allowed;
	if (hs_bits_none(&now->wanted))
		now->breaks = 0;
	now->wanted = *pages;
	return 0;
}

static void state(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	const struct hs_share_policy *s = ctx;

	*out = s->huge[id][huge];
}

static void unshare_one(struct hs_share_policy *s, uint32_t id, hs_huge_nr huge)
{
	hs_lab_unshare(s->h, &s->h->guests[id], huge);
	s->huge[id][huge] = (struct hs_shared_huge){ 0 };
}

static int unshare(void *ctx, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
		   struct hs_error *err)
{
	struct hs_share_policy *s = ctx;

	(void)err;
	if (!huge)
		nr = s->h->guests[id].nr_huge;
	*out = (struct hs_share_unshared){ .nr_huge = nr, .nr_collapsed = nr };
	for (hs_huge_nr i = 0; i < nr; i++)
		unshare_one(s, id, huge ? huge[i] : i);
	return 0;
}

/* What broke since the last look, as the engine's verification finds it from page frames. */
static int verify(void *ctx, uint32_t id, struct hs_error *err)
{
	struct hs_share_policy *s = ctx;

	(void)err;
	for (hs_huge_nr huge = 0; huge < s->h->guests[id].nr_huge; huge++) {
		struct hs_shared_huge *now = &s->huge[id][huge];
		struct hs_bits512 merged, lost;

		if (hs_bits_none(&now->wanted) && hs_bits_none(&now->shared))
			continue;
		merged = hs_sim_merged(s->h->guests[id].view, huge);
		lost = hs_bits_and(hs_bits_andnot(now->shared, merged), now->wanted);
		now->breaks += hs_bits_count(&lost);
		now->shared = merged;
	}
	return 0;
}

static void ledger(void *ctx, uint32_t id, struct hs_ledger *out)
{
	const struct hs_share_policy *s = ctx;

	*out = (struct hs_ledger){ 0 };
	for (uint32_t i = 0; i < s->h->nr_guests; i++)
		for (hs_huge_nr huge = 0; (id == UINT32_MAX || id == i) && huge < s->h->guests[i].nr_huge; huge++) {
			out->wanted += hs_bits_count(&s->huge[i][huge].wanted);
			out->shared += hs_bits_count(&s->huge[i][huge].shared);
		}
}

static struct hs_bits512 not_merged(const struct hs_share_policy *s, uint32_t id, hs_huge_nr huge)
{
	const struct hs_bits512 wanted = s->huge[id][huge].wanted;

	if (hs_bits_none(&wanted))
		return wanted;
	return hs_bits_andnot(wanted, hs_sim_merged(s->h->guests[id].view, huge));
}

static uint32_t *pending_of(const struct hs_share_policy *s, const struct hs_lab_guest *g, uint64_t content)
{
	return &s->pending[hs_lab_cell(s->h, g, content)];
}

/* ---- a burst ---- */

/* Merged, and no longer wanted. */
static void drop_unwanted(struct hs_share_policy *s, struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_bits512 bits = hs_bits_andnot(hs_sim_merged(g->view, huge), s->huge[g->nr][huge].wanted);

	hs_bits_for_each (i, &bits)
		hs_lab_unmerge(s->h, g, huge * HS_BASE_PER_HUGE + i);
}

static unsigned int count_pending(struct hs_share_policy *s, struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_bits512 bits = not_merged(s, g->nr, huge);

	hs_bits_for_each (i, &bits) {
		const hs_base_nr page = huge * HS_BASE_PER_HUGE + i;

		if (hs_lab_can_share(s->h, g, page))
			(*pending_of(s, g, hs_sim_content(g->view, page)))++;
	}
	return hs_bits_count(&bits);
}

/* ksmd goes over gaps as well: those that the engine's plan closes, to spare VMAs. */
static int count_gaps(struct hs_share_policy *s, struct hs_lab_guest *g, struct hs_error *err)
{
	struct hs_plan_request rq = { .regions = g->view->regions,
				      .nr_regions = g->view->nr_regions,
				      .vma_budget = MAX_MAP_COUNT * s->share.vma_percent / 100,
				      .max_gap = s->share.max_gap,
				      .gap_vmas = s->share.gap_vmas };
	struct hs_plan_huge *huge = calloc(g->nr_huge, sizeof(*huge));
	struct hs_plan plan;
	int rc;

	if (!huge)
		return hs_error_set(err, -ENOMEM, "out of memory for what is marked");
	for (hs_huge_nr h = 0; h < g->nr_huge; h++)
		if (hs_bits_any(&s->huge[g->nr][h].wanted))
			huge[rq.nr_huge++] = (struct hs_plan_huge){ .huge = h,
								    .pages = s->huge[g->nr][h].wanted,
								    .allowed = s->allowed[g->nr][h] };
	rq.huge = huge;
	rc = hs_plan_make(&plan, &rq);
	free(huge);
	if (rc)
		return hs_error_set(err, rc, "cannot plan for guest %s: %s", g->name, strerror(-rc));
	s->gaps[g->nr] = plan.nr_extra;
	hs_plan_finish(&plan);
	return 0;
}

static int apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	struct hs_share_policy *s = ctx;
	struct hs_lab_guest *g = &s->h->guests[id];

	*out = (struct hs_share_applied){ 0 };
	for (hs_huge_nr huge = 0; huge < g->nr_huge; huge++) {
		drop_unwanted(s, g, huge);
		out->pages_marked += count_pending(s, g, huge);
	}
	s->open += out->pages_marked;
	return count_gaps(s, g, err);
}

/* Merges what has a partner. The number of pages that ksmd goes over for it. */
static uint64_t merge_huge(struct hs_share_policy *s, struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_bits512 bits = not_merged(s, g->nr, huge);

	hs_bits_for_each (i, &bits) {
		const hs_base_nr page = huge * HS_BASE_PER_HUGE + i;
		uint64_t content;

		if (!hs_lab_can_share(s->h, g, page))
			continue;
		content = hs_sim_content(g->view, page);
		if (!content || hs_lab_merged_alike(s->h, g, content) || *pending_of(s, g, content) > 1)
			hs_lab_merge(s->h, g, page);
	}
	return (uint64_t)PASSES * hs_bits_count(&bits);
}

/* What ksmd takes for it; 0 where that is not known. */
static double work_us(const struct hs_share_policy *s, uint64_t scanned, uint64_t merged)
{
	const double scan = s->costs->ns[HS_LAB_COST_KSM_SCAN], each = s->costs->ns[HS_LAB_COST_KSM_MERGE];

	return isnan(scan) || isnan(each) ? 0 : ((double)scanned * scan + (double)merged * each) / 1000;
}

/* ksmd's next step. False: there is none left. */
static bool burst_step(struct hs_share_policy *s)
{
	const uint64_t before = s->h->counts.merged;
	uint64_t scanned;

	if (!s->open)
		return false;
	while (s->burst.guest < s->h->nr_guests && s->burst.huge == s->h->guests[s->burst.guest].nr_huge) {
		s->burst.guest++;
		s->burst.huge = 0;
	}
	if (s->burst.guest == s->h->nr_guests)
		return false;
	scanned = s->burst.huge ? 0 : PASSES * s->gaps[s->burst.guest];
	scanned += merge_huge(s, &s->h->guests[s->burst.guest], s->burst.huge++);
	s->h->counts.scanned += scanned;
	s->burst.debt_us += work_us(s, scanned, s->h->counts.merged - before);
	return true;
}

static void burst_end(struct hs_share_policy *s)
{
	memset(&s->burst, 0, sizeof(s->burst));
	s->open = 0;
	memset(s->pending, 0, hs_lab_cells(s->h) * sizeof(*s->pending));
}

/* The burst goes on as its work takes time, and the guests meanwhile. */
static int burst_for(void *ctx, const struct hs_clock *clock, uint64_t us, struct hs_share_burst *out,
		     struct hs_error *err)
{
	struct hs_share_policy *s = ctx;
	uint64_t left_us = us;
	bool more = true;
	int rc = 0;

	(void)err;
	*out = (struct hs_share_burst){ .settled = false };
	s->burst.runs = true;
	while (!rc && (more || s->burst.debt_us >= 1)) {
		uint64_t step_us;

		while (more && s->burst.debt_us < HS_LAB_TICK_US)
			more = burst_step(s);
		step_us = (uint64_t)s->burst.debt_us < left_us ? (uint64_t)s->burst.debt_us : left_us;
		rc = clock->sleep_us(clock->ctx, step_us);
		s->burst.debt_us -= (double)step_us;
		left_us -= step_us;
		if (!rc && !left_us && (more || s->burst.debt_us >= 1)) {
			out->running = true;
			return 0;
		}
	}
	burst_end(s);
	return rc;
}

static int burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	return burst_for(ctx, clock, UINT64_MAX, out, err);
}

static int burst_stop(void *ctx, struct hs_share_burst *out, struct hs_error *err)
{
	(void)err;
	*out = (struct hs_share_burst){ .settled = false };
	burst_end(ctx);
	return 0;
}

static const struct hs_merge_ops merge_ops = {
	.name = "simulated host",
	.merges = true,
	.compares = true,
	.enter = enter,
	.want = want,
	.state = state,
	.unshare = unshare,
	.verify = verify,
	.apply = apply,
	.burst = burst,
	.burst_for = burst_for,
	.burst_stop = burst_stop,
	.ledger = ledger,
};

static int step(void *self, struct hs_error *err)
{
	struct hs_share_policy *s = self;
	uint64_t news;
	int rc = hs_pipeline_cycle(s->pipeline, &news, err);

	if (rc)
		return rc;
	s->rest_us = hs_rest_next(s->rest_us, news, REST_FIRST_US, REST_LAST_US);
	return s->h->clock.sleep_us(s->h->clock.ctx, s->rest_us);
}

static void end(void *self)
{
	struct hs_share_policy *s = self;

	if (!s)
		return;
	/* The pipeline closes the views that it was given. */
	hs_pipeline_destroy(s->pipeline);
	for (uint32_t i = 0; s->huge && i < s->h->nr_guests; i++)
		free(s->huge[i]);
	for (uint32_t i = 0; s->allowed && i < s->h->nr_guests; i++)
		free(s->allowed[i]);
	free(s->huge);
	free(s->allowed);
	free(s->gaps);
	free(s->pending);
	free(s);
}

static uint64_t at_least_0(double ns)
{
	return isnan(ns) ? 0 : (uint64_t)ns;
}

/* The pipeline's own work takes the time that it was measured to take. */
static void take_time(struct hs_share_policy *s, struct hs_view *v)
{
	const double *ns = s->costs->ns;

	hs_sim_set_read_cost(v, at_least_0(ns[HS_LAB_COST_READ]) + at_least_0(ns[HS_LAB_COST_HASH]));
	hs_sim_set_cost(v, &s->h->sim, 0,
			(at_least_0(ns[HS_LAB_COST_SPLIT]) + at_least_0(ns[HS_LAB_COST_RESTORE])) / 2000);
}

static int start(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_share_policy *s = calloc(1, sizeof(*s));
	int rc = -ENOMEM;

	*self = NULL;
	if (!s)
		return hs_error_set(err, rc, "out of memory");
	s->h = h;
	s->costs = o->costs;
	s->rest_us = REST_FIRST_US;
	s->huge = calloc(h->nr_guests, sizeof(*s->huge));
	s->share = o->pipeline.share;
	s->allowed = calloc(h->nr_guests, sizeof(*s->allowed));
	s->gaps = calloc(h->nr_guests, sizeof(*s->gaps));
	s->pending = calloc(hs_lab_cells(h), sizeof(*s->pending));
	if (!s->huge || !s->allowed || !s->gaps || !s->pending)
		goto nomem;
	rc = hs_pipeline_create(&s->pipeline, &host, &o->pipeline, &h->clock, err);
	if (!rc)
		rc = hs_pipeline_set_merge(s->pipeline, &(struct hs_merge){ &merge_ops, s });
	for (uint32_t i = 0; !rc && i < h->nr_guests; i++) {
		struct hs_lab_guest *g = &h->guests[i];
		struct hs_guest_options opt = { .name = g->name, .group = g->kind->group };

		s->huge[i] = calloc(g->nr_huge, sizeof(**s->huge));
		s->allowed[i] = calloc(g->nr_huge, sizeof(**s->allowed));
		if (!s->huge[i] || !s->allowed[i])
			goto nomem;
		s->nr_huge += g->nr_huge;
		take_time(s, g->view);
		g->lent = true;
		rc = hs_pipeline_add_view_as(s->pipeline, &opt, g->view, err);
	}
	if (rc)
		goto out;
	*self = s;
	return 0;
nomem:
	rc = hs_error_set(err, -ENOMEM, "out of memory for what is wanted");
out:
	end(s);
	return rc;
}

static void spent(void *self, struct hs_lab_spent *out)
{
	const struct hs_share_policy *s = self;
	struct hs_pipeline_totals t;
	uint64_t aged = 0, read = 0;

	hs_pipeline_totals(s->pipeline, &t);
	for (uint32_t i = 0; i < s->h->nr_guests; i++) {
		struct hs_sim_stats st;

		hs_sim_stats(s->h->guests[i].view, &st);
		aged += st.nr_ages * s->h->guests[i].nr_huge;
		read += st.nr_read;
	}
	*out = (struct hs_lab_spent){
		.aged = aged,
		.sampled = t.rounds * s->nr_huge,
		.split = t.fine.nr_split,
		.restored = t.fine.nr_restored,
		.read = read,
		.hashed = t.pages_hashed,
		.compared = t.pages_compared,
		.own_bytes = t.own_bytes + s->nr_huge * sizeof(**s->huge),
	};
}

const struct hs_lab_policy hs_lab_hs_share = {
	.name = "hs-share",
	.label = "hs-share",
	.what = "the service's own pipeline and policy",
	.start = start,
	.step = step,
	.spent = spent,
	.end = end,
};
