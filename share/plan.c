/*
 * From wanted base pages to mergeable runs under a budget of VMAs. Pure: no clock, no file, no guest.
 *
 * What a VMA costs. Within one region every page is in one of three states: plain, NOHUGEPAGE, NOHUGEPAGE and
 * MERGEABLE. Each place where the state changes is one VMA more than before, so the plan counts places ("edges"), not
 * runs: the end of a run that falls on the end of its huge-page stretch costs nothing of its own, and two stretches
 * that touch have no edge between them. What lies outside a region counts as plain, which can only overestimate.
 *
 * The count is kept up to date piece by piece, because the loops below ask for it after every step: an end of a run
 * inside a huge page is one edge; the border between two huge pages is one edge when the pages on its two sides differ.
 *
 * Order: first close the gaps that are cheaper closed; then, while there are more VMAs than gaps are worth or than the
 * budget has, close further ones, smallest first, since a page that nobody wanted costs ksmd work at every pass; then
 * drop runs, least gain first, and last see whether one that was dropped fits after all, because the last run dropped
 * from a stretch frees more than the ones before it.
 */
#include "hs/share.h"
#include "runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A huge page that somebody wants something of. */
struct cell {
	hs_huge_nr huge;
	uint32_t region;
	uint32_t nr_runs;       /* living runs that touch it: NOHUGEPAGE while there is one */
	bool first_mg, last_mg; /* its first and last base page are mergeable */
};

struct stretch {
	hs_base_nr start, end;
	uint32_t cell, last_cell; /* the cells it touches, both inclusive */
	uint32_t gain;            /* wanted base pages in it */
	bool dead;
};

struct work {
	struct cell *cells;
	uint32_t nr_cells;
	struct stretch *runs;
	size_t nr_runs;
	uint64_t edges;
};

/* What the page on one side of a huge-page border is: 0 plain, 1 NOHUGEPAGE, 2 MERGEABLE as well. */
static int side(const struct work *w, int64_t cell, bool last_page)
{
	const struct cell *c;

	if (cell < 0 || cell >= (int64_t)w->nr_cells)
		return 0;
	c = &w->cells[cell];
	if (!c->nr_runs)
		return 0;
	return (last_page ? c->last_mg : c->first_mg) ? 2 : 1;
}

static bool adjoin(const struct work *w, int64_t left, int64_t right)
{
	if (left < 0 || right >= (int64_t)w->nr_cells)
		return false;
	return w->cells[left].huge + 1 == w->cells[right].huge && w->cells[left].region == w->cells[right].region;
}

/* Edges on the borders of the cells from..to: each border once. */
static uint64_t border_edges(const struct work *w, uint32_t from, uint32_t to)
{
	uint64_t n = 0;

	for (int64_t left = (int64_t)from - 1; left <= (int64_t)to; left++) {
		if (adjoin(w, left, left + 1)) {
			n += side(w, left, true) != side(w, left + 1, false);
			continue;
		}
		/* Two borders, with something plain between them: each belongs to its own cell. */
		if (left >= (int64_t)from)
			n += side(w, left, true) != 0;
		if (left + 1 <= (int64_t)to)
			n += side(w, left + 1, false) != 0;
	}
	return n;
}

static uint64_t edge_at(hs_base_nr end_of_run)
{
	return end_of_run % HS_BASE_PER_HUGE != 0; /* on a huge-page border, border_edges() counts it */
}

static void touch(struct work *w, const struct stretch *r, bool add)
{
	for (uint32_t i = r->cell; i <= r->last_cell; i++) {
		struct cell *c = &w->cells[i];
		uint64_t first = (uint64_t)c->huge * HS_BASE_PER_HUGE;

		if (add)
			c->nr_runs++;
		else
			c->nr_runs--;
		if (r->start <= first)
			c->first_mg = add;
		if (r->end >= first + HS_BASE_PER_HUGE)
			c->last_mg = add;
	}
}

/* Adds a run to the living ones, or takes it away, and keeps the count of edges. */
static void put_run(struct work *w, struct stretch *r, bool add)
{
	w->edges -= border_edges(w, r->cell, r->last_cell);
	touch(w, r, add);
	w->edges += border_edges(w, r->cell, r->last_cell);
	if (add)
		w->edges += edge_at(r->start) + edge_at(r->end);
	else
		w->edges -= edge_at(r->start) + edge_at(r->end);
	r->dead = !add;
}

/* The cells, and the runs as they are wanted: nothing closed, nothing dropped. */
static int collect(struct work *w, const struct hs_plan_request *rq)
{
	const struct hs_plan_huge *huge = rq->huge;
	const struct hs_region *regions = rq->regions;
	const size_t nr = rq->nr_huge;
	size_t max_runs = 0;
	uint32_t region = 0;

	for (size_t i = 0; i < nr; i++)
		max_runs += hs_run_count(&huge[i].pages);
	w->cells = calloc(nr ? nr : 1, sizeof(*w->cells));
	w->runs = calloc(max_runs ? max_runs : 1, sizeof(*w->runs));
	if (!w->cells || !w->runs)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		if (i && huge[i].huge <= huge[i - 1].huge)
			return -EINVAL;
		while (region < rq->nr_regions && huge[i].huge >= regions[region].first_huge + regions[region].nr_huge)
			region++;
		if (region == rq->nr_regions || huge[i].huge < regions[region].first_huge)
			return -EINVAL;
		w->cells[w->nr_cells++] = (struct cell){ .huge = huge[i].huge, .region = region };
		for (unsigned int p = hs_bits_next(&huge[i].pages, 0); p < HS_BASE_PER_HUGE;) {
			unsigned int len = hs_run_length(&huge[i].pages, p);
			hs_base_nr start = huge[i].huge * HS_BASE_PER_HUGE + p;
			struct stretch *prev = w->nr_runs ? &w->runs[w->nr_runs - 1] : NULL;

			if (prev && prev->end == start && adjoin(w, (int64_t)i - 1, (int64_t)i)) {
				prev->end = start + len;
				prev->last_cell = (uint32_t)i;
				prev->gain += len;
			} else {
				w->runs[w->nr_runs++] = (struct stretch){ .start = start,
									  .end = start + len,
									  .cell = (uint32_t)i,
									  .last_cell = (uint32_t)i,
									  .gain = len };
			}
			p = hs_bits_next(&huge[i].pages, p + len);
		}
	}
	for (size_t i = 0; i < w->nr_runs; i++)
		put_run(w, &w->runs[i], true);
	return 0;
}

/* ---- gaps ---- */

struct gap {
	hs_base_nr start;
	uint32_t len;
	size_t left; /* the run before it, when the gaps were collected */
};

static bool gap_allowed(const struct work *w, const struct hs_plan_huge *huge, const struct stretch *l,
			const struct stretch *r)
{
	for (uint32_t i = l->last_cell; i <= r->cell; i++) {
		uint64_t first = (uint64_t)huge[i].huge * HS_BASE_PER_HUGE;
		uint64_t from = l->end > first ? l->end - first : 0;
		uint64_t to = r->start < first + HS_BASE_PER_HUGE ? r->start - first : HS_BASE_PER_HUGE;
		struct hs_bits512 allowed = hs_bits_or(huge[i].allowed, huge[i].pages);

		if (i > l->last_cell && !adjoin(w, (int64_t)i - 1, (int64_t)i))
			return false;
		if (from < to && hs_run_length(&allowed, (unsigned int)from) < to - from)
			return false;
	}
	return true;
}

static int gap_cmp(const void *a, const void *b)
{
	const struct gap *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* Leader of the run that run i has become part of; merged[] is a forest that only ever points to the left. */
static size_t leader(size_t *merged, size_t i)
{
	while (merged[i] != i) {
		merged[i] = merged[merged[i]];
		i = merged[i];
	}
	return i;
}

/* Only the cells at the gap change, however long the two runs are. */
static void close_gap(struct work *w, struct stretch *l, struct stretch *r)
{
	uint32_t from = l->last_cell, to = r->cell;

	w->edges -= border_edges(w, from, to);
	w->edges -= edge_at(l->end) + edge_at(r->start);
	if (from == to) {
		w->cells[from].nr_runs--;
	} else {
		w->cells[from].last_mg = true;
		w->cells[to].first_mg = true;
		for (uint32_t i = from + 1; i < to; i++)
			w->cells[i] = (struct cell){ .huge = w->cells[i].huge,
						     .region = w->cells[i].region,
						     .nr_runs = 1,
						     .first_mg = true,
						     .last_mg = true };
	}
	w->edges += border_edges(w, from, to);
	l->end = r->end;
	l->last_cell = r->last_cell;
	l->gain += r->gain;
	r->dead = true;
}

static int close_gaps(struct work *w, const struct hs_plan_request *rq)
{
	const uint32_t few = rq->gap_vmas < rq->vma_budget ? rq->gap_vmas : rq->vma_budget;
	struct gap *gaps = NULL;
	size_t *merged = NULL;
	size_t nr = 0;
	int rc = -ENOMEM;

	if (w->nr_runs < 2 || (!rq->max_gap && w->edges <= few))
		return 0;
	gaps = calloc(w->nr_runs, sizeof(*gaps));
	merged = calloc(w->nr_runs, sizeof(*merged));
	if (!gaps || !merged)
		goto out;
	for (size_t i = 0; i < w->nr_runs; i++) {
		const struct stretch *l = &w->runs[i], *r = l + 1;

		merged[i] = i;
		if (i + 1 < w->nr_runs && w->cells[l->last_cell].region == w->cells[r->cell].region &&
		    gap_allowed(w, rq->huge, l, r))
			gaps[nr++] = (struct gap){ .start = l->end, .len = r->start - l->end, .left = i };
	}
	qsort(gaps, nr, sizeof(*gaps), gap_cmp);
	for (size_t i = 0; i < nr && (gaps[i].len <= rq->max_gap || w->edges > few); i++) {
		struct stretch *l = &w->runs[leader(merged, gaps[i].left)], *r = &w->runs[gaps[i].left + 1];

		close_gap(w, l, r);
		merged[gaps[i].left + 1] = leader(merged, gaps[i].left);
	}
	rc = 0;
out:
	free(gaps);
	free(merged);
	return rc;
}

/* ---- drops ---- */

static int gain_cmp(const void *a, const void *b)
{
	const struct stretch *x = *(struct stretch *const *)a, *y = *(struct stretch *const *)b;

	if (x->gain != y->gain)
		return x->gain < y->gain ? -1 : 1;
	return x->start > y->start ? -1 : x->start < y->start; /* of equals the later one goes first */
}

static int drop_runs(struct work *w, uint32_t budget)
{
	struct stretch **order;
	size_t nr = 0, nr_dropped = 0;

	if (w->edges <= budget)
		return 0;
	order = calloc(w->nr_runs, sizeof(struct stretch *));
	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < w->nr_runs; i++)
		if (!w->runs[i].dead)
			order[nr++] = &w->runs[i];
	qsort(order, nr, sizeof(struct stretch *), gain_cmp);
	while (nr_dropped < nr && w->edges > budget)
		put_run(w, order[nr_dropped++], false);
	while (nr_dropped-- > 0) {
		put_run(w, order[nr_dropped], true);
		if (w->edges > budget)
			put_run(w, order[nr_dropped], false);
	}
	free(order);
	return 0;
}

/* ---- the result ---- */

static int finish(struct work *w, struct hs_plan *out)
{
	out->mergeable = calloc(w->nr_runs ? w->nr_runs : 1, sizeof(*out->mergeable));
	out->nohuge = calloc(w->nr_cells ? w->nr_cells : 1, sizeof(*out->nohuge));
	if (!out->mergeable || !out->nohuge)
		return -ENOMEM;
	for (size_t i = 0; i < w->nr_runs; i++) {
		const struct stretch *r = &w->runs[i];

		if (r->dead)
			continue;
		out->mergeable[out->nr_mergeable++] = (struct hs_run){ .start = r->start, .end = r->end };
		out->nr_covered += r->gain;
		out->nr_extra += r->end - r->start - r->gain;
	}
	for (uint32_t i = 0; i < w->nr_cells; i++) {
		hs_base_nr start = w->cells[i].huge * HS_BASE_PER_HUGE;

		if (!w->cells[i].nr_runs)
			continue;
		if (i && w->cells[i - 1].nr_runs && adjoin(w, (int64_t)i - 1, i))
			out->nohuge[out->nr_nohuge - 1].end = start + HS_BASE_PER_HUGE;
		else
			out->nohuge[out->nr_nohuge++] =
			    (struct hs_run){ .start = start, .end = start + HS_BASE_PER_HUGE };
	}
	out->nr_dropped = out->nr_wanted - out->nr_covered;
	out->nr_vmas = w->edges;
	return 0;
}

int hs_plan_make(struct hs_plan *out, const struct hs_plan_request *request)
{
	struct work w = { 0 };
	int rc;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < request->nr_huge; i++)
		out->nr_wanted += hs_bits_count(&request->huge[i].pages);
	rc = collect(&w, request);
	if (!rc)
		rc = close_gaps(&w, request);
	if (!rc)
		rc = drop_runs(&w, request->vma_budget);
	if (!rc)
		rc = finish(&w, out);
	free(w.cells);
	free(w.runs);
	if (rc)
		hs_plan_finish(out);
	return rc;
}

void hs_plan_finish(struct hs_plan *p)
{
	if (!p)
		return;
	free(p->mergeable);
	free(p->nohuge);
	memset(p, 0, sizeof(*p));
}
