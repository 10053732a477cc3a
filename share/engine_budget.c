/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many VMAs a guest's marks are, and how many they may be.
 *
 * A mark taken from the middle of a range costs VMAs as a new range does. So operations are gone through on paper
 * first, one by one: the guest never has more VMAs than its budget, not even on the way.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine_internal.h"
#include "base/hostfile.h"
#include "base/vmas.h"
#include "runs.h"

/*
 * Marks as VMAs see them: a page is NOHUGEPAGE or not, and MERGEABLE or not. Each place where two neighbours
 * differ ("edge") is a VMA more; what lies outside a region counts as plain, as in the plan.
 */
struct marks {
	const struct hs_engine_guest *g;
	const struct hs_view *view;
	struct hs_bits512 *mergeable; /* [nr_huge] */
	bool *nohuge;                 /* [nr_huge] */
};

static void marks_finish(struct marks *m)
{
	free(m->mergeable);
	free(m->nohuge);
}

static int marks_now(struct marks *m, const struct hs_engine_guest *g)
{
	*m = (struct marks){ .g = g, .view = g->view };
	m->mergeable = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*m->mergeable));
	m->nohuge = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*m->nohuge));
	if (!m->mergeable || !m->nohuge) {
		marks_finish(m);
		return -ENOMEM;
	}
	for (hs_huge_nr h = 0; h < g->nr_huge; h++) {
		m->mergeable[h] = g->huge[h].marked;
		m->nohuge[h] = g->huge[h].nohuge;
	}
	return 0;
}

static int kind_of(const struct marks *m, hs_base_nr page)
{
	const hs_huge_nr h = page / HS_BASE_PER_HUGE;

	return hs_bits_test(&m->mergeable[h], page % HS_BASE_PER_HUGE) * 2 + m->nohuge[h];
}

static const struct hs_region *region_of(const struct hs_view *v, hs_huge_nr h)
{
	size_t i = 0;

	while (i + 1 < v->nr_regions && h >= v->regions[i + 1].first_huge)
		i++;
	return &v->regions[i];
}

/* Whether there is an edge before this page of the region, or at its end. */
static unsigned int edge_before(const struct marks *m, const struct hs_region *r, hs_base_nr page)
{
	const hs_base_nr first = r->first_huge * HS_BASE_PER_HUGE;
	const hs_base_nr end = first + (hs_base_nr)(r->nr_huge * HS_BASE_PER_HUGE);

	return (page > first ? kind_of(m, page - 1) : 0) != (page < end ? kind_of(m, page) : 0);
}

static uint64_t count_edges(const struct marks *m)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->view->nr_regions; i++) {
		const struct hs_region *r = &m->view->regions[i];

		for (hs_huge_nr h = r->first_huge; h < r->first_huge + r->nr_huge; h++) {
			const struct hs_bits512 *b = &m->mergeable[h];

			n += edge_before(m, r, h * HS_BASE_PER_HUGE);
			for (unsigned int p = 0; p < HS_BASE_PER_HUGE;) {
				const bool in = hs_bits_test(b, p);
				const unsigned int next = in ? hs_bits_next_clear(b, p) : hs_bits_next(b, p);

				n += next < HS_BASE_PER_HUGE;
				p = next;
			}
		}
		n += edge_before(m, r, (hs_base_nr)((r->first_huge + r->nr_huge) * HS_BASE_PER_HUGE));
	}
	return n;
}

/*
 * One operation: what it changes is alike in all of its pages before it, so it adds edges at its ends alone (where it
 * is not, it takes some away, and that is not counted). HUGEPAGE where nothing was before takes no edge away: it is
 * another advice than the neighbours'.
 */
static int64_t marks_change(struct marks *m, const struct hs_remote_op *op, hs_base_nr start)
{
	const hs_base_nr end = start + (hs_base_nr)((op->end - op->start) >> HS_BASE_SHIFT);
	const struct hs_region *r = region_of(m->view, start / HS_BASE_PER_HUGE);
	const int64_t before = edge_before(m, r, start) + edge_before(m, r, end);
	bool was_plain = false;
	int64_t change;

	for (hs_base_nr p = start; p < end; p++) {
		const hs_huge_nr h = p / HS_BASE_PER_HUGE;

		if (op->advice == MADV_MERGEABLE)
			hs_bits_set(&m->mergeable[h], p % HS_BASE_PER_HUGE);
		else if (op->advice == MADV_UNMERGEABLE)
			hs_bits_clear(&m->mergeable[h], p % HS_BASE_PER_HUGE);
		else
			m->nohuge[h] = op->advice == MADV_NOHUGEPAGE;
		was_plain |= m->g->huge[h].thp == HS_ENGINE_PLAIN;
	}
	change = (int64_t)edge_before(m, r, start) + edge_before(m, r, end) - before;
	return op->advice == MADV_HUGEPAGE && was_plain && change < 0 ? 0 : change;
}

int hs_engine_vmas_of_marks(const struct hs_engine_guest *g, uint64_t *out)
{
	struct marks m;
	int rc = marks_now(&m, g);

	if (rc)
		return rc;
	*out = count_edges(&m);
	marks_finish(&m);
	return 0;
}

#define OWN_FALLS 16 /* part of what it may have */

/*
 * The guest's own VMAs are what the kernel counts less what our marks are. It may reach the configured part of
 * vm.max_map_count, and in any case leaves it a sixteenth, in which its own calls and the mappings that others split in
 * it for a moment find room. When its own VMAs become more, the budget follows at once; when they become fewer, only
 * once they are a good deal fewer, so that a number that goes up and down does not take and give marks each time.
 */
int hs_engine_read_budget(const struct hs_share *s, struct hs_engine_guest *g, struct hs_engine_budget *out,
			  struct hs_error *err)
{
	int64_t now = hs_vmas_count(&s->host, g->view->pid);
	uint64_t max, limit, own;
	int rc;

	if (now < 0)
		return hs_error_set(err, (int)now, "cannot count the VMAs of %s: %s", g->name, strerror((int)-now));
	rc = hs_hostfile_u64(s->host.proc_dir, "sys/vm/max_map_count", &max);
	if (rc)
		return hs_error_set(err, rc, "cannot read %s/sys/vm/max_map_count: %s", s->host.proc_dir,
				    strerror(-rc));
	rc = hs_engine_vmas_of_marks(g, &out->now);
	if (rc)
		return hs_error_set(err, rc, "out of memory");
	limit = max * s->cfg.vma_percent / 100;
	limit = limit < max - max / 16 ? limit : max - max / 16;
	/* The two ends of a region may be no edges: what lies outside need not be plain. */
	own = 2 * g->view->nr_regions + ((uint64_t)now > out->now ? (uint64_t)now - out->now : 1);
	if (own > g->own_vmas || own + limit / OWN_FALLS < g->own_vmas)
		g->own_vmas = own;
	out->max = limit > g->own_vmas ? limit - g->own_vmas : 0;
	return 0;
}

int hs_engine_budget_fits(const struct hs_engine_guest *g, const struct hs_engine_ops *ops,
			  const struct hs_engine_budget *b, bool *out)
{
	const uint64_t most = b->max > b->now ? b->max : b->now;
	int64_t edges = (int64_t)b->now;
	struct marks m;
	int rc = marks_now(&m, g);

	if (rc)
		return rc;
	*out = true;
	for (size_t i = 0; i < ops->nr && *out; i++) {
		edges += marks_change(&m, &ops->op[i], ops->first[i]);
		*out = edges <= (int64_t)most;
	}
	marks_finish(&m);
	return 0;
}

int hs_engine_fits(struct hs_share *s, struct hs_engine_guest *g, const struct hs_engine_ops *ops, bool *out,
		   struct hs_error *err)
{
	struct hs_engine_budget b;
	int rc = hs_engine_read_budget(s, g, &b, err);

	if (rc)
		return rc;
	rc = hs_engine_budget_fits(g, ops, &b, out);
	return rc ? hs_error_set(err, rc, "out of memory") : 0;
}
