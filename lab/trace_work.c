/* SPDX-License-Identifier: Apache-2.0 */
/* The work of a guest from a trace: what was accessed when, and which contents changed. */
#include "trace_host.h"

#include <errno.h>
#include <stdlib.h>

/* Rounds that a page is hot by: the coarse phase's window. */
#define WINDOW 10

struct traced_work {
	const struct hs_lab_traced *traced;
	size_t round;  /* the last one that has begun */
	size_t change; /* the next one */
};

static struct traced_work *work_of(const struct hs_lab_guest *g)
{
	return g->work;
}

static bool accessed_in(const struct hs_lab_round *r, hs_huge_nr huge)
{
	return r->accessed[huge / 64] >> (huge % 64) & 1;
}

/* The base pages that are met when the huge page is accessed. */
static struct hs_bits512 met(const struct hs_lab_traced *t, hs_huge_nr huge)
{
	return hs_bits_any(&t->hot[huge]) ? t->hot[huge] : hs_bits_full();
}

static enum hs_lab_class class_of(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_lab_traced *t = work_of(g)->traced;
	struct hs_bits512 bits;

	if (t->state[huge] == HS_MAP_ABSENT)
		return HS_LAB_ABSENT;
	if (!t->accessed[huge])
		return HS_LAB_COLD;
	bits = met(t, huge);
	return hs_bits_count(&bits) > HS_LAB_MAX_HOT ? HS_LAB_EVEN : HS_LAB_SKEWED;
}

/* Rounds accessed, a second: a trace holds no more. */
static double rate_of(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct traced_work *w = work_of(g);
	const struct hs_lab_traced *t = w->traced;
	uint64_t us = 0, hits = 0;

	for (size_t i = w->round; i < t->nr_rounds && i < w->round + WINDOW; i++) {
		us += t->rounds[i].to_us - t->rounds[i].from_us;
		hits += accessed_in(&t->rounds[i], huge);
	}
	return us ? (double)hits * 1e6 / (double)us : 0;
}

static struct hs_bits512 hot_pages(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	return rate_of(g, huge) > 0 ? met(work_of(g)->traced, huge) : hs_bits_empty();
}

static uint32_t phase_of(const struct hs_lab_guest *g)
{
	return (uint32_t)(work_of(g)->round / WINDOW);
}

static void access_guest(struct hs_lab_host *h, struct hs_lab_guest *g, double seconds, uint64_t now_us)
{
	struct traced_work *w = work_of(g);
	const struct hs_lab_traced *t = w->traced;
	double through_base = 0;
	uint64_t pages = 0;

	while (w->round + 1 < t->nr_rounds && t->rounds[w->round + 1].from_us < now_us)
		w->round++;
	if (!t->nr_rounds)
		return;
	for (hs_huge_nr huge = 0; huge < t->nr_huge; huge++) {
		struct hs_bits512 bits;

		if (!accessed_in(&t->rounds[w->round], huge) || t->state[huge] == HS_MAP_ABSENT)
			continue;
		if (hs_sim_state(g->view, huge) == HS_MAP_HUGE) {
			h->counts.accesses_huge += seconds;
			hs_sim_access(g->view, huge * HS_BASE_PER_HUGE, false);
			continue;
		}
		bits = met(t, huge);
		through_base += seconds;
		pages += hs_bits_count(&bits);
		hs_sim_access_huge(g->view, huge, &bits);
	}
	hs_lab_count_base(h, pages, through_base);
}

static void tick(struct hs_lab_host *h, struct hs_lab_guest *g, uint64_t nr)
{
	struct traced_work *w = work_of(g);
	const struct hs_lab_traced *t = w->traced;

	for (; w->change < t->nr_changes && t->changes[w->change].at_us <= nr * HS_LAB_TICK_US; w->change++)
		hs_lab_write(h, g, t->changes[w->change].page, t->changes[w->change].content);
}

static void destroy(struct hs_lab_guest *g)
{
	free(g->work);
}

static const struct hs_lab_work_ops ops = {
	.class_of = class_of,
	.rate_of = rate_of,
	.hot_pages = hot_pages,
	.phase_of = phase_of,
	.access = access_guest,
	.tick = tick,
	.destroy = destroy,
};

int hs_lab_trace_work_create(struct hs_lab_host *h, struct hs_lab_guest *g)
{
	struct traced_work *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->traced = &h->scenario.trace->guests[g->nr];
	g->ops = &ops;
	g->work = w;
	return 0;
}
