/* SPDX-License-Identifier: Apache-2.0 */
/* The host's life: guests, groups, time. */
#include "trace_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The number of a group by its name, in order of appearance. */
static int group_of(struct hs_lab_host *h, const char **names, const char *name, uint32_t *out, struct hs_error *err)
{
	for (*out = 0; *out < h->nr_groups; (*out)++)
		if (strcmp(names[*out], name) == 0)
			return 0;
	if (h->nr_groups == HS_LAB_MAX_GROUPS)
		return hs_error_set(err, -EINVAL, "%s: more than %d trust groups", h->scenario.name, HS_LAB_MAX_GROUPS);
	names[h->nr_groups++] = name;
	return 0;
}

static int open_guest(struct hs_lab_host *h, struct hs_lab_guest *g, struct hs_error *err)
{
	const uint32_t nr_huge = (uint32_t)(g->kind->memory / HS_HUGE_SIZE);
	const struct hs_sim_config cfg = { .nr_huge = nr_huge, .state = HS_MAP_HUGE, .guest = g->nr };
	int rc;

	g->nr_huge = nr_huge;
	rc = hs_view_open_sim(&g->view, &cfg);
	if (!rc)
		rc = h->scenario.trace ? hs_lab_trace_work_create(h, g) : hs_lab_work_create(h, g);
	if (rc)
		return hs_error_set(err, rc, "cannot make guest %s: %s", g->name, strerror(-rc));
	/* What is absent was never touched. */
	for (hs_huge_nr huge = 0; huge < nr_huge; huge++)
		if (hs_lab_class_of(g, huge) == HS_LAB_ABSENT)
			hs_sim_drop(g->view, huge * HS_BASE_PER_HUGE, (huge + 1) * HS_BASE_PER_HUGE);
	return 0;
}

/* The kinds of all guests, in order: as many as there are guests. */
static uint32_t count_guests(const struct hs_lab_host *h)
{
	uint32_t total = 0;

	if (h->scenario.trace)
		return h->scenario.trace->nr_guests;
	for (uint32_t k = 0; k < h->scenario.nr_kinds; k++)
		total += h->scenario.kinds[k].count;
	return total;
}

static const struct hs_lab_kind *kind_of(const struct hs_lab_host *h, uint32_t nr, uint32_t *copy)
{
	uint32_t k = 0;

	*copy = 0;
	if (h->scenario.trace)
		return &h->scenario.trace->guests[nr].kind;
	for (; nr >= h->scenario.kinds[k].count; k++)
		nr -= h->scenario.kinds[k].count;
	*copy = nr + 1;
	return &h->scenario.kinds[k];
}

static int open_guests(struct hs_lab_host *h, struct hs_error *err)
{
	const uint32_t total = count_guests(h);
	const char *groups[HS_LAB_MAX_GROUPS];

	h->guests = calloc(total, sizeof(*h->guests));
	if (!h->guests)
		return hs_error_set(err, -ENOMEM, "out of memory for %u guests", total);
	for (uint32_t nr = 0; nr < total; nr++) {
		struct hs_lab_guest *g = &h->guests[nr];
		uint32_t copy;
		int rc;

		h->nr_guests = nr + 1;
		g->nr = nr;
		g->kind = kind_of(h, nr, &copy);
		(void)snprintf(g->name, sizeof(g->name), copy ? "%s-%u" : "%s", g->kind->name, copy);
		rc = group_of(h, groups, g->kind->group, &g->group, err);
		if (!rc)
			rc = open_guest(h, g, err);
		if (rc)
			return rc;
	}
	return 0;
}

/*
 * The guests work for so long. Time that passes in small pieces, as when contents are read, is worked in a tick at a
 * time; a sleep, which ends with a look, at once.
 */
static void pass_time(void *host, uint64_t us)
{
	struct hs_lab_host *h = host;

	h->pending_us += us;
	if (us < HS_LAB_STEP_US && h->pending_us < HS_LAB_TICK_US)
		return;
	h->done_us += h->pending_us;
	for (uint32_t i = 0; i < h->nr_guests; i++)
		h->guests[i].ops->access(h, &h->guests[i], (double)h->pending_us / 1e6, h->done_us);
	h->pending_us = 0;
	while ((h->done_ticks + 1) * HS_LAB_TICK_US <= h->done_us) {
		const uint64_t now_us = ++h->done_ticks * HS_LAB_TICK_US;

		for (uint32_t i = 0; i < h->nr_guests; i++)
			h->guests[i].ops->tick(h, &h->guests[i], h->done_ticks);
		if (h->on_sample && now_us >= (h->samples_done + 1) * h->sample_us) {
			h->samples_done = now_us / h->sample_us;
			h->on_sample(h->sample_ctx, now_us);
		}
	}
}

int hs_lab_host_create(struct hs_lab_host **out, const struct hs_lab_scenario *s, struct hs_error *err)
{
	struct hs_lab_host *h;
	int rc;

	*out = NULL;
	rc = hs_lab_scenario_check(s, err);
	if (rc)
		return rc;
	h = calloc(1, sizeof(*h));
	if (!h)
		return hs_error_set(err, -ENOMEM, "out of memory");
	h->scenario = *s;
	h->next_own = HS_LAB_OWN;
	h->sim = (struct hs_sim_clock){ .run = pass_time, .ctx = h };
	h->clock = hs_sim_clock_ops(&h->sim);
	rc = open_guests(h, err);
	if (!rc)
		rc = h->scenario.trace ? hs_lab_trace_fill(h, err) : hs_lab_fill(h, err);
	if (rc) {
		hs_lab_host_destroy(h);
		return rc;
	}
	*out = h;
	return 0;
}

void hs_lab_host_destroy(struct hs_lab_host *h)
{
	if (!h)
		return;
	for (uint32_t i = 0; i < h->nr_guests; i++) {
		struct hs_lab_guest *g = &h->guests[i];

		if (g->view && !g->lent)
			hs_view_close(g->view);
		if (g->ops)
			g->ops->destroy(g);
		free(g->huge_set);
		free(g->held);
	}
	free(h->guests);
	free(h->live);
	free(h->merged);
	free(h->huge_set_size);
	free(h);
}

void hs_lab_host_end_after(struct hs_lab_host *h, double seconds)
{
	h->sim.cancel_at_us = (uint64_t)(seconds * 1e6);
}
