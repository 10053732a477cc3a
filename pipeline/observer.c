/* SPDX-License-Identifier: Apache-2.0 */
/* Reports to the observer what the pipeline does. Nothing here costs anything where there is none. */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>

void hs_pipeline_set_observer(struct hs_pipeline *p, const struct hs_pipeline_observer *w)
{
	p->observer = w ? *w : (struct hs_pipeline_observer){ 0 };
}

int hs_observer_opened(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	return p->observer.opened ? p->observer.opened(p->observer.ctx, g->name, g->group, &g->view, err) : 0;
}

void hs_observer_cycle(struct hs_pipeline *p)
{
	if (p->observer.cycle)
		p->observer.cycle(p->observer.ctx, p->totals.cycles);
}

void hs_observer_fine(struct hs_pipeline *p, const struct guest *g, const struct hs_fine_target *t)
{
	if (p->observer.fine && !g->gone)
		p->observer.fine(p->observer.ctx, g->view, t->results, t->nr);
}

static int report_decided(struct hs_pipeline *p, const struct guest *g)
{
	struct hs_policy_decision *list = calloc((size_t)g->view->nr_huge + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
		list[h] = g->pages[h].decision;
	p->observer.decided(p->observer.ctx, g->view, list);
	free(list);
	return 0;
}

static int report_merged(struct hs_pipeline *p, struct guest *g)
{
	struct hs_shared_huge *list = calloc((size_t)g->view->nr_huge + 1, sizeof(*list));
	struct hs_ledger ledger;
	size_t nr = 0;

	if (!list)
		return -ENOMEM;
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct hs_shared_huge *s = &list[nr];

		hs_merge_state(p, g, h, s);
		nr += hs_bits_any(&s->wanted) || hs_bits_any(&s->shared) || s->breaks;
	}
	(void)hs_merge_ledger(p, g, &ledger);
	p->observer.merged(p->observer.ctx, g->view, &ledger, list, nr);
	free(list);
	return 0;
}

void hs_observer_settled(struct hs_pipeline *p, bool scanned)
{
	for (size_t i = 0; i < p->nr_guests && p->observer.settled; i++) {
		const struct guest *g = p->guests[i];

		if (!g->gone && g->shareable)
			p->observer.settled(p->observer.ctx, g->view, scanned, g->all_marked);
	}
}

int hs_observer_decided(struct hs_pipeline *p, struct hs_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < p->nr_guests && p->observer.decided && !rc; i++)
		if (hs_guest_active(p->guests[i]))
			rc = report_decided(p, p->guests[i]);
	return rc ? hs_error_set(err, rc, "out of memory to report decisions") : 0;
}

int hs_observer_merged(struct hs_pipeline *p, struct hs_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < p->nr_guests && p->observer.merged && !rc; i++)
		/* One that was put aside keeps what it shares, and what broke of it is booked all the same. */
		if (!p->guests[i]->gone && p->guests[i]->shareable)
			rc = report_merged(p, p->guests[i]);
	return rc ? hs_error_set(err, rc, "out of memory to report what is shared") : 0;
}
