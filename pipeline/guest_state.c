/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's state: how it is set aside for a cycle, found gone, forgotten and freed. Called from every stage, so it
 * calls none.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>

void hs_pipeline_share_leave(struct hs_pipeline *p, struct guest *g)
{
	hs_merge_leave(p, g);
	hs_obstacle_clear(&g->merge_obstacle);
}

void hs_guest_index_forget(struct hs_pipeline *p, struct guest *g)
{
	while (hs_index_remove_guest(p->index, g->index_id, UINT32_MAX) > 0)
		;
}

void hs_guest_records_free(struct hs_pipeline *p, struct guest *g)
{
	if (g->pages && g->view)
		for (uint32_t h = 0; h < g->view->nr_huge; h++) {
			free(g->pages[h].fine);
			free(g->pages[h].keys);
			free(g->pages[h].refused);
		}
	free(g->cold_age);
	g->cold_age = NULL;
	hs_tier_close_guest(g->tier);
	g->tier = NULL;
	free(g->pages);
	g->pages = NULL;
	hs_coarse_destroy(g->coarse);
	g->coarse = NULL;
	if (!g->view)
		return;
	hs_fine_forget(p->fine, g->view);
	hs_view_close(g->view);
	g->view = NULL;
}

void hs_pipeline_guest_free(struct hs_pipeline *p, struct guest *g)
{
	if (!g)
		return;
	hs_guest_records_free(p, g);
	hs_remote_close(g->remote);
	free(g->sketch);
	free(g);
}

bool hs_pipeline_guest_failed(struct hs_pipeline *p, struct guest *g, int rc)
{
	if (rc != -ESRCH)
		return false;
	if (g->gone)
		return true;
	g->gone = true;
	g->last.gone = true;
	hs_pipeline_share_leave(p, g);
	hs_fine_forget(p->fine, g->view);
	hs_split_journal_remove(&p->host, g->pid);
	hs_guest_index_forget(p, g);
	return true;
}

bool hs_pipeline_guest_aside(struct hs_pipeline *p, struct guest *g, int rc, const struct hs_error *err)
{
	if (hs_pipeline_guest_failed(p, g, rc))
		return true;
	if (!rc || rc == -ECANCELED || rc == -ENOMEM)
		return false;
	g->aside = true;
	hs_obstacle_set(&g->look_obstacle, rc, err);
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct page_record *pg = &g->pages[h];

		hs_bits_clear_all(&pg->hashed);
		hs_bits_clear_all(&pg->zero);
		hs_bits_clear_all(&pg->candidate);
		hs_bits_clear_all(&pg->same);
		pg->decision = (struct hs_policy_decision){ 0 };
		if (pg->kept_split)
			(void)!hs_fine_give_back(p->fine, g->view, &h, 1, NULL);
		pg->kept_split = 0;
		hs_coarse_forget(g->coarse, h);
	}
	return true;
}

void hs_guest_give_back_kept(struct hs_pipeline *p)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		hs_huge_nr *kept = g->gone ? NULL : malloc(((size_t)g->view->nr_huge + 1) * sizeof(*kept));
		size_t nr = 0;

		for (hs_huge_nr h = 0; kept && h < g->view->nr_huge; h++)
			if (g->pages[h].kept_split)
				kept[nr++] = h;
		/* Without memory for it they stay noted, and the next decisions bring them back. */
		if (nr && hs_fine_give_back(p->fine, g->view, kept, nr, NULL) != -ENOMEM)
			for (size_t k = 0; k < nr; k++)
				g->pages[kept[k]].kept_split = 0;
		free(kept);
	}
}

/* A page that was not merged, and is wanted still, is worth another burst, until it counts as refused. */
bool hs_guests_need_burst(const struct hs_pipeline *p)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		const struct guest *g = p->guests[i];

		for (hs_huge_nr h = 0; hs_guest_active(g) && g->shareable && h < g->view->nr_huge; h++) {
			struct hs_shared_huge now;

			if (!g->pages[h].refused)
				continue;
			hs_merge_state(p, g, h, &now);
			if (hs_refused_needs_burst(&g->pages[h], &now))
				return true;
		}
	}
	return false;
}
