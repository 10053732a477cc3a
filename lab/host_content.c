/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents: drawn for runs of neighbouring pages from what the scenario says, and counted.
 *
 * Pools: one for the whole host, one for each trust group, one for each guest that has duplicates of its own. A pool's
 * contents are handed out in order, so that guests of a kind are alike as clones are, unless some are to be more
 * popular than others: then they are drawn.
 */
#include "trace_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

enum source { SRC_OWN, SRC_ZERO, SRC_GROUP, SRC_HOST, SRC_WITHIN };

struct pool {
	uint64_t first, size; /* contents first .. first + size - 1 */
};

/* Which pools a guest draws from, and where it is in them. */
struct drawer {
	struct pool pool[5]; /* by source */
	uint64_t at[5];
	double popularity;
	uint64_t random;
};

static double expected(const struct hs_lab_guest *g, double percent)
{
	return (double)g->nr_huge * HS_BASE_PER_HUGE * percent / 100;
}

static uint64_t pool_size(double pages, double copies)
{
	const double n = pages / (copies < 1 ? 1 : copies);

	return n < 1 ? (pages > 0) : (uint64_t)(n + 0.5);
}

/* Guests that draw from the same pool as `g`: all of its group, or of the host. */
static void pool_users(const struct hs_lab_host *h, const struct hs_lab_guest *g, enum source src, double *pages,
		       uint32_t *guests)
{
	*pages = 0;
	*guests = 0;
	for (uint32_t i = 0; i < h->nr_guests; i++) {
		const struct hs_lab_guest *o = &h->guests[i];
		const double percent = src == SRC_HOST ? o->kind->same_host : o->kind->same_group;

		if ((src == SRC_GROUP && o->group != g->group) || percent <= 0)
			continue;
		*pages += expected(o, percent);
		(*guests)++;
	}
}

static struct pool shared_pool(struct hs_lab_host *h, const struct hs_lab_guest *g, enum source src)
{
	struct pool p = { .first = h->nr_pooled + 1 };
	uint32_t guests;
	double pages;

	pool_users(h, g, src, &pages, &guests);
	p.size = pool_size(pages, g->kind->copies > 0 ? g->kind->copies : guests);
	h->nr_pooled += p.size;
	return p;
}

static void make_pools(struct hs_lab_host *h, struct drawer *d)
{
	struct pool host = { 0 }, group[HS_LAB_MAX_GROUPS] = { { 0 } };

	for (uint32_t i = 0; i < h->nr_guests; i++) {
		const struct hs_lab_guest *g = &h->guests[i];
		const struct hs_lab_kind *k = g->kind;

		if (k->same_host > 0 && !host.first)
			host = shared_pool(h, g, SRC_HOST);
		if (k->same_group > 0 && !group[g->group].first)
			group[g->group] = shared_pool(h, g, SRC_GROUP);
		if (k->same_within > 0) {
			d[i].pool[SRC_WITHIN].first = h->nr_pooled + 1;
			d[i].pool[SRC_WITHIN].size =
			    pool_size(expected(g, k->same_within), k->copies > 0 ? k->copies : 2);
			h->nr_pooled += d[i].pool[SRC_WITHIN].size;
		}
	}
	for (uint32_t i = 0; i < h->nr_guests; i++) {
		const struct hs_lab_guest *g = &h->guests[i];

		d[i].pool[SRC_HOST] = host;
		d[i].pool[SRC_GROUP] = group[g->group];
		d[i].popularity = g->kind->popularity;
		d[i].random = hs_lab_place(h->scenario.seed, 'c', i, 0);
	}
}

/* Number 0 .. n - 1, the low ones more often the higher the exponent: Zipf's law, by the inverse of its continuous
 * distribution. */
static uint64_t popular(uint64_t n, double exponent, double u)
{
	double r;

	if (fabs(exponent - 1) < 1e-6)
		r = pow((double)n + 1, u);
	else
		r = pow((pow((double)n + 1, 1 - exponent) - 1) * u + 1, 1 / (1 - exponent));
	r -= 1;
	return r < 0 ? 0 : (uint64_t)r < n ? (uint64_t)r : n - 1;
}

static uint64_t draw(struct hs_lab_host *h, struct drawer *d, enum source src)
{
	const struct pool *p = &d->pool[src];

	if (src == SRC_ZERO)
		return 0;
	if (src == SRC_OWN || !p->size)
		return hs_lab_own_content(h);
	if (d->popularity > 0)
		return p->first + popular(p->size, d->popularity, hs_lab_unit(hs_lab_next(&d->random)));
	return p->first + d->at[src]++ % p->size;
}

/* Sources in the order of their shares, as borders in [0, 100). */
static enum source source_of(const struct hs_lab_kind *k, double percent)
{
	if ((percent -= k->zero) < 0)
		return SRC_ZERO;
	if ((percent -= k->same_group) < 0)
		return SRC_GROUP;
	if ((percent -= k->same_host) < 0)
		return SRC_HOST;
	return percent - k->same_within < 0 ? SRC_WITHIN : SRC_OWN;
}

static void count_live(struct hs_lab_host *h, const struct hs_lab_guest *g, uint64_t content, bool more)
{
	uint32_t *live, all = 0;

	if (content > h->nr_pooled)
		return;
	live = &h->live[content * h->nr_groups];
	for (uint32_t i = 0; i < h->nr_groups; i++)
		all += live[i];
	if (!more) {
		live[g->group]--;
		all--;
	}
	/* The first holder of a content needs a frame, unless it is zero. */
	if (more) {
		h->possible += content == 0 || live[g->group] > 0;
		h->possible_blind += content == 0 || all > 0;
		live[g->group]++;
	} else {
		h->possible -= content == 0 || live[g->group] > 0;
		h->possible_blind -= content == 0 || all > 0;
	}
}

/*
 * Each run of pages has one source. The sources come in the order of a sequence that is spread evenly (the golden
 * ratio's), so that shares are met almost exactly however small the guest, and each kind of memory gets its part.
 */
static void fill_guest(struct hs_lab_host *h, struct hs_lab_guest *g, struct drawer *d)
{
	const uint32_t run = g->kind->run;
	const double start = hs_lab_unit(hs_lab_place(h->scenario.seed, 's', g->kind->run, 0));
	uint64_t runs = 0;

	for (hs_huge_nr huge = 0; huge < g->nr_huge; huge++) {
		if (hs_sim_state(g->view, huge) == HS_MAP_ABSENT)
			continue;
		h->present += HS_BASE_PER_HUGE;
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i += run, runs++) {
			const double at = start + (double)runs * 0.61803398874989485;
			const enum source src = source_of(g->kind, (at - floor(at)) * 100);

			for (unsigned int j = i; j < i + run && j < HS_BASE_PER_HUGE; j++) {
				const hs_base_nr page = huge * HS_BASE_PER_HUGE + j;
				const uint64_t content = draw(h, d, src);

				count_live(h, g, content, true);
				if (content)
					hs_sim_set(g->view, page, content);
			}
		}
	}
}

/* Room to count nr_pooled contents. */
static int make_counts(struct hs_lab_host *h, struct hs_error *err)
{
	const size_t cells = hs_lab_cells(h);

	if (h->nr_pooled >= UINT32_MAX)
		return hs_error_set(err, -ENOSPC, "%s: %llu contents that several pages have; at most 2^32",
				    h->scenario.name, (unsigned long long)h->nr_pooled);
	h->live = calloc(cells, sizeof(*h->live));
	h->merged = calloc(cells, sizeof(*h->merged));
	if (!h->live || !h->merged)
		return hs_error_set(err, -ENOMEM, "out of memory to count %llu contents",
				    (unsigned long long)h->nr_pooled);
	return 0;
}

int hs_lab_fill(struct hs_lab_host *h, struct hs_error *err)
{
	struct drawer *d = calloc(h->nr_guests, sizeof(*d));
	int rc;

	if (!d)
		return hs_error_set(err, -ENOMEM, "out of memory");
	make_pools(h, d);
	rc = make_counts(h, err);
	if (rc) {
		free(d);
		return rc;
	}
	for (uint32_t i = 0; i < h->nr_guests; i++)
		fill_guest(h, &h->guests[i], &d[i]);
	for (uint32_t i = 0; i < h->nr_guests; i++) {
		/* What a rewrite leaves: see hs_lab_pool_content. */
		const struct pool *p = d[i].pool[SRC_GROUP].size ? &d[i].pool[SRC_GROUP] : &d[i].pool[SRC_HOST];

		if (!p->size)
			p = &d[i].pool[SRC_WITHIN];
		h->guests[i].pool_first = p->first;
		h->guests[i].pool_size = p->size;
	}
	free(d);
	return 0;
}

int hs_lab_trace_fill(struct hs_lab_host *h, struct hs_error *err)
{
	int rc;

	h->nr_pooled = h->scenario.trace->nr_contents;
	rc = make_counts(h, err);
	for (uint32_t k = 0; !rc && k < h->nr_guests; k++) {
		const struct hs_lab_traced *t = &h->scenario.trace->guests[k];
		struct hs_lab_guest *g = &h->guests[k];

		for (hs_base_nr page = 0; page < g->nr_huge * HS_BASE_PER_HUGE; page++) {
			uint64_t content;

			if (hs_sim_state(g->view, hs_lab_huge(page)) == HS_MAP_ABSENT)
				continue;
			content = hs_bits_test(&t->read[hs_lab_huge(page)], page % HS_BASE_PER_HUGE)
				      ? t->content[page]
				      : hs_lab_own_content(h);
			h->present++;
			count_live(h, g, content, true);
			if (content)
				hs_sim_set(g->view, page, content);
		}
	}
	return rc;
}

uint64_t hs_lab_own_content(struct hs_lab_host *h)
{
	return h->next_own++;
}

uint64_t hs_lab_pool_content(const struct hs_lab_guest *g, uint64_t random)
{
	return g->pool_size ? g->pool_first + random % g->pool_size : 0;
}

void hs_lab_write(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page, uint64_t content)
{
	const bool absent = hs_sim_state(g->view, hs_lab_huge(page)) == HS_MAP_ABSENT;
	const uint64_t before = hs_sim_content(g->view, page);

	if (absent) {
		/* Faulted in as a huge page of zeros. */
		h->present += HS_BASE_PER_HUGE;
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
			count_live(h, g, 0, true);
	}
	hs_lab_break(h, g, page);
	count_live(h, g, before, false);
	hs_sim_write(g->view, page, content);
	count_live(h, g, content, true);
	h->counts.writes++;
	if (h->on_write && (before <= h->nr_pooled || content <= h->nr_pooled))
		h->on_write(h->write_ctx, g, page);
}
