/* Telling a watcher what the pipeline does. Nothing here costs anything while nobody watches. */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>

void hs_pipeline_watch(struct hs_pipeline *p, const struct hs_pipeline_watcher *w)
{
	p->watcher = w ? *w : (struct hs_pipeline_watcher){ 0 };
}

int hs_watch_opened(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	return p->watcher.opened ? p->watcher.opened(p->watcher.ctx, g->name, g->group, &g->view, err) : 0;
}

void hs_watch_cycle(struct hs_pipeline *p)
{
	if (p->watcher.cycle)
		p->watcher.cycle(p->watcher.ctx, p->totals.cycles);
}

void hs_watch_fine(struct hs_pipeline *p, const struct guest *g, const struct hs_fine_target *t)
{
	if (p->watcher.fine && !g->gone)
		p->watcher.fine(p->watcher.ctx, g->view, t->results, t->nr);
}

static int tell_decided(struct hs_pipeline *p, const struct guest *g)
{
	struct hs_policy_decision *list = calloc((size_t)g->view->nr_huge + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
		list[h] = g->pages[h].decision;
	p->watcher.decided(p->watcher.ctx, g->view, list);
	free(list);
	return 0;
}

static int tell_merged(struct hs_pipeline *p, struct guest *g)
{
	struct hs_shared_huge *list = calloc((size_t)g->view->nr_huge + 1, sizeof(*list));
	struct hs_ledger ledger = { 0 };
	size_t nr = 0;

	if (!list)
		return -ENOMEM;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct hs_shared_huge *s = &list[nr];

		s->huge = h;
		hs_effects_state(p, g, h, &s->wanted, &s->shared, &s->breaks);
		nr += hs_bits_count(&s->wanted) || hs_bits_count(&s->shared) || s->breaks;
	}
	if (p->share)
		hs_share_ledger(p->share, g->share_id, &ledger);
	p->watcher.merged(p->watcher.ctx, g->view, &ledger, list, nr);
	free(list);
	return 0;
}

int hs_watch_decided(struct hs_pipeline *p, struct hs_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < p->nr_guests && p->watcher.decided && !rc; i++)
		if (hs_guest_active(p->guests[i]))
			rc = tell_decided(p, p->guests[i]);
	return rc ? hs_error_set(err, rc, "out of memory to tell of decisions") : 0;
}

int hs_watch_merged(struct hs_pipeline *p, struct hs_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < p->nr_guests && p->watcher.merged && !rc; i++)
		/* One that was put aside keeps what it shares, and what broke of it is booked all the same. */
		if (!p->guests[i]->gone && p->guests[i]->shareable)
			rc = tell_merged(p, p->guests[i]);
	return rc ? hs_error_set(err, rc, "out of memory to tell of what is shared") : 0;
}
